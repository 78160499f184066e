namespace DwrSeg.Native.Data;

internal sealed record TrainingLoaderOptions
{
    /// <summary>Samples per batch.</summary>
    public required int BatchSize { get; init; }

    /// <summary>With the epoch, decides the order; with epoch and index, a sample's augmentation.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Background threads; they change how fast batches come, never what is in them.</summary>
    public int Threads { get; init; } = Math.Clamp(Environment.ProcessorCount / 2, 1, 4);

    /// <summary>Batches in flight, the one being trained on included.</summary>
    public int Buffers { get; init; } = 3;

    /// <summary>Bytes of decoded samples kept in memory, 4 per pixel. Samples beyond it are decoded each time.</summary>
    public long CacheBytes { get; init; } = 1L << 30;

    /// <summary>Epoch of the first batch.</summary>
    public int StartEpoch { get; init; }

    /// <summary>Number of the first batch within its epoch.</summary>
    public int StartStep { get; init; }
}
