using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>Branches, ends, and instructions without effect here.</summary>
internal static unsafe class ControlOps
{
    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["bra"] = r =>
        {
            r.Flag("uni");
            if (r.Operand(0).Kind != OperandKind.Label) throw r.Error("a branch to what?");
            r.Operation.Kind = OpKind.Branch;
            r.Operation.Immediate = r.Translator.BlockOf(r.Operand(0).Name);
            r.Emit(null, InstructionClass.Branch);
        };
        table["brx"] = r =>
        {
            r.Flag("idx");
            r.Flag("uni");
            int index = r.Source(0, 32);
            if (!r.Translator.Entry.BranchTargets.TryGetValue(r.Operand(1).Name, out IReadOnlyList<string>? targets))
                throw r.Error("an indirect branch without .branchtargets");
            r.Operation.Kind = OpKind.IndirectBranch;
            r.Operation.Immediate = r.Translator.TargetLists.Count;
            r.Translator.TargetLists.Add([.. targets.Select(r.Translator.BlockOf)]);
            r.Emit(null, InstructionClass.Branch, a: index);
        };
        table["ret"] = End;
        table["exit"] = End;
        table["trap"] = r => r.Emit(&Trap, InstructionClass.Other);
        table["brkpt"] = r => r.Emit(&Nothing, InstructionClass.Other);
        table["nanosleep"] = r =>
        {
            r.Requires(70);
            r.Flag("u32");
            r.Emit(&Nothing, InstructionClass.Other, a: r.Source(0, 32));
        };
        // Blocks of a launch never overlap those of the launch before, so there is nothing to wait for; but what may come before is checked.
        table["griddepcontrol"] = r =>
        {
            r.Requires(90);
            string what = r.OneOf("launch_dependents", "wait") ?? throw r.Error("griddepcontrol of what?");
            r.Emit(what == "wait" ? &AwaitPrevious : &Nothing, InstructionClass.Other);
        };
        table["setmaxnreg"] = r =>
        {
            r.RequiresExactly(90);
            r.OneOf("inc", "dec");
            r.Flag("sync");
            r.Flag("aligned");
            r.Flag("u32");
            r.Emit(&Nothing, InstructionClass.Other);
        };
    }

    private static void End(InstructionReader r)
    {
        r.Flag("uni");
        r.Operation.Kind = OpKind.Exit;
        r.Emit(null, InstructionClass.Branch);
    }

    private static void Trap(Warp warp, Op* op) => throw warp.Failure(op, FailureKind.Trap, warp.Mask, "the kernel executed trap");

    private static void AwaitPrevious(Warp warp, Op* op) => warp.Early &= ~warp.Mask;

    private static void Nothing(Warp warp, Op* op)
    {
    }
}
