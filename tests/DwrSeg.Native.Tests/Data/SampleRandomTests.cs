using DwrSeg.Native.Data;
using Xunit;

namespace DwrSeg.Native.Tests.Data;

public sealed class SampleRandomTests
{
    [Fact]
    public void StreamsAreFixed_SoThatOldCheckpointsResumeTheSame()
    {
        SampleRandom random = new(1, 2, 3);
        ulong[] drawn = [random.NextBits(), random.NextBits(), random.NextBits()];
        Assert.Equal([13681812560692949792, 5209550640854895560, 17429227707529324253], drawn);
    }

    [Fact]
    public void StreamsOfNeighbouringSeedsEpochsAndIndices_AllDiffer()
    {
        HashSet<ulong> first = [];
        for (ulong seed = 0; seed < 10; seed++)
        {
            for (int epoch = 0; epoch < 10; epoch++)
            {
                for (int index = -1; index < 20; index++) Assert.True(first.Add(new SampleRandom(seed, epoch, index).NextBits()));
            }
        }
    }

    [Fact]
    public void DrawsAreUniform_WithinAndAcrossStreams()
    {
        int[] counts = new int[10];
        const int Draws = 100_000;
        for (int index = 0; index < Draws / 10; index++)
        {
            SampleRandom random = new(7, 0, index);
            for (int i = 0; i < 10; i++) counts[random.Below(10)]++;
        }
        // Sigma of a count is 95.
        Assert.All(counts, count => Assert.InRange(count, Draws / 10 - 450, Draws / 10 + 450));
    }

    [Fact]
    public void OrderOfAnEpoch_IsAPermutationThatOnlySeedAndEpochDecide()
    {
        int[] order = EpochOrder.Of(3, 0, 1000);
        Assert.Equal(Enumerable.Range(0, 1000), order.Order());
        Assert.Equal(order, EpochOrder.Of(3, 0, 1000));
        Assert.NotEqual(order, EpochOrder.Of(3, 1, 1000));
        Assert.NotEqual(order, EpochOrder.Of(4, 0, 1000));
        // Fixed points of a random permutation: one is expected, ten are not.
        Assert.True(order.Index().Count(entry => entry.Index == entry.Item) < 10);
    }
}
