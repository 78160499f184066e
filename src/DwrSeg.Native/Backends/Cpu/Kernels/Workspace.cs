using System.Runtime.InteropServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Scratch memory that the kernels of one plan share: a block per worker and one common block, both as large as the greediest kernel
/// asked for. Kernels reserve when they are built, so running allocates nothing. Kernels that share a workspace must not run at the
/// same time.
/// </summary>
internal sealed unsafe class Workspace : IDisposable
{
    public const int Alignment = 64;

    private byte* _scratch;
    private byte* _common;
    private nint _commonBytes;
    private bool _disposed;

    /// <param name="workers">Number of workers of the pools that the kernels will run on, at most.</param>
    public Workspace(int workers)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(workers);
        Workers = workers;
    }

    ~Workspace() => Free();

    public int Workers { get; }

    /// <summary>Bytes from one worker's scratch to the next.</summary>
    public nint ScratchPitch { get; private set; }

    /// <summary>Scratch of worker 0; worker i's lies i · <see cref="ScratchPitch"/> bytes on.</summary>
    public byte* Scratch => _scratch;

    /// <summary>Memory that all workers of one kernel see.</summary>
    public byte* Common => _common;

    /// <summary>Makes every worker's scratch at least <paramref name="bytes"/> long.</summary>
    public void ReserveScratch(nint bytes)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (bytes <= ScratchPitch) return;
        // An odd number of cache lines beyond whole pages keeps the workers' blocks off the same cache sets.
        nint pitch = ((bytes + 4095) & ~(nint)4095) + 3 * Alignment;
        NativeMemory.AlignedFree(_scratch);
        _scratch = null;
        _scratch = (byte*)NativeMemory.AlignedAlloc((nuint)(pitch * Workers), Alignment);
        ScratchPitch = pitch;
    }

    /// <summary>Makes the common block at least <paramref name="bytes"/> long.</summary>
    public void ReserveCommon(nint bytes)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (bytes <= _commonBytes) return;
        NativeMemory.AlignedFree(_common);
        _common = null;
        _common = (byte*)NativeMemory.AlignedAlloc((nuint)bytes, Alignment);
        _commonBytes = bytes;
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        _disposed = true;
        NativeMemory.AlignedFree(_scratch);
        NativeMemory.AlignedFree(_common);
        _scratch = _common = null;
    }
}
