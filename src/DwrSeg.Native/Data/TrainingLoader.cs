using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace DwrSeg.Native.Data;

/// <summary>
/// Prepares training batches on background threads, a few ahead of the trainer. What the batch of (epoch, step) holds depends on the
/// data set, the augmentation, the batch size and the seed alone, so a run can be resumed at any (epoch, step) and threads do not matter.
/// </summary>
/// <remarks>
/// An epoch is a shuffle of all samples cut into whole batches; the samples left over at its end are skipped that time. Threads take
/// single samples, not batches, so that all of them work on the batch that is needed next.
/// </remarks>
internal sealed partial class TrainingLoader : IDisposable
{
    private readonly Augmentation _augmentation;
    private readonly TrainingLoaderOptions _options;
    private readonly SampleCache _cache;
    private readonly int _count;
    private readonly Thread[] _threads;
    private readonly Queue<TrainingBatch> _free = new();
    private readonly Queue<TrainingBatch> _started = new();
    private readonly object _gate = new();
    private TrainingBatch? _filling;
    private int[] _order = [];
    private int _orderEpoch = -1;
    private int _epoch;
    private int _step;
    private int _lent;
    private bool _stopping;

    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="DatasetException">The data set is smaller than a batch, or has no labels.</exception>
    public TrainingLoader(SegmentationDataset dataset, AugmentationOptions augmentation, TrainingLoaderOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.BatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Threads, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Buffers, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(options.StartEpoch);
        ArgumentOutOfRangeException.ThrowIfNegative(options.StartStep);
        if (!dataset.HasLabels) throw new DatasetException(dataset.Name, "has no labels to train on; take another split, such as train");
        if (dataset.Count < options.BatchSize)
        {
            throw new DatasetException(dataset.Name, $"{dataset.Count} samples do not fill a batch of {options.BatchSize}; choose a " +
                "smaller batch or more data");
        }
        BatchesPerEpoch = dataset.Count / options.BatchSize;
        if (options.StartStep >= BatchesPerEpoch)
        {
            throw new ArgumentException(
                $"cannot start at step {options.StartStep}: an epoch of {dataset.Name} has {BatchesPerEpoch} batches");
        }
        _augmentation = new Augmentation(augmentation);
        _options = options;
        _cache = new SampleCache(dataset, options.CacheBytes);
        _count = dataset.Count;
        (_epoch, _step) = (options.StartEpoch, options.StartStep);
        for (int i = 0; i < options.Buffers; i++)
        {
            _free.Enqueue(new TrainingBatch(this, options.BatchSize, augmentation.CropHeight, augmentation.CropWidth));
        }
        _threads = new Thread[options.Threads];
        for (int i = 0; i < _threads.Length; i++)
        {
            _threads[i] = new Thread(Work) { IsBackground = true, Name = $"dwrseg loader {i}", Priority = ThreadPriority.BelowNormal };
            _threads[i].Start();
        }
    }

    /// <summary>Whole batches in an epoch.</summary>
    public int BatchesPerEpoch { get; }

    /// <summary>Waits for the next batch in order. Dispose the batch when its data is no longer needed.</summary>
    /// <exception cref="OperationCanceledException">The token was cancelled; the batch waited for comes with the next call.</exception>
    /// <exception cref="DatasetException">A sample of this batch could not be read.</exception>
    /// <exception cref="InvalidOperationException">The caller holds all batches.</exception>
    /// <exception cref="ObjectDisposedException">The loader was disposed.</exception>
    public TrainingBatch Next(CancellationToken cancellation = default)
    {
        using CancellationTokenRegistration wake = cancellation.UnsafeRegister(static loader => ((TrainingLoader)loader!).WakeAll(), this);
        lock (_gate)
        {
            while (true)
            {
                ObjectDisposedException.ThrowIf(_stopping, this);
                cancellation.ThrowIfCancellationRequested();
                if (_lent == _options.Buffers)
                {
                    throw new InvalidOperationException($"all {_lent} batches are out; dispose one before asking for the next");
                }
                if (_started.TryPeek(out TrainingBatch? batch) && batch.Remaining == 0)
                {
                    if (batch.Failure is { } failure) ExceptionDispatchInfo.Throw(failure);
                    _started.Dequeue();
                    batch.Lent = true;
                    _lent++;
                    return batch;
                }
                Monitor.Wait(_gate);
            }
        }
    }

    internal void Return(TrainingBatch batch)
    {
        lock (_gate)
        {
            if (!batch.Lent) return;
            batch.Lent = false;
            _lent--;
            _free.Enqueue(batch);
            Monitor.PulseAll(_gate);
        }
    }

    private void WakeAll()
    {
        lock (_gate) Monitor.PulseAll(_gate);
    }

    private void Work()
    {
        LowerPriority();
        Augmentation.Scratch scratch = new();
        while (TakeSample(out TrainingBatch batch, out int slot))
        {
            Exception? failure = null;
            try
            {
                int index = batch.Indices[slot];
                int images = _augmentation.ImageLength, labels = _augmentation.LabelLength;
                _augmentation.Apply(_cache.Get(index), new SampleRandom(_options.Seed, batch.Epoch, index), scratch,
                    batch.Images.AsSpan(slot * images, images), batch.Labels.AsSpan(slot * labels, labels));
            }
            catch (Exception e)
            {
                failure = e;
            }
            lock (_gate)
            {
                batch.Failure ??= failure;
                if (--batch.Remaining == 0) Monitor.PulseAll(_gate);
            }
        }
    }

    private bool TakeSample(out TrainingBatch batch, out int slot)
    {
        lock (_gate)
        {
            while (!_stopping)
            {
                if (_filling is null && _free.TryDequeue(out TrainingBatch? fresh)) StartBatch(fresh);
                if (_filling is { } filling)
                {
                    batch = filling;
                    slot = filling.NextSlot++;
                    if (filling.NextSlot == filling.Size) _filling = null;
                    return true;
                }
                Monitor.Wait(_gate);
            }
        }
        (batch, slot) = (null!, 0);
        return false;
    }

    private void StartBatch(TrainingBatch batch)
    {
        if (_orderEpoch != _epoch)
        {
            _order = EpochOrder.Of(_options.Seed, _epoch, _count);
            _orderEpoch = _epoch;
        }
        (batch.Epoch, batch.Step, batch.NextSlot, batch.Remaining, batch.Failure) = (_epoch, _step, 0, batch.Size, null);
        _order.AsSpan(_step * batch.Size, batch.Size).CopyTo(batch.Indices);
        if (++_step == BatchesPerEpoch) (_epoch, _step) = (_epoch + 1, 0);
        _filling = batch;
        _started.Enqueue(batch);
    }

    /// <summary>Stops the threads, each after the sample it works on.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _stopping = true;
            Monitor.PulseAll(_gate);
        }
        foreach (Thread thread in _threads) thread.Join();
    }

    // .NET ignores a thread's priority on Linux, where nice levels are per thread.
    private static void LowerPriority()
    {
        const int Increment = 5;
        if (OperatingSystem.IsLinux()) _ = Nice(Increment);
    }

    // Relative to what the process was given: an absolute level would starve the loader of a training that was.
    [LibraryImport("libc", EntryPoint = "nice")]
    private static partial int Nice(int increment);
}
