using DwrSeg.Native.Graph;
using Xunit;

namespace DwrSeg.Native.Tests.Graph;

public sealed class MemoryPlanTests
{
    [Fact]
    public void TensorsWhoseLivesOverlapNeverShareMemory()
    {
        var random = new Random(11);
        for (int round = 0; round < 200; round++)
        {
            Tensor[] tensors = Tensors(random.Next(1, 60), random);
            var steps = new List<IReadOnlyCollection<Tensor>>();
            for (int i = 0; i < random.Next(1, 40); i++) steps.Add([.. Enumerable.Range(0, random.Next(1, 5)).Select(_ => tensors[random.Next(tensors.Length)]).Distinct()]);
            var lasting = new HashSet<Tensor>(tensors.Where(_ => random.Next(10) == 0));
            long guard = random.Next(2) * 256;
            MemoryPlan plan = MemoryPlan.Create(steps, t => t.Shape.Elements * 4, lasting.Contains, guard);

            foreach (Tensor touched in steps.SelectMany(s => s)) Assert.True(plan.Places.ContainsKey(touched));
            MemoryPlan.Place[] places = [.. plan.Places.Values];
            for (int a = 0; a < places.Length; a++)
            {
                Assert.Equal(0, places[a].Offset % MemoryPlan.Alignment);
                Assert.InRange(places[a].Offset, guard, plan.Bytes - places[a].Bytes - guard);
                for (int b = 0; b < a; b++)
                {
                    bool together = guard > 0 || (places[a].FirstStep <= places[b].LastStep && places[b].FirstStep <= places[a].LastStep);
                    bool apart = places[a].Offset + places[a].Bytes + guard <= places[b].Offset || places[b].Offset + places[b].Bytes + guard <= places[a].Offset;
                    Assert.True(!together || apart, $"round {round}: {places[a]} and {places[b]}");
                }
            }
        }
    }

    [Fact]
    public void ChainOfEqualTensorsTakesTwo()
    {
        Tensor[] tensors = Tensors(10, new Random(1), elements: 1024);
        List<IReadOnlyCollection<Tensor>> steps = [.. Enumerable.Range(0, 9).Select(i => new[] { tensors[i], tensors[i + 1] })];
        MemoryPlan plan = MemoryPlan.Create(steps, t => t.Shape.Elements * 4, _ => false);
        Assert.Equal(2 * 4096, plan.Bytes);
        Assert.Equal(10 * 4096, plan.UnsharedBytes);
    }

    [Fact]
    public void SizesBeyond32BitsAreKept()
    {
        var builder = new GraphBuilder();
        Tensor a = builder.Activation("a", new Shape(64, 1024, 1024, 64)), b = builder.Activation("b", new Shape(64, 1024, 1024, 64));
        MemoryPlan plan = MemoryPlan.Create([[a, b]], t => t.Shape.Elements * 4, _ => false);
        Assert.Equal(2L * 64 * 1024 * 1024 * 64 * 4, plan.Bytes);
    }

    private static Tensor[] Tensors(int count, Random random, int elements = 0)
    {
        var builder = new GraphBuilder();
        return [.. Enumerable.Range(0, count).Select(i => builder.Activation($"t{i}", new Shape(1, 1, 1, elements > 0 ? elements : random.Next(1, 5000))))];
    }
}
