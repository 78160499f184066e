namespace DwrSeg.PtxEmulator.Driver;

/// <summary>What has been made and not given back.</summary>
internal readonly record struct LiveObjects(
    int Contexts, int Allocations, ulong Bytes, int PinnedAllocations, int Streams, int Events, int Modules, int Graphs,
    int ExecutableGraphs);
