using DwrSeg.Native;

namespace DwrSeg.Examples;

/// <summary>From an image file to a picture of its classes.</summary>
public static class SegmentImage
{
    /// <param name="model">A weights file, such as models/dwrseg-base-camvid.safetensors.</param>
    /// <param name="image">A JPEG, PNG, WebP, BMP or GIF file.</param>
    /// <param name="overlay">The picture to write, a PNG file.</param>
    /// <returns>The classes that cover more than a hundredth of the image, the largest first.</returns>
    public static IReadOnlyList<string> Run(string model, string image, string overlay)
    {
        using Segmenter segmenter = Segmenter.Load(model);
        Segmentation result = segmenter.Run(image);
        result.SaveOverlay(overlay);

        double[] shares = result.ClassShares();
        return
        [
            .. Enumerable.Range(0, shares.Length).Where(id => shares[id] > 0.01).OrderByDescending(id => shares[id])
                .Select(id => result.ClassList.Names[id]),
        ];
    }
}
