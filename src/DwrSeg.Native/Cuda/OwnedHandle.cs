using System.Runtime.InteropServices;

namespace DwrSeg.Native.Cuda;

/// <summary>A value of a native library that is owned: given back once, and refused afterwards.</summary>
internal abstract class OwnedHandle : SafeHandle
{
    protected OwnedHandle()
        : base(0, ownsHandle: true)
    {
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>The library's handle or address.</summary>
    /// <exception cref="ObjectDisposedException">It was given back.</exception>
    public nint Value
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return handle;
        }
    }
}
