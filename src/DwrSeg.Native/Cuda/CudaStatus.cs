using System.Globalization;
using System.Runtime.CompilerServices;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>Turns the driver's statuses into exceptions that say which call failed, how, and what to do.</summary>
internal static class CudaStatus
{
    private const string Report = "This is a bug of DwrSeg.Native or of the code that shares its device; please report it with this message.";
    private const string Lost =
        "The device's context is lost and the process must be restarted. The fault may lie in an earlier launch: run with " +
        "CUDA_LAUNCH_BLOCKING=1 to be told at the launch itself, or under compute-sanitizer to find the address.";
    private const string Update = "Update the NVIDIA driver.";
    private const string Capture = "A stream is being captured into a graph: calls that wait, allocate or touch other streams come before or after.";

    /// <summary>A row of the table.</summary>
    /// <param name="Status">The status.</param>
    /// <param name="Name">Its name, for drivers that don't tell.</param>
    /// <param name="Remedy">What to do about it.</param>
    /// <param name="IsSticky">Every later call on the context fails too.</param>
    internal sealed record Row(CUresult Status, string Name, string Remedy, bool IsSticky = false);

    internal static readonly Row[] Rows =
    [
        new(CUresult.InvalidValue, "CUDA_ERROR_INVALID_VALUE", Report),
        new(CUresult.OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY",
            "Use a smaller batch, crop or image, dispose what is not needed, or end other programs on the device."),
        new(CUresult.NotInitialized, "CUDA_ERROR_NOT_INITIALIZED", Report),
        new(CUresult.Deinitialized, "CUDA_ERROR_DEINITIALIZED", "The process is ending; nothing can run on the device any more."),
        new(CUresult.StubLibrary, "CUDA_ERROR_STUB_LIBRARY",
            "The CUDA toolkit's stub was loaded instead of the driver: remove the toolkit's lib64/stubs folder from LD_LIBRARY_PATH."),
        new(CUresult.DeviceUnavailable, "CUDA_ERROR_DEVICE_UNAVAILABLE",
            "Another process has the device for itself, or a fault took it out: see nvidia-smi for its compute mode and processes."),
        new(CUresult.NoDevice, "CUDA_ERROR_NO_DEVICE",
            "No CUDA device is visible: see whether nvidia-smi lists one, whether CUDA_VISIBLE_DEVICES hides it, and, in a container, " +
            "whether it was started with access to the GPUs."),
        new(CUresult.InvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "Choose a device number that `nvidia-smi -L` lists."),
        new(CUresult.InvalidImage, "CUDA_ERROR_INVALID_IMAGE",
            "The driver may be older than the NVRTC that compiled this kernel: update the NVIDIA driver, or install an older NVRTC."),
        new(CUresult.InvalidContext, "CUDA_ERROR_INVALID_CONTEXT",
            "The context was destroyed or reset by other code in this process; open the device anew."),
        new(CUresult.NoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU",
            "The kernel was compiled for another GPU, or by an NVRTC newer than the driver: update the NVIDIA driver, or install an NVRTC " +
            "that knows this GPU and is no newer than the driver's CUDA version (DWRSEG_CUDA_PATH names its folder)."),
        new(CUresult.InvalidPtx, "CUDA_ERROR_INVALID_PTX", Report),
        new(CUresult.JitCompilerNotFound, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
            "The driver's PTX compiler (libnvidia-ptxjitcompiler.so.1) is missing: install the NVIDIA driver whole, and in a container mount it " +
            "too; or install an NVRTC that knows this GPU, so that no PTX is left to compile."),
        new(CUresult.UnsupportedPtxVersion, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
            "The driver is older than the NVRTC that compiled this kernel: update the NVIDIA driver, or install an NVRTC of the driver's " +
            "CUDA version or older (DWRSEG_CUDA_PATH names its folder)."),
        new(CUresult.InvalidSource, "CUDA_ERROR_INVALID_SOURCE", Report),
        new(CUresult.FileNotFound, "CUDA_ERROR_FILE_NOT_FOUND", "A part of the driver is missing: install the NVIDIA driver again."),
        new(CUresult.OperatingSystem, "CUDA_ERROR_OPERATING_SYSTEM",
            "The operating system refused the driver a call: see the kernel log (dmesg), and that /dev/nvidia* can be opened."),
        new(CUresult.InvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "A stream, event or kernel was used after it was disposed. " + Report),
        new(CUresult.IllegalState, "CUDA_ERROR_ILLEGAL_STATE", Report),
        new(CUresult.NotFound, "CUDA_ERROR_NOT_FOUND", "The module holds no kernel or variable of that name. " + Report),
        new(CUresult.NotReady, "CUDA_ERROR_NOT_READY", "Work on the stream has not ended; wait for it first."),
        new(CUresult.IllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "A kernel accessed memory that is not there. " + Lost, IsSticky: true),
        new(CUresult.LaunchOutOfResources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
            "The kernel needs more registers or shared memory for a block of this size than the device has. " + Report),
        new(CUresult.LaunchTimeout, "CUDA_ERROR_LAUNCH_TIMEOUT",
            "A kernel ran longer than the system's watchdog lets one that drives a display. " + Lost, IsSticky: true),
        new(CUresult.ContextIsDestroyed, "CUDA_ERROR_CONTEXT_IS_DESTROYED",
            "Other code in this process destroyed or reset the device's context; restart the process.", IsSticky: true),
        new(CUresult.Assert, "CUDA_ERROR_ASSERT", "An assertion failed in a kernel. " + Lost, IsSticky: true),
        new(CUresult.HardwareStackError, "CUDA_ERROR_HARDWARE_STACK_ERROR", "A kernel's stack ran over. " + Lost, IsSticky: true),
        new(CUresult.IllegalInstruction, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "A kernel met an instruction the device has not. " + Lost,
            IsSticky: true),
        new(CUresult.MisalignedAddress, "CUDA_ERROR_MISALIGNED_ADDRESS", "A kernel accessed an address that is no multiple of the size. " + Lost,
            IsSticky: true),
        new(CUresult.InvalidAddressSpace, "CUDA_ERROR_INVALID_ADDRESS_SPACE", "A kernel accessed the wrong kind of memory. " + Lost,
            IsSticky: true),
        new(CUresult.InvalidPc, "CUDA_ERROR_INVALID_PC", "A kernel jumped out of its code. " + Lost, IsSticky: true),
        new(CUresult.LaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "A kernel failed while it ran. " + Lost, IsSticky: true),
        new(CUresult.NotPermitted, "CUDA_ERROR_NOT_PERMITTED", "The driver's settings or the user's rights do not allow this call."),
        new(CUresult.NotSupported, "CUDA_ERROR_NOT_SUPPORTED", "Neither device nor driver can do this. " + Update),
        new(CUresult.SystemNotReady, "CUDA_ERROR_SYSTEM_NOT_READY",
            "The system is not set up yet: on machines with NVSwitch, start nvidia-fabricmanager of the driver's version; see dmesg and nvidia-smi."),
        new(CUresult.SystemDriverMismatch, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            "libcuda and the loaded kernel module are of different versions: restart the machine after a driver update, and in a container " +
            "mount the host's libcuda."),
        new(CUresult.CompatNotSupportedOnDevice, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
            "CUDA's forward compatibility package does not support this GPU: remove its libcuda from the library path (in containers usually " +
            "/usr/local/cuda/compat), or update the NVIDIA driver."),
        new(CUresult.StreamCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", Capture),
        new(CUresult.StreamCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", Capture),
        new(CUresult.StreamCaptureMerge, "CUDA_ERROR_STREAM_CAPTURE_MERGE", Capture),
        new(CUresult.StreamCaptureUnmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", Capture),
        new(CUresult.StreamCaptureUnjoined, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", Capture),
        new(CUresult.StreamCaptureIsolation, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", Capture),
        new(CUresult.StreamCaptureImplicit, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", Capture),
        new(CUresult.StreamCaptureWrongThread, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", Capture),
        new(CUresult.CapturedEvent, "CUDA_ERROR_CAPTURED_EVENT", "An event recorded in a capture can only be waited for by streams. " + Report),
        new(CUresult.GraphExecUpdateFailure, "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE", "The graphs differ in more than their values. " + Report),
        new(CUresult.Unknown, "CUDA_ERROR_UNKNOWN",
            "See the kernel log (dmesg) for messages of the driver (NVRM, Xid); a restart of the machine often helps."),
    ];

    private static readonly Dictionary<CUresult, Row> ByStatus = Rows.ToDictionary(r => r.Status);

    /// <summary>Throws where a driver call did not succeed.</summary>
    /// <param name="driver">The driver, which explains the status.</param>
    /// <param name="status">The call itself, <c>driver.MemAlloc(…)</c>: its text gives the message the call's name.</param>
    /// <param name="neededBytes">Memory that the call asked for, named with what is free where it ran out.</param>
    /// <param name="call">Filled in by the compiler.</param>
    /// <exception cref="CudaException">The status is not <see cref="CUresult.Success"/>.</exception>
    public static void Check(
        ICudaDriver driver, CUresult status, ulong neededBytes = 0, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CUresult.Success) throw Failure(driver, status, CallName(call), neededBytes: neededBytes);
    }

    /// <summary>The exception for a failed call.</summary>
    /// <param name="driver">The driver, which explains the status.</param>
    /// <param name="status">What it returned.</param>
    /// <param name="call">The call by the driver's name.</param>
    /// <param name="about">What it was called for, such as a kernel and its launch shape.</param>
    /// <param name="neededBytes">Memory that the call asked for.</param>
    public static CudaException Failure(ICudaDriver driver, CUresult status, string call, string about = "", ulong neededBytes = 0)
    {
        Row? row = ByStatus.GetValueOrDefault(status);
        string name = driver.GetErrorName(status) ?? row?.Name ?? $"unknown status {(int)status}";
        string text = driver.GetErrorString(status) ?? "no explanation";
        string subject = about.Length == 0 ? "" : $" ({about})";
        string memory = status == CUresult.OutOfMemory ? Memory(driver, neededBytes) : "";
        string remedy = row?.Remedy ?? "See NVIDIA's description of this status; an update of the driver may help.";
        return new CudaException(
            $"{call}{subject} failed: {name} ({(int)status}), {text}{memory}. {remedy}", call, (int)status, name, row?.IsSticky ?? false);
    }

    private static string Memory(ICudaDriver driver, ulong neededBytes)
    {
        string needed = neededBytes == 0 ? "" : $"; {MiB(neededBytes)} needed";
        return driver.MemGetInfo(out ulong free, out ulong total) == CUresult.Success
            ? $"{needed}; {MiB(free)} of {MiB(total)} free"
            : needed;
    }

    /// <summary>An amount of memory for people; the least that is not nothing is 0.1.</summary>
    public static string MiB(ulong bytes) => string.Create(CultureInfo.InvariantCulture, $"{Math.Max(bytes / 1048576.0, Math.Min(bytes, 0.1)):0.#} MiB");

    // "_driver.MemAlloc(out address, bytes)" → "cuMemAlloc"
    private static string CallName(string expression)
    {
        int end = expression.IndexOf('(', StringComparison.Ordinal);
        string name = end < 0 ? expression : expression[..end];
        return "cu" + name[(name.LastIndexOf('.') + 1)..];
    }
}
