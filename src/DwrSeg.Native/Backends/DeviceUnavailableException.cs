namespace DwrSeg.Native;

/// <summary>The asked-for device is not there; the message says why and which devices are.</summary>
public sealed class DeviceUnavailableException : Exception
{
    internal DeviceUnavailableException(string message)
        : base(message)
    {
    }
}
