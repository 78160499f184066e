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
    /// <summary>The name that takes the first device of the table that is there.</summary>
    public const string Auto = "auto";

    /// <summary>A row of the table.</summary>
    /// <param name="Name">What the user writes, where <paramref name="IsNumbered"/> is set also with <c>:N</c> after it.</param>
    /// <param name="IsNumbered">There may be several of the kind.</param>
    /// <param name="IsAutomatic"><see cref="Auto"/> may choose it.</param>
    /// <param name="Trains">It has the layers of a training step.</param>
    /// <param name="WhyNot">Why device N of this kind can't be used; null where it can.</param>
    /// <param name="Open">Opens device N with so many threads, to compute in a precision.</param>
    private sealed record Kind(string Name, bool IsNumbered, bool IsAutomatic, bool Trains, Func<int, string?> WhyNot, Func<int, int, Precision, IBackend> Open);

    // In the order in which `auto` prefers them.
    private static readonly Kind[] Kinds =
    [
        new("cuda", IsNumbered: true, IsAutomatic: true, Trains: false, WhyNoCuda, (index, _, precision) => OpenCuda($"cuda:{index}", NativeDriver.Instance, index, precision)),
        new("cpu", IsNumbered: false, IsAutomatic: true, Trains: true, _ => null, (_, threads, precision) => OpenCpu(threads, precision)),
        new("emulated", IsNumbered: false, IsAutomatic: false, Trains: false, _ => WhyNoEmulator(), (_, _, precision) => OpenCuda("emulated", Emulator!(), 0, precision)),
    ];

    /// <summary>Makes the driver of the device <c>emulated</c>; null where no emulator is loaded.</summary>
    public static Func<ICudaDriver>? Emulator { get; set; }

    /// <summary>Opens a device.</summary>
    /// <param name="name"><c>auto</c>, <c>cpu</c>, <c>cuda</c>, <c>cuda:N</c> or <c>emulated</c>.</param>
    /// <param name="threads">Processor threads, 0 for one per processor; devices that compute elsewhere take no notice.</param>
    /// <param name="note">What was passed over on the way, such as <c>no cuda: …</c>; empty for a device by name.</param>
    /// <param name="precision">What to compute in.</param>
    /// <param name="training">It is to train; other devices only infer.</param>
    /// <exception cref="ArgumentException">No device has such a name, or it does not compute in this precision.</exception>
    /// <exception cref="DeviceUnavailableException">The device is not there.</exception>
    public static IBackend Open(string name, int threads, out string note, Precision precision = Precision.Automatic, bool training = false)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        note = "";
        if (name == Auto)
        {
            var passedOver = new List<string>();
            foreach (Kind kind in Kinds.Where(k => k.IsAutomatic))
            {
                if (WhyNot(kind, 0, training) is not { } reason)
                {
                    note = string.Join("; ", passedOver);
                    return kind.Open(0, threads, precision);
                }
                passedOver.Add($"no {kind.Name}: {reason}");
            }
            throw new DeviceUnavailableException(string.Join("; ", passedOver));
        }
        (Kind wanted, int index) = Parse(name);
        if (WhyNot(wanted, index, training) is { } problem)
        {
            IEnumerable<string> usable = Kinds.Where(k => WhyNot(k, 0, training) is null).Select(k => k.Name);
            throw new DeviceUnavailableException($"device '{name}' is not available: {problem.TrimEnd('.')}. Available: {Auto}, {string.Join(", ", usable)}.");
        }
        return wanted.Open(index, threads, precision);
    }

    private static string? WhyNot(Kind kind, int index, bool training) =>
        training && !kind.Trains ? "it infers only; training runs on the CPU" : kind.WhyNot(index);

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

    private static CpuBackend OpenCpu(int threads, Precision precision) => precision is Precision.Automatic or Precision.Float32
        ? new CpuBackend(threads) : throw new ArgumentException("The CPU computes in fp32 only.", nameof(precision));

    private static CudaBackend OpenCuda(string name, ICudaDriver driver, int index, Precision precision)
    {
        CudaElement element = precision switch
        {
            Precision.Float32 => CudaElement.Float32,
            Precision.BFloat16 => CudaElement.BFloat16,
            Precision.Float16 => CudaElement.Float16,
            _ => new CudaDevice(driver, index).ComputeCapability >= CudaElement.Float16.FirstArchitecture() ? CudaElement.Float16 : CudaElement.Float32,
        };
        return new CudaBackend(name, driver, index, element, wantsPtx: name == "emulated");
    }
}
