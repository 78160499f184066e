using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>The libraries that a device's convolutions may be given to. Handles are made when they are first needed, which takes a while.</summary>
internal sealed class ConvolutionLibraries : IDisposable
{
    private readonly Found _found;
    private readonly Lazy<CudnnHandle?> _cudnn;
    private readonly Lazy<CublasLtHandle?> _cublasLt;

    /// <summary>What a search found.</summary>
    /// <param name="Cudnn">cuDNN; null where there is none.</param>
    /// <param name="CudnnProblem">Why not, and what to do about it.</param>
    /// <param name="CublasLt">cuBLASLt; null where there is none.</param>
    /// <param name="CublasLtProblem">Why not, and what to do about it.</param>
    internal sealed record Found(ICudnn? Cudnn, string CudnnProblem, ICublasLt? CublasLt, string CublasLtProblem)
    {
        /// <summary>None, for devices that no library computes on.</summary>
        public static Found None(string why) => new(null, why, null, why);

        /// <summary>Those of this machine.</summary>
        public static Found OnThisMachine()
        {
            ICudnn? cudnn = CudnnLibrary.TryOpen(out string noCudnn);
            ICublasLt? cublasLt = CublasLtLibrary.TryOpen(out string noCublasLt);
            return new Found(cudnn, noCudnn, cublasLt, noCublasLt);
        }
    }

    /// <param name="context">The device.</param>
    /// <param name="choice">Whose convolutions are asked for.</param>
    /// <param name="found">What there is; not looked at for <see cref="ConvolutionChoice.Native"/>.</param>
    /// <exception cref="DeviceUnavailableException">cuDNN is asked for, and it or cuBLASLt is missing or can't be used on the device.</exception>
    public ConvolutionLibraries(CudaContext context, ConvolutionChoice choice, Found? found)
    {
        Choice = choice;
        _found = choice == ConvolutionChoice.Native ? Found.None("") : found ?? Found.None("");
        _cudnn = new Lazy<CudnnHandle?>(() => Open(() => _found.Cudnn is null ? null : new CudnnHandle(_found.Cudnn, context)));
        _cublasLt = new Lazy<CublasLtHandle?>(() => Open(() => _found.CublasLt is null ? null : new CublasLtHandle(_found.CublasLt, context)));
        if (choice != ConvolutionChoice.Cudnn) return;
        if (_found.Cudnn is null) throw Missing(_found.CudnnProblem);
        if (_found.CublasLt is null) throw Missing(_found.CublasLtProblem);
        try
        {
            _ = Cudnn;
            _ = CublasLt;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Whose convolutions are asked for.</summary>
    public ConvolutionChoice Choice { get; }

    /// <summary>cuDNN on the device; null where it can't be used.</summary>
    public CudnnHandle? Cudnn => _cudnn.Value;

    /// <summary>cuBLASLt on the device; null where it can't be used.</summary>
    public CublasLtHandle? CublasLt => _cublasLt.Value;

    /// <summary>Names and versions, for people and for what is remembered; empty where there is none.</summary>
    public string Description => string.Join(", ", new[]
    {
        _found.Cudnn is { } cudnn ? $"cuDNN {cudnn.Version}" : "", _found.CublasLt is { } cublasLt ? $"cuBLASLt {cublasLt.Version}" : "",
    }.Where(t => t.Length > 0));

    /// <summary>
    /// Whether something else can compute what a library's call failed at: the call says that the library does not take this; or, where the choice
    /// is by time, whatever it says, so that a library that is there but broken does no harm.
    /// </summary>
    public bool CanDoWithout(CudaException failure)
    {
        return Choice == ConvolutionChoice.Auto ? IsOfCudnn(failure) || IsOfCublasLt(failure) : IsRefusal(failure);
    }

    /// <summary>Whether a library's call says that it does not take this, which it will say again tomorrow.</summary>
    public bool IsRefusal(CudaException failure) => IsOfCudnn(failure)
        ? CudnnStatus.IsRefusal(_found.Cudnn!.Version, failure.Status)
        : IsOfCublasLt(failure) && CublasLtStatus.IsRefusal(failure.Status);

    private static bool IsOfCudnn(CudaException failure) => failure.Call.StartsWith("cudnn", StringComparison.Ordinal);

    private static bool IsOfCublasLt(CudaException failure) => failure.Call.StartsWith("cublasLt", StringComparison.Ordinal);

    public void Dispose()
    {
        if (_cudnn.IsValueCreated) _cudnn.Value?.Dispose();
        if (_cublasLt.IsValueCreated) _cublasLt.Value?.Dispose();
    }

    // A library that is there but broken ends what asked for it by name; a choice by time goes on without.
    private T? Open<T>(Func<T?> open)
        where T : class
    {
        try
        {
            return open();
        }
        catch (CudaException) when (Choice == ConvolutionChoice.Auto)
        {
            return null;
        }
    }

    private static DeviceUnavailableException Missing(string problem) => new($"convolutions by cuDNN are asked for, but {problem}");
}
