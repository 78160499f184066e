using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

public sealed class SmokeTests
{
    [Fact]
    public void AddsTwoNumbersInEveryLane()
    {
        ulong[] a = [.. Enumerable.Range(0, 128).Select(i => (ulong)i)], b = [.. a.Select(x => x * x)];
        Assert.Equal([.. a.Select(x => x + x * x)], PtxSnippet.Run("add.u32 d, a, b;", "b32", "b32", a, b));
    }
}
