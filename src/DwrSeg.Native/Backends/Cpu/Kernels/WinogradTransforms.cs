using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// The transforms of Winograd's F(4x4, 3x3): a 4x4 tile of y is Aᵀ[(G w Gᵀ) ⊙ (Bᵀ x B)]A of a 6x6 tile of x, which takes 36 products
/// in place of 144.
/// </summary>
/// <remarks>
/// Interpolation points 0, ±A, ±B, ∞. With P = A², Q = B²:
/// <code>
/// Bᵀ = | PQ   0   −P−Q  0   1  0 |   G = | 1/PQ   0      0     |   Aᵀ = | 1  1   1   1   1  0 |
///      | 0  −AQ   −Q    A   1  0 |       | 1/NA   A/NA   P/NA  |        | 0  A  −A   B  −B  0 |
///      | 0   AQ   −Q   −A   1  0 |       | 1/NA  −A/NA   P/NA  |        | 0  P   P   Q   Q  0 |
///      | 0  −BP   −P    B   1  0 |       | 1/NB   B/NB   Q/NB  |        | 0  AP −AP  BQ −BQ 1 |
///      | 0   BP   −P   −B   1  0 |       | 1/NB  −B/NB   Q/NB  |
///      | 0   PQ    0  −P−Q  0  1 |       | 0      0      1     |   NA = 2P(P − Q), NB = 2Q(Q − P)
/// </code>
/// The points decide how much single precision loses. Measured on 64 and 320 channels of normal data, ±√½ and ±√2 err 1.7 to 2.3
/// times as much as the direct product (relative to the output's norm 7e-7 and 1.7e-6), the customary ±1 and ±2 four to five times.
/// </remarks>
internal static unsafe class WinogradTransforms
{
    /// <summary>Side of a tile of y.</summary>
    public const int Tile = 4;

    /// <summary>Side of a tile of x.</summary>
    public const int Patch = 6;

    /// <summary>Products per tile and pair of channels.</summary>
    public const int Points = Patch * Patch;

    private const float A = 0.70710678f, B = 1.41421356f;
    private const float P = 0.5f, Q = 2;

    /// <summary>
    /// Transforms a patch: <paramref name="pixels"/>[6·row + column] points to a pixel's channels (a multiple of 16), results go to
    /// <paramref name="target"/> + point · <paramref name="pitch"/>; <paramref name="half"/> is 64-byte aligned scratch of 36 vectors.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Input(float** pixels, nint channels, float* target, nint pitch, Vector512<float>* half)
    {
        for (nint channel = 0; channel < channels; channel += 16)
        {
            for (int j = 0; j < Patch; j++)
            {
                float** column = pixels + j;
                Input(Vector512.Load(column[0] + channel), Vector512.Load(column[6] + channel), Vector512.Load(column[12] + channel),
                    Vector512.Load(column[18] + channel), Vector512.Load(column[24] + channel), Vector512.Load(column[30] + channel),
                    (float*)(half + j), Patch * 16);
            }
            float* v = target + channel;
            for (int i = 0; i < Patch; i++)
            {
                Vector512<float>* row = half + i * Patch;
                Input(row[0], row[1], row[2], row[3], row[4], row[5], v, pitch);
                v += Patch * pitch;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Input(Vector512<float> d0, Vector512<float> d1, Vector512<float> d2, Vector512<float> d3, Vector512<float> d4,
        Vector512<float> d5, float* target, nint pitch)
    {
        Vector512<float> even = Fma(-Q, d2, d4), odd = Fma(-Q, d1, d3);
        Fma(-(P + Q), d2, Fma(P * Q, d0, d4)).Store(target);
        Fma(A, odd, even).Store(target + pitch);
        Fma(-A, odd, even).Store(target + 2 * pitch);
        even = Fma(-P, d2, d4);
        odd = Fma(-P, d1, d3);
        Fma(B, odd, even).Store(target + 3 * pitch);
        Fma(-B, odd, even).Store(target + 4 * pitch);
        Fma(-(P + Q), d3, Fma(P * Q, d1, d5)).Store(target + 5 * pitch);
    }

    /// <summary>
    /// Transforms 16 channels of 36 products at <paramref name="source"/> + point · <paramref name="pitch"/> back to the 16 values of a
    /// tile of y, row by row; <paramref name="half"/> is aligned scratch of 24 vectors.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Output(float* source, nint pitch, Vector512<float>* y, Vector512<float>* half)
    {
        for (int j = 0; j < Patch; j++)
        {
            float* m = source + j * pitch;
            nint down = Patch * pitch;
            Output(Vector512.LoadAligned(m), Vector512.LoadAligned(m + down), Vector512.LoadAligned(m + 2 * down),
                Vector512.LoadAligned(m + 3 * down), Vector512.LoadAligned(m + 4 * down), Vector512.LoadAligned(m + 5 * down),
                half + j, Patch);
        }
        for (int i = 0; i < Tile; i++)
        {
            Vector512<float>* row = half + i * Patch;
            Output(row[0], row[1], row[2], row[3], row[4], row[5], y + i * Tile, 1);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Output(Vector512<float> m0, Vector512<float> m1, Vector512<float> m2, Vector512<float> m3, Vector512<float> m4,
        Vector512<float> m5, Vector512<float>* y, int pitch)
    {
        Vector512<float> evenA = m1 + m2, oddA = m1 - m2, evenB = m3 + m4, oddB = m3 - m4;
        y[0] = m0 + evenA + evenB;
        y[pitch] = Fma(B, oddB, oddA * Vector512.Create(A));
        y[2 * pitch] = Fma(Q, evenB, evenA * Vector512.Create(P));
        y[3 * pitch] = Fma(B * Q, oddB, Fma(A * P, oddA, m5));
    }

    /// <summary>Transforms 16 columns of a 3x3 kernel, tap t at w + t · pitch, to 36 values at u + point · pitch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Weights(float* w, float* u, nint pitch)
    {
        Vector512<float>* half = stackalloc Vector512<float>[Patch * 3];
        for (int j = 0; j < 3; j++)
        {
            float* column = w + j * pitch;
            Weights(Vector512.LoadAligned(column), Vector512.LoadAligned(column + 3 * pitch), Vector512.LoadAligned(column + 6 * pitch),
                (float*)(half + j), 3 * 16);
        }
        for (int i = 0; i < Patch; i++)
        {
            Vector512<float>* row = half + i * 3;
            Weights(row[0], row[1], row[2], u, pitch);
            u += Patch * pitch;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Weights(Vector512<float> g0, Vector512<float> g1, Vector512<float> g2, float* target, nint pitch)
    {
        const float ScaleA = 1 / (2 * P * (P - Q)), ScaleB = 1 / (2 * Q * (Q - P));
        Vector512<float> even = Fma(P, g2, g0) * Vector512.Create(ScaleA), odd = g1 * Vector512.Create(A * ScaleA);
        (g0 * Vector512.Create(1 / (P * Q))).Store(target);
        (even + odd).Store(target + pitch);
        (even - odd).Store(target + 2 * pitch);
        even = Fma(Q, g2, g0) * Vector512.Create(ScaleB);
        odd = g1 * Vector512.Create(B * ScaleB);
        (even + odd).Store(target + 3 * pitch);
        (even - odd).Store(target + 4 * pitch);
        g2.Store(target + 5 * pitch);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Fma(float a, Vector512<float> b, Vector512<float> c) =>
        Vector512.MultiplyAddEstimate(Vector512.Create(a), b, c);
}
