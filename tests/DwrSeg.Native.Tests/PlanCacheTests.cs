using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests;

public sealed class PlanCacheTests
{
    [Fact]
    public void LeastRecentlyUsedSizeMakesRoom()
    {
        using var backend = new CpuBackend(1);
        using ITensorStore store = backend.CreateStore();
        var compiled = new List<(int, int)>();
        using var cache = new PlanCache(size =>
        {
            compiled.Add(size);
            return Compile(backend, store, size);
        });
        for (int i = 1; i <= PlanCache.Capacity; i++) cache.Get((8, i));
        Assert.Equal((8, 1), cache.Get((8, 1)).Size);
        Assert.Equal(PlanCache.Capacity, compiled.Count);

        cache.Get((9, 9));
        Assert.Equal(PlanCache.Capacity + 1, compiled.Count);
        Assert.Equal([(9, 9), (8, 1), (8, 4), (8, 3)], cache.Sizes);
        cache.Get((8, 2));
        Assert.Equal((8, 2), compiled[^1]);
    }

    [Fact]
    public void CacheStaysSoundWhenASizeCanNotBeCompiled()
    {
        using var backend = new CpuBackend(1);
        using ITensorStore store = backend.CreateStore();
        using var cache = new PlanCache(size => size.Height == 1
            ? throw new InvalidOperationException()
            : Compile(backend, store, size));
        for (int i = 1; i <= PlanCache.Capacity; i++) cache.Get((8, i));
        Assert.Throws<InvalidOperationException>(() => cache.Get((1, 1)));
        Assert.Equal([(8, 4), (8, 3), (8, 2)], cache.Sizes);
        Assert.Equal((8, 7), cache.Get((8, 7)).Size);
        Assert.Equal([(8, 7), (8, 4), (8, 3), (8, 2)], cache.Sizes);
    }

    [Fact]
    public void PlansKeptMakeRoomWhereADevicesMemoryIsShort()
    {
        using var backend = new CpuBackend(1);
        using ITensorStore store = backend.CreateStore();
        PlanCache? cache = null;
        using (cache = new PlanCache(size => cache!.Sizes.Count() > 1 && size.Height == 16
            ? throw new CudaException("memory ran out", "cuMemAlloc", (int)CUresult.OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY")
            : Compile(backend, store, size)))
        {
            cache.Get((8, 8));
            cache.Get((8, 9));
            cache.Get((8, 10));
            Assert.Equal((16, 8), cache.Get((16, 8)).Size);
            Assert.Equal([(16, 8), (8, 10)], cache.Sizes);
        }
    }

    [Fact]
    public void PlansKeptMakeRoomWhereMemoryIsShort()
    {
        const long Memory = 1 << 19;
        var plans = new List<IPlan>();
        PlanCache? cache = null;
        long Left() => Memory - plans.Where((_, i) => cache!.Sizes.Contains(SizeOf(i))).Sum(p => p.Summary.ArenaBytes);
        (int, int) SizeOf(int plan) => (64, 64 + plan);
        using var backend = new CpuBackend(1, Left);
        using ITensorStore store = backend.CreateStore();
        using (cache = new PlanCache(size =>
        {
            IPlan plan = Compile(backend, store, size);
            plans.Add(plan);
            return plan;
        }))
        {
            cache.Get(SizeOf(0));
            long bytes = plans[0].Summary.ArenaBytes;
            // Two of these fit, three do not.
            Assert.InRange(bytes, Memory / 3 + 1, Memory / 2 - Memory / 20);
            cache.Get(SizeOf(1));
            cache.Get(SizeOf(2));
            Assert.Equal([SizeOf(2), SizeOf(1)], cache.Sizes);
            Assert.Throws<InsufficientMemoryException>(() => cache.Get((256, 256)));
            Assert.Empty(cache.Sizes);
            Assert.Equal(SizeOf(3), cache.Get(SizeOf(3)).Size);
        }
    }

    private static IPlan Compile(CpuBackend backend, ITensorStore store, (int Height, int Width) size) =>
        backend.Compile(InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, size.Height, size.Width)), store);
}
