using System.Globalization;
using System.Runtime.ExceptionServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Covers a graph with steps, and chooses among those that can take the same piece of it: a fused module or its parts, and for a convolution each
/// tile of this project's kernels, cuBLASLt and cuDNN. On a device whose events tell its time the fastest is taken, with the real shapes in memory
/// that stands in for the plan's, and remembered; elsewhere what the kernels' models say.
/// </summary>
internal sealed class CoverChooser(KernelCache kernels, CudaElement element, ConvolutionLibraries libraries, TimedChoices choices)
{
    private const string Fused = "fused", Parts = "parts";

    private readonly CudaDevice _device = kernels.Context.Device;

    private bool IsTimed => _device.Driver.HasClock;

    /// <summary>The steps of a graph, in the order in which they run.</summary>
    public IReadOnlyList<StepCover<CudaBinder, CudaStep>> Choose(LayerGraph graph, Fusion fuse)
    {
        bool withModules = libraries.Choice != ConvolutionChoice.Cudnn;
        IReadOnlyList<StepCover<CudaBinder, CudaStep>> covers = new CudaCover(_device, element).Of(graph, fuse, withModules);
        if (!IsTimed && libraries.Choice != ConvolutionChoice.Cudnn) return covers;
        using var stream = new CudaStream(kernels.Context);
        return [.. covers.SelectMany(c => c.IsConstant || !c.Nodes.Any(n => n.Layer is Conv2d) ? [c] : ChooseFor(graph, c, fuse, stream))];
    }

    private IReadOnlyList<StepCover<CudaBinder, CudaStep>> ChooseFor(
        LayerGraph graph, StepCover<CudaBinder, CudaStep> cover, Fusion fuse, CudaStream stream)
    {
        if (CudaCover.PartsOf(cover) is not { } parts) return [ChooseWay(graph, cover, stream)];
        if (fuse == Fusion.All) return [cover];
        IReadOnlyList<StepCover<CudaBinder, CudaStep>> chosen =
            [.. parts.Select(p => p.Nodes.Any(n => n.Layer is Conv2d) ? ChooseWay(graph, p, stream) : p)];
        string key = KeyOf(graph, cover);
        string? name = choices.Find(key);
        if (name is not (Fused or Parts))
        {
            using var trial = new Trial(graph, kernels, element, libraries, stream);
            using var timer = new WorkTimer(stream, choices.Repetitions, choices.Rounds);
            timer.Add(trial.Bind([cover]));
            timer.Add(trial.Bind(chosen));
            IReadOnlyList<double> times = timer.Milliseconds();
            choices.Remember(key, name = times[0] <= times[1] ? Fused : Parts);
        }
        return name == Fused ? [cover] : chosen;
    }

    // The same cover, bound in the best way.
    private StepCover<CudaBinder, CudaStep> ChooseWay(LayerGraph graph, StepCover<CudaBinder, CudaStep> cover, CudaStream stream)
    {
        if (!IsTimed) return WithWay(cover, BestWay(graph, cover, stream, out _));
        string key = KeyOf(graph, cover);
        ConvWay? way = choices.Find(key) is { } name ? ConvWay.Parse(name) : null;
        // A library that took part in the choice may be there and yet not open today.
        bool isLost = way is { Maker: ConvMaker.Cudnn } ? libraries.Cudnn is null : way is { Maker: ConvMaker.CublasLt } && libraries.CublasLt is null;
        if (way is null || isLost)
        {
            way = BestWay(graph, cover, stream, out bool isFaultless);
            // What a passing fault left over is not the best there is.
            if (isFaultless && !isLost) choices.Remember(key, way.ToString());
        }
        return WithWay(cover, way);
    }

    private ConvWay BestWay(LayerGraph graph, StepCover<CudaBinder, CudaStep> cover, CudaStream stream, out bool isFaultless)
    {
        isFaultless = true;
        using var trial = new Trial(graph, kernels, element, libraries, stream);
        using var timer = new WorkTimer(stream, choices.Repetitions, choices.Rounds);
        IReadOnlyList<ConvWay> offered = trial.WaysFor(cover);
        if (IsTimed && libraries.Choice != ConvolutionChoice.Cudnn) trial.Compile(cover);
        foreach (IEnumerable<ConvWay> equals in InOrder(offered))
        {
            var ways = new List<ConvWay>();
            foreach (ConvWay way in equals)
            {
                try
                {
                    // The first run tells what a library does not take after all, and keeps what it loads then out of the capture.
                    IReadOnlyList<CudaWork> works = trial.Bind([WithWay(cover, way)]);
                    trial.Run(works);
                    if (!IsTimed) return way;
                    timer.Add(works);
                    ways.Add(way);
                }
                catch (CudaException e) when (libraries.CanDoWithout(e) || (way.Maker != ConvMaker.Native && IsOfCapture(e)))
                {
                    // Another way will do.
                    isFaultless &= libraries.IsRefusal(e) || IsOfCapture(e);
                }
            }
            if (ways.Count > 0) return ways[timer.Milliseconds().Index().MinBy(t => t.Item).Index];
        }
        return ConvWay.ByModel;
    }

    // A library may also break a capture without a word, which its end then tells.
    private static bool IsOfCapture(CudaException failure) =>
        (CUresult)failure.Status is >= CUresult.StreamCaptureUnsupported and <= CUresult.StreamCaptureWrongThread;

    /// <summary>
    /// What may be chosen; the later only where nothing of the earlier works. With cuDNN asked for these are the libraries, first cuBLASLt for what it
    /// can express, and this project's kernels where neither works.
    /// </summary>
    private IReadOnlyList<IEnumerable<ConvWay>> InOrder(IReadOnlyList<ConvWay> offered) => libraries.Choice == ConvolutionChoice.Cudnn
        ? [offered.Where(w => w.Maker == ConvMaker.CublasLt), offered.Where(w => w.Maker == ConvMaker.Cudnn)] : [offered];

    private static StepCover<CudaBinder, CudaStep> WithWay(StepCover<CudaBinder, CudaStep> cover, ConvWay way) =>
        cover with { Bind = (binder, nodes) => CudaLowerings.BindConvolution(binder, nodes, way) };

    /// <summary>All that a choice depends on: the device, who compiled what, the libraries, and the piece with its sizes, types and strides.</summary>
    private string KeyOf(LayerGraph graph, StepCover<CudaBinder, CudaStep> cover)
    {
        _device.Driver.DriverGetVersion(out int driver);
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{_device.Name}|{_device.ComputeCapability}|driver {driver}|NVRTC {kernels.CompilerVersion}|{kernels.Target.Option}"
            + $"|warpgroups {Warpgroups.AreOn(_device)}|kernels {KernelFiles.EmbeddedHash}|{libraries.Choice}|{libraries.Description}"
            + $"|{element.KernelName()}|{PieceText.Of(graph, cover.Nodes, cover.Inner)}");
    }

    /// <summary>Steps bound to stand-in memory, all of one piece.</summary>
    private sealed class Trial : IDisposable
    {
        private readonly StandInTensors _tensors;
        private readonly CudaBinder _binder;
        private readonly CudaStream _stream;

        public Trial(LayerGraph graph, KernelCache kernels, CudaElement element, ConvolutionLibraries libraries, CudaStream stream)
        {
            _stream = stream;
            _tensors = new StandInTensors(stream, element);
            _binder = new CudaBinder(graph, _tensors, kernels, stream, element, libraries);
        }

        public IReadOnlyList<ConvWay> WaysFor(StepCover<CudaBinder, CudaStep> cover) => CudaLowerings.WaysFor(_binder, cover.Nodes);

        /// <summary>Compiles the kernels of all tiles side by side: the first time takes seconds for each.</summary>
        public void Compile(StepCover<CudaBinder, CudaStep> cover)
        {
            try
            {
                Parallel.ForEach(CudaLowerings.VariantsFor(_binder, cover.Nodes), v => _binder.Kernels.Get(v.Source));
            }
            catch (AggregateException e)
            {
                // Callers know the exceptions of kernels and driver.
                ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
            }
        }

        /// <summary>Makes the steps and does what they need once; gives what they do in each run.</summary>
        public IReadOnlyList<CudaWork> Bind(IReadOnlyList<StepCover<CudaBinder, CudaStep>> covers)
        {
            (long Bytes, int Tiles) largest = default;
            foreach (var cover in covers)
            {
                (long bytes, int tiles) = CudaLowerings.WorkspaceFor(_binder, cover.Nodes);
                largest = (Math.Max(largest.Bytes, bytes), Math.Max(largest.Tiles, tiles));
            }
            _tensors.AllocateWorkspace(largest);
            var works = new List<CudaWork>();
            foreach (var cover in covers)
            {
                CudaStep step = cover.Bind(_binder, cover.Nodes);
                _tensors.LibraryWorkspace.Allocate();
                Run(step.Preparations);
                works.AddRange(step.Launches);
            }
            return works;
        }

        public void Run(IReadOnlyList<CudaWork> works)
        {
            foreach (CudaWork work in works) work.Launch(_stream);
            _stream.Synchronize();
        }

        public void Dispose()
        {
            _binder.Release();
            _tensors.Dispose();
        }
    }
}
