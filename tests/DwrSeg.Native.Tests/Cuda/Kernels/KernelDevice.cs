using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.PtxEmulator;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

/// <summary>
/// Where kernel tests run: on emulated devices of several architectures, or on the real one that <see cref="TestDriver"/> gives.
/// A device is opened once and kept for all tests, so that a kernel is compiled once.
/// </summary>
internal sealed class KernelDevice
{
    private static readonly ConcurrentDictionary<int, Lazy<KernelDevice>> Devices = new();

    // The launch that is counted is the last one of its kernel, so no other test's may come between.
    private readonly Lock _running = new();

    private KernelDevice(int architecture, KernelFiles? files = null)
    {
        Nvrtc compiler = TestNvrtc.Instance;
        Context = new CudaContext(TestDriver.Open(architecture));
        Kernels = new KernelCache(Context, compiler, wantsPtx: !IsReal, files);
        Stream = new CudaStream(Context);
    }

    public static bool IsReal => TestDriver.IsReal;

    /// <summary>Architectures that every kernel runs on: fp32 alone, no <c>cp.async</c>, the usual one, the newest.</summary>
    public static IEnumerable<TheoryDataRow<int>> Architectures =>
        TestDriver.Architectures(61, 75, 80, 90).Select(a => new TheoryDataRow<int>(a) { Skip = TestDriver.WhyNot(a) });

    /// <summary>Types and architectures, each type where it is offered.</summary>
    public static IEnumerable<TheoryDataRow<int, string>> ArchitecturesAndTypes =>
        from row in Architectures
        from element in Enum.GetValues<CudaElement>()
        where IsOffered(row.Data, element)
        select new TheoryDataRow<int, string>(row.Data, element.KernelName()) { Skip = row.Skip };

    /// <summary>Types on the device whose counts are looked at.</summary>
    public static IEnumerable<TheoryDataRow<string>> Types =>
        from element in Enum.GetValues<CudaElement>() where IsOffered(IsReal ? 0 : 80, element) select new TheoryDataRow<string>(element.KernelName());

    // Tests are listed on machines without a compiler too.
    private static bool IsOffered(int architecture, CudaElement element) =>
        IsReal ? On(architecture).Supports(element) : element.FirstArchitecture() <= ComputeCapability.FromNumber(architecture);

    public static KernelDevice Usual => On(IsReal ? 0 : 80);

    public CudaContext Context { get; }

    public CudaStream Stream { get; }

    public KernelCache Kernels { get; }

    public static KernelDevice On(int architecture) =>
        Devices.GetOrAdd(architecture, a => new Lazy<KernelDevice>(() => new KernelDevice(a))).Value;

    /// <summary>A device of its own whose kernels a test has changed.</summary>
    public static KernelDevice WithKernels(int architecture, KernelFiles files) => new(architecture, files);

    public static CudaElement Element(string name) => Enum.GetValues<CudaElement>().Single(e => e.KernelName() == name);

    public bool Supports(CudaElement element) => element.FirstArchitecture() <= Context.Device.ComputeCapability;

    public void Run(CudaLaunch launch)
    {
        lock (_running)
        {
            launch.Launch(Stream);
            Stream.Synchronize();
        }
    }

    /// <summary>Runs a launch and gives its counts, which only the emulator has; the test's output shows them.</summary>
    public LaunchStatistics Count(CudaLaunch launch)
    {
        var emulator = Context.Driver as EmulatedDriver;
        Assert.SkipWhen(emulator is null, "counts exist on the emulator alone");
        lock (_running)
        {
            Run(launch);
            LaunchStatistics counts = emulator!.Launches.Last(l => l.Kernel == launch.Variant.Name);
            TestContext.Current.TestOutputHelper?.WriteLine(LaunchCounts.Describe(launch, counts));
            return counts;
        }
    }

    /// <summary>Copies values to memory of their own; on the device until <see cref="IDisposable.Dispose"/>.</summary>
    public CudaDeviceVariable<T> Upload<T>(ReadOnlySpan<T> values)
        where T : unmanaged
    {
        var memory = new CudaDeviceVariable<T>(Context, values.Length);
        memory.CopyToDevice(values, Stream);
        return memory;
    }

    public CudaDeviceVariable<float> UploadFloats(IEnumerable<double> values) => Upload<float>(CollectionsMarshal.AsSpan(values.Select(v => (float)v).ToList()));
}
