using System.Diagnostics;
using System.Globalization;
using Xunit;

namespace DwrSeg.Native.Tests.Formats.Fuzzing;

/// <summary>
/// Feeds mutated inputs to a parser and checks what must hold for each: it ends, in time, with a result or with a documented
/// exception, and allocates in proportion to the input. Input number i depends on i alone, so that a failure can be repeated.
/// </summary>
/// <param name="Generate">Makes an input from a random source of its own.</param>
/// <param name="Parse">The parser, and everything a caller would read from the result.</param>
/// <param name="IsDocumented">Tells the exceptions that callers are told to expect.</param>
/// <param name="BytesPerByte">How many bytes the parser may allocate per byte of input, beyond a fixed allowance.</param>
internal sealed record Fuzzer(
    Func<Random, byte[]> Generate, Action<byte[]> Parse, Func<Exception, bool> IsDocumented, long BytesPerByte)
{
    // Exceptions with their stack traces, and the decompressor's buffers.
    private const long FixedAllowance = 256 << 10;

    // Wall-clock, on a machine that may be busy: a parser that takes milliseconds has to hang to get here.
    private static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(20);

    private string? _failure;
    private long _started;
    private int _current, _accepted;

    /// <summary>Number of inputs per parser: <c>DWRSEG_FUZZ_ITERATIONS</c>, or enough for a few seconds.</summary>
    public static int Iterations => Environment.GetEnvironmentVariable("DWRSEG_FUZZ_ITERATIONS") is { Length: > 0 } count
        ? int.Parse(count, CultureInfo.InvariantCulture)
        : 3000;

    public void Run(IEnumerable<byte[]> sound)
    {
        foreach (byte[] input in sound) Parse(input);
        int iterations = Iterations;
        _started = Stopwatch.GetTimestamp();
        Thread thread = new(() => Work(iterations)) { IsBackground = true };
        thread.Start();
        while (!thread.Join(100))
        {
            bool hangs = Stopwatch.GetElapsedTime(Volatile.Read(ref _started)) > TimeLimit;
            Assert.False(hangs, $"input {_current} takes more than {TimeLimit}");
        }
        Assert.True(_failure is null, _failure);
        // Both ways through the parser must have been taken, or the mutations are too tame or too wild to tell anything.
        Assert.InRange(_accepted, iterations / 200, iterations * 9 / 10);
        TestContext.Current.TestOutputHelper?.WriteLine($"{iterations} inputs, {_accepted} accepted, all others refused as documented");
    }

    private void Work(int iterations)
    {
        for (int i = 0; i < iterations && _failure is null; i++)
        {
            byte[] input = Generate(new Random(i));
            Volatile.Write(ref _started, Stopwatch.GetTimestamp());
            Volatile.Write(ref _current, i);
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                Parse(input);
                _accepted++;
            }
            catch (Exception e)
            {
                if (!IsDocumented(e)) _failure = Describe(i, input, e.ToString());
            }
            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            long allowed = FixedAllowance + BytesPerByte * input.Length;
            if (allocated > allowed) _failure ??= Describe(i, input, $"allocated {allocated} bytes, {allowed} are allowed");
        }
    }

    private static string Describe(int index, byte[] input, string problem) =>
        $"input {index} ({input.Length} bytes): {problem}\n{Convert.ToBase64String(input.AsSpan(0, Math.Min(input.Length, 4096)))}";
}
