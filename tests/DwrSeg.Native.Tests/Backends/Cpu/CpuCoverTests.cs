using DwrSeg.Native.Backends;
using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed class CpuCoverTests
{
    [Fact]
    public void InferenceLeavesNoElementwiseStep()
    {
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(DwrSegConfig.Base(), 1, 64, 96));
        IReadOnlyList<StepCover<StepBinder, CpuStep>> steps = [.. CpuCover.Of(graph, fuse: true).Where(c => !c.IsConstant)];
        Assert.DoesNotContain(steps, s => s.Nodes.All(n => n.Layer is Relu or Add or BatchNorm));
        Assert.Equal(6, steps.Count(s => s.Nodes.Count(n => n.Layer is DepthwiseConv) >= 2));
    }

    [Fact]
    public void InferenceNeverWritesAMapInsideSirOrBeforeTheClassifier()
    {
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(DwrSegConfig.Base(), 1, 64, 96));
        IReadOnlyList<StepCover<StepBinder, CpuStep>> steps = CpuCover.Of(graph, fuse: true);
        List<StepCover<StepBinder, CpuStep>> tailed = [.. steps.Where(s => s.Nodes.Count(n => n.Layer is Conv2d) == 2)];
        Assert.Equal(8, tailed.Count);
        foreach (StepCover<StepBinder, CpuStep> step in tailed)
        {
            Tensor[] between = [.. step.Inner.Select(v => v.Tensor)];
            Assert.DoesNotContain(steps, s => s.Touched().Intersect(between).Any());
        }
    }

    [Fact]
    public void TrainingKeepsTheMapsThatItsGradientsRead()
    {
        LayerGraph forward = DwrSegModel.Training(DwrSegConfig.Base(4), 1, 64, 64, new OhemCrossEntropy());
        LayerGraph graph = Sgd.Append(Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]), 0.9f, 5e-4f);
        Assert.DoesNotContain(CpuCover.Of(graph, fuse: true), s => s.Nodes.Count(n => n.Layer is Conv2d) > 1);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void EveryNodeIsCoveredOnce(bool fuse)
    {
        LayerGraph forward = DwrSegModel.Training(DwrSegConfig.Base(4), 1, 64, 64, new OhemCrossEntropy());
        LayerGraph graph = Sgd.Append(Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]), 0.9f, 5e-4f);
        List<Node> covered = [.. CpuCover.Of(graph, fuse).SelectMany(c => c.Nodes)];
        Assert.Equal(graph.Nodes.Length, covered.Count);
        Assert.Equal(graph.Nodes.Length, covered.Distinct(ReferenceEqualityComparer.Instance).Count());
    }

    [Fact]
    public void TrainingUpdatesAllWeightsInOneStep()
    {
        LayerGraph forward = DwrSegModel.Training(DwrSegConfig.Base(4), 1, 64, 64, new OhemCrossEntropy());
        LayerGraph graph = Sgd.Append(Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]), 0.9f, 5e-4f);
        IReadOnlyList<StepCover<StepBinder, CpuStep>> steps = CpuCover.Of(graph, fuse: true);
        Assert.Single(steps, s => s.Nodes.Any(n => n.Layer is SgdUpdate));
        Assert.DoesNotContain(steps, s => s.Nodes is [{ Layer: Relu or ReluGradient }]);
    }

    [Fact]
    public void ValueThatTheCallerReadsIsNotFusedAway()
    {
        var builder = new GraphBuilder();
        Tensor x = builder.Input("x", new Shape(1, 4, 4, 3));
        Tensor w = builder.Parameter("w", new Shape(5, 1, 1, 3), ParameterLayout.Dense);
        Tensor y = builder.Add("y", new Conv2d(1), x, w);
        Tensor z = builder.Add("z", new Relu(), y);
        Assert.Single(CpuCover.Of(builder.Build(z), fuse: true));
        Assert.Equal(2, CpuCover.Of(builder.Build(z, y), fuse: true).Count);
    }
}
