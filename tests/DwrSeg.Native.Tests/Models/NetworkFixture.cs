using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Oracle;

namespace DwrSeg.Native.Tests.Models;

/// <summary>Small networks and values for them.</summary>
internal static class NetworkFixture
{
    /// <summary>The smallest network that has every kind of module, and each ablation of it.</summary>
    public static readonly IReadOnlyDictionary<string, DwrSegConfig> Configurations = new Dictionary<string, DwrSegConfig>
    {
        ["default"] = Small,
        ["shared branches"] = Small with { SharedBranches = true },
        ["depth-wise SIR"] = Small with { SirDepthwise = true },
        ["alpha 1:1:1"] = Small with { BranchRatio = [1, 1, 1] },
        ["beta 3"] = Small with { RrExpansion = 3 },
        ["lambda 1"] = Small with { SirExpansion = 1 },
        ["no RR ReLU"] = Small with { RrRelu = false },
        ["no RR BN"] = Small with { RrBn = false },
        ["no SR BN"] = Small with { SrBn = false },
        ["SR ReLU"] = Small with { SrRelu = true },
        ["project BN"] = Small with { ProjectBn = true },
        ["no normalisation in DWR"] = Small with { RrBn = false, SrBn = false, RrRelu = false },
        ["three shared branches in every stage"] = Small with { Stages = [SharedStage, SharedStage with { Repeats = 2 }, SharedStage] },
    };

    private static DwrSegConfig Small => new() { BaseChannels = 4, Classes = 3, Repeats = [2, 2, 1] };

    private static StageConfig SharedStage =>
        new() { Module = StageModule.Dwr, Repeats = 1, Dilations = [1, 3, 5], BranchRatio = [2, 1, 1], SharedBranches = true };

    /// <summary>Values away from their defaults, so that a swapped or ignored tensor shows: BN scales and variances 0.5 to 1.5, Kaiming
    /// weights, small shifts and means.</summary>
    public static void Randomize(LayerGraph graph, OracleStore store, Random random)
    {
        foreach (Tensor tensor in graph.Stored)
        {
            store.Add(tensor.Name, tensor.Shape);
            bool isConvolution = tensor.Layout != ParameterLayout.Vector;
            bool isPositive = !isConvolution && (tensor.Name.EndsWith("weight", StringComparison.Ordinal) || tensor.Name.EndsWith("var", StringComparison.Ordinal));
            int fanIn = tensor.Shape.H * tensor.Shape.W * (tensor.Layout == ParameterLayout.Dense ? tensor.Shape.C : 1);
            double deviation = isConvolution ? Math.Sqrt(2.0 / fanIn) : 0.2;
            foreach (ref double value in store[tensor.Name].Data.AsSpan())
                value = isPositive ? 0.5 + random.NextDouble() : deviation * random.NextNormal();
        }
    }

    /// <summary>Normally distributed pixels.</summary>
    public static double[] Image(Shape shape, Random random)
    {
        var image = new double[shape.Elements];
        foreach (ref double value in image.AsSpan()) value = random.NextNormal();
        return image;
    }

    /// <summary>Random classes, one label in ten ignored.</summary>
    public static byte[] Labels(Shape shape, int classes, Random random)
    {
        var labels = new byte[shape.Elements];
        foreach (ref byte label in labels.AsSpan()) label = (byte)(random.Next(10) == 0 ? 255 : random.Next(classes));
        return labels;
    }
}
