using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

internal static class BatchNormOracle
{
    public static Values[] Forward(BatchNorm layer, Values[] inputs)
    {
        (Values x, Values gamma, Values beta, Values mean, Values variance) = (inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]);
        var y = new Values(x.Shape);
        for (int p = 0; p < x.Shape.Pixels; p++)
        {
            for (int c = 0; c < x.C; c++)
                y.Pixel(p)[c] = (x.Pixel(p)[c] - mean[c]) / Math.Sqrt(variance[c] + layer.Epsilon) * gamma[c] + beta[c];
        }
        return [y];
    }

    public static Values[] Training(BatchNormTraining layer, Values[] inputs)
    {
        (Values x, Values gamma, Values beta, Values runningMean, Values runningVariance) = (inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]);
        int pixels = (int)x.Shape.Pixels;
        Shape vector = Shape.Vector(x.C);
        Values y = new(x.Shape), mean = new(vector), inverseDeviation = new(vector), newMean = new(vector), newVariance = new(vector);
        for (int c = 0; c < x.C; c++)
        {
            for (int p = 0; p < pixels; p++) mean[c] += x.Pixel(p)[c] / pixels;
            double squares = 0;
            for (int p = 0; p < pixels; p++) squares += Math.Pow(x.Pixel(p)[c] - mean[c], 2);
            inverseDeviation[c] = 1 / Math.Sqrt(squares / pixels + layer.Epsilon);
            for (int p = 0; p < pixels; p++) y.Pixel(p)[c] = (x.Pixel(p)[c] - mean[c]) * inverseDeviation[c] * gamma[c] + beta[c];
            double unbiased = squares / Math.Max(pixels - 1, 1);
            newMean[c] = (1 - (double)layer.Momentum) * runningMean[c] + layer.Momentum * mean[c];
            newVariance[c] = (1 - (double)layer.Momentum) * runningVariance[c] + layer.Momentum * unbiased;
        }
        return [y, mean, inverseDeviation, newMean, newVariance];
    }

    public static Values[] Gradient(BatchNormGradient layer, Values[] inputs)
    {
        (Values x, Values gamma, Values mean, Values inverseDeviation, Values dy) = (inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]);
        int pixels = (int)x.Shape.Pixels;
        Values dx = new(x.Shape), dgamma = new(gamma.Shape), dbeta = new(gamma.Shape);
        for (int c = 0; c < x.C; c++)
        {
            double Normalised(int p) => (x.Pixel(p)[c] - mean[c]) * inverseDeviation[c];
            for (int p = 0; p < pixels; p++)
            {
                dbeta[c] += dy.Pixel(p)[c];
                dgamma[c] += dy.Pixel(p)[c] * Normalised(p);
            }
            for (int p = 0; p < pixels; p++)
                dx.Pixel(p)[c] = gamma[c] * inverseDeviation[c] * (dy.Pixel(p)[c] - dbeta[c] / pixels - Normalised(p) * dgamma[c] / pixels);
        }
        return [dx, dgamma, dbeta];
    }
}
