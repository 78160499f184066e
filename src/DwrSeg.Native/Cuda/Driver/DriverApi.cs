using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Cuda.Driver;

/// <summary>Entry points of <c>libcuda</c>, by the names that the library exports.</summary>
internal static unsafe partial class DriverApi
{
    /// <summary>Entry points without which nothing works; all are in drivers of CUDA 11.2 (460.27) and newer.</summary>
    public static readonly string[] Required =
    [
        nameof(cuInit), nameof(cuDriverGetVersion), nameof(cuGetErrorName), nameof(cuGetErrorString), nameof(cuDeviceGetCount),
        nameof(cuDeviceGet), nameof(cuDeviceGetName), nameof(cuDeviceGetAttribute), nameof(cuDeviceTotalMem_v2),
        nameof(cuDevicePrimaryCtxRetain), nameof(cuDevicePrimaryCtxRelease_v2), nameof(cuCtxSetCurrent), nameof(cuCtxGetCurrent),
        nameof(cuCtxSynchronize), nameof(cuMemGetInfo_v2), nameof(cuMemAlloc_v2), nameof(cuMemFree_v2), nameof(cuDeviceGetDefaultMemPool),
        nameof(cuMemPoolSetAttribute), nameof(cuMemPoolTrimTo), nameof(cuMemAllocAsync), nameof(cuMemFreeAsync), nameof(cuMemHostAlloc),
        nameof(cuMemFreeHost), nameof(cuMemcpyHtoDAsync_v2), nameof(cuMemcpyDtoHAsync_v2), nameof(cuMemcpyDtoDAsync_v2),
        nameof(cuMemsetD8Async), nameof(cuMemsetD32Async), nameof(cuStreamCreateWithPriority), nameof(cuStreamDestroy_v2),
        nameof(cuStreamSynchronize), nameof(cuStreamQuery), nameof(cuStreamWaitEvent), nameof(cuEventCreate), nameof(cuEventDestroy_v2),
        nameof(cuEventRecord), nameof(cuEventSynchronize), nameof(cuEventQuery), nameof(cuEventElapsedTime), nameof(cuStreamBeginCapture_v2),
        nameof(cuStreamEndCapture), nameof(cuStreamIsCapturing), nameof(cuGraphGetNodes), nameof(cuGraphDestroy),
        nameof(cuGraphLaunch), nameof(cuGraphExecDestroy), nameof(cuModuleLoadDataEx), nameof(cuModuleUnload),
        nameof(cuModuleGetFunction), nameof(cuModuleGetGlobal_v2), nameof(cuFuncGetAttribute), nameof(cuFuncSetAttribute),
        nameof(cuOccupancyMaxActiveBlocksPerMultiprocessor),
    ];

    /// <summary>Entry points of newer drivers, each with the one that older drivers have in its place.</summary>
    public static readonly (string Newer, string Older)[] Alternatives =
    [
        (nameof(cuLaunchKernelEx), nameof(cuLaunchKernel)), // CUDA 11.8
        (nameof(cuGraphInstantiateWithFlags), nameof(cuGraphInstantiate_v2)), // CUDA 11.4
        (nameof(cuGraphExecUpdate_v2), nameof(cuGraphExecUpdate)), // CUDA 12.0
    ];

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuInit(uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuDriverGetVersion(out int version);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGetErrorName(CUresult status, out byte* text);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGetErrorString(CUresult status, out byte* text);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuDeviceGetCount(out int count);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuDeviceGet(out CUdevice device, int ordinal);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuDeviceGetName(byte* name, int length, CUdevice device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuDeviceGetAttribute(out int value, CUdeviceAttribute attribute, CUdevice device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuDeviceTotalMem_v2(out nuint bytes, CUdevice device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuDevicePrimaryCtxRetain(out CUcontext context, CUdevice device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuCtxSetCurrent(CUcontext context);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuCtxGetCurrent(out CUcontext context);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuCtxSynchronize();

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemGetInfo_v2(out nuint free, out nuint total);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemAlloc_v2(out CUdeviceptr address, nuint bytes);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemFree_v2(CUdeviceptr address);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuDeviceGetDefaultMemPool(out CUmemoryPool pool, CUdevice device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void* value);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemPoolTrimTo(CUmemoryPool pool, nuint bytesToKeep);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemAllocAsync(out CUdeviceptr address, nuint bytes, CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemHostAlloc(out void* memory, nuint bytes, uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemFreeHost(void* memory);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr target, void* source, nuint bytes, CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemcpyDtoHAsync_v2(void* target, CUdeviceptr source, nuint bytes, CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr target, CUdeviceptr source, nuint bytes, CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemsetD8Async(CUdeviceptr target, byte value, nuint count, CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuMemsetD32Async(CUdeviceptr target, uint value, nuint count, CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuStreamCreateWithPriority(out CUstream stream, uint flags, int priority);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuStreamDestroy_v2(CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuStreamSynchronize(CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuStreamQuery(CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuStreamWaitEvent(CUstream stream, CUevent @event, uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuEventCreate(out CUevent @event, uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuEventDestroy_v2(CUevent @event);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuEventRecord(CUevent @event, CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuEventSynchronize(CUevent @event);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuEventQuery(CUevent @event);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuEventElapsedTime(out float milliseconds, CUevent start, CUevent end);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuStreamEndCapture(CUstream stream, out CUgraph graph);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuStreamIsCapturing(CUstream stream, out CUstreamCaptureStatus status);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGraphGetNodes(CUgraph graph, nint* nodes, ref nuint count);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGraphDestroy(CUgraph graph);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGraphInstantiateWithFlags(out CUgraphExec exec, CUgraph graph, ulong flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGraphInstantiate_v2(out CUgraphExec exec, CUgraph graph, out nint errorNode, byte* log, nuint logBytes);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, out GraphExecUpdateResult result);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, out nint errorNode, out int result);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuGraphExecDestroy(CUgraphExec exec);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuModuleLoadDataEx(out CUmodule module, void* image, uint optionCount, int* options, void** values);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuModuleUnload(CUmodule module);

    [LibraryImport(NativeLibraries.Driver, StringMarshalling = StringMarshalling.Utf8)]
    public static partial CUresult cuModuleGetFunction(out CUfunction function, CUmodule module, string name);

    [LibraryImport(NativeLibraries.Driver, StringMarshalling = StringMarshalling.Utf8)]
    public static partial CUresult cuModuleGetGlobal_v2(out CUdeviceptr address, out nuint bytes, CUmodule module, string name);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuFuncGetAttribute(out int value, CUfunctionAttribute attribute, CUfunction function);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuFuncSetAttribute(CUfunction function, CUfunctionAttribute attribute, int value);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(
        out int blocks, CUfunction function, int blockThreads, nuint dynamicSharedBytes);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuLaunchKernelEx(LaunchConfig* configuration, CUfunction function, void** arguments, void** extra);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CUresult cuLaunchKernel(
        CUfunction function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, CUstream stream,
        void** arguments, void** extra);

    /// <summary><c>CUgraphExecUpdateResultInfo</c>.</summary>
    public struct GraphExecUpdateResult
    {
        public int Result;
        public nint ErrorNode;
        public nint ErrorFromNode;
    }

    /// <summary><c>CUlaunchConfig</c>.</summary>
    public struct LaunchConfig
    {
        public uint GridX;
        public uint GridY;
        public uint GridZ;
        public uint BlockX;
        public uint BlockY;
        public uint BlockZ;
        public uint SharedBytes;
        public CUstream Stream;
        public LaunchAttribute* Attributes;
        public uint AttributeCount;
    }

    /// <summary><c>CUlaunchAttribute</c>: an id and a union of 64 bytes.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 72)]
    public struct LaunchAttribute
    {
        public const int ClusterDimension = 4;
        public const int ProgrammaticStreamSerialization = 6;

        [FieldOffset(0)]
        public int Id;

        [FieldOffset(8)]
        public int Value;

        [FieldOffset(8)]
        public uint ClusterX;

        [FieldOffset(12)]
        public uint ClusterY;

        [FieldOffset(16)]
        public uint ClusterZ;
    }
}
