using System.Globalization;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends;

/// <summary>Which devices there are, and what users call them.</summary>
internal static class Devices
{
    private const string NoLibraryEmulated = "cuDNN computes on NVIDIA's GPUs alone: take --device cuda, or this project's own kernels";

    /// <summary>The name that takes the first device of the table that is there.</summary>
    public const string Auto = "auto";

    /// <summary>A row of the table.</summary>
    /// <param name="Name">What the user writes, where <paramref name="IsNumbered"/> is set also with <c>:N</c> after it.</param>
    /// <param name="IsNumbered">There may be several of the kind.</param>
    /// <param name="IsAutomatic"><see cref="Auto"/> may choose it.</param>
    /// <param name="WhyNot">Why device N of this kind can't be used; null where it can.</param>
    /// <param name="Open">Opens device N.</param>
    private sealed record Kind(string Name, bool IsNumbered, bool IsAutomatic, Func<int, string?> WhyNot, Func<int, Settings, IBackend> Open);

    /// <summary>What a device is opened with.</summary>
    private sealed record Settings(int Threads, Precision Precision, ConvolutionChoice Convolutions);

    // In the order in which `auto` prefers them.
    private static readonly Kind[] Kinds =
    [
        new("cuda", IsNumbered: true, IsAutomatic: true, WhyNoCuda,
            (index, settings) => OpenCuda($"cuda:{index}", NativeDriver.Instance, index, settings, ConvolutionLibraries.Found.OnThisMachine)),
        new("cpu", IsNumbered: false, IsAutomatic: true, _ => null, (_, settings) => OpenCpu(settings)),
        new("emulated", IsNumbered: false, IsAutomatic: false, _ => WhyNoEmulator(),
            (_, settings) => OpenCuda("emulated", Emulator!(), 0, settings, () => ConvolutionLibraries.Found.None(NoLibraryEmulated))),
    ];

    /// <summary>Makes the driver of the device <c>emulated</c>; null where no emulator is loaded.</summary>
    public static Func<ICudaDriver>? Emulator { get; set; }

    /// <summary>Opens a device.</summary>
    /// <param name="name"><c>auto</c>, <c>cpu</c>, <c>cuda</c>, <c>cuda:N</c> or <c>emulated</c>.</param>
    /// <param name="threads">Processor threads, 0 for one per processor; devices that compute elsewhere take no notice.</param>
    /// <param name="note">What was passed over on the way, such as <c>no cuda: …</c>; empty for a device by name.</param>
    /// <param name="precision">What to compute in; a training takes fp32.</param>
    /// <param name="convolutions">Whose code computes dense convolutions on a CUDA device.</param>
    /// <exception cref="ArgumentException">No device has such a name, or it does not compute in this precision.</exception>
    /// <exception cref="DeviceUnavailableException">The device is not there, or a library that is asked for.</exception>
    public static IBackend Open(
        string name, int threads, out string note, Precision precision = Precision.Automatic,
        ConvolutionChoice convolutions = ConvolutionChoice.Auto)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        note = "";
        var settings = new Settings(threads, precision, convolutions);
        if (name == Auto)
        {
            var passedOver = new List<string>();
            foreach (Kind kind in Kinds.Where(k => k.IsAutomatic))
            {
                if (kind.WhyNot(0) is not { } reason)
                {
                    note = string.Join("; ", passedOver);
                    return kind.Open(0, settings);
                }
                passedOver.Add($"no {kind.Name}: {reason}");
            }
            throw new DeviceUnavailableException(string.Join("; ", passedOver));
        }
        (Kind wanted, int index) = Parse(name);
        if (wanted.WhyNot(index) is { } problem)
        {
            IEnumerable<string> usable = Kinds.Where(k => k.WhyNot(0) is null).Select(k => k.Name);
            throw new DeviceUnavailableException($"device '{name}' is not available: {problem.TrimEnd('.')}. Available: {Auto}, {string.Join(", ", usable)}.");
        }
        return wanted.Open(index, settings);
    }

    private static (Kind Kind, int Index) Parse(string name)
    {
        string[] parts = name.Split(':');
        Kind? kind = Array.Find(Kinds, k => k.Name == parts[0]);
        if (kind is not null && parts.Length == 1) return (kind, 0);
        if (kind is { IsNumbered: true } && parts.Length == 2
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int index)) return (kind, index);
        string known = string.Join(", ", Kinds.Select(k => k.IsNumbered ? $"{k.Name}, {k.Name}:N" : k.Name));
        throw new ArgumentException($"There is no device called '{name}'; names are {Auto}, {known}.", nameof(name));
    }

    private static string? WhyNoCuda(int index)
    {
        CudaProbe probe = CudaDevices.Probe();
        if (probe.Devices.Count == 0) return probe.Problem;
        return index < probe.Devices.Count ? probe.Devices[index].Problem : $"there are {probe.Devices.Count} CUDA devices, counted from 0";
    }

    private static string? WhyNoEmulator()
    {
        if (Emulator is null) return "the emulator (DwrSeg.PtxEmulator) is not part of this program";
        try
        {
            _ = Nvrtc.Instance;
            return null;
        }
        catch (CudaException e)
        {
            return e.Message;
        }
    }

    private static CpuBackend OpenCpu(Settings settings)
    {
        if (settings.Precision is not (Precision.Automatic or Precision.Float32))
            throw new ArgumentException("The CPU computes in fp32 only.", nameof(settings));
        if (settings.Convolutions == ConvolutionChoice.Cudnn)
            throw new ArgumentException("cuDNN computes on CUDA devices, not on the CPU: take --device cuda, or --conv auto.", nameof(settings));
        return new CpuBackend(settings.Threads);
    }

    private static CudaBackend OpenCuda(string name, ICudaDriver driver, int index, Settings settings, Func<ConvolutionLibraries.Found> find)
    {
        CudaElement element = settings.Precision switch
        {
            Precision.Float32 => CudaElement.Float32,
            Precision.BFloat16 => CudaElement.BFloat16,
            Precision.Float16 => CudaElement.Float16,
            _ => new CudaDevice(driver, index).ComputeCapability >= CudaElement.Float16.FirstArchitecture() ? CudaElement.Float16 : CudaElement.Float32,
        };
        if (settings.Convolutions == ConvolutionChoice.Native) return BackendWith(null);
        // A context takes about as long to make as these libraries to load, so both are done at once. It stays until the backend has it too.
        Task<ConvolutionLibraries.Found> finding = Task.Run(find);
        try
        {
            using var context = new CudaContext(driver, index);
            return BackendWith(finding.GetAwaiter().GetResult());
        }
        finally
        {
            Task.WaitAny(finding);
        }

        CudaBackend BackendWith(ConvolutionLibraries.Found? libraries) =>
            new(name, driver, index, element, wantsPtx: name == "emulated", settings.Convolutions, libraries);
    }
}
