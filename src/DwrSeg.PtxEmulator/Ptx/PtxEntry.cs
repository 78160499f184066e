namespace DwrSeg.PtxEmulator.Ptx;

/// <summary>One kernel of a module.</summary>
internal sealed class PtxEntry
{
    public required string Name { get; init; }

    public required int Line { get; init; }

    public required IReadOnlyList<PtxVariable> Parameters { get; init; }

    /// <summary>Bytes of all parameters, with the gaps that their alignment asks for.</summary>
    public required uint ParameterBytes { get; init; }

    /// <summary>The most threads a block may have (<c>.maxntid</c>, <c>.reqntid</c>); 0 where the kernel sets no bound.</summary>
    public uint MaxThreads { get; init; }

    /// <summary>The block's shape that the kernel insists on (<c>.reqntid</c>).</summary>
    public Index3? RequiredBlock { get; init; }

    public uint MinBlocksPerMultiprocessor { get; init; }

    /// <summary>The blocks of a cluster that the kernel insists on (<c>.reqnctapercluster</c>); 0 where it does not.</summary>
    public uint RequiredCluster { get; init; }

    /// <summary>The most blocks of a cluster that it takes (<c>.maxclusterrank</c>); 0 where it sets no bound.</summary>
    public uint MaxCluster { get; init; }

    /// <summary>It can only be launched in clusters (<c>.explicitcluster</c>).</summary>
    public bool NeedsCluster { get; init; }

    /// <summary>Shared memory of the kernel's own.</summary>
    public uint StaticSharedBytes { get; init; }

    /// <summary>Where dynamic shared memory begins.</summary>
    public uint DynamicSharedOffset { get; init; }

    /// <summary>The kernel's own shared variables and those of the module that it names, with their places.</summary>
    public IReadOnlyList<PtxVariable> SharedVariables { get; init; } = [];

    /// <summary>Local memory of a thread.</summary>
    public uint LocalBytes { get; init; }

    public required IReadOnlyList<PtxInstruction> Instructions { get; init; }

    /// <summary>Position in <see cref="Instructions"/> of each label.</summary>
    public required IReadOnlyDictionary<string, int> Labels { get; init; }

    /// <summary>Labels that an indirect branch can go to, by the list's own label.</summary>
    public required IReadOnlyDictionary<string, IReadOnlyList<string>> BranchTargets { get; init; }

    public required IReadOnlyList<PtxRegister> Registers { get; init; }

    /// <summary>Why the kernel does not take clusters of that many blocks; null where it does.</summary>
    public string? ClusterProblem(uint blocks)
    {
        if (RequiredCluster > 0 && blocks != RequiredCluster)
            return $"clusters of {blocks}; the kernel is compiled for {RequiredCluster} (.reqnctapercluster)";
        if (MaxCluster > 0 && blocks > MaxCluster) return $"clusters of {blocks}; the kernel takes at most {MaxCluster} (.maxclusterrank)";
        bool missing = NeedsCluster && RequiredCluster == 0 && blocks == 1;
        return missing ? "the kernel is compiled for clusters (.explicitcluster), and the launch has none" : null;
    }
}
