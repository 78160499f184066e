using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>The basic blocks of a kernel, who follows whom, and where paths that part meet again.</summary>
internal sealed class ControlFlow
{
    private ControlFlow(List<(int Start, int End)> blocks, List<int>[] successors, int[] blockOf)
    {
        Blocks = blocks;
        Successors = successors;
        BlockOf = blockOf;
        Joins = PostDominators();
    }

    /// <summary>First instruction and the one behind the last of each block, in the text's order.</summary>
    public IReadOnlyList<(int Start, int End)> Blocks { get; }

    public IReadOnlyList<int>[] Successors { get; }

    /// <summary>The block of each instruction; one more for the text's end.</summary>
    public int[] BlockOf { get; }

    /// <summary>The immediate post-dominator of each block; −1 for the exit.</summary>
    public int[] Joins { get; }

    public static bool IsBranch(PtxInstruction instruction) => instruction.Opcode is "bra" or "brx" or "ret" or "exit";

    public static ControlFlow Of(PtxEntry entry)
    {
        IReadOnlyList<PtxInstruction> code = entry.Instructions;
        var starts = new SortedSet<int> { 0 };
        foreach (int target in entry.Labels.Values) starts.Add(Math.Min(target, code.Count));
        for (int i = 0; i < code.Count; i++) if (IsBranch(code[i])) starts.Add(i + 1);
        starts.Add(code.Count);
        int[] bounds = [.. starts];
        var blocks = new List<(int, int)>();
        int[] blockOf = new int[code.Count + 1];
        for (int b = 0; b < bounds.Length; b++)
        {
            int end = b + 1 < bounds.Length ? bounds[b + 1] : bounds[b];
            blocks.Add((bounds[b], end));
            for (int i = bounds[b]; i < Math.Max(end, bounds[b] + 1) && i <= code.Count; i++) blockOf[i] = b;
        }
        // The last block is empty: the exit that text without a final "ret" runs into.
        var successors = new List<int>[blocks.Count];
        for (int b = 0; b < blocks.Count; b++)
        {
            successors[b] = [];
            (int start, int end) = blocks[b];
            PtxInstruction? last = end > start ? code[end - 1] : null;
            if (last?.Opcode == "bra") successors[b].Add(blockOf[Target(last, 0, entry.Labels)]);
            if (last?.Opcode == "brx") successors[b].AddRange(Target(last, 1, entry.BranchTargets).Select(t => blockOf[entry.Labels[t]]));
            bool falls = last is null || !IsBranch(last) || last.Guard is not null;
            if (falls && b + 1 < blocks.Count && !successors[b].Contains(b + 1)) successors[b].Add(b + 1);
        }
        return new ControlFlow(blocks, successors, blockOf);
    }

    private static T Target<T>(PtxInstruction branch, int operand, IReadOnlyDictionary<string, T> targets) =>
        operand < branch.Operands.Count && branch.Operands[operand].Name is string name && targets.TryGetValue(name, out T? target)
            ? target
            : throw new PtxLoadException(branch.Line, branch.Text, "a branch without a target");

    private int[] PostDominators()
    {
        int count = Blocks.Count, exit = count;
        var predecessors = new List<int>[count + 1];
        for (int b = 0; b <= count; b++) predecessors[b] = [];
        for (int b = 0; b < count; b++)
        {
            foreach (int s in Successors[b]) predecessors[s].Add(b);
            if (Successors[b].Count == 0) predecessors[exit].Add(b);
        }
        // Order of a walk backwards from the exit; blocks that never reach it have no post-dominator.
        int[] order = new int[count + 1];
        Array.Fill(order, -1);
        var finished = new List<int>();
        var stack = new Stack<(int Block, int Next)>();
        var seen = new bool[count + 1];
        stack.Push((exit, 0));
        seen[exit] = true;
        while (stack.TryPop(out (int Block, int Next) at))
        {
            if (at.Next < predecessors[at.Block].Count)
            {
                stack.Push((at.Block, at.Next + 1));
                int p = predecessors[at.Block][at.Next];
                if (!seen[p])
                {
                    seen[p] = true;
                    stack.Push((p, 0));
                }
                continue;
            }
            order[at.Block] = finished.Count;
            finished.Add(at.Block);
        }
        int[] dominator = new int[count + 1];
        Array.Fill(dominator, -1);
        dominator[exit] = exit;
        for (bool changed = true; changed;)
        {
            changed = false;
            for (int i = finished.Count - 2; i >= 0; i--)
            {
                int block = finished[i], best = -1;
                IReadOnlyList<int> next = block < count && Successors[block].Count > 0 ? Successors[block] : [exit];
                foreach (int s in next)
                {
                    if (dominator[s] < 0) continue;
                    if (best < 0)
                    {
                        best = s;
                        continue;
                    }
                    int a = s;
                    while (a != best)
                    {
                        while (order[a] < order[best]) a = dominator[a];
                        while (order[best] < order[a]) best = dominator[best];
                    }
                }
                if (best == dominator[block]) continue;
                dominator[block] = best;
                changed = true;
            }
        }
        return [.. dominator.Take(count).Select(d => d == exit ? -1 : d)];
    }
}
