using System.Diagnostics;
using DwrSeg.Native;
using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;

namespace DwrSeg.Cli;

/// <summary>What to time.</summary>
internal sealed record BenchmarkSettings(
    ModelChoice Model, int Height, int Width, int Batch, bool IsTraining, double Seconds, int? Iterations, bool Steps, Fusion Fuse)
{
    public string Mode => IsTraining ? "train" : "infer";
}

/// <summary>Figures; times are per image.</summary>
/// <param name="Iterations">Runs measured.</param>
/// <param name="MedianMs">Median time.</param>
/// <param name="MinMs">Shortest time.</param>
/// <param name="P90Ms">The time that 90 % of the runs keep.</param>
/// <param name="P99Ms">The time that 99 % of the runs keep.</param>
/// <param name="Scope">From where to where these times go.</param>
/// <param name="Device">Times by the device's own clock, where it has one.</param>
/// <param name="Loading">What came before.</param>
/// <param name="Multiplies">Multiply-accumulates of one run.</param>
/// <param name="Batch">Images of one run.</param>
/// <param name="Steps">Steps of the plan.</param>
/// <param name="ArenaBytes">Activation memory.</param>
/// <param name="Threads">Threads that computed.</param>
/// <param name="FmaPeakGflops">The best FMA rate seen, where the device is this machine's processor.</param>
/// <param name="Convolutions">Who computes dense convolutions, on a CUDA device.</param>
/// <param name="StepTimes">Each step's time, slowest first; empty unless asked for.</param>
internal sealed record BenchmarkResult(
    int Iterations, double MedianMs, double MinMs, double P90Ms, double P99Ms, string Scope, DeviceTimes? Device, LoadTimes Loading, long Multiplies,
    int Batch, PlanSummary Plan, int Threads, double? FmaPeakGflops, ConvolutionCounts? Convolutions, IReadOnlyList<StepTime> StepTimes)
{
    public double Fps => 1000 / MedianMs;

    /// <summary>Of the fastest run: like the peak, what the machine does while nothing else holds it up.</summary>
    public double Gflops => GflopsAt(MinMs);

    public double MedianGflops => GflopsAt(MedianMs);

    private double GflopsAt(double milliseconds) => 2.0 * Multiplies / Batch / milliseconds / 1e6;
}

/// <summary>From the first launch to the end of the last, an inference's class maps included, between events on the stream; per image.</summary>
internal sealed record DeviceTimes(double MedianMs, double MinMs, double P90Ms, double P99Ms, string Scope);

/// <summary>What a process pays before its first result.</summary>
/// <param name="ReadyMs">From the beginning of loading until the network could run: model file, device, kernels, plan, weights.</param>
/// <param name="FirstFrameMs">From the same beginning to the first run's result.</param>
/// <param name="Caches">What was made for it; null on the CPU, which makes nothing.</param>
internal sealed record LoadTimes(double ReadyMs, double FirstFrameMs, CacheUse? Caches);

/// <summary>What came from the kernel cache's folder, and what had to be made.</summary>
/// <param name="Compiled">Kernels that NVRTC compiled.</param>
/// <param name="FromDisk">Kernels that were there.</param>
/// <param name="ChoicesTimed">Choices between kernels that were made by time.</param>
/// <param name="ChoicesFromDisk">Choices that were there.</param>
internal sealed record CacheUse(int Compiled, int FromDisk, int ChoicesTimed, int ChoicesFromDisk)
{
    public bool IsWarm => (Compiled, ChoicesTimed) == (0, 0);
}

/// <summary>What timed sections contain: the same words as in bench/peers, so that times of different contents are told apart.</summary>
internal static class TimedScope
{
    public const string OnDevice = "normalised image in device memory to class map in device memory";
    public const string ToHost = "normalised image in device memory to class map in host memory";
    public const string Training = "training step: forward, loss, backward, update";
}

/// <summary>Times a plan's runs, with measurements of the machine's own peak in between.</summary>
internal static class Benchmark
{
    private const int WarmUpRuns = 3, LeastRuns = 3;
    private const double SecondsBetweenPeaks = 0.5;

    /// <param name="backend">What to run on.</param>
    /// <param name="settings">What to run.</param>
    /// <param name="loading">Runs since loading began.</param>
    /// <param name="cancellation">Ends it.</param>
    public static BenchmarkResult Run(IBackend backend, BenchmarkSettings settings, Stopwatch loading, CancellationToken cancellation)
    {
        using Subject subject = settings.IsTraining ? new TrainingStep(backend, settings) : new Inference(backend, settings);
        loading.Stop();
        double readyMs = loading.Elapsed.TotalMilliseconds;
        subject.WriteInputs();
        loading.Start();
        Once();
        loading.Stop();
        var cuda = backend as CudaBackend;
        CacheUse? caches = cuda is null
            ? null : new CacheUse(cuda.Kernels.Compiled, cuda.Kernels.FromDisk, cuda.Choices.Made, cuda.Choices.FromDisk);
        var loadTimes = new LoadTimes(readyMs, loading.Elapsed.TotalMilliseconds, caches);
        var cpu = backend as CpuBackend;
        double peak = 0;
        List<double> times = [], deviceTimes = [];
        MeasurePeak();
        for (int i = 0; i < WarmUpRuns; i++) Once();
        double total = 0, sincePeak = 0;
        while (settings.Iterations is { } wanted ? times.Count < wanted : total < settings.Seconds || times.Count < LeastRuns)
        {
            double seconds = Once();
            times.Add(seconds);
            if (subject.DeviceSeconds is { } onDevice) deviceTimes.Add(onDevice);
            total += seconds;
            sincePeak += seconds;
            if (sincePeak < SecondsBetweenPeaks) continue;
            MeasurePeak();
            sincePeak = 0;
        }
        MeasurePeak();

        times.Sort();
        deviceTimes.Sort();
        double perImage = 1000.0 / settings.Batch;
        DeviceTimes? device = deviceTimes.Count == 0 ? null : new DeviceTimes(
            perImage * Statistics.Median(deviceTimes), perImage * deviceTimes[0], perImage * Percentile(deviceTimes, 0.90),
            perImage * Percentile(deviceTimes, 0.99), subject.DeviceScope);
        return new BenchmarkResult(
            times.Count, perImage * Statistics.Median(times), perImage * times[0], perImage * Percentile(times, 0.90), perImage * Percentile(times, 0.99),
            subject.Scope, device, loadTimes, subject.Multiplies, settings.Batch, subject.Plan.Summary, cpu?.Pool.Workers ?? 1,
            cpu is null ? null : peak / 1e9, (subject.Plan as CudaPlan)?.Convolutions,
            settings.Steps ? [.. StepTime.Measure(subject.Plan, times.Count).OrderByDescending(t => t.Milliseconds)] : []);

        double Once()
        {
            cancellation.ThrowIfCancellationRequested();
            long start = Stopwatch.GetTimestamp();
            subject.Run();
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        void MeasurePeak()
        {
            if (cpu is not null) peak = Math.Max(peak, FmaPeak.Measure(cpu.Pool));
        }
    }

    private static double Percentile(List<double> sorted, double share) => sorted[(int)Math.Ceiling(share * sorted.Count) - 1];

    /// <summary>A compiled network with random input, and fresh weights where no file gives any.</summary>
    private abstract class Subject : IDisposable
    {
        private readonly ITensorStore _store;
        private readonly CudaTimer? _timer;

        protected Subject(IBackend backend, BenchmarkSettings settings, LayerGraph forward, LayerGraph compiled, long multiplies)
        {
            Multiplies = multiplies;
            _store = backend.CreateStore();
            if (settings.Model.File is { } path)
            {
                using SafetensorsFile file = SafetensorsFile.Open(path);
                ModelWeights.Load(file, forward, _store);
            }
            else
            {
                ModelWeights.Initialize(forward, _store, seed: 1);
            }
            Plan = backend.Compile(compiled, _store, new PlanOptions { Fuse = settings.Fuse });
            if (Plan is CudaPlan cuda) _timer = new CudaTimer(cuda.Stream);
        }

        public IPlan Plan { get; }

        public long Multiplies { get; }

        /// <summary>What the last run's part on the device took; null where only the host has a clock.</summary>
        public double? DeviceSeconds => _timer?.Seconds;

        /// <summary>What the host's clock times.</summary>
        public abstract string Scope { get; }

        /// <summary>What the device's clock times.</summary>
        public abstract string DeviceScope { get; }

        public virtual void WriteInputs()
        {
            var random = new Random(1);
            Tensor image = Plan.Graph[DwrSegModel.Image];
            float[] values = new float[image.Shape.Elements];
            // Normalised images lie between about −2 and 2.
            for (int i = 0; i < values.Length; i++) values[i] = 4 * random.NextSingle() - 2;
            Plan.Write(image, values);
        }

        public void Run()
        {
            _timer?.Start();
            Compute();
            _timer?.Stop();
            Fetch();
        }

        /// <summary>What the device's clock times, too.</summary>
        protected abstract void Compute();

        /// <summary>Brings what was computed to the host.</summary>
        protected virtual void Fetch()
        {
        }

        public virtual void Dispose()
        {
            _timer?.Dispose();
            Plan.Dispose();
            _store.Dispose();
        }
    }

    private sealed class Inference : Subject
    {
        private readonly Tensor _logits;
        private readonly byte[] _classes;
        private readonly BenchmarkSettings _settings;
        // A class map for each image of the batch, made beside the network on its stream; on the CPU reading makes it.
        private readonly ClassMapOutput[] _onDevice = [];

        public Inference(IBackend backend, BenchmarkSettings settings)
            : this(backend, settings, DwrSegModel.Inference(settings.Model.Config, settings.Batch, settings.Height, settings.Width))
        {
        }

        private Inference(IBackend backend, BenchmarkSettings settings, LayerGraph graph)
            : base(backend, settings, graph, InferencePasses.Apply(graph), graph.Multiplies)
        {
            _settings = settings;
            _logits = Plan.Graph[DwrSegModel.Logits];
            _classes = new byte[settings.Height * settings.Width];
            if (Plan is CudaPlan plan)
                _onDevice = [.. Enumerable.Range(0, settings.Batch).Select(_ => new ClassMapOutput(((CudaBackend)backend).Kernels, plan.Stream))];
        }

        public override string Scope => Plan is CudaPlan ? TimedScope.ToHost : TimedScope.OnDevice;

        public override string DeviceScope => TimedScope.OnDevice;

        protected override void Compute()
        {
            Plan.Run();
            if (Plan is not CudaPlan plan) return;
            for (int i = 0; i < _onDevice.Length; i++)
                _onDevice[i].Compute(plan.ImageOf(_logits, i), _settings.Height, _settings.Width, withConfidence: false, plan.Stream);
        }

        protected override void Fetch()
        {
            if (Plan is CudaPlan plan)
            {
                foreach (ClassMapOutput classes in _onDevice) classes.Download(plan.Stream);
                foreach (ClassMapOutput classes in _onDevice) classes.End(_classes, default);
                return;
            }
            for (int i = 0; i < _settings.Batch; i++) Plan.ReadClasses(_logits, i, _settings.Height, _settings.Width, _classes, default);
        }

        public override void Dispose()
        {
            foreach (ClassMapOutput classes in _onDevice) classes.Dispose();
            base.Dispose();
        }
    }

    private sealed class TrainingStep : Subject
    {
        // Small, so that a long measurement on random labels does not diverge; the time does not depend on it.
        private const float LearningRate = 1e-3f;

        private readonly int _classes;

        public TrainingStep(IBackend backend, BenchmarkSettings settings)
            : this(backend, settings, DwrSegModel.Training(
                settings.Model.Config, settings.Batch, settings.Height, settings.Width, new OhemCrossEntropy()))
        {
        }

        private TrainingStep(IBackend backend, BenchmarkSettings settings, LayerGraph forward)
            : this(backend, settings, forward, Sgd.Append(Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]), 0.9f, 5e-4f))
        {
        }

        private TrainingStep(IBackend backend, BenchmarkSettings settings, LayerGraph forward, LayerGraph graph)
            : base(backend, settings, forward, graph, graph.Multiplies) => _classes = settings.Model.Config.Classes;

        public override string Scope => TimedScope.Training;

        public override string DeviceScope => TimedScope.Training;

        public override void WriteInputs()
        {
            base.WriteInputs();
            Tensor labels = Plan.Graph[DwrSegModel.Labels];
            byte[] values = new byte[labels.Shape.Elements];
            var random = new Random(2);
            for (int i = 0; i < values.Length; i++) values[i] = (byte)random.Next(_classes);
            Plan.Write(labels, values);
            Plan.Write(Plan.Graph[Sgd.LearningRate], [LearningRate]);
        }

        protected override void Compute() => Plan.Run();

        // As a training does after each step.
        protected override void Fetch()
        {
            float loss = 0;
            Plan.Read(Plan.Graph[DwrSegModel.Loss], new Span<float>(ref loss));
        }
    }
}
