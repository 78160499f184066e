using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Register tiles of a weight gradient: <c>sums[r][v] (+)= Σ_pixel dy[pixel][r] · x[pixel][v]</c> over rows of pixels, for R output
/// channels (dy packed [pixel][R]) and a panel of input channels, consecutive in x.
/// </summary>
/// <remarks>
/// The sum over the pixels starts at zero in registers and is added to <c>sums</c> at the end: two levels of summation lose less than
/// one long chain. See <see cref="PanelKernels"/> for why accumulators are plain locals.
/// </remarks>
internal static unsafe class OuterProductKernels
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile6x64(float* dy, nint dyRowPitch, float* x, nint xStep, nint xRowPitch, int rows, int count,
        float* sums, bool add)
    {
        Vector512<float> s0_0 = default, s0_1 = default, s0_2 = default, s0_3 = default;
        Vector512<float> s1_0 = default, s1_1 = default, s1_2 = default, s1_3 = default;
        Vector512<float> s2_0 = default, s2_1 = default, s2_2 = default, s2_3 = default;
        Vector512<float> s3_0 = default, s3_1 = default, s3_2 = default, s3_3 = default;
        Vector512<float> s4_0 = default, s4_1 = default, s4_2 = default, s4_3 = default;
        Vector512<float> s5_0 = default, s5_1 = default, s5_2 = default, s5_3 = default;
        for (; rows > 0; rows--, dy += dyRowPitch, x += xRowPitch)
        {
            float* d = dy, q = x;
            for (int i = 0; i < count; i++, d += 6, q += xStep)
            {
                Vector512<float> x0 = Vector512.Load(q);
                Vector512<float> x1 = Vector512.Load(q + 16);
                Vector512<float> x2 = Vector512.Load(q + 32);
                Vector512<float> x3 = Vector512.Load(q + 48);
                Vector512<float> g;
                g = Vector512.Create(d[0]);
                s0_0 = Vector512.MultiplyAddEstimate(g, x0, s0_0);
                s0_1 = Vector512.MultiplyAddEstimate(g, x1, s0_1);
                s0_2 = Vector512.MultiplyAddEstimate(g, x2, s0_2);
                s0_3 = Vector512.MultiplyAddEstimate(g, x3, s0_3);
                g = Vector512.Create(d[1]);
                s1_0 = Vector512.MultiplyAddEstimate(g, x0, s1_0);
                s1_1 = Vector512.MultiplyAddEstimate(g, x1, s1_1);
                s1_2 = Vector512.MultiplyAddEstimate(g, x2, s1_2);
                s1_3 = Vector512.MultiplyAddEstimate(g, x3, s1_3);
                g = Vector512.Create(d[2]);
                s2_0 = Vector512.MultiplyAddEstimate(g, x0, s2_0);
                s2_1 = Vector512.MultiplyAddEstimate(g, x1, s2_1);
                s2_2 = Vector512.MultiplyAddEstimate(g, x2, s2_2);
                s2_3 = Vector512.MultiplyAddEstimate(g, x3, s2_3);
                g = Vector512.Create(d[3]);
                s3_0 = Vector512.MultiplyAddEstimate(g, x0, s3_0);
                s3_1 = Vector512.MultiplyAddEstimate(g, x1, s3_1);
                s3_2 = Vector512.MultiplyAddEstimate(g, x2, s3_2);
                s3_3 = Vector512.MultiplyAddEstimate(g, x3, s3_3);
                g = Vector512.Create(d[4]);
                s4_0 = Vector512.MultiplyAddEstimate(g, x0, s4_0);
                s4_1 = Vector512.MultiplyAddEstimate(g, x1, s4_1);
                s4_2 = Vector512.MultiplyAddEstimate(g, x2, s4_2);
                s4_3 = Vector512.MultiplyAddEstimate(g, x3, s4_3);
                g = Vector512.Create(d[5]);
                s5_0 = Vector512.MultiplyAddEstimate(g, x0, s5_0);
                s5_1 = Vector512.MultiplyAddEstimate(g, x1, s5_1);
                s5_2 = Vector512.MultiplyAddEstimate(g, x2, s5_2);
                s5_3 = Vector512.MultiplyAddEstimate(g, x3, s5_3);
            }
        }
        if (add)
        {
            s0_0 += Vector512.LoadAligned(sums);
            s0_1 += Vector512.LoadAligned(sums + 16);
            s0_2 += Vector512.LoadAligned(sums + 32);
            s0_3 += Vector512.LoadAligned(sums + 48);
            s1_0 += Vector512.LoadAligned(sums + 64);
            s1_1 += Vector512.LoadAligned(sums + 80);
            s1_2 += Vector512.LoadAligned(sums + 96);
            s1_3 += Vector512.LoadAligned(sums + 112);
            s2_0 += Vector512.LoadAligned(sums + 128);
            s2_1 += Vector512.LoadAligned(sums + 144);
            s2_2 += Vector512.LoadAligned(sums + 160);
            s2_3 += Vector512.LoadAligned(sums + 176);
            s3_0 += Vector512.LoadAligned(sums + 192);
            s3_1 += Vector512.LoadAligned(sums + 208);
            s3_2 += Vector512.LoadAligned(sums + 224);
            s3_3 += Vector512.LoadAligned(sums + 240);
            s4_0 += Vector512.LoadAligned(sums + 256);
            s4_1 += Vector512.LoadAligned(sums + 272);
            s4_2 += Vector512.LoadAligned(sums + 288);
            s4_3 += Vector512.LoadAligned(sums + 304);
            s5_0 += Vector512.LoadAligned(sums + 320);
            s5_1 += Vector512.LoadAligned(sums + 336);
            s5_2 += Vector512.LoadAligned(sums + 352);
            s5_3 += Vector512.LoadAligned(sums + 368);
        }
        s0_0.StoreAligned(sums);
        s0_1.StoreAligned(sums + 16);
        s0_2.StoreAligned(sums + 32);
        s0_3.StoreAligned(sums + 48);
        s1_0.StoreAligned(sums + 64);
        s1_1.StoreAligned(sums + 80);
        s1_2.StoreAligned(sums + 96);
        s1_3.StoreAligned(sums + 112);
        s2_0.StoreAligned(sums + 128);
        s2_1.StoreAligned(sums + 144);
        s2_2.StoreAligned(sums + 160);
        s2_3.StoreAligned(sums + 176);
        s3_0.StoreAligned(sums + 192);
        s3_1.StoreAligned(sums + 208);
        s3_2.StoreAligned(sums + 224);
        s3_3.StoreAligned(sums + 240);
        s4_0.StoreAligned(sums + 256);
        s4_1.StoreAligned(sums + 272);
        s4_2.StoreAligned(sums + 288);
        s4_3.StoreAligned(sums + 304);
        s5_0.StoreAligned(sums + 320);
        s5_1.StoreAligned(sums + 336);
        s5_2.StoreAligned(sums + 352);
        s5_3.StoreAligned(sums + 368);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile8x48(float* dy, nint dyRowPitch, float* x, nint xStep, nint xRowPitch, int rows, int count,
        float* sums, bool add)
    {
        Vector512<float> s0_0 = default, s0_1 = default, s0_2 = default;
        Vector512<float> s1_0 = default, s1_1 = default, s1_2 = default;
        Vector512<float> s2_0 = default, s2_1 = default, s2_2 = default;
        Vector512<float> s3_0 = default, s3_1 = default, s3_2 = default;
        Vector512<float> s4_0 = default, s4_1 = default, s4_2 = default;
        Vector512<float> s5_0 = default, s5_1 = default, s5_2 = default;
        Vector512<float> s6_0 = default, s6_1 = default, s6_2 = default;
        Vector512<float> s7_0 = default, s7_1 = default, s7_2 = default;
        for (; rows > 0; rows--, dy += dyRowPitch, x += xRowPitch)
        {
            float* d = dy, q = x;
            for (int i = 0; i < count; i++, d += 8, q += xStep)
            {
                Vector512<float> x0 = Vector512.Load(q);
                Vector512<float> x1 = Vector512.Load(q + 16);
                Vector512<float> x2 = Vector512.Load(q + 32);
                Vector512<float> g;
                g = Vector512.Create(d[0]);
                s0_0 = Vector512.MultiplyAddEstimate(g, x0, s0_0);
                s0_1 = Vector512.MultiplyAddEstimate(g, x1, s0_1);
                s0_2 = Vector512.MultiplyAddEstimate(g, x2, s0_2);
                g = Vector512.Create(d[1]);
                s1_0 = Vector512.MultiplyAddEstimate(g, x0, s1_0);
                s1_1 = Vector512.MultiplyAddEstimate(g, x1, s1_1);
                s1_2 = Vector512.MultiplyAddEstimate(g, x2, s1_2);
                g = Vector512.Create(d[2]);
                s2_0 = Vector512.MultiplyAddEstimate(g, x0, s2_0);
                s2_1 = Vector512.MultiplyAddEstimate(g, x1, s2_1);
                s2_2 = Vector512.MultiplyAddEstimate(g, x2, s2_2);
                g = Vector512.Create(d[3]);
                s3_0 = Vector512.MultiplyAddEstimate(g, x0, s3_0);
                s3_1 = Vector512.MultiplyAddEstimate(g, x1, s3_1);
                s3_2 = Vector512.MultiplyAddEstimate(g, x2, s3_2);
                g = Vector512.Create(d[4]);
                s4_0 = Vector512.MultiplyAddEstimate(g, x0, s4_0);
                s4_1 = Vector512.MultiplyAddEstimate(g, x1, s4_1);
                s4_2 = Vector512.MultiplyAddEstimate(g, x2, s4_2);
                g = Vector512.Create(d[5]);
                s5_0 = Vector512.MultiplyAddEstimate(g, x0, s5_0);
                s5_1 = Vector512.MultiplyAddEstimate(g, x1, s5_1);
                s5_2 = Vector512.MultiplyAddEstimate(g, x2, s5_2);
                g = Vector512.Create(d[6]);
                s6_0 = Vector512.MultiplyAddEstimate(g, x0, s6_0);
                s6_1 = Vector512.MultiplyAddEstimate(g, x1, s6_1);
                s6_2 = Vector512.MultiplyAddEstimate(g, x2, s6_2);
                g = Vector512.Create(d[7]);
                s7_0 = Vector512.MultiplyAddEstimate(g, x0, s7_0);
                s7_1 = Vector512.MultiplyAddEstimate(g, x1, s7_1);
                s7_2 = Vector512.MultiplyAddEstimate(g, x2, s7_2);
            }
        }
        if (add)
        {
            s0_0 += Vector512.LoadAligned(sums);
            s0_1 += Vector512.LoadAligned(sums + 16);
            s0_2 += Vector512.LoadAligned(sums + 32);
            s1_0 += Vector512.LoadAligned(sums + 48);
            s1_1 += Vector512.LoadAligned(sums + 64);
            s1_2 += Vector512.LoadAligned(sums + 80);
            s2_0 += Vector512.LoadAligned(sums + 96);
            s2_1 += Vector512.LoadAligned(sums + 112);
            s2_2 += Vector512.LoadAligned(sums + 128);
            s3_0 += Vector512.LoadAligned(sums + 144);
            s3_1 += Vector512.LoadAligned(sums + 160);
            s3_2 += Vector512.LoadAligned(sums + 176);
            s4_0 += Vector512.LoadAligned(sums + 192);
            s4_1 += Vector512.LoadAligned(sums + 208);
            s4_2 += Vector512.LoadAligned(sums + 224);
            s5_0 += Vector512.LoadAligned(sums + 240);
            s5_1 += Vector512.LoadAligned(sums + 256);
            s5_2 += Vector512.LoadAligned(sums + 272);
            s6_0 += Vector512.LoadAligned(sums + 288);
            s6_1 += Vector512.LoadAligned(sums + 304);
            s6_2 += Vector512.LoadAligned(sums + 320);
            s7_0 += Vector512.LoadAligned(sums + 336);
            s7_1 += Vector512.LoadAligned(sums + 352);
            s7_2 += Vector512.LoadAligned(sums + 368);
        }
        s0_0.StoreAligned(sums);
        s0_1.StoreAligned(sums + 16);
        s0_2.StoreAligned(sums + 32);
        s1_0.StoreAligned(sums + 48);
        s1_1.StoreAligned(sums + 64);
        s1_2.StoreAligned(sums + 80);
        s2_0.StoreAligned(sums + 96);
        s2_1.StoreAligned(sums + 112);
        s2_2.StoreAligned(sums + 128);
        s3_0.StoreAligned(sums + 144);
        s3_1.StoreAligned(sums + 160);
        s3_2.StoreAligned(sums + 176);
        s4_0.StoreAligned(sums + 192);
        s4_1.StoreAligned(sums + 208);
        s4_2.StoreAligned(sums + 224);
        s5_0.StoreAligned(sums + 240);
        s5_1.StoreAligned(sums + 256);
        s5_2.StoreAligned(sums + 272);
        s6_0.StoreAligned(sums + 288);
        s6_1.StoreAligned(sums + 304);
        s6_2.StoreAligned(sums + 320);
        s7_0.StoreAligned(sums + 336);
        s7_1.StoreAligned(sums + 352);
        s7_2.StoreAligned(sums + 368);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile12x32(float* dy, nint dyRowPitch, float* x, nint xStep, nint xRowPitch, int rows, int count,
        float* sums, bool add)
    {
        Vector512<float> s0_0 = default, s0_1 = default;
        Vector512<float> s1_0 = default, s1_1 = default;
        Vector512<float> s2_0 = default, s2_1 = default;
        Vector512<float> s3_0 = default, s3_1 = default;
        Vector512<float> s4_0 = default, s4_1 = default;
        Vector512<float> s5_0 = default, s5_1 = default;
        Vector512<float> s6_0 = default, s6_1 = default;
        Vector512<float> s7_0 = default, s7_1 = default;
        Vector512<float> s8_0 = default, s8_1 = default;
        Vector512<float> s9_0 = default, s9_1 = default;
        Vector512<float> s10_0 = default, s10_1 = default;
        Vector512<float> s11_0 = default, s11_1 = default;
        for (; rows > 0; rows--, dy += dyRowPitch, x += xRowPitch)
        {
            float* d = dy, q = x;
            for (int i = 0; i < count; i++, d += 12, q += xStep)
            {
                Vector512<float> x0 = Vector512.Load(q);
                Vector512<float> x1 = Vector512.Load(q + 16);
                Vector512<float> g;
                g = Vector512.Create(d[0]);
                s0_0 = Vector512.MultiplyAddEstimate(g, x0, s0_0);
                s0_1 = Vector512.MultiplyAddEstimate(g, x1, s0_1);
                g = Vector512.Create(d[1]);
                s1_0 = Vector512.MultiplyAddEstimate(g, x0, s1_0);
                s1_1 = Vector512.MultiplyAddEstimate(g, x1, s1_1);
                g = Vector512.Create(d[2]);
                s2_0 = Vector512.MultiplyAddEstimate(g, x0, s2_0);
                s2_1 = Vector512.MultiplyAddEstimate(g, x1, s2_1);
                g = Vector512.Create(d[3]);
                s3_0 = Vector512.MultiplyAddEstimate(g, x0, s3_0);
                s3_1 = Vector512.MultiplyAddEstimate(g, x1, s3_1);
                g = Vector512.Create(d[4]);
                s4_0 = Vector512.MultiplyAddEstimate(g, x0, s4_0);
                s4_1 = Vector512.MultiplyAddEstimate(g, x1, s4_1);
                g = Vector512.Create(d[5]);
                s5_0 = Vector512.MultiplyAddEstimate(g, x0, s5_0);
                s5_1 = Vector512.MultiplyAddEstimate(g, x1, s5_1);
                g = Vector512.Create(d[6]);
                s6_0 = Vector512.MultiplyAddEstimate(g, x0, s6_0);
                s6_1 = Vector512.MultiplyAddEstimate(g, x1, s6_1);
                g = Vector512.Create(d[7]);
                s7_0 = Vector512.MultiplyAddEstimate(g, x0, s7_0);
                s7_1 = Vector512.MultiplyAddEstimate(g, x1, s7_1);
                g = Vector512.Create(d[8]);
                s8_0 = Vector512.MultiplyAddEstimate(g, x0, s8_0);
                s8_1 = Vector512.MultiplyAddEstimate(g, x1, s8_1);
                g = Vector512.Create(d[9]);
                s9_0 = Vector512.MultiplyAddEstimate(g, x0, s9_0);
                s9_1 = Vector512.MultiplyAddEstimate(g, x1, s9_1);
                g = Vector512.Create(d[10]);
                s10_0 = Vector512.MultiplyAddEstimate(g, x0, s10_0);
                s10_1 = Vector512.MultiplyAddEstimate(g, x1, s10_1);
                g = Vector512.Create(d[11]);
                s11_0 = Vector512.MultiplyAddEstimate(g, x0, s11_0);
                s11_1 = Vector512.MultiplyAddEstimate(g, x1, s11_1);
            }
        }
        if (add)
        {
            s0_0 += Vector512.LoadAligned(sums);
            s0_1 += Vector512.LoadAligned(sums + 16);
            s1_0 += Vector512.LoadAligned(sums + 32);
            s1_1 += Vector512.LoadAligned(sums + 48);
            s2_0 += Vector512.LoadAligned(sums + 64);
            s2_1 += Vector512.LoadAligned(sums + 80);
            s3_0 += Vector512.LoadAligned(sums + 96);
            s3_1 += Vector512.LoadAligned(sums + 112);
            s4_0 += Vector512.LoadAligned(sums + 128);
            s4_1 += Vector512.LoadAligned(sums + 144);
            s5_0 += Vector512.LoadAligned(sums + 160);
            s5_1 += Vector512.LoadAligned(sums + 176);
            s6_0 += Vector512.LoadAligned(sums + 192);
            s6_1 += Vector512.LoadAligned(sums + 208);
            s7_0 += Vector512.LoadAligned(sums + 224);
            s7_1 += Vector512.LoadAligned(sums + 240);
            s8_0 += Vector512.LoadAligned(sums + 256);
            s8_1 += Vector512.LoadAligned(sums + 272);
            s9_0 += Vector512.LoadAligned(sums + 288);
            s9_1 += Vector512.LoadAligned(sums + 304);
            s10_0 += Vector512.LoadAligned(sums + 320);
            s10_1 += Vector512.LoadAligned(sums + 336);
            s11_0 += Vector512.LoadAligned(sums + 352);
            s11_1 += Vector512.LoadAligned(sums + 368);
        }
        s0_0.StoreAligned(sums);
        s0_1.StoreAligned(sums + 16);
        s1_0.StoreAligned(sums + 32);
        s1_1.StoreAligned(sums + 48);
        s2_0.StoreAligned(sums + 64);
        s2_1.StoreAligned(sums + 80);
        s3_0.StoreAligned(sums + 96);
        s3_1.StoreAligned(sums + 112);
        s4_0.StoreAligned(sums + 128);
        s4_1.StoreAligned(sums + 144);
        s5_0.StoreAligned(sums + 160);
        s5_1.StoreAligned(sums + 176);
        s6_0.StoreAligned(sums + 192);
        s6_1.StoreAligned(sums + 208);
        s7_0.StoreAligned(sums + 224);
        s7_1.StoreAligned(sums + 240);
        s8_0.StoreAligned(sums + 256);
        s8_1.StoreAligned(sums + 272);
        s9_0.StoreAligned(sums + 288);
        s9_1.StoreAligned(sums + 304);
        s10_0.StoreAligned(sums + 320);
        s10_1.StoreAligned(sums + 336);
        s11_0.StoreAligned(sums + 352);
        s11_1.StoreAligned(sums + 368);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile12x16(float* dy, nint dyRowPitch, float* x, nint xStep, nint xRowPitch, int rows, int count,
        float* sums, bool add)
    {
        Vector512<float> s0_0 = default;
        Vector512<float> s1_0 = default;
        Vector512<float> s2_0 = default;
        Vector512<float> s3_0 = default;
        Vector512<float> s4_0 = default;
        Vector512<float> s5_0 = default;
        Vector512<float> s6_0 = default;
        Vector512<float> s7_0 = default;
        Vector512<float> s8_0 = default;
        Vector512<float> s9_0 = default;
        Vector512<float> s10_0 = default;
        Vector512<float> s11_0 = default;
        for (; rows > 0; rows--, dy += dyRowPitch, x += xRowPitch)
        {
            float* d = dy, q = x;
            for (int i = 0; i < count; i++, d += 12, q += xStep)
            {
                Vector512<float> x0 = Vector512.Load(q);
                Vector512<float> g;
                g = Vector512.Create(d[0]);
                s0_0 = Vector512.MultiplyAddEstimate(g, x0, s0_0);
                g = Vector512.Create(d[1]);
                s1_0 = Vector512.MultiplyAddEstimate(g, x0, s1_0);
                g = Vector512.Create(d[2]);
                s2_0 = Vector512.MultiplyAddEstimate(g, x0, s2_0);
                g = Vector512.Create(d[3]);
                s3_0 = Vector512.MultiplyAddEstimate(g, x0, s3_0);
                g = Vector512.Create(d[4]);
                s4_0 = Vector512.MultiplyAddEstimate(g, x0, s4_0);
                g = Vector512.Create(d[5]);
                s5_0 = Vector512.MultiplyAddEstimate(g, x0, s5_0);
                g = Vector512.Create(d[6]);
                s6_0 = Vector512.MultiplyAddEstimate(g, x0, s6_0);
                g = Vector512.Create(d[7]);
                s7_0 = Vector512.MultiplyAddEstimate(g, x0, s7_0);
                g = Vector512.Create(d[8]);
                s8_0 = Vector512.MultiplyAddEstimate(g, x0, s8_0);
                g = Vector512.Create(d[9]);
                s9_0 = Vector512.MultiplyAddEstimate(g, x0, s9_0);
                g = Vector512.Create(d[10]);
                s10_0 = Vector512.MultiplyAddEstimate(g, x0, s10_0);
                g = Vector512.Create(d[11]);
                s11_0 = Vector512.MultiplyAddEstimate(g, x0, s11_0);
            }
        }
        if (add)
        {
            s0_0 += Vector512.LoadAligned(sums);
            s1_0 += Vector512.LoadAligned(sums + 16);
            s2_0 += Vector512.LoadAligned(sums + 32);
            s3_0 += Vector512.LoadAligned(sums + 48);
            s4_0 += Vector512.LoadAligned(sums + 64);
            s5_0 += Vector512.LoadAligned(sums + 80);
            s6_0 += Vector512.LoadAligned(sums + 96);
            s7_0 += Vector512.LoadAligned(sums + 112);
            s8_0 += Vector512.LoadAligned(sums + 128);
            s9_0 += Vector512.LoadAligned(sums + 144);
            s10_0 += Vector512.LoadAligned(sums + 160);
            s11_0 += Vector512.LoadAligned(sums + 176);
        }
        s0_0.StoreAligned(sums);
        s1_0.StoreAligned(sums + 16);
        s2_0.StoreAligned(sums + 32);
        s3_0.StoreAligned(sums + 48);
        s4_0.StoreAligned(sums + 64);
        s5_0.StoreAligned(sums + 80);
        s6_0.StoreAligned(sums + 96);
        s7_0.StoreAligned(sums + 112);
        s8_0.StoreAligned(sums + 128);
        s9_0.StoreAligned(sums + 144);
        s10_0.StoreAligned(sums + 160);
        s11_0.StoreAligned(sums + 176);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile6x16(float* dy, nint dyRowPitch, float* x, nint xStep, nint xRowPitch, int rows, int count,
        float* sums, bool add)
    {
        Vector256<float> s0_0 = default, s0_1 = default;
        Vector256<float> s1_0 = default, s1_1 = default;
        Vector256<float> s2_0 = default, s2_1 = default;
        Vector256<float> s3_0 = default, s3_1 = default;
        Vector256<float> s4_0 = default, s4_1 = default;
        Vector256<float> s5_0 = default, s5_1 = default;
        for (; rows > 0; rows--, dy += dyRowPitch, x += xRowPitch)
        {
            float* d = dy, q = x;
            for (int i = 0; i < count; i++, d += 6, q += xStep)
            {
                Vector256<float> x0 = Vector256.Load(q);
                Vector256<float> x1 = Vector256.Load(q + 8);
                Vector256<float> g;
                g = Vector256.Create(d[0]);
                s0_0 = Vector256.MultiplyAddEstimate(g, x0, s0_0);
                s0_1 = Vector256.MultiplyAddEstimate(g, x1, s0_1);
                g = Vector256.Create(d[1]);
                s1_0 = Vector256.MultiplyAddEstimate(g, x0, s1_0);
                s1_1 = Vector256.MultiplyAddEstimate(g, x1, s1_1);
                g = Vector256.Create(d[2]);
                s2_0 = Vector256.MultiplyAddEstimate(g, x0, s2_0);
                s2_1 = Vector256.MultiplyAddEstimate(g, x1, s2_1);
                g = Vector256.Create(d[3]);
                s3_0 = Vector256.MultiplyAddEstimate(g, x0, s3_0);
                s3_1 = Vector256.MultiplyAddEstimate(g, x1, s3_1);
                g = Vector256.Create(d[4]);
                s4_0 = Vector256.MultiplyAddEstimate(g, x0, s4_0);
                s4_1 = Vector256.MultiplyAddEstimate(g, x1, s4_1);
                g = Vector256.Create(d[5]);
                s5_0 = Vector256.MultiplyAddEstimate(g, x0, s5_0);
                s5_1 = Vector256.MultiplyAddEstimate(g, x1, s5_1);
            }
        }
        if (add)
        {
            s0_0 += Vector256.LoadAligned(sums);
            s0_1 += Vector256.LoadAligned(sums + 8);
            s1_0 += Vector256.LoadAligned(sums + 16);
            s1_1 += Vector256.LoadAligned(sums + 24);
            s2_0 += Vector256.LoadAligned(sums + 32);
            s2_1 += Vector256.LoadAligned(sums + 40);
            s3_0 += Vector256.LoadAligned(sums + 48);
            s3_1 += Vector256.LoadAligned(sums + 56);
            s4_0 += Vector256.LoadAligned(sums + 64);
            s4_1 += Vector256.LoadAligned(sums + 72);
            s5_0 += Vector256.LoadAligned(sums + 80);
            s5_1 += Vector256.LoadAligned(sums + 88);
        }
        s0_0.StoreAligned(sums);
        s0_1.StoreAligned(sums + 8);
        s1_0.StoreAligned(sums + 16);
        s1_1.StoreAligned(sums + 24);
        s2_0.StoreAligned(sums + 32);
        s2_1.StoreAligned(sums + 40);
        s3_0.StoreAligned(sums + 48);
        s3_1.StoreAligned(sums + 56);
        s4_0.StoreAligned(sums + 64);
        s4_1.StoreAligned(sums + 72);
        s5_0.StoreAligned(sums + 80);
        s5_1.StoreAligned(sums + 88);
    }
}
