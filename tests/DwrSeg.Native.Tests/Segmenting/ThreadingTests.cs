using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

public sealed class ThreadingTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _model;

    public ThreadingTests() => _model = SmallModel.Save(_folder.File("model.safetensors"));

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task ConcurrentRunsGiveWhatSerialRunsGive()
    {
        // More sizes than plans are kept, so that plans come and go while others wait.
        (int Width, int Height)[] sizes = [(40, 32), (41, 33), (64, 16), (9, 70), (1, 1), (48, 48)];
        using Segmenter segmenter = Segmenter.Load(_model, new SegmenterOptions { Threads = 2 });
        byte[][] expected = [.. sizes.Select((size, i) => Run(segmenter, size, i))];
        await Task.WhenAll(Enumerable.Range(0, 4).Select(worker => Task.Run(() =>
        {
            for (int round = 0; round < 30; round++)
            {
                int i = (worker * 5 + round * 7) % sizes.Length;
                Assert.Equal(expected[i], Run(segmenter, sizes[i], i));
            }
        })));
    }

    [Fact]
    public void AnyNumberOfThreadsGivesTheSame()
    {
        using Segmenter one = Segmenter.Load(_model, new SegmenterOptions { Threads = 1 });
        foreach (int threads in (int[])[2, 3, 7])
        {
            using Segmenter several = Segmenter.Load(_model, new SegmenterOptions { Threads = threads });
            Assert.Equal(Run(one, (97, 61), 0), Run(several, (97, 61), 0));
        }
    }

    [Fact]
    public void AfterDisposingEveryRunThrowsAndDisposingAgainDoesNothing()
    {
        Segmenter segmenter = Segmenter.Load(_model);
        Run(segmenter, (8, 8), 0);
        segmenter.Dispose();
        segmenter.Dispose();
        Assert.Throws<ObjectDisposedException>(() => Run(segmenter, (8, 8), 0));
        Assert.Throws<ObjectDisposedException>(() => segmenter.Run("no such file.png"));
        Assert.Throws<ObjectDisposedException>(() => segmenter.Run(new MemoryStream()));
        Assert.Throws<ObjectDisposedException>(() => segmenter.Run([]));
        Assert.Equal(SmallModel.Classes.Names, segmenter.Classes.Names);
    }

    [Fact]
    public async Task DisposingWaitsForTheRunInProgress()
    {
        for (int round = 0; round < 20; round++)
        {
            Segmenter segmenter = Segmenter.Load(_model, new SegmenterOptions { Threads = 2 });
            byte[] expected = Run(segmenter, (64, 48), round);
            using var running = new CountdownEvent(3);
            Task[] runners = [.. Enumerable.Range(0, 3).Select(_ => Task.Run(() =>
            {
                running.Signal();
                // Until the segmenter is gone every run gives the whole and right result.
                while (true) Assert.Equal(expected, Run(segmenter, (64, 48), round));
            }))];
            running.Wait();
            segmenter.Dispose();
            foreach (Task runner in runners) await Assert.ThrowsAsync<ObjectDisposedException>(() => runner);
        }
    }

    private static byte[] Run(Segmenter segmenter, (int Width, int Height) size, int seed)
    {
        byte[] classes = new byte[size.Width * size.Height];
        segmenter.Run(SmallModel.Picture(size.Width, size.Height, seed), size.Width, size.Height, size.Width * 3, PixelFormat.Rgb, classes);
        return classes;
    }
}
