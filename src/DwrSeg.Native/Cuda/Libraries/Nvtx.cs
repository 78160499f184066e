using System.Runtime.InteropServices;
using System.Text;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>
/// Named ranges on the time line of NVIDIA's profilers, by <c>nvtxRangePushA</c> and <c>nvtxRangePop</c> of libnvToolsExt. Where that is not
/// there, a range is one comparison.
/// </summary>
internal sealed unsafe class Nvtx
{
    private readonly delegate* unmanaged<byte*, int> _push;
    private readonly delegate* unmanaged<int> _pop;

    public Nvtx(delegate* unmanaged<byte*, int> push, delegate* unmanaged<int> pop)
    {
        _push = push;
        _pop = pop;
    }

    /// <summary>This process's, found at the first range.</summary>
    public static Nvtx Instance { get; } = Of(NativeLibraries.Find(NativeLibraries.Nvtx).Handle);

    /// <summary>Whether ranges go anywhere.</summary>
    public bool IsPresent => _push != null;

    /// <summary>Begins a range of this thread, which ends with the value's disposal.</summary>
    /// <param name="name">The name in UTF-8 with a zero behind it, as a literal of the kind <c>"name"u8</c> has.</param>
    public NvtxRange Begin(ReadOnlySpan<byte> name)
    {
        if (_push == null) return default;
        fixed (byte* text = name) _push(text);
        return new NvtxRange(this);
    }

    /// <summary>Begins a range of this thread, which ends with the value's disposal.</summary>
    public NvtxRange Begin(string name) => _push == null ? default : Begin(Encoding.UTF8.GetBytes(name + '\0'));

    /// <summary>Ends the innermost range of this thread.</summary>
    public void End() => _pop();

    private static Nvtx Of(nint library)
    {
        nint push = 0, pop = 0;
        bool isThere = library != 0 && NativeLibrary.TryGetExport(library, "nvtxRangePushA", out push)
            && NativeLibrary.TryGetExport(library, "nvtxRangePop", out pop);
        return isThere ? new Nvtx((delegate* unmanaged<byte*, int>)push, (delegate* unmanaged<int>)pop) : new Nvtx(null, null);
    }
}

/// <summary>A range that has begun; disposing it ends it.</summary>
internal readonly ref struct NvtxRange(Nvtx owner)
{
    private readonly Nvtx? _owner = owner;

    public void Dispose() => _owner?.End();
}
