using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>Turns cuDNN's statuses into exceptions that say which call failed, how, and what to do.</summary>
/// <remarks>Version 9 numbers statuses anew: thousands are kinds, and what stands below them says more.</remarks>
internal static class CudnnStatus
{
    private const string Report = "This is a bug of DwrSeg.Native; please report it with this message. `--conv native` does without cuDNN.";
    private const string Incompatible =
        "Install a cuDNN that is made for this GPU and for the driver's CUDA version, with all its libraries beside each other, and update the " +
        "NVIDIA driver; `--conv native` does without cuDNN.";

    /// <summary>A row of the table.</summary>
    /// <param name="Number">The status; of version 9 a range that begins here where it is a multiple of 1000.</param>
    /// <param name="Name">Its name.</param>
    /// <param name="Remedy">What to do about it.</param>
    /// <param name="Answer">What it says of the call.</param>
    internal sealed record Row(int Number, string Name, string Remedy, LibraryAnswer Answer = LibraryAnswer.Failure);

    private static readonly Row[] Version8 =
    [
        new(1, "CUDNN_STATUS_NOT_INITIALIZED", Incompatible),
        new(2, "CUDNN_STATUS_ALLOC_FAILED", "Memory ran out: use a smaller batch or image, or end other programs on the device."),
        new(3, "CUDNN_STATUS_BAD_PARAM", Report, LibraryAnswer.Objection),
        new(4, "CUDNN_STATUS_INTERNAL_ERROR", Incompatible),
        new(5, "CUDNN_STATUS_INVALID_VALUE", Report, LibraryAnswer.Objection),
        // Of a call, not of the library: version 9 counts it among what is not supported.
        new(6, "CUDNN_STATUS_ARCH_MISMATCH", Incompatible, LibraryAnswer.Refusal),
        new(7, "CUDNN_STATUS_MAPPING_ERROR", Incompatible),
        new(8, "CUDNN_STATUS_EXECUTION_FAILED", Incompatible),
        new(9, "CUDNN_STATUS_NOT_SUPPORTED", Report, LibraryAnswer.Refusal),
        new(10, "CUDNN_STATUS_LICENSE_ERROR", Incompatible),
        new(11, "CUDNN_STATUS_RUNTIME_PREREQUISITE_MISSING", Incompatible),
        new(14, "CUDNN_STATUS_VERSION_MISMATCH", Incompatible),
    ];

    private static readonly Row[] Version9 =
    [
        new(1001, "CUDNN_STATUS_NOT_INITIALIZED", Incompatible),
        new(1002, "CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH", Incompatible),
        new(1008, "CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED", Incompatible),
        new(2000, "CUDNN_STATUS_BAD_PARAM", Report, LibraryAnswer.Objection),
        new(2001, "CUDNN_STATUS_INVALID_VALUE", Report, LibraryAnswer.Objection),
        new(3000, "CUDNN_STATUS_NOT_SUPPORTED", Report, LibraryAnswer.Refusal),
        new(4000, "CUDNN_STATUS_INTERNAL_ERROR", Incompatible),
        new(4003, "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED", "Host memory ran out: use a smaller batch or image."),
        new(4004, "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "Memory ran out: use a smaller batch or image, or end other programs on the device."),
        new(5000, "CUDNN_STATUS_EXECUTION_FAILED", Incompatible),
    ];

    /// <summary>The statuses of a version.</summary>
    internal static IReadOnlyList<Row> Rows(Version version) => version.Major < 9 ? Version8 : Version9;

    /// <summary>Throws where a call did not succeed.</summary>
    /// <param name="cudnn">The library, which explains the status.</param>
    /// <param name="status">The call itself, <c>cudnn.SetStream(…)</c>: its text gives the message the call's name.</param>
    /// <param name="ofSlices">The call is about maps with gaps between their pixels.</param>
    /// <param name="call">Filled in by the compiler.</param>
    /// <exception cref="CudaException">The status is not 0.</exception>
    public static void Check(ICudnn cudnn, int status, bool ofSlices = false, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != 0) throw Failure(cudnn, status, CallName(call), ofSlices: ofSlices);
    }

    /// <summary>The exception for a failed call.</summary>
    /// <param name="cudnn">The library, which explains the status.</param>
    /// <param name="status">What it returned.</param>
    /// <param name="call">The call by cuDNN's name.</param>
    /// <param name="about">What it was called for.</param>
    /// <param name="ofSlices">It is about maps with gaps between their pixels, whose strides some versions call a bad parameter.</param>
    public static CudaException Failure(ICudnn cudnn, int status, string call, string about = "", bool ofSlices = false)
    {
        Row? row = Find(cudnn.Version, status);
        string name = row?.Name ?? $"unknown status {status}";
        string subject = about.Length == 0 ? "" : $" ({about})";
        string remedy = row?.Remedy ?? "See NVIDIA's description of this status; `--conv native` does without cuDNN.";
        LibraryAnswer answer = row?.Answer ?? LibraryAnswer.Failure;
        return new CudaException(
            $"{call}{subject} failed: {name} ({status}), {cudnn.GetErrorString(status)}. cuDNN {cudnn.Version} is {cudnn.Location}. {remedy}",
            call, status, name)
        {
            Answer = ofSlices && answer == LibraryAnswer.Objection ? LibraryAnswer.Refusal : answer,
        };
    }

    private static Row? Find(Version version, int status)
    {
        IReadOnlyList<Row> rows = Rows(version);
        return rows.FirstOrDefault(r => r.Number == status)
            ?? (version.Major < 9 ? null : rows.FirstOrDefault(r => r.Number == status / 1000 * 1000));
    }

    // "cudnn.SetStream(handle, stream)" → "cudnnSetStream"
    private static string CallName(string expression)
    {
        int end = expression.IndexOf('(', StringComparison.Ordinal);
        string name = end < 0 ? expression : expression[..end];
        return "cudnn" + name[(name.LastIndexOf('.') + 1)..];
    }
}
