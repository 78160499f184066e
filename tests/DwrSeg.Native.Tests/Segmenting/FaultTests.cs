using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>
/// Any call of the driver may fail, from opening the device to reading the class map: there is one error that names the call, nothing is left
/// behind, and what can go on goes on.
/// </summary>
public sealed class FaultTests : IDisposable
{
    private const int Width = 24, Height = 16;

    // Calls that give back or only look: nobody is told when they fail.
    private static readonly HashSet<string> Silent =
    [
        "MemFree", "MemFreeAsync", "MemFreeHost", "StreamDestroy", "EventDestroy", "GraphDestroy", "GraphExecDestroy", "ModuleUnload",
        "DevicePrimaryCtxRelease", "CtxGetCurrent", "MemGetInfo", "CtxSynchronize",
    ];

    // After these something stays with the driver, which refused to take it back.
    private static readonly HashSet<string> Keeping = [.. Silent.Where(m => m is not ("CtxGetCurrent" or "MemGetInfo" or "CtxSynchronize"))];

    private static readonly HashSet<string> Allocating = ["MemAlloc", "MemHostAlloc", "MemAllocAsync"];

    private readonly TemporaryFolder _folder = new();
    private readonly string _model;
    private readonly byte[] _pixels = SmallModel.Picture(Width, Height, seed: 2);

    public FaultTests() => _model = SmallModel.Save(_folder.File("model.safetensors"));

    public void Dispose() => _folder.Dispose();

    /// <summary>Whether every call is to fail, not a sample.</summary>
    internal static bool IsExhaustive => Environment.GetEnvironmentVariable("DWRSEG_TEST_FAULTS") == "all";

    /// <summary>Whether nobody is told that a call failed.</summary>
    internal static bool IsSilent(string method) => Silent.Contains(method);

    /// <summary>Whether something stays with the driver where a call fails.</summary>
    internal static bool IsKept(string method) => Keeping.Contains(method);

    /// <summary>Whether a call asks for memory.</summary>
    internal static bool IsAllocation(string method) => Allocating.Contains(method);

    /// <summary>
    /// Lets the like of call <paramref name="k"/> fail: as many calls of its method before it. So it is a call of this method whatever else is
    /// called in between.
    /// </summary>
    internal static void Fail(FaultInjectingDriver faulty, string[] calls, int k) => faulty.FailCall(
        calls[k], calls.AsSpan(0, k).Count(calls[k]), Allocating.Contains(calls[k]) ? CUresult.OutOfMemory : CUresult.Unknown);

    /// <summary>
    /// Numbers of calls to let fail: the first and last of each kind and a seeded sample of the rest, or all.
    /// </summary>
    internal static IReadOnlyList<int> Chosen(string[] calls, int seed, bool withAllocations = false)
    {
        var random = new Random(seed);
        double sampled = IsExhaustive ? 1 : 0.01;
        return [.. Enumerable.Range(0, calls.Length).Where(k => (withAllocations && Allocating.Contains(calls[k]))
            || Array.IndexOf(calls, calls[k]) == k || Array.LastIndexOf(calls, calls[k]) == k || random.NextDouble() < sampled)];
    }

    public static TheoryData<int> Parts => [0, 1, 2, 3];

    /// <summary>
    /// Every allocation, the first and last call of each kind, and a seeded sample of the rest; with <c>DWRSEG_TEST_FAULTS=all</c> every call,
    /// which takes minutes.
    /// </summary>
    [Theory]
    [MemberData(nameof(Parts))]
    public void AnyCallMayFail(int part)
    {
        using var emulator = new EmulatedDriver(80);
        var faulty = FaultInjectingDriver.Wrap(emulator);
        byte[] expected;
        string[] calls;
        using (Segmenter segmenter = EmulatedSegmenter.Load(_model, faulty.Driver))
        {
            expected = Run(segmenter);
            calls = [.. faulty.Calls];
        }
        Assert.Equal(default, emulator.Live);
        IReadOnlyList<int> chosen = Chosen(calls, seed: 7, withAllocations: true);
        Assert.True(chosen.Count(k => Allocating.Contains(calls[k])) > 50);
        foreach (int k in chosen.Where((_, i) => i % Parts.Count == part))
        {
            string method = calls[k], what = $"call {k}, {method}";
            faulty.Reset();
            // As at first: with another context current, there are calls that put it back.
            emulator.CtxSetCurrent(default);
            Fail(faulty, calls, k);
            CudaException? error = null;
            Segmenter? segmenter = null;
            try
            {
                segmenter = EmulatedSegmenter.Load(_model, faulty.Driver);
                Assert.Equal(expected, Run(segmenter));
            }
            catch (CudaException e)
            {
                error = e;
            }
            Assert.True(Silent.Contains(method) == (error is null), $"{what}: {error?.Message ?? "no error"}");
            if (error is not null)
            {
                Assert.StartsWith($"cu{method}", error.Message, StringComparison.Ordinal);
                Assert.False(error.IsSticky);
                if (Allocating.Contains(method)) Assert.Contains("needed", error.Message, StringComparison.Ordinal);
            }
            faulty.Reset();
            // A segmenter that is there can be used again, and else another one can be made; to try that each time would take too long.
            if (k % 3 == 0)
            {
                segmenter ??= EmulatedSegmenter.Load(_model, faulty.Driver);
                Assert.Equal(expected, Run(segmenter));
            }
            segmenter?.Dispose();
            if (!Keeping.Contains(method)) Assert.True(emulator.Live == default, $"{what} left {emulator.Live}");
        }
    }

    [Fact]
    public void OutOfMemoryAtANewImageSizeLeavesTheOldOneUsable()
    {
        foreach (string method in Allocating.Except(["MemAllocAsync"]))
        {
            using var emulator = new EmulatedDriver(80);
            var faulty = FaultInjectingDriver.Wrap(emulator);
            using Segmenter segmenter = EmulatedSegmenter.Load(_model, faulty.Driver, options: new SegmenterOptions { InputSize = (Height, Width) });
            byte[] expected = Run(segmenter);
            faulty.FailEvery(method, CUresult.OutOfMemory);
            for (int i = 0; i < 2; i++)
            {
                var error = Assert.Throws<CudaException>(() => Run(segmenter, Width + 5, Height));
                Assert.Equal($"cu{method}", error.Call);
            }
            Assert.ThrowsAny<CudaException>(() => Run(segmenter));
            faulty.Reset();
            Assert.Equal(expected, Run(segmenter));
            Assert.Equal((Width + 5) * Height, Run(segmenter, Width + 5, Height).Length);
            Assert.Equal(expected, Run(segmenter));
        }
    }

    [Fact]
    public async Task ALostDeviceIsToldAndAllIsGivenBack()
    {
        using var emulator = new EmulatedDriver(80);
        Segmenter segmenter = EmulatedSegmenter.Load(_model, emulator);
        byte[] expected = Run(segmenter);
        using (var context = new CudaContext(emulator))
        {
            // Work that fails as a kernel with a stray address does: for good, for everybody in the context.
            using var stream = new CudaStream(context);
            using var gone = new CudaDeviceVariable<byte>(context, 16);
            using var host = new CudaHostMemory<byte>(context, 16);
            gone.CopyToDeviceAsync(host, stream);
            Assert.Equal(CUresult.Success, emulator.MemFree(gone.DevicePointer));
            Assert.True(Assert.Throws<CudaException>(stream.Synchronize).IsSticky);
        }
        var error = Assert.Throws<CudaException>(() => Run(segmenter));
        Assert.True(error.IsSticky);
        Assert.Contains("context is lost", error.Message, StringComparison.Ordinal);
        Assert.True(Assert.Throws<CudaException>(() => Run(segmenter)).IsSticky);
        Assert.True((await Assert.ThrowsAsync<CudaException>(async () =>
        {
            await foreach (Frame _ in segmenter.RunAsync(FrameSource.Source(FrameSource.Frames(2)))) Assert.Fail("a frame from a lost device");
        })).IsSticky);
        segmenter.Dispose();
        Assert.Equal(default, emulator.Live);
        // The emulated device, unlike a real one, is as new with its next context.
        using Segmenter second = EmulatedSegmenter.Load(_model, emulator);
        Assert.Equal(expected, Run(second));
    }

    private byte[] Run(Segmenter segmenter) => Run(segmenter, _pixels, Width, Height);

    private static byte[] Run(Segmenter segmenter, int width, int height) => Run(segmenter, SmallModel.Picture(width, height), width, height);

    private static byte[] Run(Segmenter segmenter, byte[] pixels, int width, int height)
    {
        byte[] classes = new byte[width * height];
        segmenter.Run(pixels, width, height, width * 3, PixelFormat.Rgb, classes);
        return classes;
    }
}
