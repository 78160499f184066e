using System.Collections.Immutable;
using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// A graph covered with launches over one arena of device memory, captured as a CUDA graph that each run replays. The arena's tensors are
/// announced to the driver where they are born and where they die, which an emulated one holds every access against.
/// </summary>
internal sealed class CudaPlan : IPlan, ITensorPlaces
{
    private const int GuardBytes = 256, CaptureRounds = 9;

    private readonly CudaStore _store;
    private readonly CudaContext _context;
    private readonly CudaStream _stream = null!;
    private readonly MemoryPlan _memory = null!;
    private readonly CudaDeviceVariable<byte>? _arena;
    private readonly CudaDeviceVariable<uint>? _workspaceMemory;
    private readonly CudaStep[] _constantSteps = [];
    private readonly CudaStep[] _steps = [];
    private readonly HashSet<Tensor> _lasting = [];
    private readonly int[] _positions = [];
    private readonly ImageInput _imageInput = null!;
    private readonly ClassMapOutput _classMaps = null!;
    private readonly bool _guarded;
    private CudaGraphExec? _captured;

    // Of the steps, the one that is being made or put on the stream.
    private int? _current;

    /// <param name="graph">What to compute.</param>
    /// <param name="store">Its stored tensors.</param>
    /// <param name="kernels">Kernels of the device.</param>
    /// <param name="element">How maps lie in memory.</param>
    /// <param name="libraries">Whom convolutions may be given to.</param>
    /// <param name="chooser">Chooses the steps, and is told at which of them a failure came.</param>
    /// <param name="options">How to lay it out.</param>
    public CudaPlan(
        LayerGraph graph, CudaStore store, KernelCache kernels, CudaElement element, ConvolutionLibraries libraries, CoverChooser chooser,
        PlanOptions options)
    {
        (Graph, _store, _context, Element, _guarded) = (graph, store, kernels.Context, element, options.Guarded);
        LibraryWorkspace = new LibraryWorkspace(_context);
        CudaBinder? binder = null;
        (long Bytes, int Tiles) largest = default;
        long? scratch = null;
        IReadOnlyList<StepCover<CudaBinder, CudaStep>> steps = [];
        try
        {
            foreach (Tensor tensor in graph.Stored) store.Add(tensor.Name, tensor.Shape);
            IReadOnlyList<StepCover<CudaBinder, CudaStep>> covers = chooser.Choose(graph, options.Fuse);
            _lasting = LastingOf(covers);
            _memory = PlanMemory(covers);
            _stream = new CudaStream(_context);
            if (graph.Updated.Any()) store.AddWriter(_stream);
            binder = new CudaBinder(graph, this, kernels, _stream, element, libraries);
            foreach (var cover in covers)
            {
                (long bytes, int tiles) = CudaLowerings.WorkspaceFor(binder, cover.Nodes);
                largest = (Math.Max(largest.Bytes, bytes), Math.Max(largest.Tiles, tiles));
            }
            // What libraries want is known when they are bound.
            if (!chooser.TakesLibraries) scratch = largest.Bytes;
            _arena = new CudaDeviceVariable<byte>(_context, Math.Max(_memory.Bytes, 1));
            _imageInput = new ImageInput(kernels, _stream);
            _classMaps = new ClassMapOutput(kernels, _stream);
            foreach ((Tensor tensor, MemoryPlan.Place place) in _memory.Places)
            {
                if (!IsPassing(tensor)) Mark(place, tensor.Name);
            }
            foreach (Tensor input in graph.Inputs) Clear(input);
            if (largest.Tiles > 0) (_workspaceMemory, Workspace) = SplitWorkspace.Allocate(_stream, largest.Bytes, largest.Tiles);
            _constantSteps = BindConstants(binder, [.. covers.Where(c => c.IsConstant)]);
            steps = [.. covers.Where(c => !c.IsConstant)];
            _steps = [.. steps.Select((c, i) => BindStep(binder, c, i))];
            _current = null;
            scratch = largest.Bytes + LibraryWorkspace.Needed;
            LibraryWorkspace.Allocate();
            // In the memory plan step 0 is the caller's writing of the inputs.
            _positions = [.. covers.Index().Where(c => !c.Item.IsConstant).Select(c => c.Index + 1)];
            Covers = [.. steps.Select((c, i) => (c.Name, _steps[i].Launches))];
            Summary = new PlanSummary(
                [.. steps.Select(c => c.Summarize(element.Bytes()))], _memory.Bytes, _memory.UnsharedBytes,
                graph.Stored.Sum(t => t.Shape.Elements * sizeof(float)));
            Convolutions = ConvolutionCounts.Of(Summary.Steps.Zip(_steps, (summary, step) => (summary.Nodes, step.Launches)));
            Prepare();
        }
        catch (CudaException e) when (MemoryShortage.Is(e))
        {
            Release();
            // Before the choice by time, what the models choose.
            bool withModules = libraries.Choice != ConvolutionChoice.Cudnn;
            MemoryPlan memory = _memory ?? PlanMemory(new CudaCover(_context.Device, element).Of(graph, options.Fuse, withModules));
            throw MemoryShortage.OfPlan(
                _context, e, element, memory.Bytes, scratch, PackedWeights.BytesOf(graph, element), isTraining: graph.Updated.Any());
        }
        catch
        {
            Release();
            chooser.Failing = _current is { } failing ? steps[failing] : null;
            throw;
        }

        void Release()
        {
            Dispose();
            binder?.Release();
        }
    }

    public LayerGraph Graph { get; }

    public PlanSummary Summary { get; } = null!;

    /// <summary>How maps lie in memory.</summary>
    public CudaElement Element { get; }

    /// <summary>What runs go to.</summary>
    public CudaStream Stream => _stream;

    /// <summary>Memory for sums that blocks share.</summary>
    public SplitWorkspace Workspace { get; }

    /// <summary>Memory for library calls.</summary>
    public LibraryWorkspace LibraryWorkspace { get; }

    /// <summary>Who computes the convolutions.</summary>
    public ConvolutionCounts Convolutions { get; }

    /// <summary>Whether launches begin before the one before them has ended, where they can (<see cref="LaunchSequence"/>).</summary>
    public bool Overlaps { get; private set; }

    /// <summary>The launches and library calls of each step.</summary>
    public IReadOnlyList<(string Name, IReadOnlyList<CudaWork> Launches)> Covers { get; } = [];

    /// <summary>What is done when parameters change: folding, and packing weights.</summary>
    public IEnumerable<CudaWork> Preparations => _constantSteps.SelectMany(s => s.Launches).Concat(_steps.SelectMany(s => s.Preparations));

    /// <summary>Where a tensor's first element lies.</summary>
    public CUdeviceptr AddressOf(Tensor tensor)
    {
        if (tensor.IsStored) return _store.AddressOf((tensor.Alias ?? tensor).Name);
        return (_arena?.DevicePointer ?? new CUdeviceptr(CudaCover.AnyAddress)) + (ulong)PlaceOf(tensor).Offset;
    }

    /// <summary>A tensor as a map; vectors and weights are maps of fp32.</summary>
    public DeviceMap MapOf(Tensor tensor) => PlacesOfTensors.MapOf(tensor, AddressOf(tensor), Element);

    /// <summary>One image of a tensor's batch as a map.</summary>
    public DeviceMap ImageOf(Tensor tensor, int index)
    {
        DeviceMap map = MapOf(tensor);
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, map.N);
        return map with { Data = map.Data + (ulong)((long)index * map.H * map.W * map.PixelStride * map.Element.Bytes()), N = 1 };
    }

    public void Prepare()
    {
        _store.AwaitWriters();
        foreach (CudaStep step in _constantSteps) Launch(step.Launches);
        foreach (CudaStep step in _steps) Launch(step.Preparations);
        _stream.Synchronize();
        if (_captured is not null) return;
        // What follows may run a step that nobody asked for, and a training step changes what is stored.
        CudaStore.Values before = _store.Keep(Graph.Updated.Select(t => t.Name));
        try
        {
            // Libraries load and allocate in their first calls, which a capture forbids. They were called in memory that stood in for the plan's;
            // another address may lead them to another kernel.
            if (_steps.Any(s => s.Launches.Any(w => w is not CudaLaunch)))
            {
                LaunchSteps();
                _stream.Synchronize();
            }
            _captured = Capture();
        }
        catch (CudaException e) when (!e.IsSticky)
        {
            _store.Restore(before);
            throw;
        }
        _store.Restore(before);
    }

    public void Run()
    {
        using NvtxRange range = Nvtx.Instance.Begin("dwrseg frame"u8);
        try
        {
            _captured!.Launch(_stream);
        }
        catch (CudaException e) when (LibraryCalls().Length > 0)
        {
            // What is captured can't be done without any more, nor is a lost device or too little memory mended so.
            bool helps = !e.IsSticky && !MemoryShortage.Is(e);
            string advice = helps ? $"; `--conv native` ({nameof(SegmenterOptions)}.{nameof(SegmenterOptions.Convolutions)}) does without" : "";
            string message = $"{e.Message} The plan was captured with {LibraryCalls()} in it{advice}.";
            throw new CudaException(message, e.Call, e.Status, e.StatusName, e.IsSticky, e);
        }
    }

    /// <summary>Waits for everything that was asked of the plan.</summary>
    public void Synchronize() => _stream.Synchronize();

    public void Write(Tensor input, ReadOnlySpan<float> values)
    {
        if (input.Type == ElementType.UInt8) throw new ArgumentException($"'{input.Name}' holds bytes.", nameof(input));
        RequireLength(input, values.Length);
        if (ElementOf(input) == CudaElement.Float32)
        {
            Part(input).CopyToDevice(MemoryMarshal.AsBytes(values), _stream);
            return;
        }
        var bytes = new byte[BytesOf(input)];
        ElementValues.Encode(values, bytes, Element);
        Part(input).CopyToDevice(bytes, _stream);
    }

    public void Write(Tensor input, ReadOnlySpan<byte> values)
    {
        if (input.Type != ElementType.UInt8) throw new ArgumentException($"'{input.Name}' does not hold bytes.", nameof(input));
        RequireLength(input, values.Length);
        Part(input).CopyToDevice(values, _stream);
    }

    public void Read(Tensor output, Span<float> values)
    {
        if (output.Type == ElementType.UInt8) throw new ArgumentException($"'{output.Name}' holds bytes.", nameof(output));
        RequireLength(output, values.Length);
        if (ElementOf(output) == CudaElement.Float32)
        {
            Part(output).CopyToHost(MemoryMarshal.AsBytes(values), _stream);
            return;
        }
        var bytes = new byte[BytesOf(output)];
        Part(output).CopyToHost(bytes, _stream);
        ElementValues.Decode(bytes, values, Element);
    }

    public void WriteImage(Tensor input, int index, in ImageView image, in Normalization normalization) =>
        _imageInput.Write(ImageOf(input, index), image, normalization, _stream);

    public void ReadClasses(Tensor logits, int index, int height, int width, Span<byte> classes, Span<byte> confidence) =>
        _classMaps.Read(ImageOf(logits, index), height, width, classes, confidence, _stream);

    /// <summary>Puts a frame's whole way on the streams: the image into <paramref name="source"/>, the network, the class map out by
    /// <paramref name="target"/>, which is then to be ended.</summary>
    public void Begin(
        ImageInput source, ClassMapOutput target, Tensor input, Tensor logits, in ImageView image, in Normalization normalization, bool withConfidence)
    {
        source.Write(ImageOf(input, 0), image, normalization, _stream);
        Run();
        target.Begin(ImageOf(logits, 0), image.Height, image.Width, withConfidence, _stream);
    }

    public void Dispose()
    {
        _captured?.Dispose();
        foreach (CudaStep step in _constantSteps) step.Dispose();
        foreach (CudaStep step in _steps) step.Dispose();
        _classMaps?.Dispose();
        _imageInput?.Dispose();
        _workspaceMemory?.Dispose();
        LibraryWorkspace.Dispose();
        _arena?.Dispose();
        if (_stream is null) return;
        _store.RemoveWriter(_stream);
        _stream.Dispose();
    }

    private string LibraryCalls() =>
        string.Join(" and ", Covers.SelectMany(c => c.Launches).Where(w => w.Maker != ConvMaker.Native).Select(w => w.Call).Distinct());

    private HashSet<Tensor> LastingOf(IReadOnlyList<StepCover<CudaBinder, CudaStep>> covers) =>
    [
        .. Graph.Inputs, .. covers.Where(c => c.IsConstant).SelectMany(c => c.Nodes).SelectMany(n => n.Outputs).Select(o => o.View.Tensor),
        .. Graph.Outputs,
    ];

    private MemoryPlan PlanMemory(IReadOnlyList<StepCover<CudaBinder, CudaStep>> covers)
    {
        List<IReadOnlyCollection<Tensor>> touched = [[.. Graph.Inputs], .. covers.Select(c => c.Touched())];
        return MemoryPlan.Create(touched, BytesOf, LastingOf(covers).Contains, _guarded ? GuardBytes : 0);
    }

    // BN folds that wait for nothing come first, in one launch: alone, each would leave most of the device idle.
    private static CudaStep[] BindConstants(CudaBinder binder, IReadOnlyList<StepCover<CudaBinder, CudaStep>> covers)
    {
        HashSet<Tensor> made = [.. covers.SelectMany(c => c.Nodes).SelectMany(n => n.Outputs).Select(o => o.View.Tensor)];
        ImmutableArray<Node> folds = [.. covers.Where(IsFirst).Select(c => c.Nodes[0])];
        IEnumerable<CudaStep> others = covers.Where(c => !IsFirst(c)).Select(c => c.Bind(binder, c.Nodes));
        return folds.IsEmpty ? [.. others] : [CudaLowerings.BindFolds(binder, folds), .. others];

        bool IsFirst(StepCover<CudaBinder, CudaStep> cover) =>
            cover.Nodes is [Node node] && CudaLowerings.IsFold(node) && !node.Inputs.Any(i => made.Contains(i.Tensor));
    }

    private CudaStep BindStep(CudaBinder binder, StepCover<CudaBinder, CudaStep> cover, int number)
    {
        _current = number;
        return cover.Bind(binder, cover.Nodes);
    }

    // Whether launches that begin early are faster depends on where the device puts their blocks: where there is a clock, it decides.
    private CudaGraphExec Capture()
    {
        Overlaps = _steps.Any(s => s.Launches.Any(w => w.CanOverlap));
        if (Overlaps && _context.Device.Driver.HasClock)
        {
            using var timer = new WorkTimer(_stream, repetitions: 1, CaptureRounds);
            foreach (bool overlaps in (ReadOnlySpan<bool>)[true, false]) timer.Add(_ => LaunchSteps(overlaps));
            IReadOnlyList<double> times = timer.Milliseconds();
            Overlaps = times[0] <= times[1];
            return timer.Take(Overlaps ? 0 : 1);
        }
        using CudaGraph graph = _stream.Capture(_ => LaunchSteps());
        return graph.Instantiate();
    }

    private void LaunchSteps(bool overlaps = true)
    {
        var sequence = new LaunchSequence(_stream, overlaps);
        for (int i = 0; i < _steps.Length; i++)
        {
            int step = _positions[i];
            foreach ((Tensor tensor, MemoryPlan.Place place) in _memory.Places)
            {
                if (IsPassing(tensor) && place.FirstStep == step) Mark(place, tensor.Name);
            }
            _current = i;
            foreach (CudaWork work in _steps[i].Launches) sequence.Add(work);
            _current = null;
            foreach ((Tensor tensor, MemoryPlan.Place place) in _memory.Places)
            {
                if (IsPassing(tensor) && place.LastStep == step) Mark(place, null);
            }
        }
    }

    // It lives from step to step, not throughout.
    private bool IsPassing(Tensor tensor) => !_guarded && !_lasting.Contains(tensor);

    private void Launch(IReadOnlyList<CudaWork> launches)
    {
        for (int i = 0; i < launches.Count; i++) launches[i].Launch(_stream);
    }

    private void Mark(MemoryPlan.Place place, string? name) =>
        _stream.MarkRegion(_arena!.DevicePointer + (ulong)place.Offset, (ulong)place.Bytes, name);

    private void Clear(Tensor input) => Part(input).MemsetAsync(0, _stream);

    private CudaDeviceVariable<byte> Part(Tensor tensor) => tensor.IsStored
        ? new CudaDeviceVariable<byte>(_context, AddressOf(tensor), BytesOf(tensor)) : _arena!.Slice(PlaceOf(tensor).Offset, BytesOf(tensor));

    private MemoryPlan.Place PlaceOf(Tensor tensor) => _memory.Places.TryGetValue(tensor, out MemoryPlan.Place place) ? place
        : throw new InvalidOperationException($"'{tensor.Name}' is not in this plan: nothing uses it, or it lives inside a fused step.");

    private CudaElement ElementOf(Tensor tensor) => PlacesOfTensors.IsExact(tensor) ? CudaElement.Float32 : Element;

    private long BytesOf(Tensor tensor) => PlacesOfTensors.BytesOf(tensor, Element);

    private static void RequireLength(Tensor tensor, int length)
    {
        if (tensor.Shape.Elements != length)
            throw new ArgumentException($"'{tensor.Name}' is {tensor.Shape}, {tensor.Shape.Elements} values; {length} were given.", nameof(length));
    }
}
