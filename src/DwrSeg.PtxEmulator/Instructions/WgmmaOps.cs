using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary><c>wgmma</c>: products of four warps, whose operands lie in shared memory as 64-bit descriptors say, A also in registers.</summary>
internal static unsafe class WgmmaOps
{
    private const int IsBrain = 1, NegatesA = 2, NegatesB = 4, TransposesA = 8, TransposesB = 16, NegatedScale = 32;
    private const int RowBytes = 16, RowValues = 8, Depth = WgmmaProduct.Depth;

    public static void Register(Dictionary<string, Action<InstructionReader>> table) => table["wgmma"] = Decode;

    /// <summary>Stands before an operation that touches registers of products.</summary>
    public static void Touch(Warp warp, Op* op) => warp.Group?.Touch(warp, op + 1, warp.Code.ProductRegisters[op->Index]!);

    private static void Decode(InstructionReader r)
    {
        r.RequiresExactly(90);
        string what = r.OneOf("mma_async", "fence", "commit_group", "wait_group") ?? throw r.Error("this form is not known to the emulator");
        if (!r.Flag("sync") | !r.Flag("aligned")) throw r.Error("wgmma is .sync.aligned");
        r.Operation.Kind = OpKind.Wait;
        switch (what)
        {
            case "fence":
                r.Emit(&Fence, InstructionClass.Fence);
                return;
            case "commit_group":
                r.Emit(&Commit, InstructionClass.Wgmma);
                return;
            case "wait_group":
                r.Operation.Product = ProductRole.Wait;
                r.Emit(&Wait, InstructionClass.Wgmma, small: (int)r.Constant(0));
                return;
            default:
                Product(r);
                return;
        }
    }

    private static void Product(InstructionReader r)
    {
        string shape = r.Left.FirstOrDefault(m => m.StartsWith("m64n", StringComparison.Ordinal) && m.EndsWith("k16", StringComparison.Ordinal))
            ?? throw r.Error("this shape of wgmma is not known to the emulator");
        r.Flag(shape);
        if (!int.TryParse(shape[4..^3], System.Globalization.CultureInfo.InvariantCulture, out int columns) || columns % 8 != 0
            || columns is < 8 or > WgmmaProduct.MostColumns) throw r.Error("wgmma has 8 to 256 columns, in steps of 8");
        PtxType d = r.Type(), a = r.Type(), b = r.Type();
        if (d != PtxType.F32 || a != b || a is not (PtxType.F16 or PtxType.BF16))
            throw r.Error("only wgmma of f16 and bf16 with sums in f32 is emulated");
        IReadOnlyList<PtxOperand> sums = r.Elements(0);
        if (sums.Count != columns / 2) throw r.Error($"{sums.Count} accumulators, {columns / 2} are asked for");
        foreach (PtxOperand register in sums)
        {
            if (register.Kind != OperandKind.Register) throw r.Error("accumulators are registers");
            r.SourceOf(register, 32);
            r.Operation.Extra.Add(r.DestinationOf(register, 32));
        }
        bool fromRegisters = r.Operand(1).Kind == OperandKind.Vector;
        if (r.Operands != (fromRegisters ? 7 : 8)) throw r.Error($"{r.Operands} operands");
        int descriptor = -1;
        if (fromRegisters)
        {
            if (r.Elements(1).Count != 4) throw r.Error("the fragment of A has four registers");
            foreach (PtxOperand register in r.Elements(1)) r.Operation.Extra.Add(r.SourceOf(register, 32));
        }
        else
        {
            descriptor = r.Source(1, 64);
        }
        r.Operation.E = r.Predicate(r.Operand(3), out bool negated);
        int small = (a == PtxType.BF16 ? IsBrain : 0) | (negated ? NegatedScale : 0) | Sign(4, NegatesA) | Sign(5, NegatesB);
        if (!fromRegisters) small |= Switch(6, TransposesA);
        small |= Switch(r.Operands - 1, TransposesB);
        r.Operation.Immediate = columns;
        r.Operation.Product = ProductRole.Product;
        r.Emit(&Multiply, InstructionClass.Wgmma, a: descriptor, b: r.Source(2, 64), flops: -2 * 16 * columns * Depth, small: small);

        int Sign(int operand, int bit) => r.Constant(operand) switch
        {
            1 => 0,
            -1 => bit,
            _ => throw r.Error($"operand {operand + 1} is 1 or -1"),
        };

        int Switch(int operand, int bit) => r.Constant(operand) switch
        {
            0 => 0,
            1 => bit,
            _ => throw r.Error($"operand {operand + 1} is 0 or 1"),
        };
    }

    private static WarpGroup GroupOf(Warp warp, Op* op) =>
        warp.Group ?? throw warp.Failure(op, FailureKind.WarpgroupDivergence, warp.Mask,
            $"warp {warp.Number} of {warp.Block.Warps} belongs to no warpgroup: these are four warps, counted from the block's first on");

    private static void Fence(Warp warp, Op* op)
    {
        WarpGroup group = GroupOf(warp, op);
        if (group.Meet(warp, op, default)) group.Fence();
    }

    private static void Commit(Warp warp, Op* op)
    {
        WarpGroup group = GroupOf(warp, op);
        if (group.Meet(warp, op, default)) group.Commit();
    }

    private static void Wait(Warp warp, Op* op)
    {
        WarpGroup group = GroupOf(warp, op);
        if (group.Meet(warp, op, default)) group.Wait(op->Small);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(Warp warp, Op* op)
    {
        WarpGroup group = GroupOf(warp, op);
        uint scale = *(uint*)(warp.Frame + op->E) ^ ((op->Small & NegatedScale) != 0 ? uint.MaxValue : 0);
        if (scale is not (0 or uint.MaxValue))
            throw warp.Failure(op, FailureKind.WarpgroupDivergence, scale, "scale-d differs between the lanes of a warp");
        ulong a = op->A >= 0 ? Uniform(warp, op, op->A) : 0, b = Uniform(warp, op, op->B);
        if (!group.Meet(warp, op, new WarpGroup.Signature(a, b, scale != 0))) return;

        int columns = (int)op->Immediate, accumulators = columns / 2;
        WgmmaProduct product = group.Issue(warp, op, warp.Code.ProductRegisters[op->Index]!, accumulators);
        product.Adds = scale != 0;
        float* rows = stackalloc float[WgmmaProduct.MostColumns * Depth];
        if (op->A >= 0)
        {
            Read(group, warp, op, product, new MatrixDescriptor(a), WgmmaProduct.Rows64, (op->Small & TransposesA) != 0, rows);
            new Span<float>(rows, WgmmaProduct.Rows64 * Depth).CopyTo(product.A);
        }
        else
        {
            for (int w = 0; w < WarpGroup.Size; w++) ReadFragment(group.Warp(w), op, accumulators, product.A[(w * 16 * Depth)..]);
        }
        if ((op->Small & NegatesA) != 0) foreach (ref float value in product.A) value = -value;
        Read(group, warp, op, product, new MatrixDescriptor(b), columns, (op->Small & TransposesB) != 0, rows);
        float sign = (op->Small & NegatesB) != 0 ? -1 : 1;
        Span<float> target = product.B;
        for (int k = 0; k < Depth; k++)
        {
            for (int block = 0; block < columns; block += 8)
            {
                float* at = rows + block * Depth + k;
                (Vector256.Create(at[0], at[2 * Depth], at[4 * Depth], at[6 * Depth], at[Depth], at[3 * Depth], at[5 * Depth], at[7 * Depth])
                    * sign).CopyTo(target[(k * columns + block)..]);
            }
        }
    }

    private static ulong Uniform(Warp warp, Op* op, int place)
    {
        var values = (ulong*)(warp.Frame + place);
        for (int lane = 1; lane < 32; lane++)
        {
            if (values[lane] == values[0]) continue;
            throw warp.Failure(op, FailureKind.WarpgroupDivergence, 1u << lane,
                $"descriptor 0x{values[lane]:x} in this lane, 0x{values[0]:x} in the first");
        }
        return values[0];
    }

    /// <summary>A warp's sixteen rows of A from its registers: lane 4 g + t holds pairs of row g, then g + 8, of values 2 t and 2 t + 8.</summary>
    private static void ReadFragment(Warp warp, Op* op, int first, Span<float> target)
    {
        for (int register = 0; register < 4; register++)
        {
            var values = (uint*)(warp.Frame + op->Extra[first + register]);
            for (int lane = 0; lane < 32; lane++)
            {
                int at = ((lane >> 2) + (register & 1) * 8) * Depth + (lane & 3) * 2 + (register >> 1) * 8;
                target[at] = ToFloat(values[lane] & 0xffff, op);
                target[at + 1] = ToFloat(values[lane] >> 16, op);
            }
        }
    }

    private static float ToFloat(uint bits, Op* op) =>
        (op->Small & IsBrain) != 0 ? BitConverter.UInt32BitsToSingle(bits << 16) : (float)Rounding.FromHalf(bits);

    /// <summary>Reads an operand from shared memory, [extent][16], checks and counts it; until the product ends nobody may write it.</summary>
    private static void Read(
        WarpGroup group, Warp warp, Op* op, WgmmaProduct product, in MatrixDescriptor descriptor, int extent, bool isTransposed, float* target)
    {
        if (descriptor.Problem(extent, isTransposed) is { } problem)
            throw warp.Failure(op, problem.Kind, warp.Mask, $"descriptor 0x{descriptor.Bits:x}: {problem.Text}", descriptor.Start);
        SharedUnit shared = warp.Block.Shared;
        uint* offsets = stackalloc uint[32];
        int count = 0;
        // Matrices of eight rows of 16 bytes are what memory delivers at once.
        for (int outer = 0; outer < extent / RowValues; outer++)
        {
            for (int half = 0; half < Depth / RowValues; half++)
            {
                for (int row = 0; row < RowValues; row++)
                {
                    uint at = isTransposed ? descriptor.Transposed(outer, half * RowValues + row) : descriptor.Offset(outer * RowValues + row, half);
                    shared.BeginAsyncRead(group, warp, op, at);
                    product.Rows.Add(at);
                    offsets[count++] = at;
                    Vector128<ushort> bits = Vector128.Load((ushort*)(shared.Data + at));
                    (Vector128<uint> low, Vector128<uint> high) = Vector128.Widen(bits);
                    Vector256<uint> wide = Vector256.Create(low, high);
                    Vector256<float> values = (op->Small & IsBrain) != 0 ? (wide << 16).AsSingle()
                        : HalfOps.ToFloat(Vector512.Create(wide, Vector256<uint>.Zero)).GetLower();
                    if (!isTransposed)
                    {
                        values.Store(target + (outer * RowValues + row) * Depth + half * RowValues);
                        continue;
                    }
                    for (int i = 0; i < RowValues; i++) target[(outer * RowValues + i) * Depth + half * RowValues + row] = values[i];
                }
                if (count < 32) continue;
                shared.Count(op, offsets, uint.MaxValue, RowBytes);
                count = 0;
            }
        }
        if (count > 0) shared.Count(op, offsets, (1u << count) - 1, RowBytes);
    }

    /// <summary>Where a matrix of 16-bit values lies in shared memory: start, two strides and how 16-byte vectors are permuted.</summary>
    /// <remarks>
    /// A pattern is 8 rows of 16 (none), 32, 64 or 128 bytes. In a permuted one the vector's number in the row, address bits 4 to 6, is
    /// combined by exclusive or with bits 7 to 9; 1, 2 or 3 of them.
    /// </remarks>
    private readonly record struct MatrixDescriptor(ulong Bits)
    {
        private const ulong Known = 0x3fff | 0x3fffUL << 16 | 0x3fffUL << 32 | 7UL << 49 | 3UL << 62;

        public uint Start => (uint)(Bits & 0x3fff) << 4;

        private uint Leading => (uint)(Bits >> 16 & 0x3fff) << 4;

        private uint Stride => (uint)(Bits >> 32 & 0x3fff) << 4;

        private int BaseOffset => (int)(Bits >> 49 & 7);

        /// <summary>Vectors of 16 bytes in a row of the pattern.</summary>
        private uint Vectors => (int)(Bits >> 62) switch { 1 => 8, 2 => 4, 3 => 2, _ => 1 };

        /// <summary>What is wrong with it for a matrix of this extent across the sum; null for nothing.</summary>
        public (FailureKind Kind, string Text)? Problem(int extent, bool isTransposed)
        {
            uint row = Vectors * RowBytes, pattern = row * 8;
            if ((Bits & ~Known) != 0) return (FailureKind.InvalidOperation, "bits that no field has");
            if (Vectors == 1) return null;
            if (BaseOffset != 0 || Start % pattern >= row)
                return (FailureKind.Misaligned, $"a pattern of {pattern} bytes has to start at a multiple of that, with base offset 0");
            uint within = isTransposed ? Math.Min((uint)extent * 2, row) : 2 * RowBytes;
            if (Start % row + within > row) return (FailureKind.Misaligned, $"{within} bytes from 0x{Start:x} on leave the row of {row} bytes");
            bool strides = Stride % pattern == 0 && (!isTransposed || Leading % pattern == 0);
            return strides ? null : (FailureKind.Misaligned, $"strides have to be multiples of the pattern's {pattern} bytes");
        }

        /// <summary>The vector of eight values of the sum, K-major: a row holds neighbours along the sum.</summary>
        public uint Offset(int row, int half) =>
            Vectors == 1
                ? Start + (uint)(row >> 3) * Stride + (uint)(row & 7) * RowBytes + (uint)half * Leading
                : Permute(Start + (uint)(row >> 3) * Stride + (uint)(row & 7) * Vectors * RowBytes + (uint)half * RowBytes);

        /// <summary>The vector of eight neighbours across the sum, MN-major.</summary>
        public uint Transposed(int outer, int k) =>
            Vectors == 1
                ? Start + (uint)outer * Stride + (uint)(k & 7) * RowBytes + (uint)(k >> 3) * Leading
                : Permute(Start + (uint)outer / Vectors * Leading + (uint)outer % Vectors * RowBytes + (uint)(k & 7) * Vectors * RowBytes
                    + (uint)(k >> 3) * Stride);

        private uint Permute(uint at) => at ^ ((at >> 3) & ((Vectors - 1) << 4));
    }
}
