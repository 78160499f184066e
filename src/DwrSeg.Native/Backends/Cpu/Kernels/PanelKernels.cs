using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Register tiles of the implicit GEMM: <c>tile[r][o] (+)= Σ_tap Σ_c pixels[tap][r][first + c] · w[tap][c][o]</c> for R pixels and one
/// panel of output channels. Pixels come by pointer, one per tap, so stride, padding (a pointer to zeros), channel slices and tiles
/// that span rows all cost the same.
/// </summary>
/// <remarks>
/// Accumulators are plain locals so that the JIT keeps every one in a register: R·V of them, V weights and one broadcast within 32
/// (16 with 256-bit vectors), and at least 8 chains to cover the latency of two FMA units. Arrays, structs or loops over
/// accumulators would spill.
/// </remarks>
internal static unsafe class PanelKernels
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile6x64(float** pixels, nint tapPitch, int taps, nint first, nint channels, float* w, float* tile, bool resume)
    {
        Vector512<float> s00 = default, s01 = default, s02 = default, s03 = default;
        Vector512<float> s10 = default, s11 = default, s12 = default, s13 = default;
        Vector512<float> s20 = default, s21 = default, s22 = default, s23 = default;
        Vector512<float> s30 = default, s31 = default, s32 = default, s33 = default;
        Vector512<float> s40 = default, s41 = default, s42 = default, s43 = default;
        Vector512<float> s50 = default, s51 = default, s52 = default, s53 = default;
        if (resume)
        {
            s00 = Vector512.LoadAligned(tile);
            s01 = Vector512.LoadAligned(tile + 16);
            s02 = Vector512.LoadAligned(tile + 32);
            s03 = Vector512.LoadAligned(tile + 48);
            s10 = Vector512.LoadAligned(tile + 64);
            s11 = Vector512.LoadAligned(tile + 80);
            s12 = Vector512.LoadAligned(tile + 96);
            s13 = Vector512.LoadAligned(tile + 112);
            s20 = Vector512.LoadAligned(tile + 128);
            s21 = Vector512.LoadAligned(tile + 144);
            s22 = Vector512.LoadAligned(tile + 160);
            s23 = Vector512.LoadAligned(tile + 176);
            s30 = Vector512.LoadAligned(tile + 192);
            s31 = Vector512.LoadAligned(tile + 208);
            s32 = Vector512.LoadAligned(tile + 224);
            s33 = Vector512.LoadAligned(tile + 240);
            s40 = Vector512.LoadAligned(tile + 256);
            s41 = Vector512.LoadAligned(tile + 272);
            s42 = Vector512.LoadAligned(tile + 288);
            s43 = Vector512.LoadAligned(tile + 304);
            s50 = Vector512.LoadAligned(tile + 320);
            s51 = Vector512.LoadAligned(tile + 336);
            s52 = Vector512.LoadAligned(tile + 352);
            s53 = Vector512.LoadAligned(tile + 368);
        }
        for (; taps > 0; taps--, pixels += tapPitch)
        {
            float* p0 = pixels[0] + first, p1 = pixels[1] + first, p2 = pixels[2] + first;
            float* p3 = pixels[3] + first, p4 = pixels[4] + first, p5 = pixels[5] + first;
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
        s00.StoreAligned(tile);
        s01.StoreAligned(tile + 16);
        s02.StoreAligned(tile + 32);
        s03.StoreAligned(tile + 48);
        s10.StoreAligned(tile + 64);
        s11.StoreAligned(tile + 80);
        s12.StoreAligned(tile + 96);
        s13.StoreAligned(tile + 112);
        s20.StoreAligned(tile + 128);
        s21.StoreAligned(tile + 144);
        s22.StoreAligned(tile + 160);
        s23.StoreAligned(tile + 176);
        s30.StoreAligned(tile + 192);
        s31.StoreAligned(tile + 208);
        s32.StoreAligned(tile + 224);
        s33.StoreAligned(tile + 240);
        s40.StoreAligned(tile + 256);
        s41.StoreAligned(tile + 272);
        s42.StoreAligned(tile + 288);
        s43.StoreAligned(tile + 304);
        s50.StoreAligned(tile + 320);
        s51.StoreAligned(tile + 336);
        s52.StoreAligned(tile + 352);
        s53.StoreAligned(tile + 368);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile8x48(float** pixels, nint tapPitch, int taps, nint first, nint channels, float* w, float* tile, bool resume)
    {
        Vector512<float> s00 = default, s01 = default, s02 = default;
        Vector512<float> s10 = default, s11 = default, s12 = default;
        Vector512<float> s20 = default, s21 = default, s22 = default;
        Vector512<float> s30 = default, s31 = default, s32 = default;
        Vector512<float> s40 = default, s41 = default, s42 = default;
        Vector512<float> s50 = default, s51 = default, s52 = default;
        Vector512<float> s60 = default, s61 = default, s62 = default;
        Vector512<float> s70 = default, s71 = default, s72 = default;
        if (resume)
        {
            s00 = Vector512.LoadAligned(tile);
            s01 = Vector512.LoadAligned(tile + 16);
            s02 = Vector512.LoadAligned(tile + 32);
            s10 = Vector512.LoadAligned(tile + 48);
            s11 = Vector512.LoadAligned(tile + 64);
            s12 = Vector512.LoadAligned(tile + 80);
            s20 = Vector512.LoadAligned(tile + 96);
            s21 = Vector512.LoadAligned(tile + 112);
            s22 = Vector512.LoadAligned(tile + 128);
            s30 = Vector512.LoadAligned(tile + 144);
            s31 = Vector512.LoadAligned(tile + 160);
            s32 = Vector512.LoadAligned(tile + 176);
            s40 = Vector512.LoadAligned(tile + 192);
            s41 = Vector512.LoadAligned(tile + 208);
            s42 = Vector512.LoadAligned(tile + 224);
            s50 = Vector512.LoadAligned(tile + 240);
            s51 = Vector512.LoadAligned(tile + 256);
            s52 = Vector512.LoadAligned(tile + 272);
            s60 = Vector512.LoadAligned(tile + 288);
            s61 = Vector512.LoadAligned(tile + 304);
            s62 = Vector512.LoadAligned(tile + 320);
            s70 = Vector512.LoadAligned(tile + 336);
            s71 = Vector512.LoadAligned(tile + 352);
            s72 = Vector512.LoadAligned(tile + 368);
        }
        for (; taps > 0; taps--, pixels += tapPitch)
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
        s00.StoreAligned(tile);
        s01.StoreAligned(tile + 16);
        s02.StoreAligned(tile + 32);
        s10.StoreAligned(tile + 48);
        s11.StoreAligned(tile + 64);
        s12.StoreAligned(tile + 80);
        s20.StoreAligned(tile + 96);
        s21.StoreAligned(tile + 112);
        s22.StoreAligned(tile + 128);
        s30.StoreAligned(tile + 144);
        s31.StoreAligned(tile + 160);
        s32.StoreAligned(tile + 176);
        s40.StoreAligned(tile + 192);
        s41.StoreAligned(tile + 208);
        s42.StoreAligned(tile + 224);
        s50.StoreAligned(tile + 240);
        s51.StoreAligned(tile + 256);
        s52.StoreAligned(tile + 272);
        s60.StoreAligned(tile + 288);
        s61.StoreAligned(tile + 304);
        s62.StoreAligned(tile + 320);
        s70.StoreAligned(tile + 336);
        s71.StoreAligned(tile + 352);
        s72.StoreAligned(tile + 368);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile10x32(float** pixels, nint tapPitch, int taps, nint first, nint channels, float* w, float* tile, bool resume)
    {
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
        if (resume)
        {
            s00 = Vector512.LoadAligned(tile);
            s01 = Vector512.LoadAligned(tile + 16);
            s10 = Vector512.LoadAligned(tile + 32);
            s11 = Vector512.LoadAligned(tile + 48);
            s20 = Vector512.LoadAligned(tile + 64);
            s21 = Vector512.LoadAligned(tile + 80);
            s30 = Vector512.LoadAligned(tile + 96);
            s31 = Vector512.LoadAligned(tile + 112);
            s40 = Vector512.LoadAligned(tile + 128);
            s41 = Vector512.LoadAligned(tile + 144);
            s50 = Vector512.LoadAligned(tile + 160);
            s51 = Vector512.LoadAligned(tile + 176);
            s60 = Vector512.LoadAligned(tile + 192);
            s61 = Vector512.LoadAligned(tile + 208);
            s70 = Vector512.LoadAligned(tile + 224);
            s71 = Vector512.LoadAligned(tile + 240);
            s80 = Vector512.LoadAligned(tile + 256);
            s81 = Vector512.LoadAligned(tile + 272);
            s90 = Vector512.LoadAligned(tile + 288);
            s91 = Vector512.LoadAligned(tile + 304);
        }
        for (; taps > 0; taps--, pixels += tapPitch)
        {
            float* p0 = pixels[0] + first, p1 = pixels[1] + first, p2 = pixels[2] + first, p3 = pixels[3] + first, p4 = pixels[4] + first;
            float* p5 = pixels[5] + first, p6 = pixels[6] + first, p7 = pixels[7] + first, p8 = pixels[8] + first, p9 = pixels[9] + first;
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
        s00.StoreAligned(tile);
        s01.StoreAligned(tile + 16);
        s10.StoreAligned(tile + 32);
        s11.StoreAligned(tile + 48);
        s20.StoreAligned(tile + 64);
        s21.StoreAligned(tile + 80);
        s30.StoreAligned(tile + 96);
        s31.StoreAligned(tile + 112);
        s40.StoreAligned(tile + 128);
        s41.StoreAligned(tile + 144);
        s50.StoreAligned(tile + 160);
        s51.StoreAligned(tile + 176);
        s60.StoreAligned(tile + 192);
        s61.StoreAligned(tile + 208);
        s70.StoreAligned(tile + 224);
        s71.StoreAligned(tile + 240);
        s80.StoreAligned(tile + 256);
        s81.StoreAligned(tile + 272);
        s90.StoreAligned(tile + 288);
        s91.StoreAligned(tile + 304);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile10x16(float** pixels, nint tapPitch, int taps, nint first, nint channels, float* w, float* tile, bool resume)
    {
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
        if (resume)
        {
            s00 = Vector512.LoadAligned(tile);
            s10 = Vector512.LoadAligned(tile + 16);
            s20 = Vector512.LoadAligned(tile + 32);
            s30 = Vector512.LoadAligned(tile + 48);
            s40 = Vector512.LoadAligned(tile + 64);
            s50 = Vector512.LoadAligned(tile + 80);
            s60 = Vector512.LoadAligned(tile + 96);
            s70 = Vector512.LoadAligned(tile + 112);
            s80 = Vector512.LoadAligned(tile + 128);
            s90 = Vector512.LoadAligned(tile + 144);
        }
        for (; taps > 0; taps--, pixels += tapPitch)
        {
            float* p0 = pixels[0] + first, p1 = pixels[1] + first, p2 = pixels[2] + first, p3 = pixels[3] + first, p4 = pixels[4] + first;
            float* p5 = pixels[5] + first, p6 = pixels[6] + first, p7 = pixels[7] + first, p8 = pixels[8] + first, p9 = pixels[9] + first;
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
            }
        }
        s00.StoreAligned(tile);
        s10.StoreAligned(tile + 16);
        s20.StoreAligned(tile + 32);
        s30.StoreAligned(tile + 48);
        s40.StoreAligned(tile + 64);
        s50.StoreAligned(tile + 80);
        s60.StoreAligned(tile + 96);
        s70.StoreAligned(tile + 112);
        s80.StoreAligned(tile + 128);
        s90.StoreAligned(tile + 144);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile6x16(float** pixels, nint tapPitch, int taps, nint first, nint channels, float* w, float* tile, bool resume)
    {
        Vector256<float> s00 = default, s01 = default;
        Vector256<float> s10 = default, s11 = default;
        Vector256<float> s20 = default, s21 = default;
        Vector256<float> s30 = default, s31 = default;
        Vector256<float> s40 = default, s41 = default;
        Vector256<float> s50 = default, s51 = default;
        if (resume)
        {
            s00 = Vector256.LoadAligned(tile);
            s01 = Vector256.LoadAligned(tile + 8);
            s10 = Vector256.LoadAligned(tile + 16);
            s11 = Vector256.LoadAligned(tile + 24);
            s20 = Vector256.LoadAligned(tile + 32);
            s21 = Vector256.LoadAligned(tile + 40);
            s30 = Vector256.LoadAligned(tile + 48);
            s31 = Vector256.LoadAligned(tile + 56);
            s40 = Vector256.LoadAligned(tile + 64);
            s41 = Vector256.LoadAligned(tile + 72);
            s50 = Vector256.LoadAligned(tile + 80);
            s51 = Vector256.LoadAligned(tile + 88);
        }
        for (; taps > 0; taps--, pixels += tapPitch)
        {
            float* p0 = pixels[0] + first, p1 = pixels[1] + first, p2 = pixels[2] + first;
            float* p3 = pixels[3] + first, p4 = pixels[4] + first, p5 = pixels[5] + first;
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
        s00.StoreAligned(tile);
        s01.StoreAligned(tile + 8);
        s10.StoreAligned(tile + 16);
        s11.StoreAligned(tile + 24);
        s20.StoreAligned(tile + 32);
        s21.StoreAligned(tile + 40);
        s30.StoreAligned(tile + 48);
        s31.StoreAligned(tile + 56);
        s40.StoreAligned(tile + 64);
        s41.StoreAligned(tile + 72);
        s50.StoreAligned(tile + 80);
        s51.StoreAligned(tile + 88);
    }
}
