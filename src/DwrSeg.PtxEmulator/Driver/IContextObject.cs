namespace DwrSeg.PtxEmulator.Driver;

/// <summary>Something with a handle that lives in a context.</summary>
internal interface IContextObject
{
    EmulatedContext Context { get; }
}
