using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.Native.Tests.Training;
using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>What a long-lived application pays: managed allocations, native memory, threads.</summary>
[Collection(nameof(RunsAlone))]
public sealed class ResourceTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _model;

    public ResourceTests() => _model = SmallModel.Save(_folder.File("model.safetensors"));

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(2, true)]
    public void RunsInSteadyStateAllocateNothingOnAnyThread(int threads, bool withConfidence)
    {
        const int Runs = 20;
        // Two sizes in turn: finding a plan is part of the run.
        using Segmenter segmenter = Segmenter.Load(_model, new SegmenterOptions { Threads = threads });
        byte[] pixels = SmallModel.Picture(96, 64), classes = new byte[96 * 64], confidence = new byte[withConfidence ? 96 * 64 : 0];
        Assert.Equal(0, LeastAllocated(RunAll));

        void RunAll()
        {
            for (int i = 0; i < Runs; i++)
            {
                segmenter.Run(pixels, 96, 64, 96 * 3, PixelFormat.Rgb, classes, confidence);
                segmenter.Run(pixels, 64, 96, 64 * 3, PixelFormat.Bgr, classes, confidence);
                segmenter.PaintOverlay(pixels, 96, 64, 96 * 3, PixelFormat.Rgb, classes, pixels, opacity: 0.1);
            }
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void TrainingStepsInSteadyStateAllocateNothingOnAnyThread(int threads)
    {
        TrainingOptions options = SmallTraining.Options;
        (int height, int width) = (options.Augmentation.CropHeight, options.Augmentation.CropWidth);
        var random = new Random(4);
        var images = new float[options.BatchSize * height * width * 3];
        var labels = new byte[options.BatchSize * height * width];
        for (int i = 0; i < images.Length; i++) images[i] = random.NextSingle() - 0.5f;
        for (int i = 0; i < labels.Length; i++) labels[i] = (byte)random.Next(options.Model.Classes);
        using IBackend backend = Devices.Open("cpu", threads, out _);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = TrainingPlan.CreateGraph(options);
        ModelWeights.Initialize(graph, store, options.Seed);
        using var plan = new TrainingPlan(graph, backend, store);

        Assert.Equal(0, LeastAllocated(() =>
        {
            for (int i = 0; i < 10; i++) plan.Step(images, labels, 0.01f);
        }));
    }

    [Fact]
    public void MemoryDoesNotGrowWithTheNumberOfSizes()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /proc");
        using Segmenter segmenter = Segmenter.Load(_model, new SegmenterOptions { Threads = 2 });
        for (int i = 0; i < 10; i++) RunAt(segmenter, i);
        long before = ResidentBytes();
        for (int i = 10; i < 40; i++) RunAt(segmenter, i);
        // A plan of this size holds about 8 MB, so 30 that stayed would be 240 MB; what the allocator keeps for later is a few plans' worth.
        Assert.InRange(ResidentBytes() - before, long.MinValue, 100_000_000);

        static void RunAt(Segmenter segmenter, int i)
        {
            int width = 640 + i, height = 360;
            segmenter.Run(new byte[width * height * 3], width, height, width * 3, PixelFormat.Rgb, new byte[width * height]);
        }
    }

    [Fact]
    public void DisposingGivesMemoryAndThreadsBack()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /proc");
        LoadRunDispose();
        int threads = WorkerThreads();
        long before = ResidentBytes();
        for (int i = 0; i < 30; i++) LoadRunDispose();
        AssertWorkerThreads(threads);
        Assert.InRange(ResidentBytes() - before, long.MinValue, 100_000_000);

        void LoadRunDispose()
        {
            using Segmenter segmenter = Segmenter.Load(_model, new SegmenterOptions { Threads = 2 });
            segmenter.Run(new byte[640 * 360 * 3], 640, 360, 640 * 3, PixelFormat.Rgb, new byte[640 * 360]);
            // A run does not wait for workers that come too late for it, nor has a machine with one processor any.
            if (Environment.ProcessorCount > 1) Assert.True(SpinWait.SpinUntil(() => WorkerThreads() >= 1, TimeSpan.FromSeconds(20)));
        }
    }

    [Fact]
    public void FailedLoadingLeavesNoThreadBehind()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /proc");
        string other = SmallModel.SaveWith(_folder.File("damaged.safetensors"), "decoder.classify.bias", float.NaN);
        int threads = WorkerThreads();
        for (int i = 0; i < 10; i++) Assert.Throws<WeightsFormatException>(() => Segmenter.Load(other, new SegmenterOptions { Threads = 2 }));
        AssertWorkerThreads(threads);
    }

    // The counter is the process's: the test runner's own threads may add to it now and then, but not in every attempt. What the action
    // itself allocated would be in all of them.
    private static long LeastAllocated(Action action)
    {
        const int Attempts = 10;
        action();
        long least = long.MaxValue;
        for (int i = 0; i < Attempts && least != 0; i++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            action();
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        return least;
    }

    private static long ResidentBytes() =>
        long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1]) * Environment.SystemPageSize;

    // A thread that was joined may still be listed for a moment, before the test as after it.
    private static void AssertWorkerThreads(int most)
    {
        SpinWait.SpinUntil(() => WorkerThreads() <= most, TimeSpan.FromSeconds(20));
        Assert.InRange(WorkerThreads(), 0, most);
    }

    private static int WorkerThreads() => Directory.GetDirectories("/proc/self/task").Count(task =>
    {
        try
        {
            return File.ReadAllText(Path.Combine(task, "comm")).StartsWith("dwrseg worker", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            // The thread ended meanwhile.
            return false;
        }
    });
}
