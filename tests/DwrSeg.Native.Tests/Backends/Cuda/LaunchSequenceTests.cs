using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.PtxEmulator;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

public sealed class LaunchSequenceTests
{
    [Theory]
    [InlineData(90, true)]
    [InlineData(80, false)]
    public void LaunchesOverlapWhereTheDeviceKnowsHow(int architecture, bool overlap)
    {
        // The first waits for what the stream did before.
        bool[] found = RunOf(architecture, milliseconds: null, out bool said);
        Assert.Equal([false, overlap, overlap], found);
        Assert.Equal(overlap, said);
    }

    [Theory]
    [InlineData(1, 2, true)]
    [InlineData(2, 1, false)]
    public void TimeDecides(double overlapped, double alone, bool overlap)
    {
        bool[] found = RunOf(90, l => l.OverlapsPrevious ? overlapped : alone, out bool said);
        Assert.Equal([false, overlap, overlap], found);
        Assert.Equal(overlap, said);
    }

    [Fact]
    public void TheSettingIsUnderstood() =>
        Assert.True(FeatureSwitch.Allows(null) && FeatureSwitch.Allows("1") && !FeatureSwitch.Allows("0"));

    // Whether each launch of a plan's run overlaps the one before.
    private static bool[] RunOf(int architecture, Func<LaunchStatistics, double>? milliseconds, out bool overlaps)
    {
        TestNvrtc.Require();
        using var driver = new EmulatedDriver(new EmulatedDriverOptions
        {
            Devices = [DeviceModel.Of(architecture)], LaunchMilliseconds = milliseconds,
        });
        using var backend = new CudaBackend("emulated", driver, 0, CudaElement.Float32, wantsPtx: true);
        var builder = new GraphBuilder();
        Tensor x = builder.Input("x", new Shape(1, 4, 4, 16));
        Tensor y = builder.Add("third", new Relu(), builder.Add("second", new MaxPool(), builder.Add("first", new Relu(), x)));
        LayerGraph graph = builder.Build(y);
        using ITensorStore store = backend.CreateStore();
        using var plan = (CudaPlan)backend.Compile(graph, store);
        overlaps = plan.Overlaps;
        int before = driver.Launches.Count;
        plan.Run();
        plan.Synchronize();
        return [.. driver.Launches.Skip(before).Select(l => l.OverlapsPrevious)];
    }
}
