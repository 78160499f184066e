using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>A kernel that ran, on the device's own clock.</summary>
/// <param name="Name">Its name in the module.</param>
/// <param name="Start">When its first block began, in nanoseconds.</param>
/// <param name="End">When its last one ended.</param>
internal readonly record struct KernelRecord(string Name, ulong Start, ulong End)
{
    public double Seconds => (End - Start) * 1e-9;
}

/// <summary>CUPTI's calls one to one; see <c>cupti_activity.h</c>.</summary>
internal readonly unsafe struct CuptiApi
{
    /// <summary><c>cuptiActivityRegisterCallbacks(requested, completed)</c>.</summary>
    public delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<byte**, nuint*, nuint*, void>,
        delegate* unmanaged[Cdecl]<nint, uint, byte*, nuint, nuint, void>, int> RegisterCallbacks { get; init; }

    /// <summary><c>cuptiActivityEnable(kind)</c>.</summary>
    public delegate* unmanaged[Cdecl]<int, int> Enable { get; init; }

    /// <summary><c>cuptiActivityDisable(kind)</c>.</summary>
    public delegate* unmanaged[Cdecl]<int, int> Disable { get; init; }

    /// <summary><c>cuptiActivityFlushAll(flags)</c>.</summary>
    public delegate* unmanaged[Cdecl]<uint, int> FlushAll { get; init; }

    /// <summary><c>cuptiActivityGetNextRecord(buffer, validBytes, record)</c>; the record is null before the first.</summary>
    public delegate* unmanaged[Cdecl]<byte*, nuint, byte**, int> GetNextRecord { get; init; }

    /// <summary><c>cuptiGetResultString(status, text)</c>.</summary>
    public delegate* unmanaged[Cdecl]<int, byte**, int> GetResultString { get; init; }
}

/// <summary>
/// Records of the kernels that a piece of work runs, by CUPTI's activity API: each kernel of a replayed graph with its own time, in the
/// order and with the caches that a frame gives it. Of a record only the part is read that <c>CUpti_ActivityKernel4</c> to <c>9</c> (CUDA 9 to
/// 12.4) have in common. A record that makes no sense, as one of another layout would, lets go of all of them.
/// </summary>
internal sealed unsafe class Cupti
{
    private const int ConcurrentKernel = 10, Kernel = 3, InsufficientPrivileges = 35;
    private const uint Forced = 1;

    // More than any CUPTI has; those that are no kernels' are passed over.
    private const int KindLimit = 256;

    // Bytes from the start of a record.
    private const int StartOffset = 16, EndOffset = 24, NameOffset = 104;

    private const int BufferBytes = 1 << 20, BufferAlignment = 8;

    private static readonly Lock Recording = new();
    private static Cupti? _recorder;

    private readonly CuptiApi _api;
    private readonly List<KernelRecord> _records = [];
    private string? _damage;

    public Cupti(in CuptiApi api) => _api = api;

    /// <summary>This process's; null where there is none.</summary>
    public static Cupti? Instance { get; } = Of(NativeLibraries.Find(NativeLibraries.Cupti).Handle);

    /// <summary>Runs something and gives the kernels that it ran, in the order of their starts.</summary>
    /// <param name="run">The work; it must wait for its end.</param>
    /// <exception cref="CudaException">CUPTI refuses, or a record makes no sense; the message says why, and what may help.</exception>
    public IReadOnlyList<KernelRecord> Record(Action run)
    {
        lock (Recording)
        {
            (_damage, _recorder) = (null, this);
            _records.Clear();
            try
            {
                Check(_api.RegisterCallbacks(&OnBufferRequested, &OnBufferCompleted), "cuptiActivityRegisterCallbacks");
                Check(_api.Enable(ConcurrentKernel), "cuptiActivityEnable");
                try
                {
                    run();
                    Check(_api.FlushAll(Forced), "cuptiActivityFlushAll");
                }
                finally
                {
                    _ = _api.Disable(ConcurrentKernel);
                }
                lock (_records)
                {
                    if (_damage is not null)
                    {
                        throw new CudaException(
                            $"CUPTI's records are of no use: {_damage}. Times by events remain.", "cuptiActivityGetNextRecord", -1, "");
                    }
                    return [.. _records.OrderBy(r => r.Start)];
                }
            }
            finally
            {
                _recorder = null;
            }
        }
    }

    private static Cupti? Of(nint library)
    {
        if (library == 0) return null;
        string[] names =
        [
            "cuptiActivityRegisterCallbacks", "cuptiActivityEnable", "cuptiActivityDisable", "cuptiActivityFlushAll", "cuptiActivityGetNextRecord",
            "cuptiGetResultString",
        ];
        var calls = new nint[names.Length];
        for (int i = 0; i < names.Length; i++)
        {
            if (!NativeLibrary.TryGetExport(library, names[i], out calls[i])) return null;
        }
        return new Cupti(new CuptiApi
        {
            RegisterCallbacks = (delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<byte**, nuint*, nuint*, void>,
                delegate* unmanaged[Cdecl]<nint, uint, byte*, nuint, nuint, void>, int>)calls[0],
            Enable = (delegate* unmanaged[Cdecl]<int, int>)calls[1],
            Disable = (delegate* unmanaged[Cdecl]<int, int>)calls[2],
            FlushAll = (delegate* unmanaged[Cdecl]<uint, int>)calls[3],
            GetNextRecord = (delegate* unmanaged[Cdecl]<byte*, nuint, byte**, int>)calls[4],
            GetResultString = (delegate* unmanaged[Cdecl]<int, byte**, int>)calls[5],
        });
    }

    private void Check(int status, string call)
    {
        if (status == 0) return;
        byte* text = null;
        string name = _api.GetResultString(status, &text) == 0 && text != null ? Marshal.PtrToStringUTF8((nint)text)! : $"status {status}";
        string remedy = status == InsufficientPrivileges
            ? " The driver gives records to administrators only: run as one, or load it with NVreg_RestrictProfilingToAdminUsers=0."
            : " Another profiler may be attached: run without it.";
        throw new CudaException($"{call} failed: {name}.{remedy}", call, status, name);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnBufferRequested(byte** buffer, nuint* size, nuint* mostRecords)
    {
        *buffer = (byte*)NativeMemory.AlignedAlloc(BufferBytes, BufferAlignment);
        *size = BufferBytes;
        // As many as there is room for.
        *mostRecords = 0;
    }

    // On a thread of CUPTI's; a buffer may also come back late, when nobody waits for it.
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnBufferCompleted(nint context, uint stream, byte* buffer, nuint size, nuint validBytes)
    {
        if (_recorder is { } recorder && validBytes > 0) recorder.Read(buffer, validBytes);
        NativeMemory.AlignedFree(buffer);
    }

    private void Read(byte* buffer, nuint validBytes)
    {
        byte* record = null;
        // Any status but success is the end.
        while (_api.GetNextRecord(buffer, validBytes, &record) == 0)
        {
            int kind = Unsafe.ReadUnaligned<int>(record);
            if (kind is > 0 and < KindLimit and not (ConcurrentKernel or Kernel)) continue;
            ulong start = Unsafe.ReadUnaligned<ulong>(record + StartOffset), end = Unsafe.ReadUnaligned<ulong>(record + EndOffset);
            nint name = Unsafe.ReadUnaligned<nint>(record + NameOffset);
            string? damage = kind is not (ConcurrentKernel or Kernel) ? $"one is of kind {kind}"
                : start == 0 || end < start ? $"a kernel runs from {start} to {end} ns"
                : name == 0 ? "a kernel has no name" : null;
            lock (_records)
            {
                _damage ??= damage;
                // The rest of such a buffer, names' addresses among it, is not to be trusted.
                if (damage is not null) return;
                _records.Add(new KernelRecord(Marshal.PtrToStringUTF8(name)!, start, end));
            }
        }
    }
}
