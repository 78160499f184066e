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
    private int _shortages;

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
    /// How often a way was passed over because memory was short: what is chosen meanwhile is not the best, and not to be remembered.
    /// </summary>
    public int Shortages => _shortages;

    /// <summary>
    /// Whether something else can compute what a way of a library failed at: its call says that the library does not take this; or, where the choice
    /// is by time, its call failed, it can't be captured, or memory ran out, so that a library that is there but broken does no harm.
    /// </summary>
    /// <param name="maker">Whose way it was.</param>
    /// <param name="failure">How it failed.</param>
    public bool CanDoWithout(ConvMaker maker, CudaException failure)
    {
        if (maker == ConvMaker.Native) return false;
        if (failure.Answer != LibraryAnswer.Failure) return true;
        return Choice == ConvolutionChoice.Auto && (MakerOf(failure) == maker || IsOfCapture(failure) || MemoryShortage.Is(failure));
    }

    /// <summary>
    /// Goes on without a way that failed so. Where it is the library's fault, also without the library; memory that is short now is not, nor is a
    /// call that the library does not take.
    /// </summary>
    public void DoWithout(ConvMaker maker, CudaException failure)
    {
        if (failure.Answer == LibraryAnswer.Objection) TellObjection(maker, failure);
        else if (MemoryShortage.Is(failure)) Interlocked.Increment(ref _shortages);
        else if (failure.Answer == LibraryAnswer.Failure) LeaveOut(maker, failure);
    }

    /// <summary>
    /// Those of some makers that steps failed because of, where the choice is by time: whose call failed, or, where a capture broke, all of them, for
    /// a library may break one without a word.
    /// </summary>
    public IReadOnlyList<ConvMaker> BlamedFor(CudaException failure, IEnumerable<ConvMaker> makers)
    {
        if (Choice != ConvolutionChoice.Auto || failure.Answer != LibraryAnswer.Failure || MemoryShortage.Is(failure)) return [];
        return [.. makers.Where(m => m != ConvMaker.Native && (MakerOf(failure) == m || IsOfCapture(failure)))];
    }

    /// <summary>Leaves a library out from now on.</summary>
    public void LeaveOut(ConvMaker maker, CudaException failure)
    {
        // What was made with its handle before goes on, so that stays open.
        lock (_lock) _leftOut.Add(maker);
        TellLeftOut(maker, failure);
    }

    /// <summary>Tells, where the choice is by time, why a library is not among those that convolutions are chosen from.</summary>
    public void TellMissing()
    {
        if (Choice != ConvolutionChoice.Auto) return;
        string noCudnn = _found.Cudnn is null ? _found.CudnnProblem : "", noCublasLt = _found.CublasLt is null ? _found.CublasLtProblem : "";
        string[] problems = [.. new[] { noCudnn, noCublasLt }.Where(p => p.Length > 0).Distinct()];
        if (problems.Length == 0) return;
        string others = _found.Cudnn is not null ? " and cuDNN" : _found.CublasLt is not null ? " and cuBLASLt" : "";
        string message = $"convolutions are chosen among this project's kernels{others}: {string.Join("; ", problems)}";
        Notices.Tell(message, message);
    }

    public void Dispose()
    {
        _cudnn?.Dispose();
        _cublasLt?.Dispose();
    }

    // A library may also break a capture without a word, which its end then tells.
    private static bool IsOfCapture(CudaException failure) => MakerOf(failure) == ConvMaker.Native
        && (CUresult)failure.Status is >= CUresult.StreamCaptureUnsupported and <= CUresult.StreamCaptureWrongThread;

    private static ConvMaker MakerOf(CudaException failure) => failure.Call.StartsWith("cudnn", StringComparison.Ordinal) ? ConvMaker.Cudnn
        : failure.Call.StartsWith("cublasLt", StringComparison.Ordinal) ? ConvMaker.CublasLt : ConvMaker.Native;

    private void TellLeftOut(ConvMaker maker, CudaException failure)
    {
        (string name, string location) = LibraryOf(maker)!.Value;
        // A call of its own names it with its file.
        string file = MakerOf(failure) == maker ? "" : $", which is {location}";
        Notices.Tell($"{name} {location}", $"convolutions are computed without {name}{file}: {failure.Message}");
    }

    private void TellObjection(ConvMaker maker, CudaException failure)
    {
        (string name, string location) = LibraryOf(maker)!.Value;
        Notices.Tell($"{name} {location} {failure.Call} {failure.Status}", $"a convolution is computed without {name}: {failure.Message}");
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
        CudaException failure;
        lock (_lock)
        {
            if (!Has(maker)) return null;
            try
            {
                return handle ??= open();
            }
            catch (CudaException e) when (Choice == ConvolutionChoice.Auto && MakerOf(e) == maker && !MemoryShortage.Is(e))
            {
                _leftOut.Add(maker);
                failure = e;
            }
        }
        // Whoever listens may take locks of his own.
        TellLeftOut(maker, failure);
        return null;
    }

    private static DeviceUnavailableException Missing(string problem) => new($"convolutions by cuDNN are asked for, but {problem}");
}
