using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.Native.Backends;

namespace DwrSeg.Native.Data;

/// <summary>
/// Scale, crop, flip, colour jitter and normalisation in one pass from the decoded image to the network's input. Scaled pixel X of a
/// row scaled from w to s pixels lies at (X + ½)·w/s − ½ of the source: bilinear for the image, nearest for the label.
/// </summary>
/// <remarks>
/// Below half size, bilinear taps would skip source pixels, so the image is first halved by 2x2 averages until at most a factor of two
/// is left; labels are always taken from the source itself. Jitter is brightness, contrast, saturation, in this order; all are linear, so
/// they are one affine map per pixel, clamped to 0 … 255 once at its end.
/// </remarks>
internal sealed unsafe class Augmentation
{
    public static readonly Vector3 LumaWeights = new(0.299f, 0.587f, 0.114f);

    private readonly AugmentationOptions _options;

    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public Augmentation(AugmentationOptions options)
    {
        options.Validate();
        _options = options;
    }

    public AugmentationOptions Options => _options;

    /// <summary>Floats of one image: CropHeight·CropWidth·3.</summary>
    public int ImageLength => checked(LabelLength * 3);

    /// <summary>Bytes of one label map: CropHeight·CropWidth.</summary>
    public int LabelLength => checked(_options.CropWidth * _options.CropHeight);

    /// <summary>What one thread needs besides its output; grows to the largest image it saw.</summary>
    internal sealed class Scratch
    {
        public Column[] Columns = [];
        public uint[] Half = [];
    }

    internal struct Column
    {
        public int Left, Right, Nearest;
        public float Fraction;
    }

    /// <summary>The random choices for one sample. Always drawn whole and in this order, so that no option shifts another's draw.</summary>
    internal readonly record struct Choice(
        int ScaledWidth, int ScaledHeight, int Left, int Top, bool Flip, float Brightness, float Contrast, float Saturation);

    public Choice Draw(int width, int height, SampleRandom random)
    {
        double scale = random.Between(_options.MinScale, _options.MaxScale);
        int scaledWidth = Math.Max(1, (int)Math.Round(width * scale)), scaledHeight = Math.Max(1, (int)Math.Round(height * scale));
        int left = Offset(scaledWidth - _options.CropWidth, ref random), top = Offset(scaledHeight - _options.CropHeight, ref random);
        bool flip = random.Chance(_options.FlipProbability);
        float brightness = Factor(_options.Brightness, ref random), contrast = Factor(_options.Contrast, ref random);
        return new Choice(scaledWidth, scaledHeight, left, top, flip, brightness, contrast, Factor(_options.Saturation, ref random));
    }

    // Positive room: where the crop begins in the image. Negative: where the image begins in the crop, negated.
    private static int Offset(int room, ref SampleRandom random)
    {
        int offset = random.Below(Math.Abs(room) + 1);
        return room < 0 ? -offset : offset;
    }

    private static float Factor(double range, ref SampleRandom random) => (float)random.Between(1 - range, 1 + range);

    /// <summary>Writes a random crop: CropHeight x CropWidth x 3 normalised floats and CropHeight x CropWidth train ids.</summary>
    public void Apply(PackedSample source, SampleRandom random, Scratch scratch, Span<float> image, Span<byte> labels)
        => Apply(source, Draw(source.Width, source.Height, random), scratch, image, labels);

    public void Apply(PackedSample source, in Choice choice, Scratch scratch, Span<float> image, Span<byte> labels)
    {
        if (image.Length != ImageLength || labels.Length != LabelLength)
        {
            throw new ArgumentException($"needs {ImageLength} floats and {LabelLength} labels, found {image.Length} and {labels.Length}");
        }
        int cropWidth = _options.CropWidth, cropHeight = _options.CropHeight;
        ReadOnlySpan<uint> taps = Shrink(source, choice, scratch, out int tapWidth, out int tapHeight, out int shift);
        // The part of a crop row that the image covers; the rest is padding, the mean colour, which normalises to 0.
        int begin = Math.Clamp(-choice.Left, 0, cropWidth), end = Math.Clamp(choice.ScaledWidth - choice.Left, begin, cropWidth);
        if (choice.Flip) (begin, end) = (cropWidth - end, cropWidth - begin);
        ReadOnlySpan<Column> columns = Columns(source.Width, tapWidth, shift, begin, end, choice, scratch);
        Colour colour = new(_options, choice, source.MeanLuma);
        for (int y = 0; y < cropHeight; y++)
        {
            Span<float> imageRow = image.Slice(y * cropWidth * 3, cropWidth * 3);
            Span<byte> labelRow = labels.Slice(y * cropWidth, cropWidth);
            int scaledY = choice.Top + y;
            if (scaledY < 0 || scaledY >= choice.ScaledHeight || begin == end)
            {
                imageRow.Clear();
                labelRow.Fill(SegmentationSample.Ignore);
                continue;
            }
            imageRow[..(begin * 3)].Clear();
            imageRow[(end * 3)..].Clear();
            labelRow[..begin].Fill(SegmentationSample.Ignore);
            labelRow[end..].Fill(SegmentationSample.Ignore);
            Column row = Tap(scaledY, choice.ScaledHeight, source.Height, tapHeight, shift);
            Labels(source.Pixels.AsSpan(row.Nearest * source.Width, source.Width), columns, labelRow[begin..end]);
            Image(taps.Slice(row.Left * tapWidth, tapWidth), taps.Slice(row.Right * tapWidth, tapWidth), row.Fraction, columns, colour,
                imageRow[(begin * 3)..(end * 3)]);
        }
    }

    private static ReadOnlySpan<Column> Columns(int width, int tapWidth, int shift, int begin, int end, in Choice choice, Scratch scratch)
    {
        if (scratch.Columns.Length < end - begin) scratch.Columns = new Column[end - begin];
        // Flipping mirrors the crop: crop column x shows what column cropWidth − 1 − x would.
        int first = Math.Max(choice.Left, 0);
        for (int i = 0; i < end - begin; i++)
        {
            int scaledX = choice.Flip ? first + (end - begin - 1 - i) : first + i;
            scratch.Columns[i] = Tap(scaledX, choice.ScaledWidth, width, tapWidth, shift);
        }
        return scratch.Columns.AsSpan(0, end - begin);
    }

    private static Column Tap(int scaled, int scaledLength, int length, int tapLength, int shift)
    {
        double centre = (scaled + 0.5) * length / scaledLength;
        double position = Math.Clamp(centre / (1 << shift) - 0.5, 0, tapLength - 1);
        int left = (int)position;
        return new Column
        {
            Left = left,
            Right = Math.Min(left + 1, tapLength - 1),
            Fraction = (float)(position - left),
            Nearest = Math.Min((int)centre, length - 1),
        };
    }

    private static void Labels(ReadOnlySpan<uint> source, ReadOnlySpan<Column> columns, Span<byte> labels)
    {
        for (int i = 0; i < columns.Length; i++) labels[i] = (byte)(source[columns[i].Nearest] >> 24);
    }

    // Columns come from Tap, which keeps every index inside the row, and the row's length is checked by the slice it came from.
    private static void Image(
        ReadOnlySpan<uint> upper, ReadOnlySpan<uint> lower, float down, ReadOnlySpan<Column> columns, in Colour colour, Span<float> image)
    {
        Vector128<float> pixel = colour.Pixel, luma = colour.Luma, offset = colour.Offset;
        Vector128<float> gain = colour.Gain, shift = colour.Shift, white = Vector128.Create(255f);
        fixed (uint* above = upper, below = lower)
        fixed (Column* column = columns)
        fixed (float* output = image)
        {
            int last = columns.Length - 1;
            for (int i = 0; i <= last; i++)
            {
                int left = column[i].Left, right = column[i].Right;
                Vector128<float> across = Vector128.Create(column[i].Fraction);
                Vector128<float> a = Load(above + left), b = Load(above + right), c = Load(below + left), d = Load(below + right);
                a += (b - a) * across;
                c += (d - c) * across;
                a += (c - a) * down;
                Vector128<float> value = a * pixel + Vector128.Create(Vector128.Dot(a, luma)) + offset;
                value = Vector128.Min(Vector128.Max(value, Vector128<float>.Zero), white) * gain + shift;
                if (i < last)
                {
                    // The fourth lane spills into the next pixel, which the next round overwrites.
                    value.Store(output + 3 * i);
                }
                else
                {
                    output[3 * i] = value[0];
                    output[3 * i + 1] = value[1];
                    output[3 * i + 2] = value[2];
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Load(uint* pixel)
    {
        Vector128<ushort> wide = Vector128.WidenLower(Vector128.CreateScalarUnsafe(*pixel).AsByte());
        return Vector128.ConvertToSingle(Vector128.WidenLower(wide).AsInt32());
    }

    private static ReadOnlySpan<uint> Shrink(
        PackedSample source, in Choice choice, Scratch scratch, out int width, out int height, out int shift)
    {
        width = source.Width;
        height = source.Height;
        shift = 0;
        ReadOnlySpan<uint> pixels = source.Pixels;
        while (width > 2 * choice.ScaledWidth && height > 2 * choice.ScaledHeight)
        {
            int halfWidth = (width + 1) / 2, halfHeight = (height + 1) / 2;
            if (shift == 0 && scratch.Half.Length < halfWidth * halfHeight) scratch.Half = new uint[halfWidth * halfHeight];
            // In place from the second halving on: a row is written only after the two rows it averages.
            Halve(pixels, width, height, scratch.Half);
            pixels = scratch.Half;
            width = halfWidth;
            height = halfHeight;
            shift++;
        }
        return pixels[..(width * height)];
    }

    // The edge of an odd length averages with itself. Two bytes of a pixel are summed at once, in 16-bit halves of a word.
    private static void Halve(ReadOnlySpan<uint> source, int width, int height, Span<uint> result)
    {
        const uint Even = 0x00FF00FF, Round = 0x00020002;
        int halfWidth = (width + 1) / 2;
        for (int y = 0; y < height; y += 2)
        {
            ReadOnlySpan<uint> above = source.Slice(y * width, width), below = source.Slice(Math.Min(y + 1, height - 1) * width, width);
            Span<uint> row = result.Slice(y / 2 * halfWidth, halfWidth);
            for (int x = 0; x < halfWidth; x++)
            {
                int left = 2 * x, right = Math.Min(left + 1, width - 1);
                uint a = above[left], b = above[right], c = below[left], d = below[right];
                uint even = (a & Even) + (b & Even) + (c & Even) + (d & Even) + Round;
                uint odd = (a >> 8 & Even) + (b >> 8 & Even) + (c >> 8 & Even) + (d >> 8 & Even) + Round;
                row[x] = even >> 2 & Even | (odd >> 2 & Even) << 8;
            }
        }
    }

    /// <summary>Jitter and normalisation as v·Pixel + dot(v, Luma) + Offset, clamped, then ·Gain + Shift; the fourth lane is 0.</summary>
    private readonly struct Colour
    {
        public readonly Vector128<float> Pixel, Luma, Offset, Gain, Shift;

        public Colour(AugmentationOptions options, in Choice choice, float meanLuma)
        {
            // Brightness b, contrast c about the brightened mean m·b, saturation s about the pixel's luma, which both have changed too.
            float scale = choice.Brightness * choice.Contrast;
            Pixel = Vector128.Create(scale * choice.Saturation);
            Luma = ((1 - choice.Saturation) * scale * LumaWeights).AsVector128();
            Offset = Vector128.Create((1 - choice.Contrast) * choice.Brightness * meanLuma);
            Normalization norm = options.Normalization;
            Vector3 deviation = new(norm.DeviationR, norm.DeviationG, norm.DeviationB);
            Gain = (Vector3.One / (255 * deviation)).AsVector128();
            Shift = (-new Vector3(norm.MeanR, norm.MeanG, norm.MeanB) / deviation).AsVector128();
        }
    }
}
