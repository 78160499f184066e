using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends;

/// <summary>Nodes that one step carries out.</summary>
/// <param name="Name">What the step is, such as <c>conv3x3+bias+relu</c>.</param>
/// <param name="Nodes">The nodes in the graph's order; the step runs where the last of them stands.</param>
/// <param name="Inner">What lies between these nodes and is never written.</param>
/// <param name="Bind">Makes the step once memory is planned.</param>
/// <typeparam name="TBinder">Gives a lowering the memory that it binds to.</typeparam>
/// <typeparam name="TStep">A bound step.</typeparam>
internal sealed record StepCover<TBinder, TStep>(
    string Name, ImmutableArray<Node> Nodes, ImmutableArray<TensorView> Inner, Func<TBinder, ImmutableArray<Node>, TStep> Bind)
{
    /// <summary>It depends on parameters alone.</summary>
    public bool IsConstant { get; init; }

    /// <summary>It runs where the first of its nodes stands, not the last: all that it reads is there by then.</summary>
    public bool RunsEarly { get; init; }

    /// <summary>Tensors that need a place in the arena while the step runs.</summary>
    public IReadOnlyCollection<Tensor> Touched() => [.. Views().Select(v => v.Tensor).Where(t => !t.IsStored).Distinct()];

    /// <param name="computeBytes">Bytes of an element of <see cref="ElementType.Compute"/>.</param>
    public StepSummary Summarize(int computeBytes)
    {
        long bytes = Views().Sum(v => v.Shape.Elements * v.Tensor.Type.Bytes(computeBytes));
        return new StepSummary(Name, Nodes, Nodes.Sum(n => n.Layer.Multiplies(n)), bytes);
    }

    private IEnumerable<TensorView> Views() =>
        Nodes.SelectMany(n => n.Inputs.Concat(n.Outputs.Select(o => o.View))).Where(v => !Inner.Any(i => i.Contains(v)));
}
