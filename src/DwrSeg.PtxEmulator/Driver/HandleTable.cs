namespace DwrSeg.PtxEmulator.Driver;

/// <summary>
/// Handles and what they stand for. A handle never comes again, so that one which was given back is told from one that never was.
/// </summary>
internal sealed class HandleTable
{
    private const nint First = 0x10000;
    private const nint Step = 16;

    private readonly Dictionary<nint, object> _live = [];
    private nint _next = First;

    public nint Add(object item)
    {
        nint handle = _next;
        _next += Step;
        _live.Add(handle, item);
        return handle;
    }

    public T? Find<T>(nint handle)
        where T : class => _live.GetValueOrDefault(handle) as T;

    public void Remove(nint handle) => _live.Remove(handle);

    public void RemoveWhere(Func<object, bool> condition)
    {
        foreach (nint handle in _live.Where(e => condition(e.Value)).Select(e => e.Key).ToArray()) _live.Remove(handle);
    }

    public int Count<T>() => _live.Values.Count(v => v is T);

    /// <summary>Why a handle is not one of a <typeparamref name="T"/>; for messages.</summary>
    public string Describe<T>(nint handle)
    {
        string kind = typeof(T).Name;
        if (handle == 0) return $"the zero handle is no {kind}";
        if (_live.TryGetValue(handle, out object? other)) return $"handle 0x{handle:x} is a {other.GetType().Name}, not a {kind}";
        return handle >= First && handle < _next && (handle - First) % Step == 0
            ? $"handle 0x{handle:x} was given back already"
            : $"handle 0x{handle:x} never was a {kind}";
    }
}
