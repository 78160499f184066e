namespace DwrSeg.PtxEmulator.Driver;

/// <summary>
/// Kernels in a stream's or a graph's order of which each but the first is launched beside the one before it: until one of them awaits its
/// previous one, all before it may still be running.
/// </summary>
/// <param name="behind">The chains that this one goes on from, where several meet.</param>
internal sealed class LaunchChain(params LaunchChain[] behind)
{
    // Memory knows no more launches than its tags can tell apart, so older ones need not be kept.
    private readonly Queue<PreviousLaunch> _launches = [];

    /// <summary>The launches so far, for the next one.</summary>
    public IEnumerable<PreviousLaunch> Launches => behind.SelectMany(c => c.Launches).Concat(_launches);

    public void Add(PreviousLaunch launch)
    {
        _launches.Enqueue(launch);
        if (_launches.Count > Memory.BlockOwners.MaxTag) _launches.Dequeue();
    }

    /// <summary>Puts work behind other work: what it runs as, and the chain that the next work may be in.</summary>
    /// <param name="work">The work.</param>
    /// <param name="before">The chain that ends directly before it; null where no kernel does.</param>
    public static (Work Work, LaunchChain? Chain) Place(Work work, LaunchChain? before)
    {
        // A device knows no marks of regions, so they part nothing.
        if (!work.IsNode) return (work, before);
        if (work is not KernelWork kernel) return (work, null);
        LaunchChain chain = kernel.OverlapsPrevious && before is not null ? before : new LaunchChain();
        return (kernel with { Chain = chain }, chain);
    }

    /// <summary>The same for all nodes of a graph.</summary>
    public static IReadOnlyList<Work> Place(IReadOnlyList<GraphNode> nodes)
    {
        var works = new Work[nodes.Count];
        var chains = new LaunchChain?[nodes.Count];
        for (int i = 0; i < works.Length; i++)
        {
            LaunchChain[] before = [.. nodes[i].After.Select(n => chains[n]).OfType<LaunchChain>().Distinct()];
            (works[i], chains[i]) = Place(nodes[i].Work, before.Length > 1 ? new LaunchChain(before) : before.FirstOrDefault());
        }
        return works;
    }
}
