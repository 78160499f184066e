using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>Several segmenters on one device, each used by several threads.</summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class SharedDeviceTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _model;

    public SharedDeviceTests() => _model = SmallModel.Save(_folder.File("model.safetensors"));

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task SegmentersAndThreadsDoNotDisturbEachOther()
    {
        ICudaDriver driver = TestDriver.Open(80, seed: 5, eagerness: 0.3);
        using var disposed = driver as IDisposable;
        ComputeCapability device = new CudaDevice(driver, 0).ComputeCapability;
        Segmenter[] segmenters =
        [
            .. Enum.GetValues<CudaElement>().Where(e => e.FirstArchitecture() <= device).Select(e => EmulatedSegmenter.Load(_model, driver, e)),
        ];
        IReadOnlyList<Frame> frames = FrameSource.Frames(3);
        byte[][][] expected = [.. segmenters.Select(s => frames.Select(f => FrameSource.Expected(s, f).Classes).ToArray())];
        await Task.WhenAll(Enumerable.Range(0, 6).Select(worker => Task.Run(() =>
        {
            int segmenter = worker % segmenters.Length;
            for (int i = 0; i < 4; i++)
            {
                int frame = (worker + i) % frames.Count;
                Assert.Equal(expected[segmenter][frame], FrameSource.Expected(segmenters[segmenter], frames[frame]).Classes);
            }
        })));
        // One that goes leaves the others' context.
        segmenters[0].Dispose();
        foreach ((Segmenter segmenter, byte[][] classes) in segmenters.Zip(expected).Skip(1))
            Assert.Equal(classes[0], FrameSource.Expected(segmenter, frames[0]).Classes);
        foreach (Segmenter segmenter in segmenters) segmenter.Dispose();
        TestDriver.AssertHoldsNothing(driver);
    }

    [Fact]
    public async Task SegmentersComeAndGoWhileOthersRun()
    {
        ICudaDriver driver = TestDriver.Open(80);
        using var disposed = driver as IDisposable;
        Frame frame = FrameSource.Frame(1, 24, 16);
        byte[] expected;
        using (Segmenter first = EmulatedSegmenter.Load(_model, driver)) expected = FrameSource.Expected(first, frame).Classes;
        await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => Task.Run(() =>
        {
            for (int i = 0; i < 3; i++)
            {
                using Segmenter segmenter = EmulatedSegmenter.Load(_model, driver);
                Assert.Equal(expected, FrameSource.Expected(segmenter, frame).Classes);
            }
        })));
        TestDriver.AssertHoldsNothing(driver);
    }
}
