using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// What a tile multiplies: for each tap a pointer per pixel (<see cref="TapPitch"/> pointers from one tap to the next), of which the
/// channels from <see cref="FirstChannel"/> on are read, and the packed weights [tap][channel][column].
/// </summary>
internal unsafe struct TileInput
{
    public float** Pixels;
    public float* Weights;
    public nint TapPitch, FirstChannel, Channels;
    public int Taps;
}

/// <summary>Where a tile's rows lie: row r at <c>Pixels[r] + Offset</c>.</summary>
internal unsafe struct TileRows
{
    public float** Pixels;
    public nint Offset;
}

/// <summary>How a tile's sums begin and end; a type, so that each way is compiled by itself.</summary>
internal interface ITileEnds;

/// <summary>From init, and through bias and floor into the result.</summary>
internal readonly struct FusedEnds : ITileEnds;

/// <summary>From zero straight into the result.</summary>
internal readonly struct PlainEnds : ITileEnds;

/// <summary>
/// Register tiles of the implicit GEMM:
/// <c>result[r][o] = max(floor, init[r][o] + Σ_tap Σ_c pixels[tap][r][c] · w[tap][c][o] + bias[o])</c>
/// for R pixels and one panel of output channels; a floor of −∞ leaves the sum alone and NaN stays NaN. Pixels come by pointer, one per
/// tap, so stride, padding (a pointer to zeros), channel slices and tiles that span rows all cost the same. Init and result may be the
/// same rows.
/// </summary>
/// <remarks>
/// Accumulators are plain locals so that the JIT keeps every one in a register: R·V of them, V weights and one broadcast within 32
/// (16 with 256-bit vectors), and at least 8 chains to cover the latency of two FMA units. Arrays, structs or loops over
/// accumulators would spill.
/// </remarks>
internal static unsafe class PanelKernels
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile6x64<TEnds>(in TileInput input, TileRows init, TileRows result, float* bias, float floor)
        where TEnds : struct, ITileEnds
    {
        float** pixels = input.Pixels;
        float* w = input.Weights;
        nint first = input.FirstChannel, channels = input.Channels, tapPitch = input.TapPitch;
        Vector512<float> s00 = default, s01 = default, s02 = default, s03 = default;
        Vector512<float> s10 = default, s11 = default, s12 = default, s13 = default;
        Vector512<float> s20 = default, s21 = default, s22 = default, s23 = default;
        Vector512<float> s30 = default, s31 = default, s32 = default, s33 = default;
        Vector512<float> s40 = default, s41 = default, s42 = default, s43 = default;
        Vector512<float> s50 = default, s51 = default, s52 = default, s53 = default;
        float* row;
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            row = init.Pixels[0] + init.Offset;
            s00 = Vector512.Load(row);
            s01 = Vector512.Load(row + 16);
            s02 = Vector512.Load(row + 32);
            s03 = Vector512.Load(row + 48);
            row = init.Pixels[1] + init.Offset;
            s10 = Vector512.Load(row);
            s11 = Vector512.Load(row + 16);
            s12 = Vector512.Load(row + 32);
            s13 = Vector512.Load(row + 48);
            row = init.Pixels[2] + init.Offset;
            s20 = Vector512.Load(row);
            s21 = Vector512.Load(row + 16);
            s22 = Vector512.Load(row + 32);
            s23 = Vector512.Load(row + 48);
            row = init.Pixels[3] + init.Offset;
            s30 = Vector512.Load(row);
            s31 = Vector512.Load(row + 16);
            s32 = Vector512.Load(row + 32);
            s33 = Vector512.Load(row + 48);
            row = init.Pixels[4] + init.Offset;
            s40 = Vector512.Load(row);
            s41 = Vector512.Load(row + 16);
            s42 = Vector512.Load(row + 32);
            s43 = Vector512.Load(row + 48);
            row = init.Pixels[5] + init.Offset;
            s50 = Vector512.Load(row);
            s51 = Vector512.Load(row + 16);
            s52 = Vector512.Load(row + 32);
            s53 = Vector512.Load(row + 48);
        }
        for (int taps = input.Taps; taps > 0; taps--, pixels += tapPitch)
        {
            float* p0 = pixels[0] + first, p1 = pixels[1] + first, p2 = pixels[2] + first, p3 = pixels[3] + first;
            float* p4 = pixels[4] + first, p5 = pixels[5] + first;
            for (nint c = 0; c < channels; c++, w += 64)
            {
                Vector512<float> w0 = Vector512.LoadAligned(w);
                Vector512<float> w1 = Vector512.LoadAligned(w + 16);
                Vector512<float> w2 = Vector512.LoadAligned(w + 32);
                Vector512<float> w3 = Vector512.LoadAligned(w + 48);
                Vector512<float> x;
                x = Vector512.Create(p0[c]);
                s00 = Vector512.MultiplyAddEstimate(x, w0, s00);
                s01 = Vector512.MultiplyAddEstimate(x, w1, s01);
                s02 = Vector512.MultiplyAddEstimate(x, w2, s02);
                s03 = Vector512.MultiplyAddEstimate(x, w3, s03);
                x = Vector512.Create(p1[c]);
                s10 = Vector512.MultiplyAddEstimate(x, w0, s10);
                s11 = Vector512.MultiplyAddEstimate(x, w1, s11);
                s12 = Vector512.MultiplyAddEstimate(x, w2, s12);
                s13 = Vector512.MultiplyAddEstimate(x, w3, s13);
                x = Vector512.Create(p2[c]);
                s20 = Vector512.MultiplyAddEstimate(x, w0, s20);
                s21 = Vector512.MultiplyAddEstimate(x, w1, s21);
                s22 = Vector512.MultiplyAddEstimate(x, w2, s22);
                s23 = Vector512.MultiplyAddEstimate(x, w3, s23);
                x = Vector512.Create(p3[c]);
                s30 = Vector512.MultiplyAddEstimate(x, w0, s30);
                s31 = Vector512.MultiplyAddEstimate(x, w1, s31);
                s32 = Vector512.MultiplyAddEstimate(x, w2, s32);
                s33 = Vector512.MultiplyAddEstimate(x, w3, s33);
                x = Vector512.Create(p4[c]);
                s40 = Vector512.MultiplyAddEstimate(x, w0, s40);
                s41 = Vector512.MultiplyAddEstimate(x, w1, s41);
                s42 = Vector512.MultiplyAddEstimate(x, w2, s42);
                s43 = Vector512.MultiplyAddEstimate(x, w3, s43);
                x = Vector512.Create(p5[c]);
                s50 = Vector512.MultiplyAddEstimate(x, w0, s50);
                s51 = Vector512.MultiplyAddEstimate(x, w1, s51);
                s52 = Vector512.MultiplyAddEstimate(x, w2, s52);
                s53 = Vector512.MultiplyAddEstimate(x, w3, s53);
            }
        }
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            Vector512<float> least = Vector512.Create(floor);
            Vector512<float> b0 = Vector512.Load(bias);
            Vector512<float> b1 = Vector512.Load(bias + 16);
            Vector512<float> b2 = Vector512.Load(bias + 32);
            Vector512<float> b3 = Vector512.Load(bias + 48);
            s00 = Vector512.MaxNative(least, s00 + b0);
            s01 = Vector512.MaxNative(least, s01 + b1);
            s02 = Vector512.MaxNative(least, s02 + b2);
            s03 = Vector512.MaxNative(least, s03 + b3);
            s10 = Vector512.MaxNative(least, s10 + b0);
            s11 = Vector512.MaxNative(least, s11 + b1);
            s12 = Vector512.MaxNative(least, s12 + b2);
            s13 = Vector512.MaxNative(least, s13 + b3);
            s20 = Vector512.MaxNative(least, s20 + b0);
            s21 = Vector512.MaxNative(least, s21 + b1);
            s22 = Vector512.MaxNative(least, s22 + b2);
            s23 = Vector512.MaxNative(least, s23 + b3);
            s30 = Vector512.MaxNative(least, s30 + b0);
            s31 = Vector512.MaxNative(least, s31 + b1);
            s32 = Vector512.MaxNative(least, s32 + b2);
            s33 = Vector512.MaxNative(least, s33 + b3);
            s40 = Vector512.MaxNative(least, s40 + b0);
            s41 = Vector512.MaxNative(least, s41 + b1);
            s42 = Vector512.MaxNative(least, s42 + b2);
            s43 = Vector512.MaxNative(least, s43 + b3);
            s50 = Vector512.MaxNative(least, s50 + b0);
            s51 = Vector512.MaxNative(least, s51 + b1);
            s52 = Vector512.MaxNative(least, s52 + b2);
            s53 = Vector512.MaxNative(least, s53 + b3);
        }
        row = result.Pixels[0] + result.Offset;
        s00.Store(row);
        s01.Store(row + 16);
        s02.Store(row + 32);
        s03.Store(row + 48);
        row = result.Pixels[1] + result.Offset;
        s10.Store(row);
        s11.Store(row + 16);
        s12.Store(row + 32);
        s13.Store(row + 48);
        row = result.Pixels[2] + result.Offset;
        s20.Store(row);
        s21.Store(row + 16);
        s22.Store(row + 32);
        s23.Store(row + 48);
        row = result.Pixels[3] + result.Offset;
        s30.Store(row);
        s31.Store(row + 16);
        s32.Store(row + 32);
        s33.Store(row + 48);
        row = result.Pixels[4] + result.Offset;
        s40.Store(row);
        s41.Store(row + 16);
        s42.Store(row + 32);
        s43.Store(row + 48);
        row = result.Pixels[5] + result.Offset;
        s50.Store(row);
        s51.Store(row + 16);
        s52.Store(row + 32);
        s53.Store(row + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile8x48<TEnds>(in TileInput input, TileRows init, TileRows result, float* bias, float floor)
        where TEnds : struct, ITileEnds
    {
        float** pixels = input.Pixels;
        float* w = input.Weights;
        nint first = input.FirstChannel, channels = input.Channels, tapPitch = input.TapPitch;
        Vector512<float> s00 = default, s01 = default, s02 = default;
        Vector512<float> s10 = default, s11 = default, s12 = default;
        Vector512<float> s20 = default, s21 = default, s22 = default;
        Vector512<float> s30 = default, s31 = default, s32 = default;
        Vector512<float> s40 = default, s41 = default, s42 = default;
        Vector512<float> s50 = default, s51 = default, s52 = default;
        Vector512<float> s60 = default, s61 = default, s62 = default;
        Vector512<float> s70 = default, s71 = default, s72 = default;
        float* row;
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            row = init.Pixels[0] + init.Offset;
            s00 = Vector512.Load(row);
            s01 = Vector512.Load(row + 16);
            s02 = Vector512.Load(row + 32);
            row = init.Pixels[1] + init.Offset;
            s10 = Vector512.Load(row);
            s11 = Vector512.Load(row + 16);
            s12 = Vector512.Load(row + 32);
            row = init.Pixels[2] + init.Offset;
            s20 = Vector512.Load(row);
            s21 = Vector512.Load(row + 16);
            s22 = Vector512.Load(row + 32);
            row = init.Pixels[3] + init.Offset;
            s30 = Vector512.Load(row);
            s31 = Vector512.Load(row + 16);
            s32 = Vector512.Load(row + 32);
            row = init.Pixels[4] + init.Offset;
            s40 = Vector512.Load(row);
            s41 = Vector512.Load(row + 16);
            s42 = Vector512.Load(row + 32);
            row = init.Pixels[5] + init.Offset;
            s50 = Vector512.Load(row);
            s51 = Vector512.Load(row + 16);
            s52 = Vector512.Load(row + 32);
            row = init.Pixels[6] + init.Offset;
            s60 = Vector512.Load(row);
            s61 = Vector512.Load(row + 16);
            s62 = Vector512.Load(row + 32);
            row = init.Pixels[7] + init.Offset;
            s70 = Vector512.Load(row);
            s71 = Vector512.Load(row + 16);
            s72 = Vector512.Load(row + 32);
        }
        for (int taps = input.Taps; taps > 0; taps--, pixels += tapPitch)
        {
            float* p0 = pixels[0] + first, p1 = pixels[1] + first, p2 = pixels[2] + first, p3 = pixels[3] + first;
            float* p4 = pixels[4] + first, p5 = pixels[5] + first, p6 = pixels[6] + first, p7 = pixels[7] + first;
            for (nint c = 0; c < channels; c++, w += 48)
            {
                Vector512<float> w0 = Vector512.LoadAligned(w);
                Vector512<float> w1 = Vector512.LoadAligned(w + 16);
                Vector512<float> w2 = Vector512.LoadAligned(w + 32);
                Vector512<float> x;
                x = Vector512.Create(p0[c]);
                s00 = Vector512.MultiplyAddEstimate(x, w0, s00);
                s01 = Vector512.MultiplyAddEstimate(x, w1, s01);
                s02 = Vector512.MultiplyAddEstimate(x, w2, s02);
                x = Vector512.Create(p1[c]);
                s10 = Vector512.MultiplyAddEstimate(x, w0, s10);
                s11 = Vector512.MultiplyAddEstimate(x, w1, s11);
                s12 = Vector512.MultiplyAddEstimate(x, w2, s12);
                x = Vector512.Create(p2[c]);
                s20 = Vector512.MultiplyAddEstimate(x, w0, s20);
                s21 = Vector512.MultiplyAddEstimate(x, w1, s21);
                s22 = Vector512.MultiplyAddEstimate(x, w2, s22);
                x = Vector512.Create(p3[c]);
                s30 = Vector512.MultiplyAddEstimate(x, w0, s30);
                s31 = Vector512.MultiplyAddEstimate(x, w1, s31);
                s32 = Vector512.MultiplyAddEstimate(x, w2, s32);
                x = Vector512.Create(p4[c]);
                s40 = Vector512.MultiplyAddEstimate(x, w0, s40);
                s41 = Vector512.MultiplyAddEstimate(x, w1, s41);
                s42 = Vector512.MultiplyAddEstimate(x, w2, s42);
                x = Vector512.Create(p5[c]);
                s50 = Vector512.MultiplyAddEstimate(x, w0, s50);
                s51 = Vector512.MultiplyAddEstimate(x, w1, s51);
                s52 = Vector512.MultiplyAddEstimate(x, w2, s52);
                x = Vector512.Create(p6[c]);
                s60 = Vector512.MultiplyAddEstimate(x, w0, s60);
                s61 = Vector512.MultiplyAddEstimate(x, w1, s61);
                s62 = Vector512.MultiplyAddEstimate(x, w2, s62);
                x = Vector512.Create(p7[c]);
                s70 = Vector512.MultiplyAddEstimate(x, w0, s70);
                s71 = Vector512.MultiplyAddEstimate(x, w1, s71);
                s72 = Vector512.MultiplyAddEstimate(x, w2, s72);
            }
        }
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            Vector512<float> least = Vector512.Create(floor);
            Vector512<float> b0 = Vector512.Load(bias);
            Vector512<float> b1 = Vector512.Load(bias + 16);
            Vector512<float> b2 = Vector512.Load(bias + 32);
            s00 = Vector512.MaxNative(least, s00 + b0);
            s01 = Vector512.MaxNative(least, s01 + b1);
            s02 = Vector512.MaxNative(least, s02 + b2);
            s10 = Vector512.MaxNative(least, s10 + b0);
            s11 = Vector512.MaxNative(least, s11 + b1);
            s12 = Vector512.MaxNative(least, s12 + b2);
            s20 = Vector512.MaxNative(least, s20 + b0);
            s21 = Vector512.MaxNative(least, s21 + b1);
            s22 = Vector512.MaxNative(least, s22 + b2);
            s30 = Vector512.MaxNative(least, s30 + b0);
            s31 = Vector512.MaxNative(least, s31 + b1);
            s32 = Vector512.MaxNative(least, s32 + b2);
            s40 = Vector512.MaxNative(least, s40 + b0);
            s41 = Vector512.MaxNative(least, s41 + b1);
            s42 = Vector512.MaxNative(least, s42 + b2);
            s50 = Vector512.MaxNative(least, s50 + b0);
            s51 = Vector512.MaxNative(least, s51 + b1);
            s52 = Vector512.MaxNative(least, s52 + b2);
            s60 = Vector512.MaxNative(least, s60 + b0);
            s61 = Vector512.MaxNative(least, s61 + b1);
            s62 = Vector512.MaxNative(least, s62 + b2);
            s70 = Vector512.MaxNative(least, s70 + b0);
            s71 = Vector512.MaxNative(least, s71 + b1);
            s72 = Vector512.MaxNative(least, s72 + b2);
        }
        row = result.Pixels[0] + result.Offset;
        s00.Store(row);
        s01.Store(row + 16);
        s02.Store(row + 32);
        row = result.Pixels[1] + result.Offset;
        s10.Store(row);
        s11.Store(row + 16);
        s12.Store(row + 32);
        row = result.Pixels[2] + result.Offset;
        s20.Store(row);
        s21.Store(row + 16);
        s22.Store(row + 32);
        row = result.Pixels[3] + result.Offset;
        s30.Store(row);
        s31.Store(row + 16);
        s32.Store(row + 32);
        row = result.Pixels[4] + result.Offset;
        s40.Store(row);
        s41.Store(row + 16);
        s42.Store(row + 32);
        row = result.Pixels[5] + result.Offset;
        s50.Store(row);
        s51.Store(row + 16);
        s52.Store(row + 32);
        row = result.Pixels[6] + result.Offset;
        s60.Store(row);
        s61.Store(row + 16);
        s62.Store(row + 32);
        row = result.Pixels[7] + result.Offset;
        s70.Store(row);
        s71.Store(row + 16);
        s72.Store(row + 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile10x32<TEnds>(in TileInput input, TileRows init, TileRows result, float* bias, float floor)
        where TEnds : struct, ITileEnds
    {
        float** pixels = input.Pixels;
        float* w = input.Weights;
        nint first = input.FirstChannel, channels = input.Channels, tapPitch = input.TapPitch;
        Vector512<float> s00 = default, s01 = default;
        Vector512<float> s10 = default, s11 = default;
        Vector512<float> s20 = default, s21 = default;
        Vector512<float> s30 = default, s31 = default;
        Vector512<float> s40 = default, s41 = default;
        Vector512<float> s50 = default, s51 = default;
        Vector512<float> s60 = default, s61 = default;
        Vector512<float> s70 = default, s71 = default;
        Vector512<float> s80 = default, s81 = default;
        Vector512<float> s90 = default, s91 = default;
        float* row;
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            row = init.Pixels[0] + init.Offset;
            s00 = Vector512.Load(row);
            s01 = Vector512.Load(row + 16);
            row = init.Pixels[1] + init.Offset;
            s10 = Vector512.Load(row);
            s11 = Vector512.Load(row + 16);
            row = init.Pixels[2] + init.Offset;
            s20 = Vector512.Load(row);
            s21 = Vector512.Load(row + 16);
            row = init.Pixels[3] + init.Offset;
            s30 = Vector512.Load(row);
            s31 = Vector512.Load(row + 16);
            row = init.Pixels[4] + init.Offset;
            s40 = Vector512.Load(row);
            s41 = Vector512.Load(row + 16);
            row = init.Pixels[5] + init.Offset;
            s50 = Vector512.Load(row);
            s51 = Vector512.Load(row + 16);
            row = init.Pixels[6] + init.Offset;
            s60 = Vector512.Load(row);
            s61 = Vector512.Load(row + 16);
            row = init.Pixels[7] + init.Offset;
            s70 = Vector512.Load(row);
            s71 = Vector512.Load(row + 16);
            row = init.Pixels[8] + init.Offset;
            s80 = Vector512.Load(row);
            s81 = Vector512.Load(row + 16);
            row = init.Pixels[9] + init.Offset;
            s90 = Vector512.Load(row);
            s91 = Vector512.Load(row + 16);
        }
        for (int taps = input.Taps; taps > 0; taps--, pixels += tapPitch)
        {
            float* p0 = pixels[0] + first, p1 = pixels[1] + first, p2 = pixels[2] + first, p3 = pixels[3] + first;
            float* p4 = pixels[4] + first, p5 = pixels[5] + first, p6 = pixels[6] + first, p7 = pixels[7] + first;
            float* p8 = pixels[8] + first, p9 = pixels[9] + first;
            for (nint c = 0; c < channels; c++, w += 32)
            {
                Vector512<float> w0 = Vector512.LoadAligned(w);
                Vector512<float> w1 = Vector512.LoadAligned(w + 16);
                Vector512<float> x;
                x = Vector512.Create(p0[c]);
                s00 = Vector512.MultiplyAddEstimate(x, w0, s00);
                s01 = Vector512.MultiplyAddEstimate(x, w1, s01);
                x = Vector512.Create(p1[c]);
                s10 = Vector512.MultiplyAddEstimate(x, w0, s10);
                s11 = Vector512.MultiplyAddEstimate(x, w1, s11);
                x = Vector512.Create(p2[c]);
                s20 = Vector512.MultiplyAddEstimate(x, w0, s20);
                s21 = Vector512.MultiplyAddEstimate(x, w1, s21);
                x = Vector512.Create(p3[c]);
                s30 = Vector512.MultiplyAddEstimate(x, w0, s30);
                s31 = Vector512.MultiplyAddEstimate(x, w1, s31);
                x = Vector512.Create(p4[c]);
                s40 = Vector512.MultiplyAddEstimate(x, w0, s40);
                s41 = Vector512.MultiplyAddEstimate(x, w1, s41);
                x = Vector512.Create(p5[c]);
                s50 = Vector512.MultiplyAddEstimate(x, w0, s50);
                s51 = Vector512.MultiplyAddEstimate(x, w1, s51);
                x = Vector512.Create(p6[c]);
                s60 = Vector512.MultiplyAddEstimate(x, w0, s60);
                s61 = Vector512.MultiplyAddEstimate(x, w1, s61);
                x = Vector512.Create(p7[c]);
                s70 = Vector512.MultiplyAddEstimate(x, w0, s70);
                s71 = Vector512.MultiplyAddEstimate(x, w1, s71);
                x = Vector512.Create(p8[c]);
                s80 = Vector512.MultiplyAddEstimate(x, w0, s80);
                s81 = Vector512.MultiplyAddEstimate(x, w1, s81);
                x = Vector512.Create(p9[c]);
                s90 = Vector512.MultiplyAddEstimate(x, w0, s90);
                s91 = Vector512.MultiplyAddEstimate(x, w1, s91);
            }
        }
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            Vector512<float> least = Vector512.Create(floor);
            Vector512<float> b0 = Vector512.Load(bias);
            Vector512<float> b1 = Vector512.Load(bias + 16);
            s00 = Vector512.MaxNative(least, s00 + b0);
            s01 = Vector512.MaxNative(least, s01 + b1);
            s10 = Vector512.MaxNative(least, s10 + b0);
            s11 = Vector512.MaxNative(least, s11 + b1);
            s20 = Vector512.MaxNative(least, s20 + b0);
            s21 = Vector512.MaxNative(least, s21 + b1);
            s30 = Vector512.MaxNative(least, s30 + b0);
            s31 = Vector512.MaxNative(least, s31 + b1);
            s40 = Vector512.MaxNative(least, s40 + b0);
            s41 = Vector512.MaxNative(least, s41 + b1);
            s50 = Vector512.MaxNative(least, s50 + b0);
            s51 = Vector512.MaxNative(least, s51 + b1);
            s60 = Vector512.MaxNative(least, s60 + b0);
            s61 = Vector512.MaxNative(least, s61 + b1);
            s70 = Vector512.MaxNative(least, s70 + b0);
            s71 = Vector512.MaxNative(least, s71 + b1);
            s80 = Vector512.MaxNative(least, s80 + b0);
            s81 = Vector512.MaxNative(least, s81 + b1);
            s90 = Vector512.MaxNative(least, s90 + b0);
            s91 = Vector512.MaxNative(least, s91 + b1);
        }
        row = result.Pixels[0] + result.Offset;
        s00.Store(row);
        s01.Store(row + 16);
        row = result.Pixels[1] + result.Offset;
        s10.Store(row);
        s11.Store(row + 16);
        row = result.Pixels[2] + result.Offset;
        s20.Store(row);
        s21.Store(row + 16);
        row = result.Pixels[3] + result.Offset;
        s30.Store(row);
        s31.Store(row + 16);
        row = result.Pixels[4] + result.Offset;
        s40.Store(row);
        s41.Store(row + 16);
        row = result.Pixels[5] + result.Offset;
        s50.Store(row);
        s51.Store(row + 16);
        row = result.Pixels[6] + result.Offset;
        s60.Store(row);
        s61.Store(row + 16);
        row = result.Pixels[7] + result.Offset;
        s70.Store(row);
        s71.Store(row + 16);
        row = result.Pixels[8] + result.Offset;
        s80.Store(row);
        s81.Store(row + 16);
        row = result.Pixels[9] + result.Offset;
        s90.Store(row);
        s91.Store(row + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile12x16<TEnds>(in TileInput input, TileRows init, TileRows result, float* bias, float floor)
        where TEnds : struct, ITileEnds
    {
        float** pixels = input.Pixels;
        float* w = input.Weights;
        nint first = input.FirstChannel, channels = input.Channels, tapPitch = input.TapPitch;
        Vector512<float> s00 = default;
        Vector512<float> s10 = default;
        Vector512<float> s20 = default;
        Vector512<float> s30 = default;
        Vector512<float> s40 = default;
        Vector512<float> s50 = default;
        Vector512<float> s60 = default;
        Vector512<float> s70 = default;
        Vector512<float> s80 = default;
        Vector512<float> s90 = default;
        Vector512<float> s100 = default;
        Vector512<float> s110 = default;
        float* row;
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            row = init.Pixels[0] + init.Offset;
            s00 = Vector512.Load(row);
            row = init.Pixels[1] + init.Offset;
            s10 = Vector512.Load(row);
            row = init.Pixels[2] + init.Offset;
            s20 = Vector512.Load(row);
            row = init.Pixels[3] + init.Offset;
            s30 = Vector512.Load(row);
            row = init.Pixels[4] + init.Offset;
            s40 = Vector512.Load(row);
            row = init.Pixels[5] + init.Offset;
            s50 = Vector512.Load(row);
            row = init.Pixels[6] + init.Offset;
            s60 = Vector512.Load(row);
            row = init.Pixels[7] + init.Offset;
            s70 = Vector512.Load(row);
            row = init.Pixels[8] + init.Offset;
            s80 = Vector512.Load(row);
            row = init.Pixels[9] + init.Offset;
            s90 = Vector512.Load(row);
            row = init.Pixels[10] + init.Offset;
            s100 = Vector512.Load(row);
            row = init.Pixels[11] + init.Offset;
            s110 = Vector512.Load(row);
        }
        for (int taps = input.Taps; taps > 0; taps--, pixels += tapPitch)
        {
            float* p0 = pixels[0] + first, p1 = pixels[1] + first, p2 = pixels[2] + first, p3 = pixels[3] + first;
            float* p4 = pixels[4] + first, p5 = pixels[5] + first, p6 = pixels[6] + first, p7 = pixels[7] + first;
            float* p8 = pixels[8] + first, p9 = pixels[9] + first, p10 = pixels[10] + first, p11 = pixels[11] + first;
            for (nint c = 0; c < channels; c++, w += 16)
            {
                Vector512<float> w0 = Vector512.LoadAligned(w);
                Vector512<float> x;
                x = Vector512.Create(p0[c]);
                s00 = Vector512.MultiplyAddEstimate(x, w0, s00);
                x = Vector512.Create(p1[c]);
                s10 = Vector512.MultiplyAddEstimate(x, w0, s10);
                x = Vector512.Create(p2[c]);
                s20 = Vector512.MultiplyAddEstimate(x, w0, s20);
                x = Vector512.Create(p3[c]);
                s30 = Vector512.MultiplyAddEstimate(x, w0, s30);
                x = Vector512.Create(p4[c]);
                s40 = Vector512.MultiplyAddEstimate(x, w0, s40);
                x = Vector512.Create(p5[c]);
                s50 = Vector512.MultiplyAddEstimate(x, w0, s50);
                x = Vector512.Create(p6[c]);
                s60 = Vector512.MultiplyAddEstimate(x, w0, s60);
                x = Vector512.Create(p7[c]);
                s70 = Vector512.MultiplyAddEstimate(x, w0, s70);
                x = Vector512.Create(p8[c]);
                s80 = Vector512.MultiplyAddEstimate(x, w0, s80);
                x = Vector512.Create(p9[c]);
                s90 = Vector512.MultiplyAddEstimate(x, w0, s90);
                x = Vector512.Create(p10[c]);
                s100 = Vector512.MultiplyAddEstimate(x, w0, s100);
                x = Vector512.Create(p11[c]);
                s110 = Vector512.MultiplyAddEstimate(x, w0, s110);
            }
        }
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            Vector512<float> least = Vector512.Create(floor);
            Vector512<float> b0 = Vector512.Load(bias);
            s00 = Vector512.MaxNative(least, s00 + b0);
            s10 = Vector512.MaxNative(least, s10 + b0);
            s20 = Vector512.MaxNative(least, s20 + b0);
            s30 = Vector512.MaxNative(least, s30 + b0);
            s40 = Vector512.MaxNative(least, s40 + b0);
            s50 = Vector512.MaxNative(least, s50 + b0);
            s60 = Vector512.MaxNative(least, s60 + b0);
            s70 = Vector512.MaxNative(least, s70 + b0);
            s80 = Vector512.MaxNative(least, s80 + b0);
            s90 = Vector512.MaxNative(least, s90 + b0);
            s100 = Vector512.MaxNative(least, s100 + b0);
            s110 = Vector512.MaxNative(least, s110 + b0);
        }
        row = result.Pixels[0] + result.Offset;
        s00.Store(row);
        row = result.Pixels[1] + result.Offset;
        s10.Store(row);
        row = result.Pixels[2] + result.Offset;
        s20.Store(row);
        row = result.Pixels[3] + result.Offset;
        s30.Store(row);
        row = result.Pixels[4] + result.Offset;
        s40.Store(row);
        row = result.Pixels[5] + result.Offset;
        s50.Store(row);
        row = result.Pixels[6] + result.Offset;
        s60.Store(row);
        row = result.Pixels[7] + result.Offset;
        s70.Store(row);
        row = result.Pixels[8] + result.Offset;
        s80.Store(row);
        row = result.Pixels[9] + result.Offset;
        s90.Store(row);
        row = result.Pixels[10] + result.Offset;
        s100.Store(row);
        row = result.Pixels[11] + result.Offset;
        s110.Store(row);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile6x16<TEnds>(in TileInput input, TileRows init, TileRows result, float* bias, float floor)
        where TEnds : struct, ITileEnds
    {
        float** pixels = input.Pixels;
        float* w = input.Weights;
        nint first = input.FirstChannel, channels = input.Channels, tapPitch = input.TapPitch;
        Vector256<float> s00 = default, s01 = default;
        Vector256<float> s10 = default, s11 = default;
        Vector256<float> s20 = default, s21 = default;
        Vector256<float> s30 = default, s31 = default;
        Vector256<float> s40 = default, s41 = default;
        Vector256<float> s50 = default, s51 = default;
        float* row;
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            row = init.Pixels[0] + init.Offset;
            s00 = Vector256.Load(row);
            s01 = Vector256.Load(row + 8);
            row = init.Pixels[1] + init.Offset;
            s10 = Vector256.Load(row);
            s11 = Vector256.Load(row + 8);
            row = init.Pixels[2] + init.Offset;
            s20 = Vector256.Load(row);
            s21 = Vector256.Load(row + 8);
            row = init.Pixels[3] + init.Offset;
            s30 = Vector256.Load(row);
            s31 = Vector256.Load(row + 8);
            row = init.Pixels[4] + init.Offset;
            s40 = Vector256.Load(row);
            s41 = Vector256.Load(row + 8);
            row = init.Pixels[5] + init.Offset;
            s50 = Vector256.Load(row);
            s51 = Vector256.Load(row + 8);
        }
        for (int taps = input.Taps; taps > 0; taps--, pixels += tapPitch)
        {
            float* p0 = pixels[0] + first, p1 = pixels[1] + first, p2 = pixels[2] + first, p3 = pixels[3] + first;
            float* p4 = pixels[4] + first, p5 = pixels[5] + first;
            for (nint c = 0; c < channels; c++, w += 16)
            {
                Vector256<float> w0 = Vector256.LoadAligned(w);
                Vector256<float> w1 = Vector256.LoadAligned(w + 8);
                Vector256<float> x;
                x = Vector256.Create(p0[c]);
                s00 = Vector256.MultiplyAddEstimate(x, w0, s00);
                s01 = Vector256.MultiplyAddEstimate(x, w1, s01);
                x = Vector256.Create(p1[c]);
                s10 = Vector256.MultiplyAddEstimate(x, w0, s10);
                s11 = Vector256.MultiplyAddEstimate(x, w1, s11);
                x = Vector256.Create(p2[c]);
                s20 = Vector256.MultiplyAddEstimate(x, w0, s20);
                s21 = Vector256.MultiplyAddEstimate(x, w1, s21);
                x = Vector256.Create(p3[c]);
                s30 = Vector256.MultiplyAddEstimate(x, w0, s30);
                s31 = Vector256.MultiplyAddEstimate(x, w1, s31);
                x = Vector256.Create(p4[c]);
                s40 = Vector256.MultiplyAddEstimate(x, w0, s40);
                s41 = Vector256.MultiplyAddEstimate(x, w1, s41);
                x = Vector256.Create(p5[c]);
                s50 = Vector256.MultiplyAddEstimate(x, w0, s50);
                s51 = Vector256.MultiplyAddEstimate(x, w1, s51);
            }
        }
        if (typeof(TEnds) == typeof(FusedEnds))
        {
            Vector256<float> least = Vector256.Create(floor);
            Vector256<float> b0 = Vector256.Load(bias);
            Vector256<float> b1 = Vector256.Load(bias + 8);
            s00 = Vector256.MaxNative(least, s00 + b0);
            s01 = Vector256.MaxNative(least, s01 + b1);
            s10 = Vector256.MaxNative(least, s10 + b0);
            s11 = Vector256.MaxNative(least, s11 + b1);
            s20 = Vector256.MaxNative(least, s20 + b0);
            s21 = Vector256.MaxNative(least, s21 + b1);
            s30 = Vector256.MaxNative(least, s30 + b0);
            s31 = Vector256.MaxNative(least, s31 + b1);
            s40 = Vector256.MaxNative(least, s40 + b0);
            s41 = Vector256.MaxNative(least, s41 + b1);
            s50 = Vector256.MaxNative(least, s50 + b0);
            s51 = Vector256.MaxNative(least, s51 + b1);
        }
        row = result.Pixels[0] + result.Offset;
        s00.Store(row);
        s01.Store(row + 8);
        row = result.Pixels[1] + result.Offset;
        s10.Store(row);
        s11.Store(row + 8);
        row = result.Pixels[2] + result.Offset;
        s20.Store(row);
        s21.Store(row + 8);
        row = result.Pixels[3] + result.Offset;
        s30.Store(row);
        s31.Store(row + 8);
        row = result.Pixels[4] + result.Offset;
        s40.Store(row);
        s41.Store(row + 8);
        row = result.Pixels[5] + result.Offset;
        s50.Store(row);
        s51.Store(row + 8);
    }
}
