namespace DwrSeg.Native.Data;

/// <summary>
/// SplitMix64 seeded by (seed, epoch, index). A stream depends on nothing but these, so it does not matter which thread draws it, nor
/// what was drawn before it.
/// </summary>
internal struct SampleRandom
{
    private ulong _state;

    public SampleRandom(ulong seed, long epoch, long index)
    {
        _state = Mix(Mix(Mix(seed + Step) ^ (ulong)epoch) + Step * (ulong)index);
    }

    private const ulong Step = 0x9E3779B97F4A7C15;

    public ulong NextBits()
    {
        _state += Step;
        return Mix(_state);
    }

    /// <summary>Uniform in [0, 1).</summary>
    public double NextDouble() => (NextBits() >> 11) * (1.0 / (1L << 53));

    /// <summary>Uniform in [low, high).</summary>
    public double Between(double low, double high) => low + (high - low) * NextDouble();

    /// <summary>Uniform in [0, count): the high word of a 64-bit product, whose bias of count/2^64 no one can see.</summary>
    public int Below(int count) => (int)Math.BigMul(NextBits(), (ulong)count, out _);

    /// <summary>True with the given probability.</summary>
    public bool Chance(double probability) => NextDouble() < probability;

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
