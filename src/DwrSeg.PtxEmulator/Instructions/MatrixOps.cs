using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary><c>ldmatrix</c>, <c>stmatrix</c> and <c>mma.sync</c>.</summary>
/// <remarks>
/// Products of <c>mma</c> are exact. They are added to the accumulator in fp32 one after the other, k ascending, each sum rounded to nearest;
/// the hardware adds several at once with a few more bits and truncates, so last bits differ. With fp16 accumulators the sum is kept in fp32
/// and rounded at the end. tf32 operands lose their 13 low bits first, as on the hardware. Integer products are exact and wrap.
/// </remarks>
internal static unsafe class MatrixOps
{
    /// <summary>Columns of an accumulator's row in the order in which fragments hold them: the even ones, then the odd ones.</summary>
    private static readonly int[] Columns = [0, 2, 4, 6, 1, 3, 5, 7];

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["ldmatrix"] = r => MoveMatrix(r, store: false);
        table["stmatrix"] = r => MoveMatrix(r, store: true);
        table["mma"] = Mma;
    }

    private static void MoveMatrix(InstructionReader r, bool store)
    {
        r.Requires(store ? 90 : 75);
        if (!r.Flag("sync") | !r.Flag("aligned") | !r.Flag("m8n8")) throw r.Error("this form is not known to the emulator");
        int count = r.OneOf("x1", "x2", "x4") switch { "x1" => 1, "x2" => 2, "x4" => 4, _ => throw r.Error("how many matrices?") };
        bool transpose = r.Flag("trans");
        StateSpace space = MemoryOps.Space(r);
        if (space != StateSpace.Shared) throw r.Error("matrices are loaded from .shared");
        if (r.Type() != PtxType.B16) throw r.Error("only .b16 matrices are emulated");
        bool wide = MemoryOps.Address(r, store ? 0 : 1, out int address);
        IReadOnlyList<PtxOperand> registers = r.Elements(store ? 1 : 0);
        if (registers.Count != count) throw r.Error($"{registers.Count} registers for {count} matrices");
        foreach (PtxOperand register in registers) r.Operation.Extra.Add(store ? r.SourceOf(register, 32) : r.DestinationOf(register, 32));
        r.Emit(store ? &StoreMatrix : &LoadMatrix, store ? InstructionClass.StoreShared : InstructionClass.LdMatrix, a: address,
            small: (transpose ? 1 : 0) | (wide ? 2 : 0));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LoadMatrix(Warp warp, Op* op)
    {
        WarpOps.CheckWhole(warp, op);
        uint* offsets = stackalloc uint[32];
        MemoryOps.Offsets(warp, op->A, (op->Small & 2) != 0, op->Immediate, offsets);
        SharedUnit shared = warp.Block.Shared;
        int matrices = op->ExtraCount;
        for (int lane = 0; lane < matrices * 8; lane++) shared.CheckRow(warp, op, lane, offsets[lane]);
        shared.Count(op, offsets, matrices == 4 ? uint.MaxValue : (1u << (matrices * 8)) - 1, 16);
        byte* data = shared.Data;
        for (int m = 0; m < matrices; m++)
        {
            if (op->Extra[m] < 0) continue;
            uint* d = (uint*)(warp.Frame + op->Extra[m]), rows = offsets + m * 8;
            if ((op->Small & 1) == 0)
            {
                for (int row = 0; row < 8; row++) Vector128.Load((uint*)(data + rows[row])).Store(d + row * 4);
                continue;
            }
            for (int lane = 0; lane < 32; lane++)
            {
                int row = (lane & 3) * 2, column = lane >> 2;
                d[lane] = ((ushort*)(data + rows[row]))[column] | (uint)((ushort*)(data + rows[row + 1]))[column] << 16;
            }
        }
    }

    private static void StoreMatrix(Warp warp, Op* op)
    {
        WarpOps.CheckWhole(warp, op);
        uint* offsets = stackalloc uint[32];
        MemoryOps.Offsets(warp, op->A, (op->Small & 2) != 0, op->Immediate, offsets);
        SharedUnit shared = warp.Block.Shared;
        int matrices = op->ExtraCount;
        for (int lane = 0; lane < matrices * 8; lane++) shared.CheckRowWrite(warp, op, lane, offsets[lane]);
        shared.Count(op, offsets, matrices == 4 ? uint.MaxValue : (1u << (matrices * 8)) - 1, 16);
        byte* data = shared.Data;
        for (int m = 0; m < matrices; m++)
        {
            uint* s = (uint*)(warp.Frame + op->Extra[m]), rows = offsets + m * 8;
            for (int lane = 0; lane < 32; lane++)
            {
                if ((op->Small & 1) == 0)
                {
                    ((uint*)(data + rows[lane >> 2]))[lane & 3] = s[lane];
                    continue;
                }
                int row = (lane & 3) * 2, column = lane >> 2;
                ((ushort*)(data + rows[row]))[column] = (ushort)s[lane];
                ((ushort*)(data + rows[row + 1]))[column] = (ushort)(s[lane] >> 16);
            }
        }
    }

    private static void Mma(InstructionReader r)
    {
        if (!r.Flag("sync") | !r.Flag("aligned")) throw r.Error("this form is not known to the emulator");
        string shape = r.OneOf("m16n8k4", "m16n8k8", "m16n8k16",
            "m16n8k32") ?? throw r.Error("this shape of mma is not known to the emulator");
        int k = int.Parse(shape[6..], System.Globalization.CultureInfo.InvariantCulture);
        if (!r.Flag("row") | !r.Flag("col")) throw r.Error("mma takes .row.col");
        bool saturate = r.Flag("satfinite");
        PtxType d = r.Type(), a = r.Type(), b = r.Type(), c = r.Type();
        bool half = a == PtxType.F16 || a == PtxType.BF16, integer = a is PtxType.S8 or PtxType.U8;
        bool known = (half && a == b && k is 8 or 16) || (a == PtxType.TF32 && b == a && k is 4 or 8)
            || (integer && b is PtxType.S8 or PtxType.U8 && k is 16 or 32);
        bool accumulators = d == c && (integer ? d == PtxType.S32 : d == PtxType.F32 || (d == PtxType.F16 && a == PtxType.F16));
        if (!known || !accumulators || saturate) throw r.Error("this shape and these types of mma are not known to the emulator");
        r.Requires(a == PtxType.F16 && k == 8 ? 75 : integer && k == 16 ? 75 : 80);

        int perRegister = half ? 2 : integer ? 4 : 1;
        int aCount = 16 * k / 32 / perRegister, bCount = 8 * k / 32 / perRegister, dCount = d == PtxType.F16 ? 2 : 4;
        void Take(int operand, int count, bool write)
        {
            IReadOnlyList<PtxOperand> elements = r.Elements(operand);
            if (elements.Count != count) throw r.Error($"operand {operand + 1} has {elements.Count} registers, {count} are asked for");
            foreach (PtxOperand element in elements) r.Operation.Extra.Add(write ? r.DestinationOf(element, 32) : r.SourceOf(element, 32));
        }
        Take(0, dCount, true);
        Take(1, aCount, false);
        Take(2, bCount, false);
        Take(3, dCount, false);
        r.Operation.Immediate = k;
        int small = (a == PtxType.S8 ? 1 : 0) | (b == PtxType.S8 ? 2 : 0) | (d == PtxType.F16 ? 4 : 0);
        delegate*<Warp, Op*, void> run = integer ? &Integers : a == PtxType.TF32 ? &Floats<Tf32> : a == PtxType.BF16 ? &Floats<Brain>
            : &Floats<HalfFormat>;
        r.Emit(run, InstructionClass.Mma, flops: -2 * 16 * 8 * k, small: small);
    }

    /// <summary>How a fragment's registers hold the operands.</summary>
    private interface IFormat
    {
        /// <summary>Values of a row that one register holds over four lanes.</summary>
        static abstract int Width { get; }

        /// <summary>Sixteen values in a row of a register.</summary>
        static abstract Vector512<float> Load(byte* source);

        /// <summary>Bytes that they take.</summary>
        static abstract int Step { get; }
    }

    private struct HalfFormat : IFormat
    {
        public static int Width => 8;

        public static int Step => 32;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<float> Load(byte* source)
        {
            (Vector256<uint> low, Vector256<uint> high) = Vector256.Widen(Vector256.Load((ushort*)source));
            return HalfOps.ToFloat(Vector512.Create(low, high));
        }
    }

    private struct Brain : IFormat
    {
        public static int Width => 8;

        public static int Step => 32;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<float> Load(byte* source)
        {
            (Vector256<uint> low, Vector256<uint> high) = Vector256.Widen(Vector256.Load((ushort*)source));
            return (Vector512.Create(low, high) << 16).AsSingle();
        }
    }

    private struct Tf32 : IFormat
    {
        public static int Width => 4;

        public static int Step => 64;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<float> Load(byte* source) => (Vector512.Load((uint*)source) & Vector512.Create(0xffffe000u)).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Floats<TFormat>(Warp warp, Op* op)
        where TFormat : struct, IFormat
    {
        WarpOps.CheckWhole(warp, op);
        int k = (int)op->Immediate, width = TFormat.Width, groups = k / width;
        bool half = (op->Small & 4) != 0;
        int accumulators = half ? 2 : 4;
        int* places = op->Extra;
        float* a = stackalloc float[16 * 16];
        float* bRows = stackalloc float[8 * 16];
        float* b = stackalloc float[16 * 8];
        float* c = stackalloc float[16 * 8];
        float* part = stackalloc float[16];
        // Register 2g of A holds rows 0 to 7 of column group g, register 2g + 1 rows 8 to 15; register g of B its column group for all n.
        for (int group = 0; group < groups; group++)
        {
            for (int upper = 0; upper < 2; upper++)
                Spread<TFormat>(warp.Frame + places[accumulators + group * 2 + upper], a + upper * 8 * k + group * width, k, part);
            Spread<TFormat>(warp.Frame + places[accumulators + groups * 2 + group], bRows + group * width, k, part);
        }
        for (int i = 0; i < k; i++)
        {
            float* at = bRows + i;
            Vector256.Create(at[0], at[2 * k], at[4 * k], at[6 * k], at[k], at[3 * k], at[5 * k], at[7 * k]).Store(b + i * 8);
        }
        int firstC = accumulators + groups * 3;
        if (half) UnpackAccumulators(warp, places + firstC, c);
        else
        {
            for (int row = 0; row < 16; row++)
            {
                int pair = firstC + (row >> 3) * 2, lane = (row & 7) * 4;
                Vector256.Create(Vector128.Load((float*)(warp.Frame + places[pair]) + lane),
                    Vector128.Load((float*)(warp.Frame + places[pair + 1]) + lane)).Store(c + row * 8);
            }
        }
        for (int row = 0; row < 16; row += 8)
        {
            float* x = a + row * k;
            float* y = c + row * 8;
            Vector256<float> d0 = Vector256.Load(y), d1 = Vector256.Load(y + 8), d2 = Vector256.Load(y + 16), d3 = Vector256.Load(y + 24);
            Vector256<float> d4 = Vector256.Load(y + 32), d5 = Vector256.Load(y + 40), d6 = Vector256.Load(y + 48),
                d7 = Vector256.Load(y + 56);
            for (int i = 0; i < k; i++)
            {
                Vector256<float> bi = Vector256.Load(b + i * 8);
                d0 = Vector256.FusedMultiplyAdd(Vector256.Create(x[i]), bi, d0);
                d1 = Vector256.FusedMultiplyAdd(Vector256.Create(x[k + i]), bi, d1);
                d2 = Vector256.FusedMultiplyAdd(Vector256.Create(x[2 * k + i]), bi, d2);
                d3 = Vector256.FusedMultiplyAdd(Vector256.Create(x[3 * k + i]), bi, d3);
                d4 = Vector256.FusedMultiplyAdd(Vector256.Create(x[4 * k + i]), bi, d4);
                d5 = Vector256.FusedMultiplyAdd(Vector256.Create(x[5 * k + i]), bi, d5);
                d6 = Vector256.FusedMultiplyAdd(Vector256.Create(x[6 * k + i]), bi, d6);
                d7 = Vector256.FusedMultiplyAdd(Vector256.Create(x[7 * k + i]), bi, d7);
            }
            d0.Store(y);
            d1.Store(y + 8);
            d2.Store(y + 16);
            d3.Store(y + 24);
            d4.Store(y + 32);
            d5.Store(y + 40);
            d6.Store(y + 48);
            d7.Store(y + 56);
        }
        for (int i = 0; i < 128; i += 16) FloatOps.OneNaN(Vector512.Load(c + i)).Store(c + i);
        if (half)
        {
            PackAccumulators(warp, places, c);
            return;
        }
        for (int row = 0; row < 16; row++)
        {
            int pair = (row >> 3) * 2, lane = (row & 7) * 4;
            if (places[pair] >= 0) Vector128.Load(c + row * 8).Store((float*)(warp.Frame + places[pair]) + lane);
            if (places[pair + 1] >= 0) Vector128.Load(c + row * 8 + 4).Store((float*)(warp.Frame + places[pair + 1]) + lane);
        }
    }

    /// <summary>Writes a register's eight rows as floats, <paramref name="stride"/> apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Spread<TFormat>(byte* register, float* target, int stride, float* part)
        where TFormat : struct, IFormat
    {
        int rows = 16 / TFormat.Width;
        for (int row = 0; row < 8; row += rows)
        {
            Vector512<float> values = TFormat.Load(register);
            register += TFormat.Step;
            if (rows == 2)
            {
                values.GetLower().Store(target + row * stride);
                values.GetUpper().Store(target + (row + 1) * stride);
                continue;
            }
            values.Store(part);
            for (int r = 0; r < rows; r++) Vector128.Load(part + r * 4).Store(target + (row + r) * stride);
        }
    }

    private static void UnpackAccumulators(Warp warp, int* places, float* c)
    {
        for (int row = 0; row < 16; row++)
        {
            uint* from = (uint*)(warp.Frame + places[row >> 3]) + (row & 7) * 4;
            for (int n = 0; n < 8; n++) c[row * 8 + n] = (float)Rounding.FromHalf(from[n & 3] >> (n < 4 ? 0 : 16) & 0xffff);
        }
    }

    private static void PackAccumulators(Warp warp, int* places, float* c)
    {
        for (int row = 0; row < 16; row++)
        {
            if (places[row >> 3] < 0) continue;
            uint* to = (uint*)(warp.Frame + places[row >> 3]) + (row & 7) * 4;
            for (int n = 0; n < 4; n++) to[n] = Rounding.ToHalf(c[row * 8 + n]) | (uint)Rounding.ToHalf(c[row * 8 + 4 + n]) << 16;
        }
    }

    private static void Integers(Warp warp, Op* op)
    {
        WarpOps.CheckWhole(warp, op);
        int k = (int)op->Immediate, groups = k / 16;
        int* places = op->Extra;
        int* a = stackalloc int[16 * 32];
        int* b = stackalloc int[8 * 32];
        int* c = stackalloc int[16 * 8];
        for (int group = 0; group < groups; group++)
        {
            for (int upper = 0; upper < 2; upper++)
                SpreadBytes(warp.Frame + places[4 + group * 2 + upper], a + upper * 8 * k + group * 16, k, (op->Small & 1) != 0);
            SpreadBytes(warp.Frame + places[4 + groups * 2 + group], b + group * 16, k, (op->Small & 2) != 0);
        }
        int firstC = 4 + groups * 3;
        for (int row = 0; row < 16; row++)
        {
            int pair = (row >> 3) * 2, lane = (row & 7) * 4;
            for (int n = 0; n < 8; n++)
            {
                int sum = ((int*)(warp.Frame + places[firstC + pair + (n >> 2)]))[lane + (n & 3)];
                for (int i = 0; i < k; i++) sum += a[row * k + i] * b[Columns[n] * k + i];
                c[row * 8 + n] = sum;
            }
        }
        for (int row = 0; row < 16; row++)
        {
            int pair = (row >> 3) * 2, lane = (row & 7) * 4;
            for (int n = 0; n < 8; n++)
                if (places[pair + (n >> 2)] >= 0) ((int*)(warp.Frame + places[pair + (n >> 2)]))[lane + (n & 3)] = c[row * 8 + n];
        }
    }

    private static void SpreadBytes(byte* register, int* target, int stride, bool signed)
    {
        for (int row = 0; row < 8; row++)
        {
            for (int i = 0; i < 16; i++) target[row * stride + i] = signed ? (sbyte)register[row * 16 + i] : register[row * 16 + i];
        }
    }
}
