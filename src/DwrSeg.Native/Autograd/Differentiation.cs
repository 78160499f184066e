using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Autograd;

/// <summary>A graph with its backward pass appended.</summary>
/// <param name="Graph">Forward and backward layers.</param>
/// <param name="Gradients">For each trainable parameter of the forward graph that the loss depends on, the tensor that holds its gradient.</param>
internal sealed record DifferentiatedGraph(LayerGraph Graph, ImmutableDictionary<Tensor, Tensor> Gradients);

/// <summary>Reverse-mode differentiation as a function from graph to graph: walks the nodes backwards and applies their gradient rules.</summary>
internal static class Differentiation
{
    /// <summary>Appends the backward pass of a scalar <paramref name="loss"/>.</summary>
    /// <exception cref="NotSupportedException">A layer between the loss and a parameter has no gradient.</exception>
    public static DifferentiatedGraph Differentiate(LayerGraph forward, Tensor loss)
    {
        if (loss.Shape != Shape.Scalar) throw new ArgumentException($"The loss '{loss.Name}' must be a scalar, not {loss.Shape}.", nameof(loss));
        var backward = new BackwardBuilder(forward);
        backward.Seed(loss);
        foreach (Node node in forward.Nodes.Reverse())
        {
            if (backward.Reaches(node)) node.Layer.Differentiate(node, backward);
        }
        return backward.Finish();
    }

    private sealed class BackwardBuilder : IGradients
    {
        private readonly LayerGraph _forward;
        private readonly GraphBuilder _builder;
        private readonly bool[] _wanted;
        private readonly int[] _readers;
        private readonly Dictionary<Tensor, TensorView> _gradients = [];
        private readonly Dictionary<Tensor, ChannelSet> _written = [];

        public BackwardBuilder(LayerGraph forward)
        {
            _forward = forward;
            _builder = new GraphBuilder(forward);
            _wanted = new bool[forward.Tensors.Length];
            _readers = new int[forward.Tensors.Length];
            foreach (Tensor parameter in forward.Parameters) _wanted[parameter.Id] = true;
            foreach (Node node in forward.Nodes)
            {
                bool wanted = node.Inputs.Any(i => _wanted[i.Tensor.Id]);
                foreach (NodeOutput output in node.Outputs) _wanted[output.View.Tensor.Id] |= wanted;
                foreach (TensorView input in node.Inputs) _readers[input.Tensor.Id]++;
            }
        }

        public void Seed(Tensor loss) => Add($"{loss.Name}/seed", new Fill(Shape.Scalar, 1), [], loss);

        public bool Reaches(Node node) =>
            node.Outputs.Any(o => _wanted[o.View.Tensor.Id] && _written.TryGetValue(o.View.Tensor, out ChannelSet? written)
                && written.Touches(o.View.Channel, o.View.Channels));

        public bool IsWanted(TensorView view) => _wanted[view.Tensor.Id];

        public TensorView Of(TensorView output)
        {
            TensorView gradient = GradientOf(output);
            FillMissing(output);
            return gradient;
        }

        public void Add(string name, Layer layer, ReadOnlySpan<TensorView> inputs, params ReadOnlySpan<TensorView> targets)
        {
            var outputs = new NodeOutput[targets.Length];
            for (int i = 0; i < targets.Length; i++)
            {
                TensorView target = targets[i];
                TensorView gradient = GradientOf(target);
                ChannelSet written = _written[target.Tensor];
                bool accumulate = written.Touches(target.Channel, target.Channels);
                if (accumulate) FillMissing(target);
                written.Add(target.Channel, target.Channels);
                outputs[i] = new NodeOutput(gradient, accumulate);
            }
            _builder.AddInto(name, layer, inputs, outputs);
        }

        public void Pass(string name, TensorView gradient, TensorView target)
        {
            if (!IsWanted(target)) return;
            bool isOnlyReader = _readers[target.Tensor.Id] == 1 && target.IsWhole && !_gradients.ContainsKey(target.Tensor);
            if (isOnlyReader && target.Tensor.Kind == TensorKind.Activation)
            {
                _gradients[target.Tensor] = gradient;
                _written[target.Tensor] = new ChannelSet();
                _written[target.Tensor].Add(0, target.Channels);
                return;
            }
            Add(name, new Copy(), [gradient], target);
        }

        public DifferentiatedGraph Finish()
        {
            Tensor[] reached = [.. _forward.Parameters.Where(_gradients.ContainsKey)];
            foreach (Tensor parameter in reached) FillMissing(parameter);
            var gradients = reached.ToImmutableDictionary(p => p, p => _gradients[p].Tensor);
            return new DifferentiatedGraph(_builder.Build([.. _forward.Outputs, .. reached.Select(p => gradients[p])]), gradients);
        }

        private TensorView GradientOf(TensorView view)
        {
            if (!_gradients.TryGetValue(view.Tensor, out TensorView gradient))
            {
                ElementType type = view.Tensor.Type == ElementType.Compute ? ElementType.Compute : ElementType.Float32;
                gradient = _builder.Activation($"{view.Tensor.Name}/gradient", view.Tensor.Shape, type);
                _gradients.Add(view.Tensor, gradient);
                _written.Add(view.Tensor, new ChannelSet());
            }
            return gradient.Slice(view.Channel, view.Channels);
        }

        // Channels that no reader's gradient reaches have gradient zero; a partly covered accumulation starts from zero where it is first.
        private void FillMissing(TensorView view)
        {
            ChannelSet written = _written[view.Tensor];
            foreach ((int channel, int channels) in written.Missing(view.Channel, view.Channels).ToArray())
            {
                TensorView part = _gradients[view.Tensor].Slice(channel, channels);
                _builder.AddInto($"{view.Tensor.Name}/zero:{channel}", new Fill(part.Shape, 0), [], new NodeOutput(part, false));
                written.Add(channel, channels);
            }
        }
    }
}
