using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

/// <summary>Handles and descriptors of a library's stand-in, and failures to order.</summary>
internal sealed class LibraryObjects(EmulatedDriver driver)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<nint, object> _live = [];
    private readonly Dictionary<string, int> _failures = [];
    private (int Number, int Status)? _failing;
    private nint _next = 0x7000;

    /// <summary>What was made and not given back.</summary>
    public int Live
    {
        get
        {
            lock (_gate) return _live.Count;
        }
    }

    /// <summary>Calls so far, by name.</summary>
    public List<string> Calls { get; } = [];

    /// <summary>Lets every call of a name fail.</summary>
    public void FailEvery(string call, int status) => _failures[call] = status;

    /// <summary>Lets one call fail, counted from 0 in <see cref="Calls"/>.</summary>
    public void FailCall(int number, int status) => _failing = (number, status);

    /// <summary>Counts a call; the status that it is to fail with, or 0.</summary>
    public int Begin(string call)
    {
        lock (_gate)
        {
            Calls.Add(call);
            if (_failing is { } failing && failing.Number == Calls.Count - 1) return failing.Status;
            return _failures.GetValueOrDefault(call);
        }
    }

    public nint Add(object made)
    {
        lock (_gate)
        {
            _live.Add(_next += 16, made);
            return _next;
        }
    }

    /// <summary>What a handle stands for; null for one that is none of the kind, or was given back.</summary>
    public T? Find<T>(nint handle)
        where T : class
    {
        lock (_gate) return _live.GetValueOrDefault(handle) as T;
    }

    public bool Remove<T>(nint handle)
        where T : class
    {
        lock (_gate) return _live.GetValueOrDefault(handle) is T && _live.Remove(handle);
    }

    /// <summary>The context that is current on the thread: libraries work in it.</summary>
    public CUcontext Current => driver.CtxGetCurrent(out CUcontext context) == CUresult.Success ? context : default;
}
