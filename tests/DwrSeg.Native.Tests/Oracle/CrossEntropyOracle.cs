using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

internal static class CrossEntropyOracle
{
    public static Values[] Forward(OhemCrossEntropy layer, Values[] inputs)
    {
        (Values logits, Values labels) = (inputs[0], inputs[1]);
        (int Pixel, double Loss)[] valid =
            [.. Enumerable.Range(0, labels.Data.Length).Where(p => labels[p] != layer.Ignore).Select(p => (p, PixelLoss(logits.Pixel(p), labels[p])))];
        (int Pixel, double Loss)[] kept = layer.Threshold < 1 ? [.. valid.Where(v => v.Loss > -Math.Log(layer.Threshold))] : valid;
        int atLeast = (int)(valid.Length * (double)layer.MinKeptFraction);
        // OrderBy is stable: of pixels with the same loss the first are kept.
        if (kept.Length < atLeast) kept = [.. valid.OrderByDescending(v => v.Loss).Take(atLeast)];
        Values loss = new(Shape.Scalar), weights = new(labels.Shape);
        foreach ((int pixel, double pixelLoss) in kept)
        {
            loss[0] += pixelLoss / kept.Length;
            weights[pixel] = 1.0 / kept.Length;
        }
        return [loss, weights];
    }

    public static Values[] Gradient(CrossEntropyGradient layer, Values[] inputs)
    {
        (Values logits, Values labels, Values weights, double dLoss) = (inputs[0], inputs[1], inputs[2], inputs[3][0]);
        var gradient = new Values(logits.Shape);
        for (int p = 0; p < labels.Data.Length; p++)
        {
            double[] probabilities = Softmax(logits.Pixel(p));
            for (int c = 0; c < logits.C; c++) gradient.Pixel(p)[c] = weights[p] * (probabilities[c] - (labels[p] == c ? 1 : 0)) * dLoss;
        }
        return [gradient];
    }

    internal static double[] Softmax(ReadOnlySpan<double> logits)
    {
        double sum = LogSumExp(logits);
        return [.. logits.ToArray().Select(l => Math.Exp(l - sum))];
    }

    private static double PixelLoss(ReadOnlySpan<double> logits, double label)
    {
        if (label >= logits.Length) throw new InvalidOperationException($"Label {label} is none of {logits.Length} classes.");
        return LogSumExp(logits) - logits[(int)label];
    }

    private static double LogSumExp(ReadOnlySpan<double> logits)
    {
        double max = double.NegativeInfinity, sum = 0;
        foreach (double logit in logits) max = Math.Max(max, logit);
        foreach (double logit in logits) sum += Math.Exp(logit - max);
        return max + Math.Log(sum);
    }
}
