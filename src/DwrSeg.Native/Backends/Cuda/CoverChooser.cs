using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.CompilerServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Covers a graph with steps, and chooses among those that can take the same piece of it: fused modules (a SIR with its blocks in clusters or
/// alone) or their parts, and for a convolution each tile of this project's kernels, cuBLASLt and cuDNN. On a device whose events tell its time the
/// fastest is taken, with the real shapes in memory that stands in for the plan's, and remembered; elsewhere what the kernels' models say. It serves
/// one plan, and again where that can't be made with what was chosen.
/// </summary>
internal sealed class CoverChooser(KernelCache kernels, CudaElement element, ConvolutionLibraries libraries, TimedChoices choices)
{
    // What a library's call has to beat: launches beside it can't overlap with it, and its handle and kernels take longer to load than all of ours.
    private const double LibraryHandicap = 0.9;

    private const string Parts = "parts";

    // A device's measurements take turns: side by side they would time each other.
    private static readonly ConditionalWeakTable<ICudaDriver, ConcurrentDictionary<CUdevice, Lock>> Turns = [];

    private readonly CudaDevice _device = kernels.Context.Device;
    private readonly CudaCover _cover = new(kernels.Context.Device, element);

    // What the plan is made of; how pieces are computed, the parts of what is fused in the end too; and what a library turned out not to take.
    private IReadOnlyList<StepCover<CudaBinder, CudaStep>> _chosen = [];
    private readonly Dictionary<StepCover<CudaBinder, CudaStep>, (string Piece, ConvWay Way)> _taken = new(ReferenceEqualityComparer.Instance);
    private readonly HashSet<(string Piece, ConvWay Way)> _refused = [];

    // The libraries that it was chosen from.
    private string _available = libraries.Description;

    private bool IsTimed => _device.Driver.HasClock;

    /// <summary>The step that the plan was making or running when it failed; null where it was none.</summary>
    public StepCover<CudaBinder, CudaStep>? Failing { get; set; }

    /// <summary>Whether a library computes some of what was chosen.</summary>
    public bool TakesLibraries => LibraryWaysOf(_chosen).Any();

    /// <summary>The steps of a graph, in the order in which they run.</summary>
    public IReadOnlyList<StepCover<CudaBinder, CudaStep>> Choose(LayerGraph graph, Fusion fuse)
    {
        _chosen = [];
        bool withModules = libraries.Choice != ConvolutionChoice.Cudnn;
        IReadOnlyList<StepCover<CudaBinder, CudaStep>> covers = _cover.Of(graph, fuse, withModules);
        if (!IsTimed && libraries.Choice != ConvolutionChoice.Cudnn) return covers;
        using var stream = new CudaStream(kernels.Context);
        Lock turn = Turns.GetValue(_device.Driver, _ => new()).GetOrAdd(_device.Handle, _ => new Lock());
        var chosen = new List<StepCover<CudaBinder, CudaStep>>();
        do
        {
            _available = libraries.Description;
            _taken.Clear();
            chosen.Clear();
            // The first time each takes up to a second, and there are some forty.
            IEnumerable<KernelVariant> variants = covers.Where(c => !c.IsConstant).SelectMany(c => Unchosen(graph, c, fuse));
            if (IsTimed && withModules) kernels.Begin(variants.Select(v => v.Source));
            foreach (var cover in covers)
            {
                if (cover.IsConstant || !HasConvolution(cover))
                {
                    chosen.Add(cover);
                    continue;
                }
                // Who waited may find the choice made.
                lock (turn) chosen.AddRange(ChooseFor(graph, cover, fuse, stream));
            }
        }
        // A library that failed at one piece is taken from the pieces before, too.
        while (_available != libraries.Description);
        return _chosen = chosen;
    }

    /// <summary>Whether to choose again for a plan that failed so, which takes out what it failed because of.</summary>
    public bool ChoosesAgain(CudaException failure) =>
        failure.Answer == LibraryAnswer.Failure ? DoWithout(failure, _chosen, _available)
            : Failing is { } step && DoWithout(failure, [step], _available);

    // Whether steps that failed so can be chosen anew: without the way that its library does not take after all, or without the libraries that are to
    // blame, which another plan may have left out since.
    private bool DoWithout(CudaException failure, IEnumerable<StepCover<CudaBinder, CudaStep>> steps, string available)
    {
        (string Piece, ConvWay Way)[] ways = [.. LibraryWaysOf(steps)];
        if (failure.Answer != LibraryAnswer.Failure)
        {
            foreach ((string piece, ConvWay way) in ways)
            {
                libraries.DoWithout(way.Maker, failure);
                _refused.Add((piece, way));
            }
            return ways.Length > 0;
        }
        foreach (ConvMaker maker in libraries.BlamedFor(failure, ways.Select(w => w.Way.Maker).Distinct())) libraries.LeaveOut(maker, failure);
        return available != libraries.Description;
    }

    private IEnumerable<(string Piece, ConvWay Way)> LibraryWaysOf(IEnumerable<StepCover<CudaBinder, CudaStep>> steps) =>
        steps.Where(_taken.ContainsKey).Select(s => _taken[s]).Where(t => t.Way.Maker != ConvMaker.Native);

    private IReadOnlyList<StepCover<CudaBinder, CudaStep>> ChooseFor(
        LayerGraph graph, StepCover<CudaBinder, CudaStep> cover, Fusion fuse, CudaStream stream)
    {
        if (CudaCover.PartsOf(cover) is not { } parts) return [ChooseWay(graph, cover, stream)];
        IReadOnlyDictionary<string, StepCover<CudaBinder, CudaStep>> modules = _cover.ModulesOf(cover);
        string asked = AskedOf(fuse);
        if (fuse == Fusion.All && modules.Count == 1) return [cover];
        if (choices.Find(KeyOf(graph, cover) + asked) is { } known && modules.TryGetValue(known, out StepCover<CudaBinder, CudaStep>? module)) return [module];
        while (true)
        {
            int shortages = libraries.Shortages;
            IReadOnlyList<StepCover<CudaBinder, CudaStep>> chosen = fuse == Fusion.All ? []
                : [.. parts.Select(p => HasConvolution(p) ? ChooseWay(graph, p, stream) : p)];
            // Only now, for a library that failed meanwhile is no part of it.
            string available = libraries.Description, key = KeyOf(graph, cover) + asked;
            if (choices.Find(key) is { } name)
            {
                if (modules.TryGetValue(name, out module)) return [module];
                if (name == Parts && chosen.Count > 0) return chosen;
            }
            try
            {
                name = Fastest(graph, modules, chosen, stream);
                if (shortages == libraries.Shortages) choices.Remember(key, name);
                return modules.TryGetValue(name, out module) ? [module] : chosen;
            }
            catch (CudaException) when (fuse == Fusion.All)
            {
                // Such as memory that is short for stand-ins. What is wrong with the module itself the plan will tell.
                return [cover];
            }
            catch (CudaException e)
            {
                if (!DoWithout(e, chosen, available)) throw;
            }
        }
    }

    // The kernels among which a choice will have to be made.
    private IEnumerable<KernelVariant> Unchosen(LayerGraph graph, StepCover<CudaBinder, CudaStep> cover, Fusion fuse)
    {
        if (!HasConvolution(cover)) return [];
        IReadOnlyList<StepCover<CudaBinder, CudaStep>>? parts = CudaCover.PartsOf(cover);
        string? known = choices.Find(KeyOf(graph, cover) + (parts is null ? "" : AskedOf(fuse)));
        IEnumerable<KernelVariant> own = known is null ? _cover.VariantsOf(cover) : [];
        // A module is timed against its parts, each in its best way.
        bool wantsParts = parts is not null && fuse != Fusion.All && known is null or Parts;
        return wantsParts ? own.Concat(parts!.SelectMany(p => Unchosen(graph, p, fuse))) : own;
    }

    private static bool HasConvolution(StepCover<CudaBinder, CudaStep> cover) => cover.Nodes.Any(n => n.Layer is Conv2d);

    // Where all are fused it is a choice among modules alone.
    private static string AskedOf(Fusion fuse) => fuse == Fusion.All ? "|fused" : "";

    private string Fastest(
        LayerGraph graph, IReadOnlyDictionary<string, StepCover<CudaBinder, CudaStep>> modules, IReadOnlyList<StepCover<CudaBinder, CudaStep>> parts,
        CudaStream stream)
    {
        using var trial = new Trial(graph, kernels, element, libraries, stream);
        using var timer = new WorkTimer(stream, choices.Repetitions, choices.Rounds);
        List<string> names = [.. modules.Keys];
        foreach (string name in names) timer.Add(trial.Bind([modules[name]]));
        if (parts.Count > 0)
        {
            timer.Add(trial.Bind(parts));
            names.Add(Parts);
        }
        double handicap = LibraryWaysOf(parts).Any() ? LibraryHandicap : 1;
        return names.Zip(timer.Milliseconds()).MinBy(t => t.First == Parts ? t.Second : handicap * t.Second).First;
    }

    // The same cover, bound in the best way.
    private StepCover<CudaBinder, CudaStep> ChooseWay(LayerGraph graph, StepCover<CudaBinder, CudaStep> cover, CudaStream stream)
    {
        string piece = PieceText.Of(graph, cover.Nodes, cover.Inner);
        int shortages = libraries.Shortages;
        if (!IsTimed || Remembered(graph, cover, piece, stream) is not { } way)
        {
            way = BestWay(graph, cover, piece, stream);
            if (IsTimed && shortages == libraries.Shortages) choices.Remember(KeyOf(graph, cover), way.ToString());
        }
        StepCover<CudaBinder, CudaStep> chosen = WithWay(cover, way);
        _taken.Add(chosen, (piece, way));
        return chosen;
    }

    // The remembered way, if it still works: a library of the same version may have lost a file, or the device memory.
    private ConvWay? Remembered(LayerGraph graph, StepCover<CudaBinder, CudaStep> cover, string piece, CudaStream stream)
    {
        string key;
        do
        {
            key = KeyOf(graph, cover);
            if (choices.Find(key) is not { } name || ConvWay.Parse(name) is not { } way) return null;
            if (way.Maker == ConvMaker.Native) return way;
            if (_refused.Contains((piece, way))) return null;
            using var trial = new Trial(graph, kernels, element, libraries, stream);
            if (Works(trial, cover, way)) return way;
        }
        // Without a library that failed it is another question, which may have been answered too.
        while (key != KeyOf(graph, cover));
        return null;
    }

    private ConvWay BestWay(LayerGraph graph, StepCover<CudaBinder, CudaStep> cover, string piece, CudaStream stream)
    {
        if (IsTimed) libraries.TellMissing();
        using var trial = new Trial(graph, kernels, element, libraries, stream);
        using var timer = new WorkTimer(stream, choices.Repetitions, choices.Rounds);
        // Where a library turned out not to work, these were not foreseen.
        IEnumerable<KernelVariant> variants = _cover.VariantsOf(cover);
        if (IsTimed && libraries.Choice != ConvolutionChoice.Cudnn) kernels.Begin(variants.Select(v => v.Source));
        IReadOnlyList<ConvWay> offered = [.. trial.WaysFor(cover).Where(w => !_refused.Contains((piece, w)))];
        foreach (IEnumerable<ConvWay> equals in InOrder(offered))
        {
            var ways = new List<ConvWay>();
            foreach (ConvWay way in equals)
            {
                if (!libraries.Has(way.Maker) || !Works(trial, cover, way, IsTimed ? timer : null)) continue;
                if (!IsTimed) return way;
                ways.Add(way);
            }
            if (ways.Count == 0) continue;
            IReadOnlyList<double> times = timer.Milliseconds();
            // Of a library that failed later none is taken.
            return ways.Zip(times).Where(w => libraries.Has(w.First.Maker))
                .MinBy(w => w.First.Maker == ConvMaker.Native ? LibraryHandicap * w.Second : w.Second).First;
        }
        return ConvWay.ByModel;
    }

    // Whether a way can be run, and timed where there is a timer. The first run tells what a library does not take after all, and keeps what it loads
    // then out of a capture.
    private bool Works(Trial trial, StepCover<CudaBinder, CudaStep> cover, ConvWay way, WorkTimer? timer = null)
    {
        try
        {
            IReadOnlyList<CudaWork> works = trial.Bind([WithWay(cover, way)]);
            trial.Run(works);
            if (!libraries.Has(way.Maker)) return false;
            timer?.Add(works);
            return true;
        }
        catch (CudaException e) when (libraries.CanDoWithout(way.Maker, e))
        {
            libraries.DoWithout(way.Maker, e);
            return false;
        }
    }

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
        CudaStatus.Check(_device.Driver, _device.Driver.DriverGetVersion(out int driver));
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{_device.Name}|{_device.ComputeCapability}|driver {driver}|NVRTC {kernels.CompilerVersion}|{kernels.Target.Option}"
            + $"|warpgroups {Warpgroups.AreOn(_device)}|clusters {Clusters.AreOn(_device)}|overlap {LaunchSequence.IsAllowed}|winograd {ConvWinogradCuda.IsAllowed}"
            + $"|kernels {KernelFiles.EmbeddedHash}|{libraries.Choice}|handicap {LibraryHandicap}|{libraries.Description}"
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
