namespace DwrSeg.Native.Cuda.Driver;

/// <summary>
/// The CUDA driver, call for call: the one seam through which everything reaches a device. Implemented by the driver library
/// (<c>libcuda</c>) and by the PTX emulator, and wrapped by tests that inject failures.
/// </summary>
/// <remarks>
/// Each method is the driver call of the same name (<c>MemAlloc</c> is <c>cuMemAlloc_v2</c>) with its meaning, its order of effects and its
/// status; nothing is checked or thrown here. <c>CudaStatus</c> turns a status into an exception. Pointers passed in need live only for
/// the call, except host memory of asynchronous copies, which must stay until the stream has passed them.
/// </remarks>
internal unsafe interface ICudaDriver
{
    /// <summary>What it is, for messages: the library's path, or the emulator's name.</summary>
    string Description { get; }

    /// <summary>Whether its events tell a device's time, so that something may be chosen by it.</summary>
    bool HasClock { get; }

    CUresult Init(uint flags);

    /// <summary>1000 · major + 10 · minor of the newest CUDA that the driver knows.</summary>
    CUresult DriverGetVersion(out int version);

    /// <summary>The symbolic name (<c>CUDA_ERROR_…</c>); null for an unknown status.</summary>
    string? GetErrorName(CUresult status);

    /// <summary>The driver's explanation; null for an unknown status. May say more about the last failure on this driver.</summary>
    string? GetErrorString(CUresult status);

    CUresult DeviceGetCount(out int count);

    CUresult DeviceGet(out CUdevice device, int ordinal);

    CUresult DeviceGetName(out string name, CUdevice device);

    CUresult DeviceGetAttribute(out int value, CUdeviceAttribute attribute, CUdevice device);

    CUresult DeviceTotalMem(out ulong bytes, CUdevice device);

    CUresult DevicePrimaryCtxRetain(out CUcontext context, CUdevice device);

    CUresult DevicePrimaryCtxRelease(CUdevice device);

    CUresult CtxSetCurrent(CUcontext context);

    CUresult CtxGetCurrent(out CUcontext context);

    CUresult CtxSynchronize();

    CUresult MemGetInfo(out ulong free, out ulong total);

    CUresult MemAlloc(out CUdeviceptr address, ulong bytes);

    CUresult MemFree(CUdeviceptr address);

    CUresult DeviceGetDefaultMemPool(out CUmemoryPool pool, CUdevice device);

    /// <summary>Sets <c>CU_MEMPOOL_ATTR_RELEASE_THRESHOLD</c>, the only attribute that this project uses.</summary>
    CUresult MemPoolSetReleaseThreshold(CUmemoryPool pool, ulong bytes);

    CUresult MemPoolTrimTo(CUmemoryPool pool, ulong bytesToKeep);

    CUresult MemAllocAsync(out CUdeviceptr address, ulong bytes, CUstream stream);

    CUresult MemFreeAsync(CUdeviceptr address, CUstream stream);

    CUresult MemHostAlloc(out void* memory, ulong bytes, uint flags);

    CUresult MemFreeHost(void* memory);

    CUresult MemcpyHtoDAsync(CUdeviceptr target, void* source, ulong bytes, CUstream stream);

    CUresult MemcpyDtoHAsync(void* target, CUdeviceptr source, ulong bytes, CUstream stream);

    CUresult MemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, ulong bytes, CUstream stream);

    CUresult MemsetD8Async(CUdeviceptr target, byte value, ulong count, CUstream stream);

    CUresult MemsetD32Async(CUdeviceptr target, uint value, ulong count, CUstream stream);

    CUresult StreamCreateWithPriority(out CUstream stream, uint flags, int priority);

    CUresult StreamDestroy(CUstream stream);

    CUresult StreamSynchronize(CUstream stream);

    CUresult StreamQuery(CUstream stream);

    CUresult StreamWaitEvent(CUstream stream, CUevent @event, uint flags);

    CUresult EventCreate(out CUevent @event, uint flags);

    CUresult EventDestroy(CUevent @event);

    CUresult EventRecord(CUevent @event, CUstream stream);

    CUresult EventSynchronize(CUevent @event);

    CUresult EventQuery(CUevent @event);

    CUresult EventElapsedTime(out float milliseconds, CUevent start, CUevent end);

    CUresult StreamBeginCapture(CUstream stream, CUstreamCaptureMode mode);

    CUresult StreamEndCapture(CUstream stream, out CUgraph graph);

    CUresult StreamIsCapturing(CUstream stream, out CUstreamCaptureStatus status);

    CUresult GraphGetNodeCount(CUgraph graph, out ulong count);

    CUresult GraphDestroy(CUgraph graph);

    CUresult GraphInstantiate(out CUgraphExec exec, CUgraph graph, ulong flags);

    /// <summary>Updates an instantiated graph to another of the same topology (<c>cuGraphExecUpdate_v2</c>).</summary>
    CUresult GraphExecUpdate(CUgraphExec exec, CUgraph graph);

    CUresult GraphLaunch(CUgraphExec exec, CUstream stream);

    CUresult GraphExecDestroy(CUgraphExec exec);

    /// <param name="module">The loaded module.</param>
    /// <param name="image">PTX text with a terminating zero, or a cubin.</param>
    /// <param name="log">The compiler's messages where the image is PTX and does not assemble; else empty.</param>
    CUresult ModuleLoadData(out CUmodule module, ReadOnlySpan<byte> image, out string log);

    CUresult ModuleUnload(CUmodule module);

    CUresult ModuleGetFunction(out CUfunction function, CUmodule module, string name);

    CUresult ModuleGetGlobal(out CUdeviceptr address, out ulong bytes, CUmodule module, string name);

    CUresult FuncGetAttribute(out int value, CUfunctionAttribute attribute, CUfunction function);

    CUresult FuncSetAttribute(CUfunction function, CUfunctionAttribute attribute, int value);

    CUresult OccupancyMaxActiveBlocksPerMultiprocessor(out int blocks, CUfunction function, int blockThreads, ulong dynamicSharedBytes);

    /// <param name="configuration">Grid, block, dynamic shared memory, stream and launch attributes.</param>
    /// <param name="function">The kernel.</param>
    /// <param name="arguments">One pointer an argument, to its value.</param>
    CUresult LaunchKernelEx(in LaunchConfiguration configuration, CUfunction function, void** arguments);

    /// <summary>
    /// Says, in the stream's order, what a range inside an allocation holds from here on: a tensor of this name, its content unwritten; or,
    /// where <paramref name="name"/> is null, nothing any more. Ranges of one allocation that live at the same time do not overlap. A real
    /// driver takes no notice; the emulator fails accesses that leave their tensor, or read one before it is written or after it died.
    /// Recorded into a graph where the stream is capturing.
    /// </summary>
    CUresult MarkRegion(CUdeviceptr address, ulong bytes, string? name, CUstream stream);
}

/// <summary>Where and how a kernel is launched (<c>CUlaunchConfig</c>).</summary>
/// <param name="GridX">Blocks in x.</param>
/// <param name="GridY">Blocks in y.</param>
/// <param name="GridZ">Blocks in z.</param>
/// <param name="BlockX">Threads of a block in x.</param>
/// <param name="BlockY">Threads of a block in y.</param>
/// <param name="BlockZ">Threads of a block in z.</param>
/// <param name="DynamicSharedBytes">Shared memory beside the kernel's static one.</param>
/// <param name="Stream">The stream.</param>
/// <param name="OverlapsPrevious">Lets it start before the stream's previous kernel has ended, which it awaits with
/// <c>griddepcontrol.wait</c> (<c>CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION</c>); from sm_90 on.</param>
/// <param name="ClusterX">Blocks of a cluster in x; 0 or 1 for none (<c>CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION</c>).</param>
internal readonly record struct LaunchConfiguration(
    uint GridX, uint GridY, uint GridZ, uint BlockX, uint BlockY, uint BlockZ, uint DynamicSharedBytes, CUstream Stream,
    bool OverlapsPrevious = false, uint ClusterX = 0);
