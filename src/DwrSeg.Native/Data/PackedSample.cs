using System.Numerics;

namespace DwrSeg.Native.Data;

/// <summary>
/// A decoded sample as the augmentation reads it: red, green, blue and label in one 32-bit word per pixel (red lowest), so that one
/// aligned load fetches a tap.
/// </summary>
internal sealed class PackedSample
{
    public PackedSample(SegmentationSample sample)
    {
        Name = sample.Name;
        Width = sample.Width;
        Height = sample.Height;
        Pixels = GC.AllocateUninitializedArray<uint>(sample.Labels.Length);
        ReadOnlySpan<byte> rgb = sample.Rgb;
        ReadOnlySpan<byte> labels = sample.Labels;
        Span<uint> pixels = Pixels;
        long red = 0, green = 0, blue = 0;
        for (int i = 0, j = 0; i < pixels.Length; i++, j += 3)
        {
            uint r = rgb[j], g = rgb[j + 1], b = rgb[j + 2];
            red += r;
            green += g;
            blue += b;
            pixels[i] = r | g << 8 | b << 16 | (uint)labels[i] << 24;
        }
        MeanLuma = Vector3.Dot(Augmentation.LumaWeights, new Vector3(red, green, blue) / pixels.Length);
    }

    public string Name { get; }

    public int Width { get; }

    public int Height { get; }

    public uint[] Pixels { get; }

    /// <summary>Mean luma, 0 to 255: what contrast is changed about.</summary>
    public float MeanLuma { get; }

    public long Bytes => 4L * Pixels.Length;
}
