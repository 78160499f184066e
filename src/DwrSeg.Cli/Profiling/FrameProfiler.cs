using System.Diagnostics;
using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.PtxEmulator;
using DwrSeg.PtxEmulator.Driver;

namespace DwrSeg.Cli.Profiling;

/// <summary>Makes a <see cref="FrameProfile"/> in one of three ways: counted on the emulator, measured on a CUDA device, measured on the CPU.</summary>
internal static class FrameProfiler
{
    private const int CpuRuns = 20, CpuWarmUpRuns = 5;
    private const string EmulatedName = "emulated";

    /// <summary>Profiles a frame in the way that fits the device.</summary>
    /// <param name="device">What <c>--device</c> says.</param>
    /// <param name="threads">Threads of a CPU.</param>
    /// <param name="settings">What to run.</param>
    /// <param name="precision">What to compute in.</param>
    /// <param name="gpu">The card to emulate.</param>
    /// <param name="note">What was passed over on the way to the device.</param>
    /// <param name="needsKernels">A device without CUDA kernels is refused, and no library takes a kernel's place.</param>
    /// <param name="convolutions">Whose code computes dense convolutions.</param>
    /// <exception cref="UsageException">The device has no CUDA kernels.</exception>
    public static FrameProfile Run(
        string device, int threads, ProfileSettings settings, Precision precision, GpuLimits gpu, out string note, bool needsKernels = false,
        ConvolutionChoice convolutions = ConvolutionChoice.Auto)
    {
        note = "";
        if (device == EmulatedName && convolutions != ConvolutionChoice.Cudnn) return Count(settings, gpu, CommonOptions.ElementFor(precision, gpu.Architecture));
        if (needsKernels) convolutions = ConvolutionChoice.Native;
        using IBackend backend = Devices.Open(device, threads, out note, precision, convolutions: convolutions);
        return backend switch
        {
            CudaBackend cuda => Measure(cuda, settings, new LaunchTimerOptions(), cupti: Cupti.Instance),
            CpuBackend cpu when !needsKernels => Measure(cpu, settings),
            _ => throw new UsageException($"device '{backend.Name}' runs no CUDA kernels; 'dwrseg profile' shows what it does run."),
        };
    }

    /// <summary>Runs one frame on the emulated card and counts; times are the model's.</summary>
    /// <exception cref="DeviceUnavailableException">There is no NVRTC, or the card does not compute in this precision.</exception>
    public static FrameProfile Count(ProfileSettings settings, GpuLimits gpu, CudaElement element)
    {
        Nvrtc compiler = RequireCompiler();
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [EmulatedCard(gpu)] });
        using var backend = new CudaBackend(EmulatedName, driver, 0, element, wantsPtx: true);
        using var network = new ProfiledNetwork(backend, settings);
        using CudaFrame frame = FrameOf(backend, network);
        frame.Stream.Synchronize();
        Interruption.Token.ThrowIfCancellationRequested();
        driver.ClearLaunches();
        frame.Run();
        frame.Stream.Synchronize();
        IReadOnlyList<LaunchStatistics> counted = driver.Launches;
        if (!counted.Select(c => c.Kernel).SequenceEqual(frame.Launches.Select(l => l.Work.Call)))
            throw new InvalidOperationException($"{counted.Count} launches ran, of {frame.Launches.Count} of the frame, or they ran in another order.");

        var resources = new CubinResources(compiler, gpu.Architecture);
        CudaDevice device = backend.Kernels.Context.Device;
        LaunchRow[] rows = [.. frame.Launches.Zip(counted, (launch, statistics) =>
        {
            KernelResources? known = resources.Of(launch.Launch!.Variant);
            Occupancy occupancy = OccupancyOf(device, launch.Launch, known);
            LaunchCounts counts = CountsOf(statistics);
            return Row(launch) with
            {
                Resources = known, Occupancy = occupancy, Counts = counts, Model = LaunchModel.Of(gpu, launch.Launch, occupancy.Blocks, counts),
            };
        })];
        return new FrameProfile(settings, backend.Name, backend.Description, CommonOptions.NameOf(backend.Precision), "", rows)
        {
            Gpu = gpu, Convolutions = ((CudaPlan)network.Plan).Convolutions,
        };
    }

    /// <summary>Times every launch of a frame on the device, each replayed alone, then whole frames, and a copy of memory.</summary>
    /// <param name="backend">The device.</param>
    /// <param name="settings">What to run.</param>
    /// <param name="timing">How long.</param>
    /// <param name="planOptions">
    /// An emulated driver needs a guarded plan: in another one tensors are dead once the plan has run, and it refuses a launch on its own.
    /// </param>
    /// <param name="cupti">What records each kernel within the frame; null for none.</param>
    public static FrameProfile Measure(
        CudaBackend backend, ProfileSettings settings, LaunchTimerOptions timing, PlanOptions? planOptions = null, Cupti? cupti = null)
    {
        using var network = new ProfiledNetwork(backend, settings, planOptions);
        using CudaFrame frame = FrameOf(backend, network);
        using var timer = new LaunchTimer(frame.Stream, timing);
        CudaDevice device = backend.Kernels.Context.Device;
        GpuLimits gpu = GpuLimits.Of(device);
        // Every tensor gets the values that a run gives it.
        double frameSeconds = timer.MeasureRuns(frame.Run);
        double copyRate = timer.MeasureCopy();
        LaunchRow[] rows = [.. frame.Launches.Select(launch =>
        {
            Interruption.Token.ThrowIfCancellationRequested();
            double seconds = timer.Measure($"{launch.Step} {launch.Layer}", launch.Work);
            if (launch.Launch is null) return Row(launch) with { Model = LaunchModel.Of(gpu, launch.Work), Seconds = seconds };
            KernelResources resources = KernelResources.Of(launch.Launch.Kernel);
            Occupancy occupancy = OccupancyOf(device, launch.Launch, resources);
            int blocks = launch.Launch.Kernel.BlocksPerMultiprocessor(ThreadsOf(launch.Launch), launch.Launch.SharedBytes);
            occupancy = occupancy with { Blocks = blocks, Warps = blocks * ((ThreadsOf(launch.Launch) + 31) / 32) };
            return Row(launch) with
            {
                Resources = resources, Occupancy = occupancy, Model = LaunchModel.Of(gpu, launch.Launch, blocks, null),
                Seconds = seconds,
            };
        })];
        // Last, for recording slows launches.
        string traceSource = "no CUPTI: " + NativeLibraries.Find(NativeLibraries.Cupti).Problem;
        FrameTrace? trace = null;
        if (cupti is not null)
        {
            try
            {
                trace = FrameTrace.Record(cupti, frame);
                traceSource = $"CUPTI, medians of {trace.Frames} frames";
                rows = [.. rows.Select((row, i) => row with { FrameSeconds = trace.Seconds[i] })];
            }
            // A frame that fails is none of CUPTI's troubles.
            catch (CudaException e) when (e.Call.StartsWith("cupti", StringComparison.Ordinal))
            {
                traceSource = e.Message;
            }
        }
        bool isEmulated = device.Driver is EmulatedDriver;
        return new FrameProfile(
            settings, backend.Name, backend.Description, CommonOptions.NameOf(backend.Precision),
            isEmulated ? "the emulator's host, no hardware"
                : "events on the device, each launch replayed back to back (overlapping on sm_90) with warm caches", rows)
        {
            Gpu = gpu, Convolutions = ((CudaPlan)network.Plan).Convolutions, FrameSeconds = frameSeconds, CopyRate = copyRate,
            TraceSource = traceSource, TracedSeconds = trace?.FrameSeconds,
        };
    }

    /// <summary>Times each step on the CPU, with the image's way in and the class map's way out; each time is the shortest of several.</summary>
    public static FrameProfile Measure(CpuBackend backend, ProfileSettings settings)
    {
        using var network = new ProfiledNetwork(backend, settings);
        IPlan plan = network.Plan;
        int height = network.Image.Height, width = network.Image.Width;
        var classes = new byte[height * width];
        void Run()
        {
            plan.WriteImage(network.Input, 0, network.Image, Normalization.ImageNet);
            plan.Run();
            plan.ReadClasses(network.Logits, 0, height, width, classes, default);
        }

        // Every tensor gets the values that a run gives it, and the code its final form.
        for (int i = 0; i < CpuWarmUpRuns; i++) Run();
        double frame = Shortest(Run);
        double preprocess = Shortest(() => plan.WriteImage(network.Input, 0, network.Image, Normalization.ImageNet));
        double classMap = Shortest(() => plan.ReadClasses(network.Logits, 0, height, width, classes, default));
        long inputBytes = network.Input.Shape.Elements * sizeof(float), logitBytes = network.Logits.Shape.Elements * sizeof(float);
        LaunchRow[] rows =
        [
            new LaunchRow("preprocess", network.Input.Name, 3L * classes.Length + inputBytes, 0) { Seconds = preprocess },
            .. StepTime.Measure(plan, CpuRuns).Select(
                t => new LaunchRow(t.Step.Name, t.Step.Nodes[0].Name, t.Step.Bytes, 2 * t.Step.Multiplies) { Seconds = t.Milliseconds / 1e3 }),
            new LaunchRow("class map", network.Logits.Name, logitBytes + classes.Length, 0) { Seconds = classMap },
        ];
        return new FrameProfile(
            settings, backend.Name, backend.Description, CommonOptions.NameOf(backend.Precision), $"shortest of {CpuRuns} runs", rows)
        {
            FrameSeconds = frame, FmaPeak = FmaPeak.Measure(backend.Pool),
        };

        static double Shortest(Action work)
        {
            long best = long.MaxValue;
            for (int i = 0; i < CpuRuns; i++)
            {
                Interruption.Token.ThrowIfCancellationRequested();
                long start = Stopwatch.GetTimestamp();
                work();
                best = Math.Min(best, Stopwatch.GetTimestamp() - start);
            }
            return (double)best / Stopwatch.Frequency;
        }
    }

    /// <summary>The compiler, without which there are no kernels.</summary>
    /// <exception cref="DeviceUnavailableException">There is none.</exception>
    public static Nvrtc RequireCompiler()
    {
        try
        {
            return Nvrtc.Instance;
        }
        catch (CudaException e)
        {
            throw new DeviceUnavailableException(e.Message);
        }
    }

    /// <summary>An emulated device with the card's architecture, multiprocessors and clock.</summary>
    public static DeviceModel EmulatedCard(GpuLimits gpu) =>
        DeviceModel.Of(gpu.Architecture.Number) with { Multiprocessors = gpu.Multiprocessors, ClockMhz = gpu.ClockMhz };

    /// <summary>Occupancy by the device's limits; without an assembler's numbers registers do not bind.</summary>
    public static Occupancy OccupancyOf(CudaDevice device, CudaLaunch launch, KernelResources? resources) => Occupancy.Of(
        MultiprocessorLimits.Of(device), ThreadsOf(launch), resources?.Registers ?? 0, launch.SharedBytes + (resources?.StaticSharedBytes ?? 0));

    public static int ThreadsOf(CudaLaunch launch) => (int)(launch.Block.X * launch.Block.Y * launch.Block.Z);

    public static CudaFrame FrameOf(CudaBackend backend, ProfiledNetwork network) =>
        new((CudaPlan)network.Plan, backend.Kernels, network.Input, network.Logits, network.Image, Normalization.ImageNet);

    private static LaunchRow Row(FrameLaunch launch) =>
        new(launch.Step, launch.Layer, launch.Work.Bytes, launch.Work.Flops) { Work = launch.Work };

    private static LaunchCounts CountsOf(LaunchStatistics s)
    {
        long mma = s.Lines.Where(l => l.Class is InstructionClass.Mma or InstructionClass.Wgmma).Sum(l => l.Counters.Flops);
        return new LaunchCounts(
            s.LaunchLoadSectors, s.LaunchStoreSectors, s.BlockLoadSectors, s.BlockStoreSectors, s.Total.GlobalStoreBytes,
            s.Total.GlobalStoreSectors, s.Total.SharedAccesses, s.Total.SharedWavefronts, s.Total.SharedConflicts, s.Total.WarpInstructions, mma,
            s.Total.Flops - mma)
        {
            ClusterBytes = s.ClusterBytes, MulticastBytes = s.MulticastBytes,
        };
    }
}
