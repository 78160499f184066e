using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Libraries;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

/// <summary>Alone, because the stand-in's state is the process's, as the library's is.</summary>
[Collection(nameof(RunsAlone))]
public sealed class CuptiTests
{
    [Fact]
    public void RecordsComeInTheOrderOfTheirStarts()
    {
        KernelRecord[] records = [.. Enumerable.Range(0, 20).Select(i => new KernelRecord($"kernel_{i % 3}", (ulong)(1000 + 10 * i), (ulong)(1004 + 10 * i)))];
        CuptiDouble.Records = records;
        bool wasEnabled = false;
        Assert.Equal(records, CuptiDouble.Create().Record(() => wasEnabled = CuptiDouble.IsEnabled));
        Assert.True(wasEnabled);
        Assert.False(CuptiDouble.IsEnabled);
        // Nothing of the first recording is in the second.
        CuptiDouble.Records = records[..2];
        Assert.Equal(records[..2], CuptiDouble.Create().Record(() => { }));
    }

    [Fact]
    public void ARefusalNamesTheRemedy()
    {
        CuptiDouble.EnableStatus = 35;
        try
        {
            CudaException e = Assert.Throws<CudaException>(() => CuptiDouble.Create().Record(() => Assert.Fail("nothing is recorded")));
            Assert.Contains("cuptiActivityEnable", e.Message, StringComparison.Ordinal);
            Assert.Contains("administrators", e.Message, StringComparison.Ordinal);
        }
        finally
        {
            CuptiDouble.EnableStatus = 0;
        }
    }

    [Theory]
    [InlineData(10, "kernel", 20, 19, "from 20 to 19 ns")]
    [InlineData(10, "kernel", 0, 0, "from 0 to 0 ns")] // how CUPTI says that it has no times
    [InlineData(10, null, 20, 21, "no name")]
    [InlineData(0, "kernel", 20, 21, "kind 0")]
    [InlineData(-842150451, "kernel", 20, 21, "kind -842150451")]
    public void RecordsThatMakeNoSenseLetGoOfAll(int kind, string? name, ulong start, ulong end, string why)
    {
        KernelRecord good = new("kernel", 10, 20);
        try
        {
            CuptiDouble.Kind = kind;
            CuptiDouble.Records = [good, new KernelRecord(name!, start, end), good];
            CudaException e = Assert.Throws<CudaException>(() => CuptiDouble.Create().Record(() => { }));
            Assert.Contains(why, e.Message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', e.Message);
            Assert.False(CuptiDouble.IsEnabled);
        }
        finally
        {
            CuptiDouble.Kind = 10;
        }
        // The next recording is a new one.
        CuptiDouble.Records = [good];
        Assert.Equal([good], CuptiDouble.Create().Record(() => { }));
    }

    [Fact]
    public void AFailedRunLeavesNoRecordingOn()
    {
        Assert.Throws<InvalidOperationException>(() => CuptiDouble.Create().Record(() => throw new InvalidOperationException()));
        Assert.False(CuptiDouble.IsEnabled);
    }

    [Fact]
    public void LaunchesGetMediansOverFrames_AndLibrariesWhatLiesBetween()
    {
        // A frame: a kernel, a call of two kernels, a kernel, two calls that can't be told apart, a kernel.
        string?[] frame = ["a", null, "b", null, null, "a"];
        ulong clock = 0;
        List<KernelRecord> records = [];
        foreach (ulong scale in new ulong[] { 1, 100, 3 })
        {
            foreach ((string name, ulong length) in new[] { ("a", 10ul), ("x", 4ul), ("y", 5ul), ("b", 20ul), ("x", 1ul), ("y", 2ul), ("z", 3ul), ("a", 30ul) })
            {
                records.Add(new KernelRecord(name, clock, clock + length * scale));
                clock += length * scale + 1;
            }
        }
        FrameTrace trace = FrameTrace.Of(records, frame);
        Assert.Equal(3, trace.Frames);
        double?[] expected = [30e-9, 27e-9, 60e-9, null, null, 90e-9];
        Assert.All(expected.Zip(trace.Seconds), p => Assert.True(
            p.First is null ? p.Second is null : Math.Abs(p.First.Value - p.Second!.Value) < 1e-15, $"{p.Second} for {p.First}"));
        // 75 units of work and seven gaps of one nanosecond.
        Assert.Equal(75 * 3e-9 + 7e-9, trace.FrameSeconds, 1e-15);
    }

    [Theory]
    [InlineData("a b a")] // cut off
    [InlineData("a b b")] // another kernel
    [InlineData("")]
    public void RecordsThatAreNoWholeFramesAreRefused(string names)
    {
        KernelRecord[] records = [.. names.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select((n, i) => new KernelRecord(n, (ulong)i, (ulong)i + 1))];
        Assert.Contains("CUPTI", Assert.Throws<CudaException>(() => FrameTrace.Of(records, ["a", "b"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheRealLibraryIsAsked()
    {
        NativeLibraryResult library = NativeLibraries.Find(NativeLibraries.Cupti);
        Assert.SkipWhen(Cupti.Instance is null, library.Problem);
        Assert.SkipWhen(CudaDevices.Probe().Devices.Count > 0, "there is a device: profiles show that recording works");
        CudaException e = Assert.Throws<CudaException>(() => Cupti.Instance!.Record(() => { }));
        Assert.Contains("CUPTI_ERROR", e.Message, StringComparison.Ordinal);
    }
}
