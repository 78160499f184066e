using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Autograd;

/// <summary>Appends the weight update to a differentiated graph, so that one run of the plan is one whole training step.</summary>
internal static class Sgd
{
    /// <summary>Prefix of a velocity's name; the rest is its parameter's name.</summary>
    public const string VelocityPrefix = "velocity.";

    /// <summary>Name of the scalar input that holds the learning rate.</summary>
    public const string LearningRate = "learningRate";

    /// <summary>Adds one <see cref="SgdUpdate"/> per parameter. The gradients stay outputs only where <paramref name="keepGradients"/> is set.</summary>
    public static LayerGraph Append(DifferentiatedGraph differentiated, float momentum, float weightDecay, bool keepGradients = false)
    {
        LayerGraph graph = differentiated.Graph;
        var builder = new GraphBuilder(graph);
        Tensor rate = builder.Input(LearningRate, Shape.Scalar, ElementType.Float32);
        foreach (Tensor parameter in graph.Parameters)
        {
            if (!differentiated.Gradients.TryGetValue(parameter, out Tensor? gradient)) continue;
            Tensor velocity = builder.State(VelocityPrefix + parameter.Name, parameter.Shape, parameter.Layout);
            builder.AddInto(
                $"{parameter.Name}/sgd", new SgdUpdate(momentum, weightDecay), [parameter, gradient, velocity, rate],
                new NodeOutput(builder.Updated(parameter), false), new NodeOutput(builder.Updated(velocity), false));
        }
        IEnumerable<Tensor> outputs = keepGradients ? graph.Outputs : graph.Outputs.Except(differentiated.Gradients.Values);
        return builder.Build([.. outputs]);
    }
}
