using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>A device and its limits; nothing is held open.</summary>
internal sealed class CudaDevice
{
    private readonly Dictionary<CUdeviceAttribute, int> _attributes = [];
    private readonly Lock _lock = new();

    /// <summary>Takes a device by number.</summary>
    /// <exception cref="CudaException">The driver has no device, or none of this number.</exception>
    public CudaDevice(ICudaDriver driver, int ordinal)
    {
        Driver = driver;
        Ordinal = ordinal;
        CudaStatus.Check(driver, driver.Init(0));
        CudaStatus.Check(driver, driver.DeviceGet(out CUdevice device, ordinal));
        CudaStatus.Check(driver, driver.DeviceGetName(out string name, device));
        CudaStatus.Check(driver, driver.DeviceTotalMem(out ulong total, device));
        (Handle, Name, TotalMemoryBytes) = (device, name, total);
        ComputeCapability = new(this[CUdeviceAttribute.ComputeCapabilityMajor], this[CUdeviceAttribute.ComputeCapabilityMinor]);
    }

    public ICudaDriver Driver { get; }

    public int Ordinal { get; }

    public CUdevice Handle { get; }

    public string Name { get; }

    public ulong TotalMemoryBytes { get; }

    public ComputeCapability ComputeCapability { get; }

    public int MultiprocessorCount => this[CUdeviceAttribute.MultiprocessorCount];

    /// <summary>Shared memory that a block can have when its kernel asks for it (<see cref="CudaKernel.AllowDynamicShared"/>).</summary>
    public int MaxSharedBytesPerBlock => this[CUdeviceAttribute.MaxSharedMemoryPerBlockOptin];

    public bool SupportsMemoryPools => this[CUdeviceAttribute.MemoryPoolsSupported] != 0;

    /// <summary>A property by the driver's name for it, asked once.</summary>
    public int this[CUdeviceAttribute attribute]
    {
        get
        {
            lock (_lock)
            {
                if (_attributes.TryGetValue(attribute, out int value)) return value;
                CudaStatus.Check(Driver, Driver.DeviceGetAttribute(out value, attribute, Handle));
                return _attributes[attribute] = value;
            }
        }
    }

    public override string ToString() => $"cuda:{Ordinal} {Name} ({ComputeCapability})";
}
