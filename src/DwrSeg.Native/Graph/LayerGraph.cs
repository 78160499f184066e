using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>
/// A network as a list of nodes over tensors, in an order in which every tensor is written before it is read. Immutable: passes and
/// autograd are functions from graph to graph.
/// </summary>
internal sealed class LayerGraph
{
    internal LayerGraph(ImmutableArray<Tensor> tensors, ImmutableArray<Node> nodes, ImmutableArray<Tensor> outputs)
    {
        (Tensors, Nodes, Outputs) = (tensors, nodes, outputs);
        Validate();
    }

    /// <summary>All tensors; a tensor's <see cref="Tensor.Id"/> is its position.</summary>
    public ImmutableArray<Tensor> Tensors { get; }

    /// <summary>The layers in order of execution.</summary>
    public ImmutableArray<Node> Nodes { get; }

    /// <summary>Tensors that the caller may read after a run.</summary>
    public ImmutableArray<Tensor> Outputs { get; }

    /// <summary>Tensors that the caller writes before a run.</summary>
    public IEnumerable<Tensor> Inputs => Tensors.Where(t => t.Kind == TensorKind.Input);

    /// <summary>Trainable weights.</summary>
    public IEnumerable<Tensor> Parameters => Tensors.Where(t => t.Kind == TensorKind.Parameter);

    /// <summary>Parameters and state: everything that lives in a tensor store.</summary>
    public IEnumerable<Tensor> Stored => Tensors.Where(t => t.IsStored && t.Alias is null);

    /// <summary>Parameters and state that every run changes, so that nothing derived from them can be kept.</summary>
    public IEnumerable<Tensor> Updated => Tensors.Where(t => t.Alias is not null).Select(t => t.Alias!);

    /// <summary>Multiply-accumulates of all nodes that depend on an input.</summary>
    public long Multiplies
    {
        get
        {
            ImmutableArray<bool> constant = ConstantNodes();
            return Nodes.Where((_, i) => !constant[i]).Sum(n => n.Layer.Multiplies(n));
        }
    }

    /// <summary>The tensor of that name.</summary>
    /// <exception cref="KeyNotFoundException">There is none.</exception>
    public Tensor this[string name] =>
        Tensors.FirstOrDefault(t => t.Name == name) ?? throw new KeyNotFoundException($"The graph has no tensor '{name}'.");

    /// <summary>For each node whether it depends on parameters and state alone, so that it runs when these change, not in every run.</summary>
    public ImmutableArray<bool> ConstantNodes()
    {
        bool[] constantTensor = new bool[Tensors.Length];
        foreach (Tensor tensor in Tensors) constantTensor[tensor.Id] = tensor.IsStored && tensor.Alias is null;
        var constant = ImmutableArray.CreateBuilder<bool>(Nodes.Length);
        foreach (Node node in Nodes)
        {
            bool all = node.Inputs.Length > 0 && node.Inputs.All(i => constantTensor[i.Tensor.Id])
                && node.Outputs.All(o => o.View.Tensor.Alias is null && o.View.IsWhole && !o.Accumulate);
            constant.Add(all);
            if (all)
            {
                foreach (NodeOutput output in node.Outputs) constantTensor[output.View.Tensor.Id] = true;
            }
        }
        return constant.ToImmutable();
    }

    private void Validate()
    {
        var written = new ChannelSet[Tensors.Length];
        var replaced = new bool[Tensors.Length];
        var names = new HashSet<string>();
        foreach (Tensor tensor in Tensors)
        {
            if (!names.Add(tensor.Name)) throw new InvalidOperationException($"Two tensors are named '{tensor.Name}'.");
            written[tensor.Id] = new ChannelSet();
            if (tensor.Kind == TensorKind.Input || (tensor.IsStored && tensor.Alias is null)) written[tensor.Id].Add(0, tensor.Shape.C);
        }
        foreach (Node node in Nodes)
        {
            foreach (TensorView input in node.Inputs)
            {
                if (replaced[input.Tensor.Id])
                    throw new InvalidOperationException($"'{node.Name}' reads '{input.Tensor.Name}' after an update has replaced it.");
                if (!written[input.Tensor.Id].Covers(input.Channel, input.Channels))
                    throw new InvalidOperationException($"'{node.Name}' reads {input} before all of it is written.");
            }
            foreach (NodeOutput output in node.Outputs)
            {
                (Tensor tensor, int channel, int channels) = (output.View.Tensor, output.View.Channel, output.View.Channels);
                if (output.Accumulate ? !written[tensor.Id].Covers(channel, channels) : written[tensor.Id].Touches(channel, channels))
                {
                    throw new InvalidOperationException(output.Accumulate
                        ? $"'{node.Name}' accumulates into {output.View} before all of it is written."
                        : $"'{node.Name}' writes {output.View}, part of which is written already.");
                }
                written[tensor.Id].Add(channel, channels);
                if (tensor.Alias is { } alias) replaced[alias.Id] = true;
            }
        }
        foreach (Tensor output in Outputs)
        {
            if (!written[output.Id].Covers(0, output.Shape.C)) throw new InvalidOperationException($"No layer writes all of output '{output.Name}'.");
        }
    }
}

/// <summary>A set of channel numbers as sorted, disjoint ranges.</summary>
internal sealed class ChannelSet
{
    private readonly List<(int Start, int End)> _ranges = [];

    public void Add(int channel, int channels)
    {
        int start = channel, end = channel + channels;
        for (int i = _ranges.Count - 1; i >= 0; i--)
        {
            if (_ranges[i].End < start || _ranges[i].Start > end) continue;
            start = Math.Min(start, _ranges[i].Start);
            end = Math.Max(end, _ranges[i].End);
            _ranges.RemoveAt(i);
        }
        _ranges.Add((start, end));
        _ranges.Sort();
    }

    public bool Covers(int channel, int channels) => _ranges.Any(r => r.Start <= channel && channel + channels <= r.End);

    public bool Touches(int channel, int channels) => _ranges.Any(r => r.Start < channel + channels && channel < r.End);

    /// <summary>The parts of [channel, channel + channels) that are not in the set.</summary>
    public IEnumerable<(int Channel, int Channels)> Missing(int channel, int channels)
    {
        int position = channel;
        foreach ((int start, int end) in _ranges)
        {
            if (end <= position || start >= channel + channels) continue;
            if (start > position) yield return (position, start - position);
            position = end;
        }
        if (position < channel + channels) yield return (position, channel + channels - position);
    }
}
