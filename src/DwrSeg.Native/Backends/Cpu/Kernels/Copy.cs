using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>y = x.</summary>
internal static class Copy
{
    public static void Run(WorkerPool pool, Map x, Map y) => Elementwise.Run(pool, default(Op), x, default, y);

    private readonly struct Op : IElementwise
    {
        public static int Inputs => 1;

        public static bool Accumulates => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(V a, V b, V old)
            where V : struct, ILanes<V> => a;
    }
}

/// <summary>y = scale · x. y may be x.</summary>
internal static class ScaledCopy
{
    public static void Run(WorkerPool pool, float scale, Map x, Map y) => Elementwise.Run(pool, new Op(scale), x, default, y);

    private readonly struct Op(float scale) : IElementwise
    {
        public static int Inputs => 1;

        public static bool Accumulates => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(V a, V b, V old)
            where V : struct, ILanes<V> => a * V.Splat(scale);
    }
}

/// <summary>y += x.</summary>
internal static class Accumulate
{
    public static void Run(WorkerPool pool, Map x, Map y) => Elementwise.Run(pool, default(Op), x, default, y);

    private readonly struct Op : IElementwise
    {
        public static int Inputs => 1;

        public static bool Accumulates => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(V a, V b, V old)
            where V : struct, ILanes<V> => old + a;
    }
}

/// <summary>y = value.</summary>
internal static class Fill
{
    public static void Run(WorkerPool pool, float value, Map y) => Elementwise.Run(pool, new Op(value), default, default, y);

    private readonly struct Op(float value) : IElementwise
    {
        public static int Inputs => 0;

        public static bool Accumulates => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(V a, V b, V old)
            where V : struct, ILanes<V> => V.Splat(value);
    }
}
