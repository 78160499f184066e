using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// The libraries that a device's convolutions may be given to. Handles are made when they are first needed, which takes a while. Where the choice is
/// by time, a library that fails is left out from then on.
/// </summary>
internal sealed class ConvolutionLibraries : IDisposable
{
    private readonly CudaContext _context;
    private readonly Found _found;
    private readonly Lock _lock = new();
    private readonly HashSet<ConvMaker> _leftOut = [];
    private CudnnHandle? _cudnn;
    private CublasLtHandle? _cublasLt;

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
        (_context, Choice) = (context, choice);
        _found = choice == ConvolutionChoice.Native ? Found.None("") : found ?? Found.None("");
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

    /// <summary>cuDNN on the device; null where there is none, or it is left out.</summary>
    public CudnnHandle? Cudnn => Open(ConvMaker.Cudnn, ref _cudnn, () => new CudnnHandle(_found.Cudnn!, _context));

    /// <summary>cuBLASLt on the device; null where there is none, or it is left out.</summary>
    public CublasLtHandle? CublasLt => Open(ConvMaker.CublasLt, ref _cublasLt, () => new CublasLtHandle(_found.CublasLt!, _context));

    /// <summary>Names and versions, for people and for what is remembered; empty where there is none.</summary>
    public string Description => string.Join(", ", new[] { ConvMaker.Cudnn, ConvMaker.CublasLt }.Where(Has).Select(m => LibraryOf(m)!.Value.Name));

    /// <summary>Whether a maker is there and not left out; this project's kernels always are.</summary>
    public bool Has(ConvMaker maker)
    {
        lock (_lock) return maker == ConvMaker.Native || (LibraryOf(maker) is not null && !_leftOut.Contains(maker));
    }

    /// <summary>
    /// Whether something else can compute what a way of a library failed at: its call says that the library does not take this, or it can't be
    /// captured; or, where the choice is by time, its call failed or memory ran out, so that a library that is there but broken does no harm.
    /// </summary>
    /// <param name="maker">Whose way it was.</param>
    /// <param name="failure">How it failed.</param>
    public bool CanDoWithout(ConvMaker maker, CudaException failure)
    {
        if (maker == ConvMaker.Native) return false;
        if (IsRefusal(failure) || IsOfCapture(failure)) return true;
        return Choice == ConvolutionChoice.Auto && (MakerOf(failure) == maker || MemoryShortage.Is(failure));
    }

    /// <summary>Goes on without a way that failed so; where the choice is by time, and it is no mere refusal, without its library.</summary>
    public void DoWithout(ConvMaker maker, CudaException failure)
    {
        if (Choice == ConvolutionChoice.Auto && !IsRefusal(failure)) LeaveOut(maker, failure);
    }

    /// <summary>
    /// Whether a plan that can't be made can be made without a library: the choice is by time, and the library's call failed, or somebody broke the
    /// capture and the library took part in it.
    /// </summary>
    public bool CanDoWithout(CudaException failure) => BlamedFor(failure).Count > 0;

    /// <summary>Leaves out the libraries that such a failure is due to.</summary>
    public void LeaveOut(CudaException failure)
    {
        foreach (ConvMaker maker in BlamedFor(failure)) LeaveOut(maker, failure);
    }

    public void Dispose()
    {
        _cudnn?.Dispose();
        _cublasLt?.Dispose();
    }

    // Whether a library's call says that it does not take this, which it will say again tomorrow.
    private bool IsRefusal(CudaException failure) => MakerOf(failure) switch
    {
        ConvMaker.Cudnn => CudnnStatus.IsRefusal(_found.Cudnn!.Version, failure.Status),
        ConvMaker.CublasLt => CublasLtStatus.IsRefusal(failure.Status),
        _ => false,
    };

    // A library may also break a capture without a word, which its end then tells.
    private static bool IsOfCapture(CudaException failure) => MakerOf(failure) == ConvMaker.Native
        && (CUresult)failure.Status is >= CUresult.StreamCaptureUnsupported and <= CUresult.StreamCaptureWrongThread;

    private static ConvMaker MakerOf(CudaException failure) => failure.Call.StartsWith("cudnn", StringComparison.Ordinal) ? ConvMaker.Cudnn
        : failure.Call.StartsWith("cublasLt", StringComparison.Ordinal) ? ConvMaker.CublasLt : ConvMaker.Native;

    private IReadOnlyList<ConvMaker> BlamedFor(CudaException failure)
    {
        if (Choice != ConvolutionChoice.Auto) return [];
        ConvMaker maker = MakerOf(failure);
        if (maker != ConvMaker.Native) return Has(maker) ? [maker] : [];
        if (!IsOfCapture(failure)) return [];
        // Whoever has a handle may have taken part.
        (ConvMaker Maker, object? Handle)[] all = [(ConvMaker.Cudnn, _cudnn), (ConvMaker.CublasLt, _cublasLt)];
        return [.. all.Where(l => l.Handle is not null && Has(l.Maker)).Select(l => l.Maker)];
    }

    // What was made with its handle before goes on, so that stays open.
    private void LeaveOut(ConvMaker maker, CudaException failure)
    {
        lock (_lock) _leftOut.Add(maker);
        (string name, string location) = LibraryOf(maker)!.Value;
        // A call of its own names it with its file.
        string file = MakerOf(failure) == maker ? "" : $", which is {location}";
        Notices.Tell($"{name} {location}", $"convolutions are computed without {name}{file}: {failure.Message}");
    }

    private (string Name, string Location)? LibraryOf(ConvMaker maker) => maker switch
    {
        ConvMaker.Cudnn when _found.Cudnn is { } cudnn => ($"cuDNN {cudnn.Version}", cudnn.Location),
        ConvMaker.CublasLt when _found.CublasLt is { } cublasLt => ($"cuBLASLt {cublasLt.Version}", cublasLt.Location),
        _ => null,
    };

    // A library that is there but broken ends what asked for it by name; a choice by time goes on without.
    private T? Open<T>(ConvMaker maker, ref T? handle, Func<T> open)
        where T : class
    {
        lock (_lock)
        {
            if (!Has(maker)) return null;
            try
            {
                return handle ??= open();
            }
            catch (CudaException e) when (Choice == ConvolutionChoice.Auto && MakerOf(e) == maker)
            {
                LeaveOut(maker, e);
                return null;
            }
        }
    }

    private static DeviceUnavailableException Missing(string problem) => new($"convolutions by cuDNN are asked for, but {problem}");
}
