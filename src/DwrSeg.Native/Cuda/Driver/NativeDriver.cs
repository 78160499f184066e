using System.Runtime.InteropServices;
using System.Text;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Cuda.Driver;

/// <summary>The NVIDIA driver's own library.</summary>
internal sealed unsafe class NativeDriver : ICudaDriver
{
    private const int ReleaseThreshold = 4; // CU_MEMPOOL_ATTR_RELEASE_THRESHOLD

    private static readonly Lazy<NativeDriver> Shared = new(() => new NativeDriver(NativeLibraries.Find(NativeLibraries.Driver)));

    private readonly bool _launchesEx;
    private readonly bool _instantiatesWithFlags;
    private readonly bool _updatesWithResult;

    private NativeDriver(NativeLibraryResult library)
    {
        if (library.Handle == 0) throw new CudaException(library.Problem, NativeLibraries.Driver, -1, "");
        CheckEntryPoints(library.Location, Has);
        (_launchesEx, _instantiatesWithFlags, _updatesWithResult) =
            (Has(nameof(DriverApi.cuLaunchKernelEx)), Has(nameof(DriverApi.cuGraphInstantiateWithFlags)), Has(nameof(DriverApi.cuGraphExecUpdate_v2)));
        Description = library.Location;

        bool Has(string name) => NativeLibrary.TryGetExport(library.Handle, name, out _);
    }

    /// <summary>The driver of this machine; its <see cref="Init"/> was not called.</summary>
    /// <exception cref="CudaException">There is no driver library, or it is too old.</exception>
    public static NativeDriver Instance => Shared.Value;

    public string Description { get; }

    public bool HasClock => true;

    /// <summary>Checks a driver library before anything is called in it.</summary>
    /// <exception cref="CudaException">It lacks a call that this project needs; the message names it and the driver to install.</exception>
    internal static void CheckEntryPoints(string library, Predicate<string> has)
    {
        string? missing = DriverApi.Required.FirstOrDefault(name => !has(name))
            ?? DriverApi.Alternatives.Where(a => !has(a.Newer) && !has(a.Older)).Select(a => a.Older).FirstOrDefault();
        if (missing is null) return;
        throw new CudaException(
            $"{library} has no {missing}: the NVIDIA driver is too old. Install driver 460.27 (CUDA 11.2) or newer.", missing, -1, "");
    }

    public CUresult Init(uint flags) => DriverApi.cuInit(flags);

    public CUresult DriverGetVersion(out int version) => DriverApi.cuDriverGetVersion(out version);

    public string? GetErrorName(CUresult status) =>
        DriverApi.cuGetErrorName(status, out byte* text) == CUresult.Success ? Marshal.PtrToStringUTF8((nint)text) : null;

    public string? GetErrorString(CUresult status) =>
        DriverApi.cuGetErrorString(status, out byte* text) == CUresult.Success ? Marshal.PtrToStringUTF8((nint)text) : null;

    public CUresult DeviceGetCount(out int count) => DriverApi.cuDeviceGetCount(out count);

    public CUresult DeviceGet(out CUdevice device, int ordinal) => DriverApi.cuDeviceGet(out device, ordinal);

    public CUresult DeviceGetName(out string name, CUdevice device)
    {
        const int Length = 256;
        byte* text = stackalloc byte[Length];
        CUresult status = DriverApi.cuDeviceGetName(text, Length, device);
        name = status == CUresult.Success ? Marshal.PtrToStringUTF8((nint)text)! : "";
        return status;
    }

    public CUresult DeviceGetAttribute(out int value, CUdeviceAttribute attribute, CUdevice device) =>
        DriverApi.cuDeviceGetAttribute(out value, attribute, device);

    public CUresult DeviceTotalMem(out ulong bytes, CUdevice device)
    {
        CUresult status = DriverApi.cuDeviceTotalMem_v2(out nuint total, device);
        bytes = total;
        return status;
    }

    public CUresult DevicePrimaryCtxRetain(out CUcontext context, CUdevice device) => DriverApi.cuDevicePrimaryCtxRetain(out context, device);

    public CUresult DevicePrimaryCtxRelease(CUdevice device) => DriverApi.cuDevicePrimaryCtxRelease_v2(device);

    public CUresult CtxSetCurrent(CUcontext context) => DriverApi.cuCtxSetCurrent(context);

    public CUresult CtxGetCurrent(out CUcontext context) => DriverApi.cuCtxGetCurrent(out context);

    public CUresult CtxSynchronize() => DriverApi.cuCtxSynchronize();

    public CUresult MemGetInfo(out ulong free, out ulong total)
    {
        CUresult status = DriverApi.cuMemGetInfo_v2(out nuint nativeFree, out nuint nativeTotal);
        (free, total) = (nativeFree, nativeTotal);
        return status;
    }

    public CUresult MemAlloc(out CUdeviceptr address, ulong bytes) => DriverApi.cuMemAlloc_v2(out address, (nuint)bytes);

    public CUresult MemFree(CUdeviceptr address) => DriverApi.cuMemFree_v2(address);

    public CUresult DeviceGetDefaultMemPool(out CUmemoryPool pool, CUdevice device) => DriverApi.cuDeviceGetDefaultMemPool(out pool, device);

    public CUresult MemPoolSetReleaseThreshold(CUmemoryPool pool, ulong bytes) =>
        DriverApi.cuMemPoolSetAttribute(pool, ReleaseThreshold, &bytes);

    public CUresult MemPoolTrimTo(CUmemoryPool pool, ulong bytesToKeep) => DriverApi.cuMemPoolTrimTo(pool, (nuint)bytesToKeep);

    public CUresult MemAllocAsync(out CUdeviceptr address, ulong bytes, CUstream stream) =>
        DriverApi.cuMemAllocAsync(out address, (nuint)bytes, stream);

    public CUresult MemFreeAsync(CUdeviceptr address, CUstream stream) => DriverApi.cuMemFreeAsync(address, stream);

    public CUresult MemHostAlloc(out void* memory, ulong bytes, uint flags) => DriverApi.cuMemHostAlloc(out memory, (nuint)bytes, flags);

    public CUresult MemFreeHost(void* memory) => DriverApi.cuMemFreeHost(memory);

    public CUresult MemcpyHtoDAsync(CUdeviceptr target, void* source, ulong bytes, CUstream stream) =>
        DriverApi.cuMemcpyHtoDAsync_v2(target, source, (nuint)bytes, stream);

    public CUresult MemcpyDtoHAsync(void* target, CUdeviceptr source, ulong bytes, CUstream stream) =>
        DriverApi.cuMemcpyDtoHAsync_v2(target, source, (nuint)bytes, stream);

    public CUresult MemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, ulong bytes, CUstream stream) =>
        DriverApi.cuMemcpyDtoDAsync_v2(target, source, (nuint)bytes, stream);

    public CUresult MemsetD8Async(CUdeviceptr target, byte value, ulong count, CUstream stream) =>
        DriverApi.cuMemsetD8Async(target, value, (nuint)count, stream);

    public CUresult MemsetD32Async(CUdeviceptr target, uint value, ulong count, CUstream stream) =>
        DriverApi.cuMemsetD32Async(target, value, (nuint)count, stream);

    public CUresult StreamCreateWithPriority(out CUstream stream, uint flags, int priority) =>
        DriverApi.cuStreamCreateWithPriority(out stream, flags, priority);

    public CUresult StreamDestroy(CUstream stream) => DriverApi.cuStreamDestroy_v2(stream);

    public CUresult StreamSynchronize(CUstream stream) => DriverApi.cuStreamSynchronize(stream);

    public CUresult StreamQuery(CUstream stream) => DriverApi.cuStreamQuery(stream);

    public CUresult StreamWaitEvent(CUstream stream, CUevent @event, uint flags) => DriverApi.cuStreamWaitEvent(stream, @event, flags);

    public CUresult EventCreate(out CUevent @event, uint flags) => DriverApi.cuEventCreate(out @event, flags);

    public CUresult EventDestroy(CUevent @event) => DriverApi.cuEventDestroy_v2(@event);

    public CUresult EventRecord(CUevent @event, CUstream stream) => DriverApi.cuEventRecord(@event, stream);

    public CUresult EventSynchronize(CUevent @event) => DriverApi.cuEventSynchronize(@event);

    public CUresult EventQuery(CUevent @event) => DriverApi.cuEventQuery(@event);

    public CUresult EventElapsedTime(out float milliseconds, CUevent start, CUevent end) =>
        DriverApi.cuEventElapsedTime(out milliseconds, start, end);

    public CUresult StreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) => DriverApi.cuStreamBeginCapture_v2(stream, mode);

    public CUresult StreamEndCapture(CUstream stream, out CUgraph graph) => DriverApi.cuStreamEndCapture(stream, out graph);

    public CUresult StreamIsCapturing(CUstream stream, out CUstreamCaptureStatus status) => DriverApi.cuStreamIsCapturing(stream, out status);

    public CUresult GraphGetNodeCount(CUgraph graph, out ulong count)
    {
        nuint nodes = 0;
        CUresult status = DriverApi.cuGraphGetNodes(graph, null, ref nodes);
        count = nodes;
        return status;
    }

    public CUresult GraphDestroy(CUgraph graph) => DriverApi.cuGraphDestroy(graph);

    public CUresult GraphInstantiate(out CUgraphExec exec, CUgraph graph, ulong flags)
    {
        if (_instantiatesWithFlags) return DriverApi.cuGraphInstantiateWithFlags(out exec, graph, flags);
        exec = default;
        return flags == 0 ? DriverApi.cuGraphInstantiate_v2(out exec, graph, out _, null, 0) : CUresult.NotSupported;
    }

    public CUresult GraphExecUpdate(CUgraphExec exec, CUgraph graph) =>
        _updatesWithResult ? DriverApi.cuGraphExecUpdate_v2(exec, graph, out _) : DriverApi.cuGraphExecUpdate(exec, graph, out _, out _);

    public CUresult GraphLaunch(CUgraphExec exec, CUstream stream) => DriverApi.cuGraphLaunch(exec, stream);

    public CUresult GraphExecDestroy(CUgraphExec exec) => DriverApi.cuGraphExecDestroy(exec);

    public CUresult ModuleLoadData(out CUmodule module, ReadOnlySpan<byte> image, out string log)
    {
        const int ErrorLogBuffer = 5; // CU_JIT_ERROR_LOG_BUFFER, and after it its size
        const int LogBytes = 8192;
        byte* buffer = stackalloc byte[LogBytes];
        buffer[0] = 0;
        int* options = stackalloc int[] { ErrorLogBuffer, ErrorLogBuffer + 1 };
        void** values = stackalloc void*[] { buffer, (void*)LogBytes };
        fixed (byte* pointer = image)
        {
            CUresult status = DriverApi.cuModuleLoadDataEx(out module, pointer, 2, options, values);
            var text = new ReadOnlySpan<byte>(buffer, LogBytes);
            int end = text.IndexOf((byte)0);
            log = status == CUresult.Success ? "" : Encoding.UTF8.GetString(end < 0 ? text : text[..end]);
            return status;
        }
    }

    public CUresult ModuleUnload(CUmodule module) => DriverApi.cuModuleUnload(module);

    public CUresult ModuleGetFunction(out CUfunction function, CUmodule module, string name) =>
        DriverApi.cuModuleGetFunction(out function, module, name);

    public CUresult ModuleGetGlobal(out CUdeviceptr address, out ulong bytes, CUmodule module, string name)
    {
        CUresult status = DriverApi.cuModuleGetGlobal_v2(out address, out nuint size, module, name);
        bytes = size;
        return status;
    }

    public CUresult FuncGetAttribute(out int value, CUfunctionAttribute attribute, CUfunction function) =>
        DriverApi.cuFuncGetAttribute(out value, attribute, function);

    public CUresult FuncSetAttribute(CUfunction function, CUfunctionAttribute attribute, int value) =>
        DriverApi.cuFuncSetAttribute(function, attribute, value);

    public CUresult OccupancyMaxActiveBlocksPerMultiprocessor(out int blocks, CUfunction function, int blockThreads, ulong dynamicSharedBytes) =>
        DriverApi.cuOccupancyMaxActiveBlocksPerMultiprocessor(out blocks, function, blockThreads, (nuint)dynamicSharedBytes);

    public CUresult LaunchKernelEx(in LaunchConfiguration configuration, CUfunction function, void** arguments)
    {
        LaunchConfiguration c = configuration;
        if (!_launchesEx)
        {
            // Without the attribute a launch waits for the one before it: slower, not wrong. A cluster can't be left out.
            return c.ClusterX > 1
                ? CUresult.NotSupported
                : DriverApi.cuLaunchKernel(
                    function, c.GridX, c.GridY, c.GridZ, c.BlockX, c.BlockY, c.BlockZ, c.DynamicSharedBytes, c.Stream, arguments, null);
        }
        DriverApi.LaunchAttribute* attributes = stackalloc DriverApi.LaunchAttribute[2];
        uint count = 0;
        if (c.OverlapsPrevious)
        {
            attributes[count++] = new() { Id = DriverApi.LaunchAttribute.ProgrammaticStreamSerialization, Value = 1 };
        }
        if (c.ClusterX > 1)
        {
            attributes[count++] = new() { Id = DriverApi.LaunchAttribute.ClusterDimension, ClusterX = c.ClusterX, ClusterY = 1, ClusterZ = 1 };
        }
        var native = new DriverApi.LaunchConfig
        {
            GridX = c.GridX,
            GridY = c.GridY,
            GridZ = c.GridZ,
            BlockX = c.BlockX,
            BlockY = c.BlockY,
            BlockZ = c.BlockZ,
            SharedBytes = c.DynamicSharedBytes,
            Stream = c.Stream,
            Attributes = attributes,
            AttributeCount = count,
        };
        return DriverApi.cuLaunchKernelEx(&native, function, arguments, null);
    }

    public CUresult MarkRegion(CUdeviceptr address, ulong bytes, string? name, CUstream stream) => CUresult.Success;
}
