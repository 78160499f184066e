namespace DwrSeg.PtxEmulator;

/// <summary>The shape of a launch.</summary>
/// <param name="Grid">Blocks.</param>
/// <param name="Block">Threads of a block.</param>
/// <param name="DynamicSharedBytes">Shared memory beside the kernel's own.</param>
/// <param name="ClusterX">Blocks of a cluster, side by side in x.</param>
internal readonly record struct LaunchShape(Index3 Grid, Index3 Block, uint DynamicSharedBytes = 0, uint ClusterX = 1);
