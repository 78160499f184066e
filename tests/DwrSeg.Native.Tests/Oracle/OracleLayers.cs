using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

/// <summary>The oracle's table of layers: each is a pure function from its inputs' values to fresh outputs.</summary>
internal static class OracleLayers
{
    private static readonly Dictionary<Type, Func<Layer, Values[], Values[]>> Table = [];

    static OracleLayers()
    {
        Register<Conv2d>(ConvolutionOracle.Forward);
        Register<Conv2dDataGradient>(ConvolutionOracle.DataGradient);
        Register<Conv2dWeightGradient>(ConvolutionOracle.WeightGradient);
        Register<BiasGradient>(ConvolutionOracle.BiasGradient);
        Register<DepthwiseConv>(DepthwiseOracle.Forward);
        Register<DepthwiseDataGradient>(DepthwiseOracle.DataGradient);
        Register<DepthwiseWeightGradient>(DepthwiseOracle.WeightGradient);
        Register<BatchNorm>(BatchNormOracle.Forward);
        Register<BatchNormTraining>(BatchNormOracle.Training);
        Register<BatchNormGradient>(BatchNormOracle.Gradient);
        Register<FoldBatchNorm>(FoldOracle.IntoConvolutionBefore);
        Register<FoldInputBatchNorm>(FoldOracle.IntoConvolutionAfter);
        Register<FoldPointwise>(FoldOracle.Pointwise);
        Register<Relu>(ElementwiseOracle.Relu);
        Register<ReluGradient>(ElementwiseOracle.ReluGradient);
        Register<Add>(ElementwiseOracle.Add);
        Register<Copy>(ElementwiseOracle.Copy);
        Register<Fill>(ElementwiseOracle.Fill);
        Register<Concat>(ElementwiseOracle.Concat);
        Register<SgdUpdate>(ElementwiseOracle.SgdUpdate);
        Register<WeightedSum>(ElementwiseOracle.WeightedSum);
        Register<WeightedSumGradient>(ElementwiseOracle.WeightedSumGradient);
        Register<MaxPool>(ResamplingOracle.MaxPool);
        Register<MaxPoolGradient>(ResamplingOracle.MaxPoolGradient);
        Register<Resize>(ResamplingOracle.Resize);
        Register<ResizeGradient>(ResamplingOracle.ResizeGradient);
        Register<OhemCrossEntropy>(CrossEntropyOracle.Forward);
        Register<CrossEntropyGradient>(CrossEntropyOracle.Gradient);
    }

    public static void RequireKnown(Node node)
    {
        if (!Table.ContainsKey(node.Layer.GetType()))
            throw new InvalidOperationException($"The oracle has no {node.Layer.GetType().Name} ('{node.Name}'): add it to {nameof(OracleLayers)}.");
    }

    public static Values[] Execute(Node node, Values[] inputs) => Table[node.Layer.GetType()](node.Layer, inputs);

    private static void Register<T>(Func<T, Values[], Values[]> function) where T : Layer =>
        Table.Add(typeof(T), (layer, inputs) => function((T)layer, inputs));
}
