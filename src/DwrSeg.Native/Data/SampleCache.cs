namespace DwrSeg.Native.Data;

/// <summary>
/// Keeps decoded samples until a byte budget is spent. Nothing is evicted: every sample is wanted once per epoch, so a replacement
/// would not be wanted any sooner than what it replaced.
/// </summary>
internal sealed class SampleCache(SegmentationDataset dataset, long budget)
{
    private readonly PackedSample?[] _samples = new PackedSample?[dataset.Count];
    private long _free = budget;

    public PackedSample Get(int index)
    {
        if (Volatile.Read(ref _samples[index]) is { } known) return known;
        PackedSample sample = new(Load(index));
        if (Interlocked.Add(ref _free, -sample.Bytes) < 0) Interlocked.Add(ref _free, sample.Bytes);
        else if (Interlocked.CompareExchange(ref _samples[index], sample, null) is not null) Interlocked.Add(ref _free, sample.Bytes);
        return sample;
    }

    // A data set of the application's own may throw anything; whoever waits for the batch must learn which sample it was.
    private SegmentationSample Load(int index)
    {
        try
        {
            return dataset.Load(index);
        }
        catch (Exception e) when (e is not (DatasetException or OutOfMemoryException))
        {
            throw new DatasetException($"{dataset.Name}/{dataset.SampleName(index)}", $"cannot be loaded: {e.Message}", e);
        }
    }
}
