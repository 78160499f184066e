using System.Runtime.InteropServices;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>Pinned host memory. It begins with a pattern, so that reading it before a copy has run shows.</summary>
internal sealed unsafe class PinnedMemory
{
    /// <summary>The byte that fresh memory is filled with.</summary>
    public const byte Poison = 0xA5;

    private const nuint Alignment = 4096;

    public PinnedMemory(EmulatedContext context, ulong bytes)
    {
        (Context, Bytes) = (context, bytes);
        Address = (nint)NativeMemory.AlignedAlloc((nuint)bytes, Alignment);
        NativeMemory.Fill((void*)Address, (nuint)bytes, Poison);
    }

    public EmulatedContext Context { get; }

    public nint Address { get; }

    public ulong Bytes { get; }

    public bool IsFreed { get; private set; }

    public bool Contains(nint address, ulong bytes) =>
        address >= Address && (ulong)(address - Address) <= Bytes && bytes <= Bytes - (ulong)(address - Address);

    public void Free()
    {
        if (IsFreed) return;
        IsFreed = true;
        NativeMemory.AlignedFree((void*)Address);
    }
}
