using DwrSeg.Native.Autograd;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Oracle;
using Xunit;

namespace DwrSeg.Native.Tests.Autograd;

/// <summary>
/// A small forward graph on the oracle whose gradients are compared with central finite differences. Tensors come filled with values that
/// keep clear of kinks: distinct multiples of a step much larger than the differences', none of them near zero.
/// </summary>
internal sealed class GradientCheck(int seed = 1)
{
    // In float64 the difference's truncation error is of order Step², its rounding error of order 1e-16 / Step: both near 1e-11.
    private const double Step = 1e-5;
    private const double Tolerance = 1e-7;

    private readonly Random _random = new(seed);
    private readonly List<(Tensor Stored, double[] Values)> _stored = [];
    private readonly List<(Tensor Input, double[] Values)> _inputs = [];
    private readonly List<Tensor> _sums = [];

    public GraphBuilder Builder { get; } = new();

    /// <summary>A parameter (also what stands for a layer's input: only parameters get gradients).</summary>
    public Tensor Parameter(string name, Shape shape) => Fill(Builder.Parameter(name, shape), Distinct(shape));

    /// <summary>State of values between 0.5 and 1.5, such as a variance.</summary>
    public Tensor PositiveState(string name, Shape shape) => Fill(Builder.State(name, shape), Random(shape, () => 0.5 + _random.NextDouble()));

    public Tensor Input(string name, Shape shape, Func<double> value, ElementType type = ElementType.Float32)
    {
        Tensor input = Builder.Input(name, shape, type);
        _inputs.Add((input, Random(shape, value)));
        return input;
    }

    /// <summary>Byte labels: classes, and every seventh or so ignored.</summary>
    public Tensor Labels(string name, Shape logits) => Input(
        name, logits with { C = 1 }, () => _random.Next(7) == 0 ? 255 : _random.Next(logits.C), ElementType.UInt8);

    /// <summary>Makes the loss depend on every element of the view.</summary>
    public void Use(TensorView view)
    {
        int i = _sums.Count;
        Tensor weights = Input($"weights{i}", view.Shape, () => 2 * _random.NextDouble() - 1);
        _sums.Add(Builder.Add($"sum{i}", new WeightedSum(), view, weights));
    }

    /// <summary>Adds a scalar to the loss.</summary>
    public void UseScalar(Tensor scalar) => _sums.Add(scalar);

    /// <summary>Compares the gradient of every element of every parameter.</summary>
    public DifferentiatedGraph AssertGradientsMatch()
    {
        Tensor loss = _sums[0];
        for (int i = 1; i < _sums.Count; i++) loss = Builder.Add($"loss{i}", new Add(), loss, _sums[i]);
        LayerGraph forward = Builder.Build(loss);
        DifferentiatedGraph differentiated = Differentiation.Differentiate(forward, loss);
        using OracleStore store = new(), forwardStore = new();
        using OraclePlan plan = new OracleBackend().Compile(differentiated.Graph, store);
        using OraclePlan forwardPlan = new OracleBackend().Compile(forward, forwardStore);
        foreach ((Tensor stored, double[] values) in _stored)
        {
            values.CopyTo(store[stored.Name].Data);
            values.CopyTo(forwardStore[stored.Name].Data);
        }
        foreach ((Tensor input, double[] values) in _inputs)
        {
            plan.Write(input, values);
            forwardPlan.Write(input, values);
        }
        double Loss()
        {
            forwardPlan.Prepare();
            forwardPlan.Run();
            return forwardPlan.Read(loss)[0];
        }
        plan.Prepare();
        plan.Run();
        Assert.Equal(forward.Parameters.Select(p => p.Name).Order(), differentiated.Gradients.Keys.Select(p => p.Name).Order());
        foreach (Tensor parameter in forward.Parameters)
        {
            double[] gradient = plan.Read(differentiated.Gradients[parameter]).Data, value = forwardStore[parameter.Name].Data;
            double scale = Math.Max(gradient.Max(Math.Abs), 1);
            for (int i = 0; i < value.Length; i++)
            {
                double kept = value[i];
                value[i] = kept + Step;
                double above = Loss();
                value[i] = kept - Step;
                double below = Loss();
                value[i] = kept;
                double expected = (above - below) / (2 * Step);
                Assert.True(
                    Math.Abs(gradient[i] - expected) <= Tolerance * scale,
                    $"d loss / d {parameter.Name}[{i}]: the gradient rule says {gradient[i]:g9}, the finite difference {expected:g9}.");
            }
        }
        return differentiated;
    }

    private Tensor Fill(Tensor stored, double[] values)
    {
        _stored.Add((stored, values));
        return stored;
    }

    private static double[] Random(Shape shape, Func<double> value)
    {
        var values = new double[shape.Elements];
        foreach (ref double v in values.AsSpan()) v = value();
        return values;
    }

    // (k + 1/2) · spacing for distinct integers k around zero, shuffled: no two are within a step of each other or of zero.
    private double[] Distinct(Shape shape)
    {
        int count = (int)shape.Elements;
        double spacing = 2.0 / Math.Max(count, 4);
        double[] values = [.. Enumerable.Range(0, count).Select(k => (k - count / 2 + 0.5) * spacing)];
        _random.Shuffle(values);
        return values;
    }
}
