using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;

namespace DwrSeg.PtxEmulator.Instructions;

internal interface IVector1<T>
{
    static abstract Vector512<T> Do(Vector512<T> a);
}

internal interface IVector2<T>
{
    static abstract Vector512<T> Do(Vector512<T> a, Vector512<T> b);
}

internal interface IVector3<T>
{
    static abstract Vector512<T> Do(Vector512<T> a, Vector512<T> b, Vector512<T> c);
}

internal interface ILane1<TA, TD>
{
    static abstract TD Do(TA a);
}

internal interface ILane2<TA, TB, TD>
{
    static abstract TD Do(TA a, TB b);
}

internal interface ILane3<TA, TB, TC, TD>
{
    static abstract TD Do(TA a, TB b, TC c);
}

/// <summary>
/// Loops over the lanes, written once for every operation of one shape: vectors of 32- or 64-bit lanes where the operation has them, one
/// lane after the other where it has not. Lanes outside of the mask keep what they hold.
/// </summary>
internal static unsafe class Shell
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Vector1<TOp, T>(Warp warp, Op* op)
        where TOp : struct, IVector1<T>
        where T : unmanaged
    {
        T* a = (T*)(warp.Frame + op->A), d = (T*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += Vector512<T>.Count) Store(d, i, warp.Mask, TOp.Do(Vector512.Load(a + i)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Vector2<TOp, T>(Warp warp, Op* op)
        where TOp : struct, IVector2<T>
        where T : unmanaged
    {
        T* a = (T*)(warp.Frame + op->A), b = (T*)(warp.Frame + op->B), d = (T*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += Vector512<T>.Count) Store(d, i, warp.Mask, TOp.Do(Vector512.Load(a + i), Vector512.Load(b + i)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Vector3<TOp, T>(Warp warp, Op* op)
        where TOp : struct, IVector3<T>
        where T : unmanaged
    {
        T* a = (T*)(warp.Frame + op->A), b = (T*)(warp.Frame + op->B), c = (T*)(warp.Frame + op->C), d = (T*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += Vector512<T>.Count)
            Store(d, i, warp.Mask, TOp.Do(Vector512.Load(a + i), Vector512.Load(b + i), Vector512.Load(c + i)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Lanes1<TOp, TA, TD>(Warp warp, Op* op)
        where TOp : struct, ILane1<TA, TD>
        where TA : unmanaged
        where TD : unmanaged
    {
        var a = (TA*)(warp.Frame + op->A);
        var d = (TD*)(warp.Frame + op->D);
        if (warp.Mask == uint.MaxValue) for (int i = 0; i < 32; i++) d[i] = TOp.Do(a[i]);
        else for (uint left = warp.Mask; left != 0; left &= left - 1) d[BitOperations.TrailingZeroCount(left)] = TOp.Do(a[BitOperations.TrailingZeroCount(left)]);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Lanes2<TOp, TA, TB, TD>(Warp warp, Op* op)
        where TOp : struct, ILane2<TA, TB, TD>
        where TA : unmanaged
        where TB : unmanaged
        where TD : unmanaged
    {
        var a = (TA*)(warp.Frame + op->A);
        var b = (TB*)(warp.Frame + op->B);
        var d = (TD*)(warp.Frame + op->D);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            d[i] = TOp.Do(a[i], b[i]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Lanes3<TOp, TA, TB, TC, TD>(Warp warp, Op* op)
        where TOp : struct, ILane3<TA, TB, TC, TD>
        where TA : unmanaged
        where TB : unmanaged
        where TC : unmanaged
        where TD : unmanaged
    {
        var a = (TA*)(warp.Frame + op->A);
        var b = (TB*)(warp.Frame + op->B);
        var c = (TC*)(warp.Frame + op->C);
        var d = (TD*)(warp.Frame + op->D);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            d[i] = TOp.Do(a[i], b[i], c[i]);
        }
    }

    /// <summary>Stores the lanes from <paramref name="first"/> on that the mask has.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(T* target, int first, uint mask, Vector512<T> value)
        where T : unmanaged
    {
        if (mask == uint.MaxValue) value.Store(target + first);
        else Vector512.ConditionalSelect(LaneMask<T>(mask >> first), value, Vector512.Load(target + first)).Store(target + first);
    }

    /// <summary>All bits set in the lanes whose bit is set.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> LaneMask<T>(uint bits)
        where T : unmanaged
    {
        if (sizeof(T) == 4)
        {
            Vector512<uint> lane = Vector512.Create(1u, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768);
            return Vector512.Equals(Vector512.Create(bits) & lane, lane).As<uint, T>();
        }
        Vector512<ulong> wide = Vector512.Create(1ul, 2, 4, 8, 16, 32, 64, 128);
        return Vector512.Equals(Vector512.Create((ulong)bits) & wide, wide).As<ulong, T>();
    }
}
