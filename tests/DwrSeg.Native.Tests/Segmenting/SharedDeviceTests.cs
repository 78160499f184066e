using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>Several segmenters on one device, each used by several threads.</summary>
public sealed class SharedDeviceTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _model;

    public SharedDeviceTests() => _model = SmallModel.Save(_folder.File("model.safetensors"));

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task SegmentersAndThreadsDoNotDisturbEachOther()
    {
        using var driver = new EmulatedDriver(
            new EmulatedDriverOptions { Devices = [DeviceModel.Of(80), DeviceModel.Of(90)], Seed = 5, Eagerness = 0.3 });
        Segmenter[] segmenters =
        [
            EmulatedSegmenter.Load(_model, driver, CudaElement.Float16), EmulatedSegmenter.Load(_model, driver, CudaElement.Float32),
            EmulatedSegmenter.Load(_model, driver, CudaElement.BFloat16),
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
        Assert.Equal(expected[1][0], FrameSource.Expected(segmenters[1], frames[0]).Classes);
        foreach (Segmenter segmenter in segmenters) segmenter.Dispose();
        Assert.Equal(default, driver.Live);
    }

    [Fact]
    public async Task SegmentersComeAndGoWhileOthersRun()
    {
        using var driver = new EmulatedDriver(80);
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
        Assert.Equal(default, driver.Live);
    }
}
