using System.Runtime.InteropServices;
using DwrSeg.Native.Backends.Cpu;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

/// <summary>A map inside a wider, misaligned buffer whose every other element is a marked NaN that nothing may overwrite.</summary>
internal sealed unsafe class Slice : IDisposable
{
    private const uint Mark = 0x7FC0BEEF;
    private const int Guard = 67;

    private readonly float* _buffer;
    private readonly long _length;
    private readonly int _channel;

    public Slice(int n, int h, int w, int c, int before = 0, int after = 0)
    {
        int stride = before + c + after;
        _length = (long)n * h * w * stride + 2 * Guard;
        _channel = before;
        _buffer = (float*)NativeMemory.AlignedAlloc((nuint)_length * 4, 64);
        new Span<uint>(_buffer, (int)_length).Fill(Mark);
        Map = new Map(_buffer + Guard + before, n, h, w, c, stride);
    }

    /// <summary>A slice with random neighbours on either side, or none.</summary>
    public static Slice Random(Random random, int n, int h, int w, int c) =>
        random.Next(2) == 0 ? new Slice(n, h, w, c) : new Slice(n, h, w, c, random.Next(20), random.Next(20));

    public Map Map { get; }

    public ref float this[int n, int y, int x, int c] => ref Map.Row(n, y)[(long)x * Map.PixelStride + c];

    public Slice Randomise(Random random, float scale = 1, float offset = 0)
    {
        for (long p = 0; p < Map.Pixels; p++)
        for (int c = 0; c < Map.C; c++)
            Map.Data[p * Map.PixelStride + c] = (float)((random.NextDouble() * 2 - 1) * scale + offset);
        return this;
    }

    public Doubles ToDoubles()
    {
        Doubles values = new(Map.N, Map.H, Map.W, Map.C);
        for (long p = 0; p < Map.Pixels; p++)
        for (int c = 0; c < Map.C; c++)
            values.Data[p * Map.C + c] = Map.Data[p * Map.PixelStride + c];
        return values;
    }

    public float[] ToArray() => [.. ToDoubles().Data.Select(v => (float)v)];

    public void AssertNeighboursUntouched(string name)
    {
        for (long i = 0; i < _length; i++)
        {
            long at = i - Guard;
            long channel = at % Map.PixelStride - _channel;
            bool inside = at >= 0 && at < Map.Pixels * Map.PixelStride && channel >= 0 && channel < Map.C;
            if (!inside && BitConverter.SingleToUInt32Bits(_buffer[i]) != Mark)
                Assert.Fail($"{name}: element {at} outside the slice was written.");
        }
    }

    public void Dispose() => NativeMemory.AlignedFree(_buffer);
}

/// <summary>NHWC numbers in fp64, for the plain loops that kernels are compared with.</summary>
internal sealed class Doubles(int n, int h, int w, int c)
{
    public readonly int N = n, H = h, W = w, C = c;
    public readonly double[] Data = new double[(long)n * h * w * c];

    public ref double this[int n, int y, int x, int c] => ref Data[(((long)n * H + y) * W + x) * C + c];

    public double Dot(Doubles other) => Data.Zip(other.Data, (a, b) => a * b).Sum();

    /// <summary>Every element differs by at most <paramref name="tolerance"/> times the largest expected magnitude (at least 1).</summary>
    public static void AssertClose(string name, Doubles expected, Slice actual, double tolerance)
    {
        AssertClose(name, expected.Data, actual.ToDoubles().Data, tolerance);
        actual.AssertNeighboursUntouched(name);
    }

    public static void AssertClose(string name, ReadOnlySpan<double> expected, ReadOnlySpan<double> actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        double scale = 1;
        foreach (double v in expected) scale = Math.Max(scale, Math.Abs(v));
        for (int i = 0; i < expected.Length; i++)
        {
            if (!(Math.Abs(expected[i] - actual[i]) <= tolerance * scale))
                Assert.Fail($"{name}: element {i} is {actual[i]:R}, expected {expected[i]:R} (tolerance {tolerance * scale:G3}).");
        }
    }
}

/// <summary>An array in native memory, misaligned, with guards at both ends.</summary>
internal sealed unsafe class Vector : IDisposable
{
    private readonly Slice _slice;

    public Vector(int length) => _slice = new Slice(1, 1, 1, length);

    public float* Data => _slice.Map.Data;

    public int Length => _slice.Map.C;

    public ref float this[int i] => ref Data[i];

    public Vector Randomise(Random random, float scale = 1, float offset = 0)
    {
        _slice.Randomise(random, scale, offset);
        return this;
    }

    public double[] ToDoubles() => _slice.ToDoubles().Data;

    public float[] ToArray() => _slice.ToArray();

    public void AssertClose(string name, ReadOnlySpan<double> expected, double tolerance)
    {
        Doubles.AssertClose(name, expected, ToDoubles(), tolerance);
        _slice.AssertNeighboursUntouched(name);
    }

    public void Dispose() => _slice.Dispose();
}
