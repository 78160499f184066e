using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>The random choices of one scene, in the order in which it is composed.</summary>
internal sealed class SceneRandom(ulong seed, int index)
{
    private SampleRandom _random = new(seed, 0, index);

    public float Between(float low, float high) => (float)_random.Between(low, high);

    public bool Chance(double probability) => _random.Chance(probability);

    public int Below(int count) => _random.Below(count);

    public uint Seed() => (uint)_random.NextBits();

    public T Pick<T>(ReadOnlySpan<T> items) => items[_random.Below(items.Length)];

    /// <summary>A colour near the given one: lighter or darker as a whole, a little off in each channel.</summary>
    public Vector3 Near(Vector3 colour, float range = 0.15f)
    {
        float level = Between(1 - range, 1 + range), off = range * 0.25f;
        return colour * level * new Vector3(Between(1 - off, 1 + off), Between(1 - off, 1 + off), Between(1 - off, 1 + off));
    }
}
