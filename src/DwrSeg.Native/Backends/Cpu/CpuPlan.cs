using System.Runtime.InteropServices;
using DwrSeg.Native.Backends.Cpu.Kernels;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>A graph covered with CPU steps over one arena. Running it calls the steps in order and allocates nothing.</summary>
internal sealed unsafe class CpuPlan : IPlan
{
    private const int GuardBytes = 256;
    private const uint Poison = 0x7fc0_dead;

    private readonly WorkerPool _pool;
    private readonly CpuStore _store;
    private readonly Workspace _workspace;
    private readonly MemoryPlan _memory;
    private readonly CpuStep[] _constantSteps;
    private readonly CpuStep[] _steps;
    private readonly bool _guarded;
    private readonly HashSet<Tensor> _kept;
    private byte* _arena;

    /// <exception cref="InsufficientMemoryException">The arena is larger than the memory that can be had.</exception>
    public CpuPlan(LayerGraph graph, CpuStore store, WorkerPool pool, PlanOptions options, Func<long> availableMemory)
    {
        (Graph, _store, _pool, _guarded) = (graph, store, pool, options.Guarded);
        foreach (Tensor tensor in graph.Stored) store.Add(tensor.Name, tensor.Shape);

        (IReadOnlyList<StepCover<StepBinder, CpuStep>> covers, _kept, _memory) =
            LayOut(graph, options.Fuse != Fusion.None, _guarded ? GuardBytes : 0);
        // Systems that promise more memory than they have would end the process when the pages are touched.
        long available = availableMemory();
        if (_memory.Bytes > available)
        {
            throw new InsufficientMemoryException(
                $"The activations at input {graph.Inputs.First().Shape} need {_memory.Bytes >> 20} MiB, this machine has {available >> 20} MiB to spare; " +
                "choose a smaller input size or batch, or end what else takes memory.");
        }
        _arena = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(_memory.Bytes, 1), (nuint)MemoryPlan.Alignment);
        // Touches every page now, and makes a value that nothing wrote a visible NaN.
        for (long i = 0; i + sizeof(uint) <= _memory.Bytes; i += sizeof(uint)) *(uint*)(_arena + i) = Poison;
        foreach (Tensor input in graph.Inputs) NativeMemory.Clear(AddressOf(input), (nuint)BytesOf(input));

        _workspace = new Workspace(pool.Workers);
        var binder = new StepBinder(this, pool, _workspace);
        _constantSteps = [.. covers.Where(c => c.IsConstant).Select(c => c.Bind(binder, c.Nodes))];
        _steps = [.. covers.Where(c => !c.IsConstant).Select(c => c.Bind(binder, c.Nodes))];
        Summary = new PlanSummary(
            [.. covers.Where(c => !c.IsConstant).Select(c => c.Summarize(sizeof(float)))], _memory.Bytes, _memory.UnsharedBytes,
            graph.Stored.Sum(t => t.Shape.Elements * sizeof(float)));
        Prepare();
    }

    ~CpuPlan() => Free();

    /// <summary>What a plan of the graph would consist of: its steps and the memory of its activations. Allocates none of it.</summary>
    public static (int Steps, MemoryPlan Memory) Outline(LayerGraph graph)
    {
        (IReadOnlyList<StepCover<StepBinder, CpuStep>> covers, _, MemoryPlan memory) = LayOut(graph, fuse: true, guardBytes: 0);
        return (covers.Count(c => !c.IsConstant), memory);
    }

    public LayerGraph Graph { get; }

    public PlanSummary Summary { get; }

    /// <summary>Where a tensor's first element lies.</summary>
    public byte* AddressOf(Tensor tensor)
    {
        if (tensor.IsStored) return (byte*)_store.AddressOf((tensor.Alias ?? tensor).Name);
        if (_memory.Places.TryGetValue(tensor, out MemoryPlan.Place place)) return _arena + place.Offset;
        throw new InvalidOperationException($"'{tensor.Name}' is not in this plan: nothing uses it, or it lives inside a fused step.");
    }

    public void Prepare()
    {
        foreach (CpuStep step in _constantSteps) step.Run();
        foreach (CpuStep step in _steps) step.Prepare?.Invoke();
    }

    public void Run()
    {
        if (_guarded)
        {
            RunGuarded();
            return;
        }
        foreach (CpuStep step in _steps) step.Run();
    }

    /// <summary>Runs one step over what the arena holds, for whoever times steps.</summary>
    internal void RunStep(int step) => _steps[step].Run();

    public void Write(Tensor input, ReadOnlySpan<float> values) => values.CopyTo(Values(input, values.Length));

    public void Write(Tensor input, ReadOnlySpan<byte> values)
    {
        if (input.Type != ElementType.UInt8) throw new ArgumentException($"'{input.Name}' does not hold bytes.", nameof(input));
        RequireLength(input, values.Length);
        values.CopyTo(new Span<byte>(AddressOf(input), values.Length));
    }

    public void Read(Tensor output, Span<float> values) => Values(output, values.Length).CopyTo(values);

    public void WriteImage(Tensor input, int index, in ImageView image, in Normalization normalization)
    {
        Map map = StepBinder.ImageOf(StepBinder.MapOf(input, AddressOf(input)), index);
        Preprocess.Run(_pool, image, map, normalization);
    }

    public void ReadClasses(Tensor logits, int index, int height, int width, Span<byte> classes, Span<byte> confidence)
    {
        Map map = StepBinder.ImageOf(StepBinder.MapOf(logits, AddressOf(logits)), index);
        ArgMaxHead.Run(_pool, map, height, width, classes, confidence);
    }

    public void Dispose()
    {
        foreach (CpuStep step in _constantSteps) step.Dispose();
        foreach (CpuStep step in _steps) step.Dispose();
        _workspace.Dispose();
        Free();
        GC.SuppressFinalize(this);
    }

    private static (IReadOnlyList<StepCover<StepBinder, CpuStep>> Covers, HashSet<Tensor> Kept, MemoryPlan Memory) LayOut(
        LayerGraph graph, bool fuse, int guardBytes)
    {
        IReadOnlyList<StepCover<StepBinder, CpuStep>> covers = CpuCover.Of(graph, fuse);
        IEnumerable<NodeOutput> folded = covers.Where(c => c.IsConstant).SelectMany(c => c.Nodes).SelectMany(n => n.Outputs);
        HashSet<Tensor> kept = [.. graph.Inputs, .. folded.Select(o => o.View.Tensor)];
        HashSet<Tensor> lasting = [.. kept, .. graph.Outputs];
        List<IReadOnlyCollection<Tensor>> touched = [.. covers.Select(c => c.Touched())];
        touched.Insert(0, [.. graph.Inputs]);
        return (covers, kept, MemoryPlan.Create(touched, BytesOf, lasting.Contains, guardBytes));
    }

    private void RunGuarded()
    {
        foreach ((Tensor tensor, MemoryPlan.Place place) in _memory.Places)
        {
            if (!_kept.Contains(tensor)) Fill(place.Offset, place.Bytes);
            Fill(place.Offset - GuardBytes, GuardBytes);
            Fill(place.Offset + place.Bytes, GuardBytes);
        }
        for (int i = 0; i < _steps.Length; i++)
        {
            _steps[i].Run();
            foreach ((Tensor tensor, MemoryPlan.Place place) in _memory.Places)
            {
                if (!IsPoison(place.Offset - GuardBytes) || !IsPoison(place.Offset + place.Bytes))
                    throw new InvalidOperationException($"Step '{Summary.Steps[i].Name}' of '{Summary.Steps[i].Nodes[0].Name}' wrote outside '{tensor.Name}'.");
            }
        }
    }

    private void Fill(long offset, long bytes) => new Span<uint>(_arena + offset, checked((int)(bytes / sizeof(uint)))).Fill(Poison);

    private bool IsPoison(long offset) => !new Span<uint>(_arena + offset, GuardBytes / sizeof(uint)).ContainsAnyExcept(Poison);

    private Span<float> Values(Tensor tensor, int length)
    {
        if (tensor.Type == ElementType.UInt8) throw new ArgumentException($"'{tensor.Name}' holds bytes.", nameof(tensor));
        RequireLength(tensor, length);
        return new Span<float>(AddressOf(tensor), length);
    }

    private static void RequireLength(Tensor tensor, int length)
    {
        if (tensor.Shape.Elements != length)
            throw new ArgumentException($"'{tensor.Name}' is {tensor.Shape}, {tensor.Shape.Elements} values; {length} were given.", nameof(length));
    }

    private static long BytesOf(Tensor tensor) => tensor.Shape.Elements * tensor.Type.Bytes(sizeof(float));

    private void Free()
    {
        NativeMemory.AlignedFree(_arena);
        _arena = null;
    }
}
