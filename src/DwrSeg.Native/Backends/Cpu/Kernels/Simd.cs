using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// A vector of fp32 lanes. Kernels are written once over it: with <see cref="Lanes16"/> or <see cref="Lanes8"/>, whichever the machine
/// has, and with <see cref="Lanes1"/> for what is left over.
/// </summary>
internal unsafe interface ILanes<T>
    where T : struct, ILanes<T>
{
    static abstract int Count { get; }

    static abstract T Load(float* p);

    void Store(float* p);

    static abstract T Splat(float value);

    static abstract T operator +(T a, T b);

    static abstract T operator -(T a, T b);

    static abstract T operator *(T a, T b);

    static abstract T operator /(T a, T b);

    /// <summary>a · b + c, rounded once.</summary>
    static abstract T Fma(T a, T b, T c);

    /// <summary>The larger; NaN if either is.</summary>
    static abstract T Max(T a, T b);

    /// <summary>max(a, 0); NaN stays.</summary>
    static abstract T Relu(T a);

    /// <summary>a where x &gt; 0 or x is NaN, else 0.</summary>
    static abstract T WherePositive(T x, T a);

    /// <summary>All bits set where a &gt; b.</summary>
    static abstract T Greater(T a, T b);

    /// <summary>All bits set where a &gt; b or a is NaN.</summary>
    static abstract T GreaterOrNaN(T a, T b);

    /// <summary>All bits set where a = b.</summary>
    static abstract T Equal(T a, T b);

    /// <summary>a where the mask is set, else b.</summary>
    static abstract T Select(T mask, T a, T b);

    /// <summary>e^x for x ≤ 0 to about 1e-7; below −87 it stays at e^−87. NaN stays.</summary>
    static abstract T ExpOfNegative(T x);

    static abstract T Log(T x);

    /// <summary>Lane i is the table's lane number i of <paramref name="indices"/> (small integers as float bits).</summary>
    static abstract T Permute(T table, T indices);

    /// <summary>(a0, b0, a1, b1, …).</summary>
    static abstract void Interleave(T a, T b, out T low, out T high);

    /// <summary>The reverse of <see cref="Interleave"/>.</summary>
    static abstract void Deinterleave(T low, T high, out T even, out T odd);

    /// <summary>Stores whole numbers 0 … 255, one byte a lane.</summary>
    void StoreBytes(byte* p);

    /// <summary>Loads one byte a lane.</summary>
    static abstract T LoadBytes(byte* p);
}

/// <summary>Sums of fp32 lanes in fp64: products of two fp32 are exact, so that Σx² − (Σx)²/n keeps its digits.</summary>
internal unsafe interface ISum<TSelf, TLanes>
    where TSelf : struct, ISum<TSelf, TLanes>
    where TLanes : struct, ILanes<TLanes>
{
    void Add(TLanes value);

    void AddSquare(TLanes value);

    /// <summary>Adds the lanes to consecutive numbers.</summary>
    void AddTo(double* p);
}

/// <summary>Coefficients of the exponential: e^r ≈ 1 + r + r²·(C2 + C3·r + … + C6·r⁴) for |r| ≤ ln2/2, relative error 3e-9.</summary>
file static class Exponential
{
    public const float Log2E = 1.44269504f;
    public const float Ln2High = 0.693359375f, Ln2Low = -2.12194440e-4f;
    public const float C2 = 0.49999993451f, C3 = 0.16666520689f, C4 = 0.04166838736f, C5 = 0.00836870982f, C6 = 0.00138146132f;

    // Adding it rounds to a whole number, which then stands in the low mantissa bits.
    public const float Rounder = 12582912f;
    public const float Lowest = -87f;
}

internal readonly unsafe struct Lanes16(Vector512<float> v) : ILanes<Lanes16>
{
    public readonly Vector512<float> V = v;

    public static int Count => 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Load(float* p) => new(Vector512.Load(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(float* p) => V.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Splat(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 operator +(Lanes16 a, Lanes16 b) => new(a.V + b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 operator -(Lanes16 a, Lanes16 b) => new(a.V - b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 operator *(Lanes16 a, Lanes16 b) => new(a.V * b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 operator /(Lanes16 a, Lanes16 b) => new(a.V / b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Fma(Lanes16 a, Lanes16 b, Lanes16 c) => new(Vector512.FusedMultiplyAdd(a.V, b.V, c.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Max(Lanes16 a, Lanes16 b) => new(Vector512.Max(a.V, b.V));

    // The native maximum answers with its second operand where one is NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Relu(Lanes16 a) => new(Vector512.MaxNative(Vector512<float>.Zero, a.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 WherePositive(Lanes16 x, Lanes16 a) =>
        new(Vector512.ConditionalSelect(Vector512.LessThanOrEqual(x.V, Vector512<float>.Zero), Vector512<float>.Zero, a.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Greater(Lanes16 a, Lanes16 b) => new(Vector512.GreaterThan(a.V, b.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 GreaterOrNaN(Lanes16 a, Lanes16 b) => new(Vector512.GreaterThan(a.V, b.V) | ~Vector512.Equals(a.V, a.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Equal(Lanes16 a, Lanes16 b) => new(Vector512.Equals(a.V, b.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Select(Lanes16 mask, Lanes16 a, Lanes16 b) => new(Vector512.ConditionalSelect(mask.V, a.V, b.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 ExpOfNegative(Lanes16 x)
    {
        Vector512<float> a = Vector512.MaxNative(Vector512.Create(Exponential.Lowest), x.V);
        Vector512<float> n = Vector512.FusedMultiplyAdd(a, Vector512.Create(Exponential.Log2E), Vector512.Create(Exponential.Rounder));
        Vector512<float> whole = n - Vector512.Create(Exponential.Rounder);
        Vector512<float> r = Vector512.FusedMultiplyAdd(whole, Vector512.Create(-Exponential.Ln2High), a);
        r = Vector512.FusedMultiplyAdd(whole, Vector512.Create(-Exponential.Ln2Low), r);
        Vector512<float> p = Vector512.FusedMultiplyAdd(Vector512.Create(Exponential.C6), r, Vector512.Create(Exponential.C5));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(Exponential.C4));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(Exponential.C3));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(Exponential.C2));
        p = Vector512.FusedMultiplyAdd(p, r * r, r) + Vector512<float>.One;
        return new(p * (Vector512.ShiftLeft(n.AsInt32(), 23) + Vector512.Create(0x3F800000)).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Log(Lanes16 x) => new(Vector512.Log(x.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 Permute(Lanes16 table, Lanes16 indices) => new(Vector512.ShuffleNative(table.V, indices.V.AsInt32()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Interleave(Lanes16 a, Lanes16 b, out Lanes16 low, out Lanes16 high)
    {
        if (Avx512F.IsSupported)
        {
            low = new(Avx512F.PermuteVar16x32x2(a.V, Vector512.Create(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b.V));
            high = new(Avx512F.PermuteVar16x32x2(a.V, Vector512.Create(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b.V));
            return;
        }
        float* lanes = stackalloc float[32];
        for (int i = 0; i < 16; i++) (lanes[2 * i], lanes[2 * i + 1]) = (a.V[i], b.V[i]);
        (low, high) = (Load(lanes), Load(lanes + 16));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Deinterleave(Lanes16 low, Lanes16 high, out Lanes16 even, out Lanes16 odd)
    {
        if (Avx512F.IsSupported)
        {
            Vector512<int> evens = Vector512.Create(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            even = new(Avx512F.PermuteVar16x32x2(low.V, evens, high.V));
            odd = new(Avx512F.PermuteVar16x32x2(low.V, evens + Vector512<int>.One, high.V));
            return;
        }
        float* lanes = stackalloc float[32];
        low.Store(lanes);
        high.Store(lanes + 16);
        float* split = stackalloc float[32];
        for (int i = 0; i < 16; i++) (split[i], split[16 + i]) = (lanes[2 * i], lanes[2 * i + 1]);
        (even, odd) = (Load(split), Load(split + 16));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreBytes(byte* p)
    {
        Vector512<int> whole = Vector512.ConvertToInt32Native(V);
        if (Avx512F.IsSupported) Avx512F.ConvertToVector128Byte(whole).Store(p);
        else for (int i = 0; i < 16; i++) p[i] = (byte)whole[i];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes16 LoadBytes(byte* p)
    {
        Vector256<ushort> words = Vector256.WidenLower(Vector128.Load(p).ToVector256Unsafe());
        Vector512<uint> wide = Vector512.WidenLower(words.ToVector512Unsafe());
        return new(Vector512.ConvertToSingle(wide.AsInt32()));
    }
}

internal readonly unsafe struct Lanes8(Vector256<float> v) : ILanes<Lanes8>
{
    public readonly Vector256<float> V = v;

    public static int Count => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Load(float* p) => new(Vector256.Load(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(float* p) => V.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Splat(float value) => new(Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 operator +(Lanes8 a, Lanes8 b) => new(a.V + b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 operator -(Lanes8 a, Lanes8 b) => new(a.V - b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 operator *(Lanes8 a, Lanes8 b) => new(a.V * b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 operator /(Lanes8 a, Lanes8 b) => new(a.V / b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Fma(Lanes8 a, Lanes8 b, Lanes8 c) => new(Vector256.FusedMultiplyAdd(a.V, b.V, c.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Max(Lanes8 a, Lanes8 b) => new(Vector256.Max(a.V, b.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Relu(Lanes8 a) => new(Vector256.MaxNative(Vector256<float>.Zero, a.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 WherePositive(Lanes8 x, Lanes8 a) =>
        new(Vector256.AndNot(a.V, Vector256.LessThanOrEqual(x.V, Vector256<float>.Zero)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Greater(Lanes8 a, Lanes8 b) => new(Vector256.GreaterThan(a.V, b.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 GreaterOrNaN(Lanes8 a, Lanes8 b) => new(Vector256.GreaterThan(a.V, b.V) | ~Vector256.Equals(a.V, a.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Equal(Lanes8 a, Lanes8 b) => new(Vector256.Equals(a.V, b.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Select(Lanes8 mask, Lanes8 a, Lanes8 b) => new(Vector256.ConditionalSelect(mask.V, a.V, b.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 ExpOfNegative(Lanes8 x)
    {
        Vector256<float> a = Vector256.MaxNative(Vector256.Create(Exponential.Lowest), x.V);
        Vector256<float> n = Vector256.FusedMultiplyAdd(a, Vector256.Create(Exponential.Log2E), Vector256.Create(Exponential.Rounder));
        Vector256<float> whole = n - Vector256.Create(Exponential.Rounder);
        Vector256<float> r = Vector256.FusedMultiplyAdd(whole, Vector256.Create(-Exponential.Ln2High), a);
        r = Vector256.FusedMultiplyAdd(whole, Vector256.Create(-Exponential.Ln2Low), r);
        Vector256<float> p = Vector256.FusedMultiplyAdd(Vector256.Create(Exponential.C6), r, Vector256.Create(Exponential.C5));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(Exponential.C4));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(Exponential.C3));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(Exponential.C2));
        p = Vector256.FusedMultiplyAdd(p, r * r, r) + Vector256<float>.One;
        return new(p * (Vector256.ShiftLeft(n.AsInt32(), 23) + Vector256.Create(0x3F800000)).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Log(Lanes8 x) => new(Vector256.Log(x.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 Permute(Lanes8 table, Lanes8 indices) => new(Vector256.ShuffleNative(table.V, indices.V.AsInt32()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Interleave(Lanes8 a, Lanes8 b, out Lanes8 low, out Lanes8 high)
    {
        if (Avx.IsSupported)
        {
            Vector256<float> l = Avx.UnpackLow(a.V, b.V), h = Avx.UnpackHigh(a.V, b.V);
            (low, high) = (new(Avx.Permute2x128(l, h, 0x20)), new(Avx.Permute2x128(l, h, 0x31)));
            return;
        }
        float* lanes = stackalloc float[16];
        for (int i = 0; i < 8; i++) (lanes[2 * i], lanes[2 * i + 1]) = (a.V[i], b.V[i]);
        (low, high) = (Load(lanes), Load(lanes + 8));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Deinterleave(Lanes8 low, Lanes8 high, out Lanes8 even, out Lanes8 odd)
    {
        if (Avx.IsSupported)
        {
            Vector256<float> l = Avx.Permute2x128(low.V, high.V, 0x20), h = Avx.Permute2x128(low.V, high.V, 0x31);
            (even, odd) = (new(Avx.Shuffle(l, h, 0x88)), new(Avx.Shuffle(l, h, 0xDD)));
            return;
        }
        float* lanes = stackalloc float[16];
        low.Store(lanes);
        high.Store(lanes + 8);
        float* split = stackalloc float[16];
        for (int i = 0; i < 8; i++) (split[i], split[8 + i]) = (lanes[2 * i], lanes[2 * i + 1]);
        (even, odd) = (Load(split), Load(split + 8));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreBytes(byte* p)
    {
        Vector256<int> whole = Vector256.ConvertToInt32Native(V);
        Vector128<short> words = Vector128.Narrow(whole.GetLower(), whole.GetUpper());
        *(ulong*)p = Vector128.Narrow(words.AsUInt16(), words.AsUInt16()).AsUInt64()[0];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes8 LoadBytes(byte* p)
    {
        Vector128<ushort> words = Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(ulong*)p).AsByte());
        return new(Vector256.ConvertToSingle(Vector256.Create(Vector128.WidenLower(words), Vector128.WidenUpper(words)).AsInt32()));
    }
}

internal readonly unsafe struct Lanes1(float v) : ILanes<Lanes1>
{
    public readonly float V = v;

    public static int Count => 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Load(float* p) => new(*p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(float* p) => *p = V;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Splat(float value) => new(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 operator +(Lanes1 a, Lanes1 b) => new(a.V + b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 operator -(Lanes1 a, Lanes1 b) => new(a.V - b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 operator *(Lanes1 a, Lanes1 b) => new(a.V * b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 operator /(Lanes1 a, Lanes1 b) => new(a.V / b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Fma(Lanes1 a, Lanes1 b, Lanes1 c) => new(MathF.FusedMultiplyAdd(a.V, b.V, c.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Max(Lanes1 a, Lanes1 b) => new(MathF.Max(a.V, b.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Relu(Lanes1 a) => new(a.V < 0 ? 0 : a.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 WherePositive(Lanes1 x, Lanes1 a) => new(x.V <= 0 ? 0 : a.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Greater(Lanes1 a, Lanes1 b) => Mask(a.V > b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 GreaterOrNaN(Lanes1 a, Lanes1 b) => Mask(a.V > b.V || float.IsNaN(a.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Equal(Lanes1 a, Lanes1 b) => Mask(a.V == b.V);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Select(Lanes1 mask, Lanes1 a, Lanes1 b) => BitConverter.SingleToInt32Bits(mask.V) != 0 ? a : b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 ExpOfNegative(Lanes1 x) => new(MathF.Exp(x.V < Exponential.Lowest ? Exponential.Lowest : x.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Log(Lanes1 x) => new(MathF.Log(x.V));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 Permute(Lanes1 table, Lanes1 indices) => table;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Interleave(Lanes1 a, Lanes1 b, out Lanes1 low, out Lanes1 high) => (low, high) = (a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Deinterleave(Lanes1 low, Lanes1 high, out Lanes1 even, out Lanes1 odd) => (even, odd) = (low, high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreBytes(byte* p) => *p = (byte)(int)V;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1 LoadBytes(byte* p) => new(*p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Lanes1 Mask(bool set) => new(BitConverter.Int32BitsToSingle(set ? -1 : 0));
}

internal unsafe struct Sum16 : ISum<Sum16, Lanes16>
{
    private Vector512<double> _low, _high;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(Lanes16 value)
    {
        _low += Vector512.WidenLower(value.V);
        _high += Vector512.WidenUpper(value.V);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddSquare(Lanes16 value)
    {
        Vector512<double> low = Vector512.WidenLower(value.V), high = Vector512.WidenUpper(value.V);
        _low = Vector512.FusedMultiplyAdd(low, low, _low);
        _high = Vector512.FusedMultiplyAdd(high, high, _high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void AddTo(double* p)
    {
        (Vector512.Load(p) + _low).Store(p);
        (Vector512.Load(p + 8) + _high).Store(p + 8);
    }
}

internal unsafe struct Sum8 : ISum<Sum8, Lanes8>
{
    private Vector256<double> _low, _high;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(Lanes8 value)
    {
        _low += Vector256.WidenLower(value.V);
        _high += Vector256.WidenUpper(value.V);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddSquare(Lanes8 value)
    {
        Vector256<double> low = Vector256.WidenLower(value.V), high = Vector256.WidenUpper(value.V);
        _low = Vector256.FusedMultiplyAdd(low, low, _low);
        _high = Vector256.FusedMultiplyAdd(high, high, _high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void AddTo(double* p)
    {
        (Vector256.Load(p) + _low).Store(p);
        (Vector256.Load(p + 4) + _high).Store(p + 4);
    }
}

internal unsafe struct Sum1 : ISum<Sum1, Lanes1>
{
    private double _sum;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(Lanes1 value) => _sum += value.V;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddSquare(Lanes1 value) => _sum += (double)value.V * value.V;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void AddTo(double* p) => *p += _sum;
}

/// <summary>A compile-time switch of a kernel.</summary>
internal interface IFlag
{
    static abstract bool Set { get; }
}

internal readonly struct Yes : IFlag
{
    public static bool Set => true;
}

internal readonly struct No : IFlag
{
    public static bool Set => false;
}

/// <summary>How kernels cut their work, and their scratch memory.</summary>
internal static unsafe class Simd
{
    /// <summary>True: kernels run on <see cref="Lanes16"/>; false: on <see cref="Lanes8"/>.</summary>
    public static bool IsWide => Vector512.IsHardwareAccelerated;

    /// <summary>Most tasks of one run, and so most partial results of a reduction.</summary>
    public const int MaxTasks = 64;

    // 128 KiB a task: small beside a core's second-level cache, large beside the cost of handing it out.
    private const long ElementsPerTask = 32768;

    /// <summary>Number of tasks for so many elements; never depends on the number of workers, so neither do results.</summary>
    public static int Tasks(long elements, long most = MaxTasks) =>
        (int)Math.Clamp(elements / ElementsPerTask, 1, Math.Max(1, Math.Min(most, MaxTasks)));

    /// <summary>First item of a task.</summary>
    public static long Start(long items, int tasks, int task) => items * task / tasks;

    /// <summary>Zeroed native memory on a cache line; <see cref="Free"/> it.</summary>
    public static T* Allocate<T>(long count)
        where T : unmanaged
    {
        nuint bytes = checked((nuint)(Math.Max(count, 1) * sizeof(T) + 63) & ~(nuint)63);
        void* memory = NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Clear(memory, bytes);
        return (T*)memory;
    }

    public static void Free(void* memory) => NativeMemory.AlignedFree(memory);
}
