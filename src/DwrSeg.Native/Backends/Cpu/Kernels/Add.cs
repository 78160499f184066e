using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>y = a + b. y may be a or b.</summary>
internal static class Add
{
    public static void Run(WorkerPool pool, Map a, Map b, Map y) => Elementwise.Run(pool, default(Op), a, b, y);

    private readonly struct Op : IElementwise
    {
        public static int Inputs => 2;

        public static bool Accumulates => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(V a, V b, V old)
            where V : struct, ILanes<V> => a + b;
    }
}
