using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>Opcodes that integers and floating-point numbers share: each goes to the family of its type.</summary>
internal static class ArithmeticDecoder
{
    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        foreach (string opcode in (string[])["add", "sub", "mul", "mad", "fma", "div", "rem", "min", "max", "abs", "neg"])
        {
            table[opcode] = r =>
            {
                bool cc = r.Flag("cc");
                if (cc)
                {
                    IntegerOps.Carrying(r, opcode, r.Type(), setsCarry: true);
                    return;
                }
                PtxType type = r.Type();
                switch (type)
                {
                    case PtxType.F32:
                        FloatOps.Float32(r, opcode);
                        break;
                    case PtxType.F64:
                        FloatOps.Float64(r, opcode);
                        break;
                    case PtxType.F16 or PtxType.F16x2 or PtxType.BF16 or PtxType.BF16x2:
                        HalfOps.Decode(r, opcode, type);
                        break;
                    default:
                        IntegerOps.Decode(r, opcode, type);
                        break;
                }
            };
        }
    }
}
