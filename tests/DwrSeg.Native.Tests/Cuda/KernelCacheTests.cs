using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class KernelCacheTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly ICudaDriver _driver = TestDriver.Open(80);
    private readonly CudaContext _context;

    public KernelCacheTests() => _context = new CudaContext(_driver);

    public void Dispose()
    {
        _context.Dispose();
        (_driver as IDisposable)?.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void KernelIsCompiledOnceAndThenComesFromTheDisk()
    {
        using (KernelCache cold = Cache())
        {
            Assert.Same(cold.Get(SmallKernels.Scale), cold.Get(SmallKernels.Scale));
            Assert.Equal((1, 0), (cold.Compiled, cold.FromDisk));
        }
        using KernelCache warm = Cache();
        CudaKernel kernel = warm.Get(SmallKernels.Scale);
        Assert.Equal((0, 1), (warm.Compiled, warm.FromDisk));
        Assert.InRange(kernel.MaxThreadsPerBlock, 1, 1024);
    }

    [Fact]
    public void ChangedHeaderIsCompiledAnew()
    {
        using (KernelCache first = Cache()) first.Get(SmallKernels.Scale);
        Dictionary<string, string> changed = SmallKernels.Texts;
        changed["inner.cuh"] += "// changed\n";
        using KernelCache second = Cache(changed);
        second.Get(SmallKernels.Scale);
        Assert.Equal((1, 0), (second.Compiled, second.FromDisk));
    }

    [Fact]
    public void DefinesMakeAnotherKernel()
    {
        using KernelCache cache = Cache();
        CudaKernel plain = cache.Get(SmallKernels.Scale);
        Assert.NotSame(plain, cache.Get(SmallKernels.Scale with { Defines = [("OFFSET", "3")] }));
        Assert.Equal(2, cache.Compiled);
    }

    [Fact]
    public void DamagedFileIsCompiledAnewAndReplaced()
    {
        using (KernelCache first = Cache()) first.Get(SmallKernels.Scale);
        string file = Assert.Single(Directory.GetFiles(_folder.Path));
        byte[] whole = File.ReadAllBytes(file);
        File.WriteAllBytes(file, whole[..(whole.Length / 2)]);
        using (KernelCache second = Cache())
        {
            second.Get(SmallKernels.Scale);
            Assert.Equal((1, 0), (second.Compiled, second.FromDisk));
        }
        Assert.Equal(whole, File.ReadAllBytes(file));
    }

    [Fact]
    public async Task ManyThreadsThatWantTheSameKernelCompileItOnce()
    {
        using KernelCache cache = Cache();
        using var start = new Barrier(8);
        // Threads of their own: the pool would start them one after another.
        CudaKernel[] kernels = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Factory.StartNew(
            () =>
            {
                start.SignalAndWait();
                return cache.Get(SmallKernels.Scale);
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)));
        Assert.All(kernels, k => Assert.Same(kernels[0], k));
        Assert.Equal(1, cache.Compiled);
        if (_driver is EmulatedDriver emulated) Assert.Equal(1, emulated.Live.Modules);
    }

    [Fact]
    public void FailureIsNotKept()
    {
        Dictionary<string, string> texts = SmallKernels.Texts;
        texts["scale.cu"] = "nonsense";
        using KernelCache cache = Cache(texts);
        Assert.Throws<KernelCompilationException>(() => cache.Get(SmallKernels.Scale));
        texts["scale.cu"] = SmallKernels.Kernel;
        Assert.NotNull(cache.Get(SmallKernels.Scale));
    }

    [Fact]
    public void WhatIsBegunIsCompiledWithoutBeingAskedFor()
    {
        KernelSource other = SmallKernels.Scale with { Defines = [("OFFSET", "3")] };
        using KernelCache cache = Cache();
        cache.Begin([SmallKernels.Scale, other]);
        Assert.True(SpinWait.SpinUntil(() => cache.Compiled == 2, TimeSpan.FromMinutes(1)), "nothing compiles");
        if (_driver is EmulatedDriver emulated) Assert.Equal(0, emulated.Live.Modules);
        Assert.NotNull(cache.Get(SmallKernels.Scale));
        Assert.NotNull(cache.Get(other));
        // What is there is not begun again.
        cache.Begin([SmallKernels.Scale, other]);
        Assert.Equal(0, cache.Unasked);
    }

    [Fact]
    public void WhatFailsAheadFailsForWhoAsks()
    {
        Dictionary<string, string> texts = SmallKernels.Texts;
        texts["scale.cu"] = "nonsense";
        using KernelCache cache = Cache(texts);
        cache.Begin([SmallKernels.Scale]);
        Assert.Throws<KernelCompilationException>(() => cache.Get(SmallKernels.Scale));
        texts["scale.cu"] = SmallKernels.Kernel;
        Assert.NotNull(cache.Get(SmallKernels.Scale));
    }

    [Fact]
    public void WhatFailedBeforeItWasAskedForIsCompiledAgain()
    {
        Dictionary<string, string> texts = SmallKernels.Texts;
        texts["scale.cu"] = "nonsense";
        using KernelCache cache = Cache(texts);
        cache.Begin([SmallKernels.Scale]);
        Assert.True(SpinWait.SpinUntil(() => cache.Unasked == 0, TimeSpan.FromMinutes(1)), "nothing fails");
        texts["scale.cu"] = SmallKernels.Kernel;
        Assert.NotNull(cache.Get(SmallKernels.Scale));
    }

    [Fact]
    public void DisposalWaitsForWhatIsCompiled_AndCompilesNoMore()
    {
        KernelCache cache = Cache();
        int begun = 40 * Environment.ProcessorCount;
        cache.Begin(Enumerable.Range(0, begun).Select(i => SmallKernels.Scale with { Defines = [("OFFSET", $"{i}")] }));
        Assert.True(SpinWait.SpinUntil(() => cache.Compiled > 0, TimeSpan.FromMinutes(1)), "nothing compiles");
        cache.Dispose();
        int compiled = cache.Compiled;
        Assert.InRange(compiled, 1, begun - 1);
        Thread.Sleep(200);
        Assert.Equal(compiled, cache.Compiled);
        Assert.Throws<ObjectDisposedException>(() => cache.Begin([SmallKernels.Scale]));
    }

    [Fact]
    public void DisposalUnloadsEveryModule()
    {
        KernelCache cache = Cache();
        cache.Get(SmallKernels.Scale);
        cache.Dispose();
        if (_driver is EmulatedDriver emulated) Assert.Equal(0, emulated.Live.Modules);
        Assert.Throws<ObjectDisposedException>(() => cache.Get(SmallKernels.Scale));
    }

    [Fact]
    public void DriverTooOldForThePtxSaysWhatToDo()
    {
        using var old = new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(80)], DriverVersion = 11020 });
        using var context = new CudaContext(old);
        using var cache = new KernelCache(context, TestNvrtc.Instance, wantsPtx: true, SmallKernels.Files());
        var error = Assert.Throws<CudaException>(() => cache.Get(SmallKernels.Scale));
        Assert.Equal((int)CUresult.UnsupportedPtxVersion, error.Status);
        Assert.Contains("scale.cu: scale<float, 4>", error.Message, StringComparison.Ordinal);
        Assert.Contains("update the NVIDIA driver", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void StructOfAnotherSizeIsRefusedBeforeTheLaunch()
    {
        using KernelCache cache = Cache();
        using var stream = new CudaStream(_context);
        CudaKernel kernel = cache.Get(SmallKernels.Scale);
        var error = Assert.Throws<ArgumentException>(() => kernel.Launch(stream, 1, 32, 0, 1.0));
        Assert.Contains("takes 16 bytes of arguments, but Double has 8", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public unsafe void LaunchAllocatesNothingBesideTheDriver()
    {
        using KernelCache cache = Cache();
        using var stream = new CudaStream(_context);
        CudaKernel kernel = cache.Get(SmallKernels.Scale);
        using ContextScope scope = _context.Enter();
        Assert.Equal(CUresult.Success, _driver.ModuleGetFunction(out CUfunction function, kernel.Module.Module, kernel.Name));
        // No element, so nothing is accessed. The emulator itself allocates at a launch, less where the stream is empty and now and then
        // more: hence one launch before, and the least of many.
        var arguments = new SmallKernels.Arguments(0, N: 0, Factor: 1);
        LaunchConfiguration configuration = CudaKernel.Configuration(stream, 1, 32, 0);
        kernel.Launch(configuration, arguments);
        long direct = long.MaxValue, through = long.MaxValue;
        for (int i = 0; i < 50; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            void* pointer = &arguments;
            _driver.LaunchKernelEx(configuration, function, &pointer);
            long between = GC.GetAllocatedBytesForCurrentThread();
            kernel.Launch(stream, 1, 32, 0, arguments);
            through = Math.Min(through, GC.GetAllocatedBytesForCurrentThread() - between);
            direct = Math.Min(direct, between - before);
        }
        Assert.Equal(direct, through);
        stream.Synchronize();
    }

    [Fact]
    public void EveryEmbeddedKernelFileCanBeRead() =>
        Assert.All(KernelFiles.EmbeddedKernels, file => Assert.Contains("__global__", KernelFiles.Embedded.Kernel(file), StringComparison.Ordinal));

    private KernelCache Cache(Dictionary<string, string>? texts = null) =>
        new(_context, TestNvrtc.Instance, wantsPtx: !TestDriver.IsReal, SmallKernels.Files(texts), new KernelDiskCache(_folder.Path));
}
