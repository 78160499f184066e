namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>Something that a library describes, and takes back by one of its calls.</summary>
internal abstract class LibraryDescriptor : OwnedHandle
{
    private readonly Func<nint, int> _destroy;

    /// <param name="value">The library's value, owned from here on.</param>
    /// <param name="destroy">Gives it back; 0 where that went well.</param>
    protected LibraryDescriptor(nint value, Func<nint, int> destroy)
    {
        _destroy = destroy;
        SetHandle(value);
    }

    protected override bool ReleaseHandle() => _destroy(handle) == 0;
}
