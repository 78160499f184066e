using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>A step bound to memory: what <see cref="CpuPlan"/> calls.</summary>
/// <param name="Run">Does the step's work; allocates nothing.</param>
/// <param name="Prepare">Derives what depends on parameters alone, such as packed weights; null where there is nothing.</param>
/// <param name="Kernel">Native memory that the step owns.</param>
internal sealed record CpuStep(Action Run, Action? Prepare = null, IDisposable? Kernel = null) : IDisposable
{
    public void Dispose() => Kernel?.Dispose();
}

/// <summary>Nodes that one step carries out.</summary>
/// <param name="Name">What the step is, such as <c>conv3x3+bias+relu</c>.</param>
/// <param name="Nodes">The nodes in the graph's order; the step runs where the last of them stands.</param>
/// <param name="Inner">What lies between these nodes and is never written.</param>
/// <param name="Bind">Makes the step once memory is planned.</param>
internal sealed record StepCover(
    string Name, ImmutableArray<Node> Nodes, ImmutableArray<TensorView> Inner, Func<StepBinder, ImmutableArray<Node>, CpuStep> Bind)
{
    public bool IsConstant { get; init; }

    /// <summary>Tensors that need a place in the arena while the step runs.</summary>
    public IReadOnlyCollection<Tensor> Touched() => [.. Views().Select(v => v.Tensor).Where(t => !t.IsStored).Distinct()];

    public StepSummary Summarize()
    {
        long bytes = Views().Sum(v => v.Shape.Elements * (v.Tensor.Type == ElementType.UInt8 ? 1 : sizeof(float)));
        return new StepSummary(Name, Nodes, Nodes.Sum(n => n.Layer.Multiplies(n)), bytes);
    }

    private IEnumerable<TensorView> Views() =>
        Nodes.SelectMany(n => n.Inputs.Concat(n.Outputs.Select(o => o.View))).Where(v => !Inner.Any(i => i.Contains(v)));
}
