using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

public sealed class PolyScheduleTests
{
    [Theory]
    // 0.02 · (1 − t/1000)^0.9, worked out with ten digits.
    [InlineData(0, 0.02)]
    [InlineData(1, 0.0199819991)]
    [InlineData(250, 0.0154377901)]
    [InlineData(500, 0.0107177346)]
    [InlineData(999, 3.99052463e-5)]
    public void TheRateFollowsThePapersFormula(long iteration, double rate) =>
        // Half a unit in the last place of a float.
        Assert.Equal(rate, new PolySchedule(0.02, 0.9, 1000, 0).At(iteration), 2e-9);

    [Fact]
    public void AWarmUpRisesToTheScheduleAndEndsThere()
    {
        PolySchedule plain = new(0.02, 0.9, 1000, 0), warm = new(0.02, 0.9, 1000, 4);
        for (int i = 0; i < 4; i++) Assert.Equal(plain.At(i) * (i + 1) / 5, warm.At(i), 1e-8);
        for (int i = 4; i < 1000; i++) Assert.Equal(plain.At(i), warm.At(i));
    }

    [Fact]
    public void TheRateIsPositiveToTheLastStepAndFallsAlways()
    {
        PolySchedule schedule = new(0.02, 0.9, 100_000, 0);
        float before = float.PositiveInfinity;
        for (int i = 0; i < 100_000; i++)
        {
            float rate = schedule.At(i);
            Assert.True(rate > 0 && rate <= before, $"step {i}: {rate} after {before}");
            before = rate;
        }
    }
}
