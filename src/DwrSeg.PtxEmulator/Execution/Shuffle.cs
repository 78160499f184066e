namespace DwrSeg.PtxEmulator.Execution;

/// <summary>Random numbers that are the same on every machine (splitmix64).</summary>
internal struct Shuffle(ulong seed)
{
    private ulong _state = seed;

    public ulong Next()
    {
        _state += 0x9e3779b97f4a7c15;
        ulong z = _state;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    public ulong Below(ulong bound) => Next() % bound;
}
