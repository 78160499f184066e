using System.Collections.Immutable;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

/// <summary>Executes a graph node by node. Slices, accumulation and updates in place are all dealt with here, not in the layers.</summary>
internal sealed class OraclePlan : IPlan
{
    private readonly Values[] _memory;
    private readonly ImmutableArray<bool> _constant;
    private readonly double _noise;
    private readonly Random _random;

    public OraclePlan(LayerGraph graph, OracleStore store, double noise, int seed)
    {
        (Graph, Store, _noise, _random) = (graph, store, noise, new Random(seed));
        _constant = graph.ConstantNodes();
        _memory = new Values[graph.Tensors.Length];
        foreach (Tensor tensor in graph.Tensors)
        {
            if (tensor.Alias is { } alias)
            {
                _memory[tensor.Id] = _memory[alias.Id];
            }
            else if (tensor.IsStored)
            {
                store.Add(tensor.Name, tensor.Shape);
                _memory[tensor.Id] = store[tensor.Name];
            }
            else
            {
                _memory[tensor.Id] = new Values(tensor.Shape);
                _memory[tensor.Id].Data.AsSpan().Fill(double.NaN);
            }
        }
        foreach (Node node in graph.Nodes) OracleLayers.RequireKnown(node);
        Prepare();
    }

    public LayerGraph Graph { get; }

    public OracleStore Store { get; }

    public PlanSummary Summary => new([.. Graph.Nodes.Select(n => new StepSummary(n.Layer.GetType().Name, [n], n.Layer.Multiplies(n), 0))], 0, 0, 0);

    public void Prepare() => Execute(constant: true);

    public void Run() => Execute(constant: false);

    public void Write(Tensor input, ReadOnlySpan<float> values) => OracleStore.Convert(values, Writable(input).Data);

    public void Write(Tensor input, ReadOnlySpan<byte> values)
    {
        double[] data = Writable(input).Data;
        OracleStore.RequireSameLength(values.Length, data.Length);
        for (int i = 0; i < data.Length; i++) data[i] = values[i];
    }

    public void Write(Tensor input, ReadOnlySpan<double> values)
    {
        OracleStore.RequireSameLength(values.Length, Writable(input).Data.Length);
        values.CopyTo(Writable(input).Data);
    }

    public void Read(Tensor output, Span<float> values) => OracleStore.Convert(_memory[output.Id].Data, values);

    /// <summary>Any tensor of the graph, as it stands.</summary>
    public Values Read(Tensor tensor) => _memory[tensor.Id];

    public void WriteImage(Tensor input, int index, in ImageView image, in Normalization normalization)
    {
        Values all = Writable(input);
        Values resized = OracleImage.Resize(OracleImage.Normalise(image, normalization), all.H, all.W);
        resized.Data.CopyTo(all.Data.AsSpan(index * resized.Data.Length));
    }

    public void ReadClasses(Tensor logits, int index, int height, int width, Span<byte> classes, Span<byte> confidence)
    {
        Values all = _memory[logits.Id];
        var one = new Values(all.Shape with { N = 1 });
        all.Data.AsSpan(index * one.Data.Length, one.Data.Length).CopyTo(one.Data);
        OracleImage.Classify(OracleImage.Resize(one, height, width), classes, confidence);
    }

    public void Dispose()
    {
    }

    private Values Writable(Tensor input) => input.Kind == TensorKind.Input
        ? _memory[input.Id] : throw new ArgumentException($"'{input.Name}' is not an input.", nameof(input));

    private void Execute(bool constant)
    {
        for (int i = 0; i < Graph.Nodes.Length; i++)
        {
            if (_constant[i] != constant) continue;
            foreach (NodeOutput output in Graph.Nodes[i].Outputs)
            {
                if (output.View.Tensor.Kind == TensorKind.Activation) _memory[output.View.Tensor.Id].Data.AsSpan().Fill(double.NaN);
            }
        }
        for (int i = 0; i < Graph.Nodes.Length; i++)
        {
            if (_constant[i] == constant) Execute(Graph.Nodes[i]);
        }
    }

    private void Execute(Node node)
    {
        Values[] inputs = [.. node.Inputs.Select(Load)];
        for (int i = 0; i < inputs.Length; i++)
        {
            if (inputs[i].Data.Any(double.IsNaN)) throw new InvalidOperationException($"NaN in input {i} of {node}: nothing wrote it in this run.");
        }
        Values[] outputs = OracleLayers.Execute(node, inputs);
        for (int i = 0; i < outputs.Length; i++)
        {
            if (outputs[i].Data.Any(double.IsNaN)) throw new InvalidOperationException($"NaN in output {i} of {node}.");
            Disturb(outputs[i]);
            Keep(node.Outputs[i], outputs[i]);
        }
    }

    private Values Load(TensorView view)
    {
        Values whole = _memory[view.Tensor.Id];
        if (view.IsWhole && _noise == 0) return whole;
        var part = new Values(view.Shape);
        for (int p = 0; p < view.Shape.Pixels; p++) whole.Pixel(p).Slice(view.Channel, view.Channels).CopyTo(part.Pixel(p));
        if (view.Tensor.Type != ElementType.UInt8) Disturb(part);
        return part;
    }

    private void Disturb(Values values)
    {
        if (_noise == 0) return;
        foreach (ref double value in values.Data.AsSpan()) value *= 1 + _noise * (2 * _random.NextDouble() - 1);
    }

    private void Keep(NodeOutput output, Values part)
    {
        Values whole = _memory[output.View.Tensor.Id];
        for (int p = 0; p < part.Shape.Pixels; p++)
        {
            Span<double> from = part.Pixel(p), to = whole.Pixel(p).Slice(output.View.Channel, output.View.Channels);
            for (int c = 0; c < from.Length; c++) to[c] = output.Accumulate ? to[c] + from[c] : from[c];
        }
    }
}
