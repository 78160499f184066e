using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>Special registers: reading one is an operation of its own, into a register of the translator's.</summary>
internal static unsafe class SpecialOps
{
    private static readonly string[] Names =
    [
        "%tid.x", "%tid.y", "%tid.z", "%ntid.x", "%ntid.y", "%ntid.z", "%ctaid.x", "%ctaid.y", "%ctaid.z", "%nctaid.x", "%nctaid.y", "%nctaid.z",
        "%laneid", "%warpid", "%nwarpid", "%smid", "%nsmid", "%gridid", "%clock", "%clock64", "%globaltimer", "%lanemask_eq", "%lanemask_le", "%lanemask_lt",
        "%lanemask_ge", "%lanemask_gt", "%dynamic_smem_size", "%total_smem_size", "%clusterid.x", "%clusterid.y", "%clusterid.z", "%nclusterid.x",
        "%nclusterid.y", "%nclusterid.z", "%cluster_ctaid.x", "%cluster_ctaid.y", "%cluster_ctaid.z", "%cluster_nctaid.x", "%cluster_nctaid.y",
        "%cluster_nctaid.z", "%cluster_ctarank", "%cluster_nctarank", "%is_explicit_cluster",
    ];

    public static int Read(InstructionReader reader, string name, int bits)
    {
        int at = Array.IndexOf(Names, name);
        if (at < 0) throw reader.Error($"the special register {name} is not known to the emulator");
        if (name.Contains("cluster", StringComparison.Ordinal)) reader.Requires(90);
        int width = name switch { "%clock64" or "%globaltimer" or "%gridid" => 64, "%is_explicit_cluster" => 1, _ => 32 };
        if (bits != width && !(name == "%gridid" && bits == 32)) throw reader.Error($"{name} has {width} bits");
        int token = reader.Translator.Temporary(bits == 1 ? 0 : bits == 64 ? 2 : 1);
        var operation = new OpBuilder { Run = &Fill, D = token, Immediate = at, Small = bits, Class = InstructionClass.Move };
        operation.Writes.Add(token);
        reader.Translator.Add(operation);
        return token;
    }

    private static void Fill(Warp warp, Op* op)
    {
        BlockRunner block = warp.Block;
        Index3 shape = block.Shape.Block, grid = block.Shape.Grid, position = block.Position;
        if (op->Small == 1)
        {
            MoveOps.SetPredicate(warp, op->D, block.Cluster.Size > 1 ? uint.MaxValue : 0);
            return;
        }
        byte* d = warp.Frame + op->D;
        for (int lane = 0; lane < 32; lane++)
        {
            if ((warp.Mask >> lane & 1) == 0) continue;
            uint thread = (uint)(warp.Number * 32 + lane);
            ulong value = op->Immediate switch
            {
                0 => thread % shape.X,
                1 => thread / shape.X % shape.Y,
                2 => thread / shape.X / shape.Y,
                3 => shape.X,
                4 => shape.Y,
                5 => shape.Z,
                6 => position.X,
                7 or 29 => position.Y,
                8 or 30 => position.Z,
                9 => grid.X,
                10 or 32 => grid.Y,
                11 or 33 => grid.Z,
                12 => (ulong)lane,
                13 => (ulong)warp.Number,
                14 => (ulong)block.Warps,
                15 => 0,
                16 => 1,
                17 => (ulong)block.Launch,
                // A clock that counts what was executed, so that runs are the same.
                18 or 19 or 20 => (ulong)block.Steps * 16,
                21 => 1ul << lane,
                22 => (2ul << lane) - 1,
                23 => (1ul << lane) - 1,
                24 => (uint)-(1 << lane),
                25 => (uint)-(1 << lane) & ~(1u << lane),
                26 => block.Shape.DynamicSharedBytes,
                27 => block.Context.SharedBytes,
                28 => position.X / (uint)block.Cluster.Size,
                31 => grid.X / (uint)block.Cluster.Size,
                34 or 40 => (ulong)block.Rank,
                37 or 41 => (ulong)block.Cluster.Size,
                38 or 39 => 1,
                _ => 0,
            };
            if (op->Small == 64) ((ulong*)d)[lane] = value;
            else ((uint*)d)[lane] = (uint)value;
        }
    }
}
