using DwrSeg.PtxEmulator.Instructions;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>
/// Four neighbouring warps that execute <c>wgmma</c> together: where they meet, their products under way, and which of the registers that
/// products use have been touched since the last <c>wgmma.fence</c>.
/// </summary>
/// <remarks>
/// Meeting at an instruction orders no memory: hardware need not keep the four in step. Registers are known by the numbers that the
/// translator gave to those that any <c>wgmma</c> of the kernel names.
/// </remarks>
internal sealed unsafe class WarpGroup
{
    public const int Size = 4;

    private readonly BlockRunner _block;
    private readonly int _first;

    // For each register: the fence's number when it was touched last, by anything but wgmma in one of the warps, and by wgmma as what.
    private readonly int[] _touched;
    private readonly int[] _usedIn;
    private readonly int[] _usedAs;
    private readonly int[] _accumulating;
    private readonly int[] _feeding;
    private readonly Queue<WgmmaProduct> _pending = new();
    private readonly Stack<WgmmaProduct> _free = new();
    private int _arrived;
    private Op* _op;
    private Signature _signature;
    private int _fence;
    private int _committed;

    public WarpGroup(BlockRunner block, int first, int registers)
    {
        _block = block;
        _first = first;
        (_touched, _usedIn, _usedAs) = (new int[registers], new int[registers], new int[registers]);
        (_accumulating, _feeding) = (new int[registers], new int[registers]);
    }

    /// <summary>What has to be the same in all four warps.</summary>
    internal readonly record struct Signature(ulong A, ulong B, bool Adds);

    /// <summary>Warps that have come to the instruction where the group meets; 0 where none waits.</summary>
    public int Arrived => _arrived;

    public Warp Warp(int index) => _block.WarpAt(_first + index);

    public void Begin()
    {
        _arrived = _fence = _committed = 0;
        Array.Clear(_touched);
        Array.Clear(_usedIn);
        Array.Clear(_accumulating);
        Array.Clear(_feeding);
        while (_pending.TryDequeue(out WgmmaProduct? left)) _free.Push(left);
    }

    /// <summary>A warp comes to one of the group's instructions.</summary>
    /// <returns>True for the last of the four, which goes on for all; the others wait for it.</returns>
    public bool Meet(Warp warp, Op* op, in Signature signature)
    {
        WarpOps.CheckWhole(warp, op);
        if (_arrived == 0)
        {
            _op = op;
            _signature = signature;
        }
        if (_op != op)
        {
            throw warp.Failure(op, FailureKind.WarpgroupDivergence, warp.Mask,
                $"another warp of the warpgroup executes line {_block.Code.Instructions[_op->Index]?.Line}: all four have to execute the same "
                + "wgmma instructions in the same order");
        }
        if (_signature != signature)
        {
            throw warp.Failure(op, FailureKind.WarpgroupDivergence, warp.Mask,
                $"descriptors 0x{signature.A:x}, 0x{signature.B:x} and scale-d {signature.Adds}; another warp of the warpgroup has "
                + $"0x{_signature.A:x}, 0x{_signature.B:x} and {_signature.Adds}");
        }
        _block.Cluster.Progress++;
        if (++_arrived == Size)
        {
            _arrived = 0;
            for (int w = 0; w < Size; w++) Warp(w).WaitsAt = -1;
            return true;
        }
        warp.WaitsAt = BlockRunner.FirstGroup + _first / Size;
        warp.WaitOp = op;
        return false;
    }

    /// <summary>An operation that is no <c>wgmma</c> is about to read or write registers that products use.</summary>
    public void Touch(Warp warp, Op* op, int[] registers)
    {
        foreach (int r in registers)
        {
            if (_accumulating[r] + _feeding[r] > 0)
            {
                string role = _accumulating[r] > 0 ? "the accumulators" : "the fragment of A";
                throw warp.Failure(op, FailureKind.WgmmaNotAwaited, warp.Mask,
                    $"a register of {role} of a wgmma under way is touched: wgmma.commit_group and wgmma.wait_group have to come first");
            }
            _touched[r] = _fence;
        }
    }

    public void Fence() => _fence++;

    public void Commit() => _committed++;

    /// <summary>Issues a product, whose operands in shared memory have been read already.</summary>
    /// <param name="warp">The warp to blame.</param>
    /// <param name="op">The instruction.</param>
    /// <param name="registers">Its accumulators, then the fragment of A.</param>
    /// <param name="accumulators">How many are accumulators.</param>
    public WgmmaProduct Issue(Warp warp, Op* op, int[] registers, int accumulators)
    {
        for (int i = 0; i < registers.Length; i++)
        {
            int r = registers[i], use = i < accumulators ? accumulators : -1;
            if (_fence == 0 || _touched[r] == _fence || (_usedIn[r] == _fence && _usedAs[r] != use))
            {
                throw warp.Failure(op, FailureKind.WgmmaFence, warp.Mask,
                    "a register has been touched, or used by a wgmma in another role or shape, since the last wgmma.fence: one has to come "
                    + "between");
            }
            if (use < 0 ? _accumulating[r] > 0 : _feeding[r] > 0)
            {
                throw warp.Failure(op, FailureKind.WgmmaNotAwaited, warp.Mask,
                    "a register that a wgmma under way uses in another role: wgmma.wait_group has to come first");
            }
            (_usedIn[r], _usedAs[r]) = (_fence, use);
        }
        for (int i = 0; i < registers.Length; i++) (i < accumulators ? _accumulating : _feeding)[registers[i]]++;
        if (!_free.TryPop(out WgmmaProduct? product)) product = new WgmmaProduct();
        product.Begin(op, registers, accumulators, _committed);
        _pending.Enqueue(product);
        return product;
    }

    /// <summary>Ends all committed groups but the newest ones: their sums reach the registers.</summary>
    public void Wait(int newest)
    {
        if (_pending.Count == 0) return;
        _block.Cluster.Tick();
        while (_pending.TryPeek(out WgmmaProduct? product) && product.Group < _committed - newest)
        {
            _pending.Dequeue();
            for (int w = 0; w < Size; w++) product.Add(Warp(w), w);
            foreach (uint row in product.Rows) _block.Shared.EndAsyncRead(this, row);
            for (int i = 0; i < product.Registers.Length; i++)
                (i < product.Accumulators ? _accumulating : _feeding)[product.Registers[i]]--;
            _free.Push(product);
        }
    }

    /// <summary>The block has ended.</summary>
    public void End()
    {
        if (!_pending.TryPeek(out WgmmaProduct? left)) return;
        throw Warp(0).Failure(left.Operation, FailureKind.WgmmaNotAwaited, uint.MaxValue,
            "the block has ended with this wgmma under way: wgmma.commit_group and wgmma.wait_group are missing");
    }
}
