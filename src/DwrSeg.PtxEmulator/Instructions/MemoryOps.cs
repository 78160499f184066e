using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>Loads and stores of every space, prefetches, fences.</summary>
internal static unsafe class MemoryOps
{
    private const int FencesDevice = 1;
    private const int FencesCluster = 2;

    private static readonly string[] Ignored =
    [
        "ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate",
        "L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::64B", "L2::128B", "L2::256B", "weak",
    ];

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["ld"] = r => Access(r, store: false);
        table["ldu"] = r => Access(r, store: false, nonCoherent: true);
        table["st"] = r => Access(r, store: true);
        table["prefetch"] = Prefetch;
        table["prefetchu"] = Prefetch;
        table["membar"] = r =>
        {
            string scope = r.OneOf("cta", "gl", "sys") ?? throw r.Error("membar of which scope?");
            r.Emit(&Fence, InstructionClass.Fence, small: scope == "cta" ? 0 : FencesCluster | FencesDevice);
        };
        table["fence"] = r =>
        {
            if (r.Flag("proxy"))
            {
                r.Requires(90);
                if (!r.Flag("async")) throw r.Error("only the asynchronous proxy is emulated");
                bool shared = r.OneOf("shared::cta", "shared::cluster", "global") != "global";
                r.Emit(shared ? &ProxyFence : &Nothing, InstructionClass.Fence);
                return;
            }
            if (r.Flag("mbarrier_init"))
            {
                r.Requires(90);
                if (!r.Flag("release") | !r.Flag("cluster")) throw r.Error("this fence is .release.cluster");
                r.Emit(&MbarrierOps.FenceInit, InstructionClass.Fence);
                return;
            }
            r.OneOf("sc", "acq_rel");
            string? scope = r.OneOf("cta", "cluster", "gpu", "sys");
            if (scope is null) throw r.Error("this fence is not known to the emulator");
            if (scope == "cluster") r.Requires(90);
            r.Emit(&Fence, InstructionClass.Fence, small: scope switch { "cta" => 0, "cluster" => FencesCluster, _ => FencesCluster | FencesDevice });
        };
        table["createpolicy"] = r =>
        {
            while (r.Left.Count > 0) r.Flag(r.Left[0]);
            r.Emit(&Policy, InstructionClass.Other, r.Destination(0, 64));
        };
    }

    /// <summary>Reads the address operand: the register goes to A, what is added to it to the immediate.</summary>
    /// <returns>Whether the register has 64 bits.</returns>
    public static bool Address(InstructionReader r, int operand, out int token)
    {
        PtxOperand address = r.Operand(operand);
        if (address.Kind != OperandKind.Address) throw r.Error("an address in brackets is asked for");
        if (address.Elements.Count > 0) throw r.Error("tensor addresses are not emulated");
        r.Operation.Immediate = address.Offset;
        if (address.Register is { } register)
        {
            token = r.Read(register.Index);
            return register.Type.Bytes() == 8;
        }
        ulong fixedPart = address.Variable is { } variable ? r.Translator.AddressOf(variable, r) : 0;
        token = r.Read(r.Translator.Constant(fixedPart, true));
        return true;
    }

    public static StateSpace Space(InstructionReader r)
    {
        StateSpace space = r.OneOf("global", "const", "shared", "shared::cta", "shared::cluster", "local", "param", "param::entry") switch
        {
            "global" => StateSpace.Global,
            "const" => StateSpace.Constant,
            "shared" or "shared::cta" => StateSpace.Shared,
            "shared::cluster" => StateSpace.Cluster,
            "local" => StateSpace.Local,
            "param" or "param::entry" => StateSpace.Parameter,
            _ => StateSpace.Generic,
        };
        if (space == StateSpace.Cluster) r.Requires(90);
        return space;
    }

    /// <summary>Each active lane's address, as 64 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Addresses(Warp warp, int place, bool wide, long added, ulong* addresses)
    {
        if (wide)
        {
            var a = (ulong*)(warp.Frame + place);
            Vector512<ulong> offset = Vector512.Create((ulong)added);
            for (int i = 0; i < 32; i += 8) (Vector512.Load(a + i) + offset).Store(addresses + i);
            return;
        }
        var narrow = (uint*)(warp.Frame + place);
        for (int i = 0; i < 32; i++) addresses[i] = narrow[i] + (uint)added;
    }

    /// <summary>Each lane's offset in shared memory; what does not fit 32 bits becomes the largest, which is out of bounds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Offsets(Warp warp, int place, bool wide, long added, uint* offsets)
    {
        if (wide)
        {
            var a = (ulong*)(warp.Frame + place);
            for (int i = 0; i < 32; i++)
            {
                ulong at = a[i] + (ulong)added;
                offsets[i] = at > uint.MaxValue ? uint.MaxValue : (uint)at;
            }
            return;
        }
        var narrow = (uint*)(warp.Frame + place);
        Vector512<uint> offset = Vector512.Create((uint)added);
        for (int i = 0; i < 32; i += 16) (Vector512.Load(narrow + i) + offset).Store(offsets + i);
    }

    private static void Access(InstructionReader r, bool store, bool nonCoherent = false)
    {
        string? order = r.OneOf("volatile", "relaxed", "acquire", "release", "mmio");
        bool reachesBlocks = r.OneOf("cta", "cluster", "gpu", "sys") is null or "gpu" or "sys";
        StateSpace space = Space(r);
        nonCoherent |= r.Flag("nc");
        while (r.OneOf(Ignored) is not null)
        {
        }
        bool hint = r.Flag("L2::cache_hint");
        int elements = r.OneOf("v2", "v4") switch { "v2" => 2, "v4" => 4, _ => 1 };
        PtxType type = r.Type();
        int bytes = type.Bytes();
        if (type is PtxType.Pred or PtxType.B128 || bytes * elements > 16) throw r.Error("no load or store has this type and size");
        bool wide = Address(r, store ? 0 : 1, out int address);
        int bits = bytes == 1 ? 16 : bytes * 8, dataBits = bits;
        IReadOnlyList<PtxOperand> data = r.Elements(store ? 1 : 0);
        if (data.Count != elements) throw r.Error($"{data.Count} registers for {elements} elements");
        foreach (PtxOperand operand in data)
        {
            if (operand.Kind == OperandKind.Register) dataBits = operand.Register!.Type.Bytes() * 8;
            r.Operation.Extra.Add(store ? r.SourceOf(operand, operand.Kind == OperandKind.Register ? Math.Min(bits, dataBits) : bits, true)
                : r.DestinationOf(operand, bits, true));
        }
        if (dataBits < bits) throw r.Error("the register is narrower than the type");
        if (hint) r.Source(2, 64);
        var access = new MemoryAccess
        {
            Space = space, ElementBytes = bytes, Elements = elements, Signed = type.IsSigned(), WideAddress = wide, DataBits = dataBits,
                Store = store,
            Strong = order is not null, Acquire = reachesBlocks && order is "acquire", Release = reachesBlocks && order is "release",
            NonCoherent = nonCoherent,
        };
        r.Operation.Access = access;
        if (space == StateSpace.Cluster && order is not null) throw r.Error("strong accesses to the cluster's shared memory are not emulated");
        if (space is StateSpace.Shared or StateSpace.Cluster or StateSpace.Generic)
            r.Translator.SharedGranule = Math.Min(r.Translator.SharedGranule, BitOperations.Log2((uint)bytes));
        if (store && space is StateSpace.Parameter or StateSpace.Constant) throw r.Error("nothing can be stored to this space");
        delegate*<Warp, Op*, void> run = space switch
        {
            StateSpace.Global => store ? &StoreGlobal : &LoadGlobal,
            StateSpace.Constant => &LoadConstant,
            StateSpace.Shared => store ? &StoreShared : &LoadShared,
            StateSpace.Cluster => &ClusterOps.Access,
            StateSpace.Local => &Local,
            StateSpace.Parameter => &LoadParameter,
            _ => &Generic,
        };
        InstructionClass kind = space switch
        {
            StateSpace.Shared or StateSpace.Cluster => store ? InstructionClass.StoreShared : InstructionClass.LoadShared,
            StateSpace.Local => store ? InstructionClass.StoreLocal : InstructionClass.LoadLocal,
            StateSpace.Constant => InstructionClass.LoadConstant,
            StateSpace.Parameter => InstructionClass.LoadParameter,
            _ => store ? InstructionClass.StoreGlobal : InstructionClass.LoadGlobal,
        };
        r.Emit(run, kind, a: address);
    }

    private static void Prefetch(InstructionReader r)
    {
        r.OneOf("global", "local", "const", "tensormap");
        r.OneOf("L1", "L2", "L2::evict_last", "L2::evict_normal");
        Address(r, 0, out int address);
        r.Emit(&Nothing, InstructionClass.Other, a: address);
    }

    private static void Nothing(Warp warp, Op* op)
    {
    }

    private static void Policy(Warp warp, Op* op) => Unsafe.InitBlock(warp.Frame + op->D, 0, 256);

    private static void Fence(Warp warp, Op* op)
    {
        if ((op->Small & FencesDevice) != 0) warp.Block.Global.Fence(warp);
        // Of a part of the lanes it says nothing about what the others did.
        if ((op->Small & FencesCluster) != 0 && warp.Mask == (warp.Lanes & ~warp.Exited)) warp.Block.Cluster.Fence(warp);
    }

    /// <summary>What the warp has written, and what it knows that others have, becomes visible to <c>wgmma</c> and bulk copies.</summary>
    private static void ProxyFence(Warp warp, Op* op)
    {
        warp.Block.Shared.ShowMbarriers(warp);
        warp.ShowAhead();
        // Of a part of the lanes it says nothing about what the others wrote.
        if (warp.Mask != (warp.Lanes & ~warp.Exited)) return;
        uint ended = warp.Block.Cluster.Tick();
        for (int w = 0; w < warp.AsyncClock.Length; w++) warp.AsyncClock[w] = Math.Max(warp.AsyncClock[w], warp.Clock[w]);
        warp.AsyncClock[warp.Index] = ended;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LoadGlobal(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        ulong* addresses = stackalloc ulong[32];
        Addresses(warp, op->A, access.WideAddress, op->Immediate, addresses);
        warp.Block.Global.Load(warp, op, access, addresses, warp.Mask);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void StoreGlobal(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        ulong* addresses = stackalloc ulong[32];
        Addresses(warp, op->A, access.WideAddress, op->Immediate, addresses);
        warp.Block.Global.Store(warp, op, access, addresses, warp.Mask);
    }

    private static void LoadConstant(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        ulong* addresses = stackalloc ulong[32];
        Addresses(warp, op->A, access.WideAddress, op->Immediate, addresses);
        warp.Block.Global.LoadConstant(warp, op, access, addresses, warp.Mask);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LoadShared(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        uint* offsets = stackalloc uint[32];
        Offsets(warp, op->A, access.WideAddress, op->Immediate, offsets);
        warp.Block.Shared.Load(warp, op, access, offsets, warp.Mask);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void StoreShared(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        uint* offsets = stackalloc uint[32];
        Offsets(warp, op->A, access.WideAddress, op->Immediate, offsets);
        warp.Block.Shared.Store(warp, op, access, offsets, warp.Mask);
    }

    private static void Local(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        ulong* addresses = stackalloc ulong[32];
        Addresses(warp, op->A, access.WideAddress, op->Immediate, addresses);
        AccessLocal(warp, op, access, addresses, warp.Mask);
    }

    private static void AccessLocal(Warp warp, Op* op, MemoryAccess access, ulong* addresses, uint mask)
    {
        byte** pointers = stackalloc byte*[32];
        ulong bytes = (ulong)access.Bytes;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            ulong offset = addresses[lane];
            if (offset + bytes > warp.Code.Entry.LocalBytes || offset > warp.Code.Entry.LocalBytes)
                throw warp.Failure(op, FailureKind.OutOfBounds, 1u << lane,
                    $"{bytes} bytes at local address 0x{offset:x}, of {warp.Code.Entry.LocalBytes} bytes", offset, "local memory");
            if (offset % bytes != 0)
                throw warp.Failure(op, FailureKind.Misaligned, 1u << lane, $"local address 0x{offset:x} is no multiple of {bytes}", offset,
                    "local memory");
            ulong at = (ulong)lane * warp.LocalBytes + offset;
            pointers[lane] = warp.Local + at;
            var written = new Span<byte>(warp.LocalWritten + at, (int)bytes);
            if (access.Store) written.Fill(1);
            else if (written.Contains((byte)0) && warp.Block.Context.Options.Strict)
                throw warp.Failure(op, FailureKind.UnwrittenRead, 1u << lane,
                    $"local address 0x{offset:x} is read but the thread has not written it", offset, "local memory");
        }
        if (access.Store) LaneData.Store(warp, op, access, pointers, mask);
        else LaneData.Load(warp, op, access, pointers, mask);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LoadParameter(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        ulong* addresses = stackalloc ulong[32];
        Addresses(warp, op->A, access.WideAddress, op->Immediate, addresses);
        byte** pointers = stackalloc byte*[32];
        fixed (byte* parameters = warp.Block.Context.Parameters)
        {
            uint size = warp.Code.Entry.ParameterBytes;
            for (uint left = warp.Mask; left != 0; left &= left - 1)
            {
                int lane = BitOperations.TrailingZeroCount(left);
                if (addresses[lane] + (ulong)access.Bytes > size || addresses[lane] > size)
                    throw warp.Failure(op, FailureKind.OutOfBounds, 1u << lane,
                        $"{access.Bytes} bytes at byte {addresses[lane]} of the parameters, which have {size}", addresses[lane],
                            "parameters");
                if (addresses[lane] % (ulong)access.Bytes != 0)
                    throw warp.Failure(op, FailureKind.Misaligned, 1u << lane,
                        $"byte {addresses[lane]} of the parameters is no multiple of {access.Bytes}", addresses[lane], "parameters");
                pointers[lane] = parameters + addresses[lane];
            }
            LaneData.Load(warp, op, access, pointers, warp.Mask);
        }
    }

    private static void Generic(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        ulong* addresses = stackalloc ulong[32];
        Addresses(warp, op->A, access.WideAddress, op->Immediate, addresses);
        (uint shared, uint local) = Split(addresses, warp.Mask);
        uint global = warp.Mask & ~shared & ~local;
        if (global != 0)
        {
            if (access.Store) warp.Block.Global.Store(warp, op, access, addresses, global);
            else warp.Block.Global.Load(warp, op, access, addresses, global);
        }
        if (shared != 0)
        {
            uint* offsets = stackalloc uint[32];
            for (int i = 0; i < 32; i++) offsets[i] = (uint)(addresses[i] - MoveOps.SharedWindow);
            ClusterOps.Access(warp, op, access, offsets, shared);
        }
        if (local == 0) return;
        for (int i = 0; i < 32; i++) addresses[i] -= MoveOps.LocalWindow;
        AccessLocal(warp, op, access, addresses, local);
    }

    /// <summary>Which lanes' generic addresses are in shared and which in local memory.</summary>
    public static (uint Shared, uint Local) Split(ulong* addresses, uint mask)
    {
        uint shared = 0, local = 0;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            if (addresses[lane] - MoveOps.SharedWindow < MoveOps.ClusterWindowBytes) shared |= 1u << lane;
            else if (addresses[lane] - MoveOps.LocalWindow < MoveOps.WindowBytes) local |= 1u << lane;
        }
        return (shared, local);
    }
}
