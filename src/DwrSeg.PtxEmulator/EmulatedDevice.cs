using DwrSeg.Native.Backends;
using DwrSeg.PtxEmulator.Driver;

namespace DwrSeg.PtxEmulator;

/// <summary>Makes the emulator the device that is called <c>emulated</c>.</summary>
public static class EmulatedDevice
{
    /// <summary>The architecture that it has unless told otherwise.</summary>
    public const int DefaultArchitecture = 90;

    /// <summary>Lets devices be opened by the name <c>emulated</c>, in this process, until it ends.</summary>
    /// <param name="architecture">10 · major + minor of the compute capability: 61, 75, 80, 86, 89 or 90.</param>
    public static void Register(int architecture = DefaultArchitecture) => Devices.Emulator = () => new EmulatedDriver(architecture);
}
