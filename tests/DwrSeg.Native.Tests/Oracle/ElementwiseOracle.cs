using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

internal static class ElementwiseOracle
{
    public static Values[] Relu(Relu layer, Values[] inputs) => Map(inputs[0].Shape, i => Math.Max(inputs[0].Data[i], 0));

    public static Values[] ReluGradient(ReluGradient layer, Values[] inputs) =>
        Map(inputs[0].Shape, i => inputs[0].Data[i] > 0 ? inputs[1].Data[i] : 0);

    public static Values[] Add(Add layer, Values[] inputs) => Map(inputs[0].Shape, i => inputs[0].Data[i] + inputs[1].Data[i]);

    public static Values[] Copy(Copy layer, Values[] inputs) => Map(inputs[0].Shape, i => inputs[0].Data[i]);

    public static Values[] Fill(Fill layer, Values[] inputs) => Map(layer.Shape, _ => layer.Value);

    public static Values[] Concat(Concat layer, Values[] inputs)
    {
        var y = new Values(inputs[0].Shape with { C = inputs.Sum(x => x.C) });
        int channel = 0;
        foreach (Values x in inputs)
        {
            for (int p = 0; p < x.Shape.Pixels; p++) x.Pixel(p).CopyTo(y.Pixel(p)[channel..]);
            channel += x.C;
        }
        return [y];
    }

    public static Values[] SgdUpdate(SgdUpdate layer, Values[] inputs)
    {
        (double[] parameter, double[] gradient, double[] velocity, double rate) = (inputs[0].Data, inputs[1].Data, inputs[2].Data, inputs[3][0]);
        double Velocity(long i) => layer.Momentum * velocity[i] + gradient[i] + layer.WeightDecay * parameter[i];
        return [.. Map(inputs[0].Shape, i => parameter[i] - rate * Velocity(i)), .. Map(inputs[0].Shape, Velocity)];
    }

    public static Values[] WeightedSum(WeightedSum layer, Values[] inputs) =>
        [new Values(Shape.Scalar, [inputs[0].Data.Zip(inputs[1].Data, (x, w) => x * w).Sum()])];

    public static Values[] WeightedSumGradient(WeightedSumGradient layer, Values[] inputs) =>
        Map(inputs[0].Shape, i => inputs[0].Data[i] * inputs[1][0]);

    private static Values[] Map(Shape shape, Func<long, double> value)
    {
        var y = new Values(shape);
        for (int i = 0; i < y.Data.Length; i++) y.Data[i] = value(i);
        return [y];
    }
}
