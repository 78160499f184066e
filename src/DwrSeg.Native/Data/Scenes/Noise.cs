using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>Hashed lattice noise: only integer arithmetic, + − · and floor, so that every machine draws the same picture.</summary>
internal static class Noise
{
    /// <summary>A value in [0, 1) for a lattice cell.</summary>
    public static float Cell(int x, int y, int z, uint seed)
    {
        uint h = (uint)x * 0x8DA6B343 ^ (uint)y * 0xD8163841 ^ (uint)z * 0xCB1AB31F ^ seed * 0x9E3779B1;
        h = (h ^ h >> 15) * 0x2C1B3C6D;
        h = (h ^ h >> 12) * 0x297A2D39;
        return ((h ^ h >> 15) >> 8) * (1f / (1 << 24));
    }

    /// <summary>Smooth noise in [0, 1) with one feature per unit.</summary>
    public static float Smooth(float x, float y, float z, uint seed)
    {
        int ix = Floor(x), iy = Floor(y), iz = Floor(z);
        float fx = Fade(x - ix), fy = Fade(y - iy), fz = Fade(z - iz);
        float near = Mix(Mix(Cell(ix, iy, iz, seed), Cell(ix + 1, iy, iz, seed), fx),
            Mix(Cell(ix, iy + 1, iz, seed), Cell(ix + 1, iy + 1, iz, seed), fx), fy);
        float far = Mix(Mix(Cell(ix, iy, iz + 1, seed), Cell(ix + 1, iy, iz + 1, seed), fx),
            Mix(Cell(ix, iy + 1, iz + 1, seed), Cell(ix + 1, iy + 1, iz + 1, seed), fx), fy);
        return Mix(near, far, fz);
    }

    /// <summary>Smooth noise in the plane.</summary>
    public static float Smooth(float x, float y, uint seed)
    {
        int ix = Floor(x), iy = Floor(y);
        float fx = Fade(x - ix), fy = Fade(y - iy);
        return Mix(Mix(Cell(ix, iy, 0, seed), Cell(ix + 1, iy, 0, seed), fx),
            Mix(Cell(ix, iy + 1, 0, seed), Cell(ix + 1, iy + 1, 0, seed), fx), fy);
    }

    /// <summary>Octaves of plane noise, each half as large and half as strong as the one before; in [0, 1).</summary>
    public static float Fractal(float x, float y, uint seed, int octaves)
    {
        float sum = 0, weight = 1, total = 0;
        for (int i = 0; i < octaves; i++)
        {
            sum += weight * Smooth(x, y, seed + (uint)i);
            total += weight;
            weight *= 0.5f;
            x *= 2;
            y *= 2;
        }
        return sum / total;
    }

    public static int Floor(float v) => (int)MathF.Floor(v);

    public static float Fraction(float v) => v - MathF.Floor(v);

    /// <summary>Between two colours. (<see cref="Vector3.Lerp(Vector3, Vector3, float)"/> rounds differently where there is FMA.)</summary>
    public static Vector3 Mix(Vector3 a, Vector3 b, float t) => a + (b - a) * t;

    private static float Fade(float t) => t * t * (3 - 2 * t);

    private static float Mix(float a, float b, float t) => a + (b - a) * t;
}
