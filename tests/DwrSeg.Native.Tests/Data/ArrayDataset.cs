using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Tests.Data;

/// <summary>A data set in memory: images of 8x8 blocks, each in its class's colour, so that a pixel's colour tells its label.</summary>
internal sealed class ArrayDataset(int count, int width, int height) : SegmentationDataset
{
    public const int Block = 8;
    private int _loads, _loaded;

    public override string Name => "blocks";

    public override ClassList Classes => ClassList.CamVid;

    public override int Count => count;

    public int Loads => Volatile.Read(ref _loads);

    /// <summary>Loads that have ended well.</summary>
    public int Loaded => Volatile.Read(ref _loaded);

    /// <summary>This sample cannot be read.</summary>
    public int Broken { get; init; } = -1;

    public override string SampleName(int index) => $"block{index}";

    public override SegmentationSample Load(int index)
    {
        Interlocked.Increment(ref _loads);
        if (index == Broken) throw new DatasetException($"blocks/{SampleName(index)}.png", "is damaged; copy it again");
        byte[] rgb = new byte[width * height * 3], labels = new byte[width * height];
        Random random = new(index);
        byte[] blocks = new byte[(width / Block + 1) * (height / Block + 1)];
        for (int i = 0; i < blocks.Length; i++) blocks[i] = (byte)random.Next(Classes.Count);
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                int i = y * width + x;
                labels[i] = blocks[y / Block * (width / Block + 1) + x / Block];
                Colour(labels[i]).CopyTo(rgb.AsSpan(3 * i));
            }
        }
        Interlocked.Increment(ref _loaded);
        return new SegmentationSample(SampleName(index), width, height, rgb, labels);
    }

    // Points of a parabola: no colour is a mixture of others.
    public static byte[] Colour(int id) => [(byte)(10 + 20 * id), (byte)(2 * id * id), 130];
}
