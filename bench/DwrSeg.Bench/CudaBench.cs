using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.PtxEmulator;

namespace DwrSeg.Bench;

/// <summary>Marks benchmarks that need something which is not everywhere; where it is missing they are left out, with the reason.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal abstract class NeedsAttribute : Attribute
{
    /// <summary>Why they can't run here; null where they can.</summary>
    public abstract string? WhyNot { get; }
}

/// <summary>They need the device of <see cref="CudaBench"/>.</summary>
internal sealed class NeedsCudaAttribute : NeedsAttribute
{
    private static readonly Lazy<string?> Reason = new(CudaBench.WhyNot);

    public override string? WhyNot => Reason.Value;
}

/// <summary>They compile kernels.</summary>
internal sealed class NeedsNvrtcAttribute : NeedsAttribute
{
    public override string? WhyNot
    {
        get
        {
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
    }
}

/// <summary>
/// The device of the CUDA benchmarks: the first CUDA device, or what <c>DWRSEG_BENCH_DEVICE</c> names. <c>emulated</c> proves that the
/// benchmarks run; its times say nothing, so there the networks are small.
/// </summary>
internal static class CudaBench
{
    private const string Variable = "DWRSEG_BENCH_DEVICE";

    public static string Device { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } name ? name : "cuda";

    public static bool IsEmulated => Device == "emulated";

    /// <summary>The input size of DWRSeg-B whose kernels are timed.</summary>
    public static (int Height, int Width) Size => IsEmulated ? (64, 128) : (512, 1024);

    /// <summary>Opens the device.</summary>
    public static IBackend Open(Precision precision = Precision.Automatic)
    {
        EmulatedDevice.Register();
        return Devices.Open(Device, 0, out _, precision);
    }

    /// <summary>Why there is no such device; null where there is.</summary>
    public static string? WhyNot()
    {
        try
        {
            Open().Dispose();
            return null;
        }
        catch (Exception e) when (e is DeviceUnavailableException or CudaException or ArgumentException)
        {
            return $"{e.Message} {Variable}=emulated runs them on the emulator.";
        }
    }
}
