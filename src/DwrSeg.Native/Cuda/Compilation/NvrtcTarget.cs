namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>What NVRTC is asked for.</summary>
/// <param name="Architecture">The architecture.</param>
/// <param name="IsPtx">PTX, which the driver (or the emulator) finishes; else a cubin for exactly this architecture.</param>
internal readonly record struct NvrtcTarget(ComputeCapability Architecture, bool IsPtx)
{
    /// <summary>With the instructions that this one architecture has and newer ones have not (<c>sm_90a</c>).</summary>
    public bool IsSpecific { get; init; }

    /// <summary>The compiler's option.</summary>
    public string Option => $"--gpu-architecture={(IsPtx ? "compute" : "sm")}_{Architecture.Number}{(IsSpecific ? "a" : "")}";

    /// <summary>
    /// A cubin where the compiler knows the device, so that loading costs nothing; PTX where that is wished for, and, for a device newer
    /// than the compiler, PTX of the newest architecture it knows.
    /// </summary>
    /// <param name="device">The device.</param>
    /// <param name="architectures">What the compiler knows, oldest first.</param>
    /// <param name="compiler">The compiler's version, for messages.</param>
    /// <param name="wantsPtx">PTX in any case: what the emulator runs.</param>
    /// <exception cref="CudaException">The device is older than all the compiler knows.</exception>
    public static NvrtcTarget Choose(ComputeCapability device, IReadOnlyList<ComputeCapability> architectures, Version compiler, bool wantsPtx)
    {
        if (!wantsPtx && architectures.Contains(device)) return new NvrtcTarget(device, IsPtx: false);
        int known = architectures.Count(a => a <= device);
        if (known > 0) return new NvrtcTarget(architectures[known - 1], IsPtx: true);
        throw new CudaException(
            $"NVRTC {compiler} compiles for {architectures[0]} and newer, but the device is {device}: " +
            "install an older NVRTC (NVRTC 13 has no sm_50 to sm_72; NVRTC 12 has).", "nvrtcCompileProgram", -1, "");
    }
}
