using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>y = max(x, 0). NaN stays. y may be x.</summary>
internal static class Relu
{
    public static void Run(WorkerPool pool, Map x, Map y) => Elementwise.Run(pool, default(Op), x, default, y);

    private readonly struct Op : IElementwise
    {
        public static int Inputs => 1;

        public static bool Accumulates => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(V a, V b, V old)
            where V : struct, ILanes<V> => V.Relu(a);
    }
}

/// <summary>Gradient of <see cref="Relu"/> from its output: dx = dy where y is not ≤ 0, else 0; written or added. dx may be dy.</summary>
internal static class ReluGradient
{
    public static void Run(WorkerPool pool, Map y, Map dy, Map dx, bool accumulate)
    {
        if (accumulate) Elementwise.Run(pool, default(AddOp), y, dy, dx);
        else Elementwise.Run(pool, default(WriteOp), y, dy, dx);
    }

    private readonly struct WriteOp : IElementwise
    {
        public static int Inputs => 2;

        public static bool Accumulates => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(V a, V b, V old)
            where V : struct, ILanes<V> => V.WherePositive(a, b);
    }

    private readonly struct AddOp : IElementwise
    {
        public static int Inputs => 2;

        public static bool Accumulates => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(V a, V b, V old)
            where V : struct, ILanes<V> => old + V.WherePositive(a, b);
    }
}
