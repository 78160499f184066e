using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>Turns cuBLASLt's statuses (<c>cublasStatus_t</c>) into exceptions that say which call failed, how, and what to do.</summary>
internal static class CublasLtStatus
{
    private const string Report = "This is a bug of DwrSeg.Native; please report it with this message. `--conv native` does without cuBLASLt.";
    private const string Incompatible =
        "Install the cuBLASLt of a CUDA version that the driver knows, or update the NVIDIA driver; `--conv native` does without cuBLASLt.";

    private const string AlgorithmCheck = "cublasLtMatmulAlgoCheck";

    /// <summary>A row of the table.</summary>
    /// <param name="Number">The status.</param>
    /// <param name="Name">Its name.</param>
    /// <param name="Text">What it means.</param>
    /// <param name="Remedy">What to do about it.</param>
    /// <param name="Answer">What it says of the call.</param>
    internal sealed record Row(int Number, string Name, string Text, string Remedy, LibraryAnswer Answer = LibraryAnswer.Failure);

    internal static readonly Row[] Rows =
    [
        new(1, "CUBLAS_STATUS_NOT_INITIALIZED", "the library could not be initialised", Incompatible),
        new(3, "CUBLAS_STATUS_ALLOC_FAILED", "memory ran out", "Use a smaller batch or image, or end other programs on the device."),
        new(7, "CUBLAS_STATUS_INVALID_VALUE", "a parameter is not one of the call's", Report, LibraryAnswer.Objection),
        // Of a call, not of the library: the product needs what this device has not.
        new(8, "CUBLAS_STATUS_ARCH_MISMATCH", "the device lacks what this needs", Incompatible, LibraryAnswer.Refusal),
        new(11, "CUBLAS_STATUS_MAPPING_ERROR", "memory could not be mapped", Incompatible),
        new(13, "CUBLAS_STATUS_EXECUTION_FAILED", "a kernel could not be started", Incompatible),
        new(14, "CUBLAS_STATUS_INTERNAL_ERROR", "an operation inside the library failed", Incompatible),
        new(15, "CUBLAS_STATUS_NOT_SUPPORTED", "the library has no algorithm for this", Report, LibraryAnswer.Refusal),
        new(16, "CUBLAS_STATUS_LICENSE_ERROR", "the library has no licence", Incompatible),
    ];

    /// <summary>Throws where a call did not succeed.</summary>
    /// <param name="cublas">The library.</param>
    /// <param name="status">The call itself, <c>cublas.Matmul(…)</c>: its text gives the message the call's name.</param>
    /// <param name="call">Filled in by the compiler.</param>
    /// <exception cref="CudaException">The status is not 0.</exception>
    public static void Check(ICublasLt cublas, int status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != 0) throw Failure(cublas, status, CallName(call));
    }

    /// <summary>The exception for a failed call.</summary>
    /// <param name="cublas">The library.</param>
    /// <param name="status">What it returned.</param>
    /// <param name="call">The call by the library's name.</param>
    /// <param name="about">What it was called for.</param>
    public static CudaException Failure(ICublasLt cublas, int status, string call, string about = "")
    {
        Row? row = Array.Find(Rows, r => r.Number == status);
        string name = row?.Name ?? $"unknown status {status}";
        string subject = about.Length == 0 ? "" : $" ({about})";
        string remedy = row?.Remedy ?? "See NVIDIA's description of this status; `--conv native` does without cuBLASLt.";
        LibraryAnswer answer = row?.Answer ?? LibraryAnswer.Failure;
        return new CudaException(
            $"{call}{subject} failed: {name} ({status}), {row?.Text ?? "no explanation"}. cuBLASLt {cublas.Version} is {cublas.Location}. {remedy}",
            call, status, name)
        {
            // The check of an algorithm asks whether its bytes are for such a product, and this is the library's no.
            Answer = call == AlgorithmCheck && answer == LibraryAnswer.Objection ? LibraryAnswer.Refusal : answer,
        };
    }

    // "cublas.Matmul(handle, …)" → "cublasLtMatmul"
    private static string CallName(string expression)
    {
        int end = expression.IndexOf('(', StringComparison.Ordinal);
        string name = end < 0 ? expression : expression[..end];
        return "cublasLt" + name[(name.LastIndexOf('.') + 1)..];
    }
}
