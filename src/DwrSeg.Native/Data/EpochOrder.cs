namespace DwrSeg.Native.Data;

/// <summary>The order in which an epoch visits the samples: a Fisher–Yates shuffle drawn from (seed, epoch).</summary>
internal static class EpochOrder
{
    // No sample has this index, so the order's stream is none of the samples'.
    private const long Stream = -1;

    public static int[] Of(ulong seed, long epoch, int count)
    {
        int[] order = new int[count];
        for (int i = 0; i < count; i++) order[i] = i;
        SampleRandom random = new(seed, epoch, Stream);
        for (int i = count - 1; i > 0; i--)
        {
            int j = random.Below(i + 1);
            (order[i], order[j]) = (order[j], order[i]);
        }
        return order;
    }
}
