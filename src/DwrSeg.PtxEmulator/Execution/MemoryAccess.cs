using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>What a load, store or atomic does, beside its registers.</summary>
internal sealed class MemoryAccess
{
    public required StateSpace Space { get; init; }

    /// <summary>Bytes of an element.</summary>
    public required int ElementBytes { get; init; }

    /// <summary>Elements of a vector access.</summary>
    public int Elements { get; init; } = 1;

    /// <summary>Loads extend the sign.</summary>
    public bool Signed { get; init; }

    /// <summary>The register address has 64 bits.</summary>
    public bool WideAddress { get; init; }

    /// <summary>Bits of each register of the data: 16, 32 or 64.</summary>
    public int DataBits { get; init; } = 32;

    /// <summary>What is added to the address of a copy's target, and to that of its mbarrier.</summary>
    public long TargetAdded { get; init; }

    public long BarrierAdded { get; init; }

    /// <summary>Volatile, relaxed, acquiring or releasing: allowed to meet accesses of other blocks of that kind.</summary>
    public bool Strong { get; init; }

    /// <summary>Orders later reads after what other blocks wrote.</summary>
    public bool Acquire { get; init; }

    /// <summary>Orders earlier writes before it, for other blocks.</summary>
    public bool Release { get; init; }

    /// <summary>A load by a way that assumes that nothing writes there during the launch.</summary>
    public bool NonCoherent { get; init; }

    public bool Store { get; init; }

    public int Bytes => ElementBytes * Elements;
}
