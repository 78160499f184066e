using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Something a step puts on a stream any number of times: a launch of one of this project's kernels (<see cref="CudaLaunch"/>) or a call of a
/// library. All is settled when it is made, so it allocates nothing on the device and can be captured.
/// </summary>
internal abstract class CudaWork
{
    /// <summary>The kernel, or the library's call.</summary>
    public abstract string Call { get; }

    /// <summary>Kernel and variant, or the library's call, its algorithm and what it computes.</summary>
    public abstract string Name { get; }

    /// <summary>Whose code it is.</summary>
    public virtual ConvMaker Maker => ConvMaker.Native;

    /// <summary>Whether its products are those of tensor cores.</summary>
    public abstract bool UsesTensorCores { get; }

    /// <summary>Compulsory traffic: inputs and weights read once, outputs written once.</summary>
    public long Bytes { get; init; }

    /// <summary>Floating-point operations, a multiply-add counting two.</summary>
    public long Flops { get; init; }

    /// <summary>Whether it may begin before the one before it has ended, for which it waits itself where it has to (<see cref="LaunchSequence"/>).</summary>
    public virtual bool CanOverlap => false;

    /// <summary>Puts it on a stream.</summary>
    /// <param name="stream">Where.</param>
    /// <param name="overlapsPrevious">Lets it begin before the launch before it has ended; only where both can overlap.</param>
    public abstract void Launch(CudaStream stream, bool overlapsPrevious = false);

    public override string ToString() => Name;
}
