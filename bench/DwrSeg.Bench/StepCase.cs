using System.Collections.Immutable;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Graph;

namespace DwrSeg.Bench;

/// <summary>A step of a plan, standing for all of the same kind and shapes.</summary>
public sealed class StepCase : IWork, IComparable<StepCase>, IComparable
{
    private readonly StepSummary _step;

    private StepCase(int index, StepSummary step) => (Index, _step) = (index, step);

    public long Flops => 2 * _step.Multiplies;

    public long Bytes => _step.Bytes;

    internal int Index { get; }

    /// <summary>The plan's order, which is the table's.</summary>
    public int CompareTo(StepCase? other) => Index.CompareTo(other?.Index);

    public int CompareTo(object? obj) => CompareTo(obj as StepCase);

    /// <summary>Kind, first layer and the shapes that it takes to what: what a filter can name.</summary>
    public override string ToString()
    {
        ImmutableArray<TensorView> inputs = _step.Nodes[0].Inputs;
        string from = inputs.IsEmpty ? "" : $"{inputs[0].Shape} > ";
        return $"{_step.Name} {_step.Nodes[0].Name} {from}{_step.Nodes[^1].Output.Shape}";
    }

    /// <summary>One step of each kind and shape, in the order of the plan.</summary>
    internal static IEnumerable<StepCase> Of(LayerGraph graph) =>
        CpuCover.Of(graph, fuse: true).Where(c => !c.IsConstant).Select((c, i) => new StepCase(i, c.Summarize(sizeof(float)))).DistinctBy(c => c.Kind);

    private string Kind => $"{_step.Name} {string.Join(' ', _step.Nodes.SelectMany(n => n.Inputs.Append(n.Output)).Select(v => v.Shape))}";
}
