using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

/// <summary>
/// The driver that tests run on: the emulator, or, with <c>DWRSEG_TEST_DEVICE=cuda</c>, this machine's with its first device. Classes of tests
/// that follow it have the trait <see cref="Trait"/> = <see cref="Cuda"/>, so that <c>-trait "Device=Cuda"</c> runs all that a device is good for.
/// </summary>
internal static class TestDriver
{
    public const string Trait = "Device";
    public const string Cuda = "Cuda";

    private const string Variable = "DWRSEG_TEST_DEVICE";

    public static bool IsReal => Environment.GetEnvironmentVariable(Variable) == "cuda";

    /// <summary>Decides in which order emulated blocks, warps and streams run: <c>DWRSEG_SEED</c>, or 1.</summary>
    public static int Seed { get; } =
        int.TryParse(Environment.GetEnvironmentVariable("DWRSEG_SEED"), System.Globalization.CultureInfo.InvariantCulture, out int seed) ? seed : 1;

    /// <summary>A driver: an emulated one has one device of this architecture and is the caller's to dispose.</summary>
    /// <param name="architecture">The emulated device's.</param>
    /// <param name="seed">In place of <see cref="Seed"/>.</param>
    /// <param name="eagerness">How often emulated streams run ahead of what waits for them.</param>
    public static ICudaDriver Open(int architecture, int? seed = null, double eagerness = 0) => IsReal
        ? NativeDriver.Instance
        : new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(architecture)], Seed = seed ?? Seed, Eagerness = eagerness });

    /// <summary>Fails where an emulated driver still holds anything; a real one is not asked, for other tests use it meanwhile.</summary>
    public static void AssertHoldsNothing(ICudaDriver driver)
    {
        if (driver is EmulatedDriver emulated) Assert.Equal(default, emulated.Live);
    }

    /// <summary>A backend on such a driver.</summary>
    public static CudaBackend OpenBackend(int architecture, CudaElement element)
    {
        TestNvrtc.Require();
        return new CudaBackend(IsReal ? "cuda" : "emulated", Open(architecture), 0, element, wantsPtx: !IsReal);
    }

    /// <summary>Why an architecture can't be tested here; null where it can, and where <see cref="TestNvrtc"/> will say that nothing can.</summary>
    public static string? WhyNot(int architecture)
    {
        if (IsReal) return null;
        Nvrtc compiler;
        try
        {
            compiler = Nvrtc.Instance;
        }
        catch (CudaException)
        {
            return null;
        }
        ComputeCapability oldest = compiler.Architectures[0];
        return architecture < oldest.Number ? $"NVRTC {compiler.Version} compiles for {oldest} and newer" : null;
    }

    /// <summary>Architectures to run on; 0 stands for the real device's.</summary>
    public static IEnumerable<int> Architectures(params ReadOnlySpan<int> emulated) => IsReal ? [0] : emulated.ToArray();
}
