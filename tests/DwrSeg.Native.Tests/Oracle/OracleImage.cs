using DwrSeg.Native.Backends;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

/// <summary>What happens to an image before and after the network.</summary>
internal static class OracleImage
{
    /// <summary>Red, green and blue of each pixel, normalised.</summary>
    public static Values Normalise(in ImageView image, in Normalization normalization)
    {
        int pixelBytes = image.Format is PixelFormat.Rgb or PixelFormat.Bgr ? 3 : 4;
        bool isBlueFirst = image.Format is PixelFormat.Bgr or PixelFormat.Bgra;
        double[] mean = [normalization.MeanR, normalization.MeanG, normalization.MeanB];
        double[] deviation = [normalization.DeviationR, normalization.DeviationG, normalization.DeviationB];
        var values = new Values(new Shape(1, image.Height, image.Width, 3));
        for (int y = 0; y < image.Height; y++)
        {
            for (int x = 0; x < image.Width; x++)
            {
                for (int c = 0; c < 3; c++)
                {
                    byte value = image.Pixels[y * image.RowBytes + x * pixelBytes + (isBlueFirst ? 2 - c : c)];
                    values[0, y, x, c] = (value / 255.0 - mean[c]) / deviation[c];
                }
            }
        }
        return values;
    }

    public static Values Resize(Values values, int height, int width) => ResamplingOracle.Resize(new Resize(height, width), [values])[0];

    /// <summary>Arg max (the lowest class wins a tie) and, where asked for, the winner's probability in 1/255.</summary>
    public static void Classify(Values logits, Span<byte> classes, Span<byte> confidence)
    {
        for (int p = 0; p < logits.Shape.Pixels; p++)
        {
            Span<double> pixel = logits.Pixel(p);
            int best = 0;
            for (int c = 1; c < pixel.Length; c++) best = pixel[c] > pixel[best] ? c : best;
            classes[p] = (byte)best;
            if (!confidence.IsEmpty) confidence[p] = (byte)Math.Round(255 * CrossEntropyOracle.Softmax(pixel)[best]);
        }
    }
}
