using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>Opcodes and who decodes them.</summary>
internal static class InstructionTable
{
    public static Dictionary<string, Action<InstructionReader>> Build()
    {
        var table = new Dictionary<string, Action<InstructionReader>>();
        ArithmeticDecoder.Register(table);
        IntegerOps.Register(table);
        BitOps.Register(table);
        FloatOps.Register(table);
        CompareOps.Register(table);
        MoveOps.Register(table);
        ConvertOps.Register(table);
        MemoryOps.Register(table);
        AtomicOps.Register(table);
        AsyncCopyOps.Register(table);
        ControlOps.Register(table);
        BarrierOps.Register(table);
        ClusterOps.Register(table);
        MbarrierOps.Register(table);
        WarpOps.Register(table);
        MatrixOps.Register(table);
        WgmmaOps.Register(table);
        return table;
    }
}
