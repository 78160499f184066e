namespace DwrSeg.PtxEmulator.Driver;

/// <summary>The host's side of a copy.</summary>
/// <param name="Address">Where it is.</param>
/// <param name="Pinned">The pinned memory that it lies in; null for pageable memory.</param>
/// <param name="Kept">The bytes themselves, where the call has taken them.</param>
internal sealed unsafe record HostBytes(nint Address, PinnedMemory? Pinned, byte[]? Kept = null)
{
    public void* Pointer => (void*)Address;

    public bool IsPinned => Pinned is not null;

    public void ThrowIfFreed(string what)
    {
        if (Pinned is { IsFreed: true })
            throw new EmulatorException(FailureKind.UseAfterFree,
                $"{what} of {Pinned.Bytes} pinned bytes at 0x{Address:x} that were freed before it ran");
    }
}
