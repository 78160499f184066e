using DwrSeg.Native.Autograd;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Oracle;
using Xunit;

namespace DwrSeg.Native.Tests.Models;

/// <summary>The whole network's gradient as directional derivatives, on the float64 oracle.</summary>
public sealed class NetworkGradientTests
{
    // Found: relative errors up to 3e-7, mostly the rounding of the loss divided by Step. A larger step meets the kinks of ReLUs.
    private const double Step = 1e-7;
    private const double Tolerance = 5e-6;
    private const double Rounding = 1e-14 / Step;

    public static TheoryData<string> Configurations => [.. NetworkFixture.Configurations.Keys];

    [Theory]
    [MemberData(nameof(Configurations))]
    public void GradientEqualsTheDirectionalDerivative(string configuration) =>
        AssertDirectionalDerivative(NetworkFixture.Configurations[configuration], 2, 37, 51, new OhemCrossEntropy(Threshold: 1));

    [Theory]
    [InlineData(1, 32, 64, 0.2f, 0f)]
    [InlineData(3, 33, 32, 0.01f, 0.25f)]
    public void GradientWithHardExamples(int images, int height, int width, float threshold, float minKept) => AssertDirectionalDerivative(
        NetworkFixture.Configurations["default"], images, height, width, new OhemCrossEntropy(255, threshold, minKept));

    private static void AssertDirectionalDerivative(DwrSegConfig config, int images, int height, int width, OhemCrossEntropy loss)
    {
        var random = new Random(5);
        LayerGraph forward = DwrSegModel.Training(config, images, height, width, loss);
        DifferentiatedGraph differentiated = Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]);
        using var store = new OracleStore();
        NetworkFixture.Randomize(forward, store, random);
        using OraclePlan backward = new OracleBackend().Compile(differentiated.Graph, store), evaluate = new OracleBackend().Compile(forward, store);
        double[] image = NetworkFixture.Image(forward[DwrSegModel.Image].Shape, random);
        byte[] labels = NetworkFixture.Labels(forward[DwrSegModel.Labels].Shape, config.Classes, random);
        foreach (OraclePlan plan in new[] { backward, evaluate })
        {
            plan.Write(forward[DwrSegModel.Image], image);
            plan.Write(forward[DwrSegModel.Labels], labels);
        }
        backward.Run();

        Tensor[] parameters = [.. forward.Parameters];
        Assert.Equal(parameters.Length, differentiated.Gradients.Count);
        // One direction through every parameter, then one for each part of the network.
        string[] parts = ["", "stem.", "stage2.", "stage3.", "stage4.", "decoder."];
        foreach (string part in parts)
        {
            double expected = 0, size = 0;
            var direction = new Dictionary<Tensor, double[]>();
            foreach (Tensor parameter in parameters.Where(p => p.Name.StartsWith(part, StringComparison.Ordinal)))
            {
                double[] gradient = backward.Read(differentiated.Gradients[parameter]).Data;
                double[] d = NetworkFixture.Image(parameter.Shape, random);
                direction.Add(parameter, d);
                for (int i = 0; i < d.Length; i++)
                {
                    expected += gradient[i] * d[i];
                    size += Math.Pow(gradient[i] * d[i], 2);
                }
            }
            double found = (LossAt(Step) - LossAt(-Step)) / (2 * Step);
            Assert.True(
                Math.Abs(found - expected) <= Tolerance * Math.Sqrt(size) + Rounding,
                $"Along '{part}*' the loss rises by {found:g9} per unit, the gradient says {expected:g9} (scale {Math.Sqrt(size):g3}).");

            double LossAt(double step)
            {
                Dictionary<Tensor, double[]> kept = direction.Keys.ToDictionary(p => p, p => (double[])store[p.Name].Data.Clone());
                foreach ((Tensor parameter, double[] d) in direction)
                {
                    for (int i = 0; i < d.Length; i++) store[parameter.Name].Data[i] += step * d[i];
                }
                evaluate.Run();
                foreach ((Tensor parameter, double[] values) in kept) values.CopyTo(store[parameter.Name].Data, 0);
                return evaluate.Read(forward[DwrSegModel.Loss])[0];
            }
        }
    }
}
