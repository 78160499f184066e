namespace DwrSeg.PtxEmulator.Execution;

/// <summary>A bulk copy under way into a block's shared memory; one that goes to several blocks is one in each.</summary>
/// <param name="barrier">The block's mbarrier that its bytes complete.</param>
/// <param name="offset">Where it goes.</param>
/// <param name="data">Its bytes, read when it was issued.</param>
/// <param name="issuer">Who issued it.</param>
/// <param name="lane">With which lane.</param>
/// <param name="op">With which instruction.</param>
internal sealed unsafe class BulkCopy(Mbarrier barrier, uint offset, byte[] data, Warp issuer, int lane, Op* op)
{
    public Mbarrier Barrier { get; } = barrier;

    public uint Offset { get; } = offset;

    public byte[] Data { get; } = data;

    public Warp Issuer { get; } = issuer;

    public int Lane { get; } = lane;

    public Op* Op { get; } = op;
}
