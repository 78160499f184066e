using System.Runtime.InteropServices;
using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>A translated kernel.</summary>
internal sealed unsafe class KernelCode(PtxEntry entry, int operations) : IDisposable
{
    public readonly PtxEntry Entry = entry;

    public readonly Op* Operations = (Op*)NativeMemory.AlignedAlloc((nuint)(operations * sizeof(Op)), 64);

    public readonly int Count = operations;

    /// <summary>The instruction that each operation comes from; null for starts of blocks.</summary>
    public readonly PtxInstruction?[] Instructions = new PtxInstruction?[operations];

    public readonly InstructionClass[] Classes = new InstructionClass[operations];

    /// <summary>Floating-point operations that a thread does in each operation; those of a whole warp for <c>mma</c>, negative.</summary>
    public readonly int[] Flops = new int[operations];

    /// <summary>The shared variables that the kernel uses.</summary>
    public IReadOnlyList<PtxVariable> SharedVariables => Entry.SharedVariables;

    /// <summary>For each basic block, where it starts in the list of operations.</summary>
    public int[] BlockStarts = [];

    /// <summary>For each basic block, the block where lanes that part at its end meet again; −1 where they never do.</summary>
    public int[] Joins = [];

    /// <summary>For each indirect branch its targets, as basic blocks.</summary>
    public readonly List<int[]> TargetLists = [];

    /// <summary>What memory instructions need to know beside their operation.</summary>
    public readonly MemoryAccess?[] Accesses = new MemoryAccess?[operations];

    /// <summary>For each <c>wgmma</c> and each look before an operation, numbers of the registers of products that it uses.</summary>
    public int[]?[] ProductRegisters = [];

    /// <summary>How many registers <c>wgmma</c> instructions name; 0 where the kernel has none.</summary>
    public int ProductRegisterCount;

    /// <summary>Bytes of a warp's registers.</summary>
    public int FrameBytes;

    /// <summary>Bytes at the frame's start that hold constants.</summary>
    public int ConstantBytes;

    /// <summary>Constants that stand in the frame: place, value and whether it has 64 bits.</summary>
    public readonly List<(int Place, ulong Value, bool Wide)> Constants = [];

    /// <summary>Whether results depend on the order of blocks, as with atomics that return a value or add floating-point numbers.</summary>
    public bool OrderedAtomics;

    /// <summary>Log2 of the smallest access to shared memory, the unit in which races are looked for.</summary>
    public int SharedGranule = 2;

    /// <summary>A launch has been seen to read and write one region, so its blocks run one after the other.</summary>
    public volatile bool ReadsWhatItWrites;

    private readonly List<nint> _extras = [];

    /// <summary>Whether lanes that execute an operation are counted by its guard, not by its block.</summary>
    public bool IsGuardedPlain(int operation) => Operations[operation].Kind == OpKind.Plain && Operations[operation].Guard >= 0;

    public int* Extra(int count)
    {
        var extra = (int*)NativeMemory.Alloc((nuint)Math.Max(count, 1), sizeof(int));
        _extras.Add((nint)extra);
        return extra;
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(Operations);
        foreach (nint extra in _extras) NativeMemory.Free((void*)extra);
        _extras.Clear();
    }
}
