using DwrSeg.Native.Data;
using Xunit;

namespace DwrSeg.Native.Tests.Data;

public sealed class TrainingLoaderTests
{
    private static readonly AugmentationOptions Augmentation = new() { CropWidth = 40, CropHeight = 24 };

    private static TrainingLoaderOptions Options(int batch) => new() { BatchSize = batch, Seed = 11, Threads = 2 };

    private sealed record Copy(int Epoch, int Step, int[] Indices, float[] Images, byte[] Labels);

    private static List<Copy> Take(SegmentationDataset dataset, TrainingLoaderOptions options, int count)
    {
        using TrainingLoader loader = new(dataset, Augmentation, options);
        List<Copy> copies = [];
        for (int i = 0; i < count; i++)
        {
            using TrainingBatch batch = loader.Next(TestContext.Current.CancellationToken);
            copies.Add(new Copy(batch.Epoch, batch.Step, [.. batch.Indices], [.. batch.Images], [.. batch.Labels]));
        }
        return copies;
    }

    private static void AssertSame(Copy expected, Copy found)
    {
        Assert.Equal((expected.Epoch, expected.Step), (found.Epoch, found.Step));
        Assert.Equal(expected.Indices, found.Indices);
        Assert.True(expected.Images.AsSpan().SequenceEqual(found.Images));
        Assert.True(expected.Labels.AsSpan().SequenceEqual(found.Labels));
    }

    [Fact]
    public void BatchesDoNotDependOnThreadsBuffersOrCache()
    {
        ArrayDataset blocks = new(7, 48, 32);
        List<Copy> expected = Take(blocks, Options(2) with { Threads = 1, Buffers = 1 }, 12);
        foreach (TrainingLoaderOptions options in (TrainingLoaderOptions[])[
            Options(2) with { Threads = 5, Buffers = 4 },
            Options(2) with { Threads = 3, Buffers = 2, CacheBytes = 0 },
            Options(2) with { CacheBytes = 3 * 48 * 32 * 4 },
        ])
        {
            List<Copy> found = Take(blocks, options, 12);
            for (int i = 0; i < 12; i++) AssertSame(expected[i], found[i]);
        }
    }

    [Fact]
    public void StartingAtEpochAndStep_ContinuesTheUninterruptedRun()
    {
        ArrayDataset blocks = new(7, 48, 32);
        List<Copy> whole = Take(blocks, Options(2), 9);
        List<Copy> resumed = Take(blocks, Options(2) with { StartEpoch = 1, StartStep = 2 }, 4);
        for (int i = 0; i < resumed.Count; i++) AssertSame(whole[5 + i], resumed[i]);
    }

    [Fact]
    public void AnEpochHasWholeBatchesOfDistinctSamples_AndSkipsTheRest()
    {
        List<Copy> batches = Take(new ArrayDataset(8, 48, 32), Options(3), 6);
        Assert.Equal([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)], batches.Select(b => (b.Epoch, b.Step)));
        Assert.All(batches.GroupBy(b => b.Epoch), epoch => Assert.Equal(6, epoch.SelectMany(b => b.Indices).Distinct().Count()));
        Assert.True(batches.SelectMany(b => b.Indices).Distinct().Count() > 6, "every epoch skips the same samples");
    }

    [Fact]
    public void CachedSamples_AreDecodedOnce()
    {
        ArrayDataset cached = new(6, 48, 32), uncached = new(6, 48, 32);
        Take(cached, Options(2) with { Threads = 1 }, 12);
        Assert.Equal(6, cached.Loads);
        Take(uncached, Options(2) with { CacheBytes = 0 }, 12);
        Assert.True(uncached.Loads >= 24);
    }

    [Fact]
    public void ReleasedBuffers_AreFilledAgain()
    {
        using TrainingLoader loader = new(new ArrayDataset(6, 48, 32), Augmentation, Options(2) with { Buffers = 2 });
        HashSet<float[]> buffers = new(ReferenceEqualityComparer.Instance);
        for (int i = 0; i < 10; i++)
        {
            using TrainingBatch batch = loader.Next(TestContext.Current.CancellationToken);
            buffers.Add(batch.Images);
        }
        Assert.Equal(2, buffers.Count);
    }

    [Fact]
    public void FewerSamplesThanABatch_NamesBoth()
    {
        ArrayDataset blocks = new(3, 48, 32);
        DatasetException e = Assert.Throws<DatasetException>(() => new TrainingLoader(blocks, Augmentation, Options(4)));
        Assert.Contains("blocks: 3 samples", e.Message);
        Assert.Contains("batch of 4", e.Message);
    }

    [Fact]
    public void StartBeyondTheEpoch_IsRefused()
    {
        ArgumentException e = Assert.Throws<ArgumentException>(
            () => new TrainingLoader(new ArrayDataset(8, 48, 32), Augmentation, Options(4) with { StartStep = 2 }));
        Assert.Contains("2 batches", e.Message);
    }

    [Fact]
    public void UnreadableSample_FailsItsOwnBatchWithTheFilesName()
    {
        ArrayDataset blocks = new(8, 48, 32) { Broken = 5 };
        int[] order = EpochOrder.Of(11, 0, 8);
        int step = Array.IndexOf(order, 5) / 2;
        using TrainingLoader loader = new(blocks, Augmentation, Options(2));
        for (int i = 0; i < step; i++) loader.Next(TestContext.Current.CancellationToken).Dispose();
        for (int again = 0; again < 2; again++)
        {
            DatasetException e = Assert.Throws<DatasetException>(() => loader.Next(TestContext.Current.CancellationToken));
            Assert.Contains("blocks/block5.png", e.Message);
        }
    }

    [Fact]
    public void AnythingThatASampleThrows_NamesTheSample()
    {
        using SlowDataset failing = new() { Failure = new InvalidOperationException("out of ink") };
        failing.Go.Set();
        using TrainingLoader loader = new(failing, Augmentation, Options(1));
        DatasetException e = Assert.Throws<DatasetException>(() => loader.Next(TestContext.Current.CancellationToken));
        Assert.StartsWith("slow/block", e.Message);
        Assert.Contains("out of ink", e.Message);
    }

    [Fact]
    public void NoMoreSamplesAreLoadedThanTheBuffersHold()
    {
        ArrayDataset blocks = new(20, 48, 32);
        using TrainingLoader loader = new(blocks, Augmentation, Options(2) with { Threads = 4, Buffers = 3, CacheBytes = 0 });
        Assert.True(SpinWait.SpinUntil(() => blocks.Loads == 6, TimeSpan.FromSeconds(60)), $"{blocks.Loads} samples are loaded");
        // Were it to run ahead, it would do so at once: a sample takes microseconds.
        Thread.Sleep(50);
        Assert.Equal(6, blocks.Loads);
    }

    [Fact]
    public void TheCacheKeepsToItsBudget()
    {
        ArrayDataset blocks = new(6, 48, 32);
        Take(blocks, Options(2) with { Threads = 1, CacheBytes = 3 * 48 * 32 * 4 + 1 }, 15);
        // Three of six samples are kept, so each of the four epochs after the first decodes the other three; at most three batches more
        // are prepared ahead.
        Assert.InRange(blocks.Loads, 18, 18 + 6);
    }

    [Fact]
    public void HoldingEveryBatch_IsAnErrorNotAHang()
    {
        using TrainingLoader loader = new(new ArrayDataset(8, 48, 32), Augmentation, Options(2) with { Buffers = 2 });
        TrainingBatch first = loader.Next(TestContext.Current.CancellationToken);
        loader.Next(TestContext.Current.CancellationToken);
        Assert.Throws<InvalidOperationException>(() => loader.Next(TestContext.Current.CancellationToken));
        first.Dispose();
        Assert.Equal(2, loader.Next(TestContext.Current.CancellationToken).Step);
    }

    [Fact]
    public void CancellationEndsTheWait_AndTheNextCallGoesOn()
    {
        using SlowDataset slow = new();
        using TrainingLoader loader = new(slow, Augmentation, Options(1) with { Threads = 1 });
        using CancellationTokenSource source = new(TimeSpan.FromMilliseconds(30));
        Assert.Throws<OperationCanceledException>(() => loader.Next(source.Token));
        slow.Go.Set();
        using TrainingBatch batch = loader.Next(TestContext.Current.CancellationToken);
        Assert.Equal((0, 0), (batch.Epoch, batch.Step));
    }

    [Fact]
    public void DisposingStopsThreads_WithBatchesUnreadAndOut()
    {
        ArrayDataset blocks = new(64, 480, 360);
        TrainingLoader loader = new(blocks, Augmentation, Options(8) with { Threads = 3, CacheBytes = 0 });
        TrainingBatch batch = loader.Next(TestContext.Current.CancellationToken);
        loader.Dispose();
        // Nobody is at one any more, and a thread that went on would load the next at once.
        int loads = blocks.Loads;
        Assert.Equal(loads, blocks.Loaded);
        Thread.Sleep(50);
        Assert.Equal(loads, blocks.Loads);
        batch.Dispose();
        Assert.Throws<ObjectDisposedException>(() => loader.Next(TestContext.Current.CancellationToken));
    }

    private sealed class SlowDataset : SegmentationDataset, IDisposable
    {
        private readonly ArrayDataset _blocks = new(2, 48, 32);

        public ManualResetEventSlim Go { get; } = new();

        public Exception? Failure { get; init; }

        public override string Name => "slow";

        public override DwrSeg.Native.Formats.ClassList Classes => _blocks.Classes;

        public override int Count => _blocks.Count;

        public override string SampleName(int index) => _blocks.SampleName(index);

        public override SegmentationSample Load(int index)
        {
            Go.Wait();
            return Failure is null ? _blocks.Load(index) : throw Failure;
        }

        public void Dispose() => Go.Dispose();
    }
}
