using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

/// <summary>
/// Stands for CUPTI: gives the records it is told to, in buffers that it asks for, as the library does. Records are laid out as
/// <c>CUpti_ActivityKernel9</c>, with one of another kind among them.
/// </summary>
internal static unsafe class CuptiDouble
{
    private const int RecordBytes = 208, RecordsInABuffer = 7, MaxLimitReached = 12, ConcurrentKernel = 10, Overhead = 17;

    private static readonly List<nint> Names = [];
    private static delegate* unmanaged[Cdecl]<byte**, nuint*, nuint*, void> _requested;
    private static delegate* unmanaged[Cdecl]<nint, uint, byte*, nuint, nuint, void> _completed;

    /// <summary>What the next flush delivers.</summary>
    public static IReadOnlyList<KernelRecord> Records { get; set; } = [];

    /// <summary>What <c>cuptiActivityEnable</c> answers.</summary>
    public static int EnableStatus { get; set; }

    /// <summary>The kind that kernels' records have.</summary>
    public static int Kind { get; set; } = ConcurrentKernel;

    public static bool IsEnabled { get; private set; }

    public static Cupti Create() => new(new CuptiApi
    {
        RegisterCallbacks = &Register, Enable = &Enable, Disable = &Disable, FlushAll = &FlushAll, GetNextRecord = &GetNextRecord,
        GetResultString = &GetResultString,
    });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Register(
        delegate* unmanaged[Cdecl]<byte**, nuint*, nuint*, void> requested, delegate* unmanaged[Cdecl]<nint, uint, byte*, nuint, nuint, void> completed)
    {
        _requested = requested;
        _completed = completed;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Enable(int kind)
    {
        if (EnableStatus == 0) IsEnabled = true;
        return EnableStatus;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Disable(int kind)
    {
        IsEnabled = false;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int FlushAll(uint flags)
    {
        // The later half first: buffers come back in no order.
        foreach (KernelRecord[] part in Records.Chunk(RecordsInABuffer).Reverse())
        {
            byte* buffer;
            nuint size, most;
            _requested(&buffer, &size, &most);
            new Span<byte>(buffer, (int)size).Fill(0xcd);
            Write(buffer, Overhead, default);
            for (int i = 0; i < part.Length; i++) Write(buffer + (i + 1) * RecordBytes, Kind, part[i]);
            _completed(0, 0, buffer, size, (nuint)((part.Length + 1) * RecordBytes));
        }
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GetNextRecord(byte* buffer, nuint validBytes, byte** record)
    {
        byte* next = *record == null ? buffer : *record + RecordBytes;
        if (next + RecordBytes > buffer + validBytes) return MaxLimitReached;
        *record = next;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GetResultString(int status, byte** text)
    {
        *text = (byte*)Keep($"CUPTI_ERROR_{status}");
        return 0;
    }

    private static void Write(byte* record, int kind, KernelRecord kernel)
    {
        *(int*)record = kind;
        *(ulong*)(record + 16) = kernel.Start;
        *(ulong*)(record + 24) = kernel.End;
        *(nint*)(record + 104) = kernel.Name is null ? 0 : Keep(kernel.Name);
    }

    private static nint Keep(string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text + '\0');
        nint memory = Marshal.AllocHGlobal(bytes.Length);
        Marshal.Copy(bytes, 0, memory, bytes.Length);
        Names.Add(memory);
        return memory;
    }
}
