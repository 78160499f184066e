namespace DwrSeg.PtxEmulator.Driver;

/// <summary>The launches that have run, oldest first; the oldest are dropped where there are too many.</summary>
internal sealed class LaunchLog(int capacity)
{
    private readonly Queue<LaunchStatistics> _launches = [];

    /// <summary>Launches that were dropped.</summary>
    public long Dropped { get; private set; }

    public IReadOnlyList<LaunchStatistics> Launches => [.. _launches];

    public void Add(LaunchStatistics launch)
    {
        _launches.Enqueue(launch);
        if (_launches.Count <= capacity) return;
        _launches.Dequeue();
        Dropped++;
    }

    public void Clear()
    {
        _launches.Clear();
        Dropped = 0;
    }
}
