namespace DwrSeg.PtxEmulator;

/// <summary>What a kernel, a launch or a copy did wrong.</summary>
internal enum FailureKind
{
    /// <summary>An access outside of every allocation, of the block's shared memory, or of the parameters.</summary>
    OutOfBounds,

    /// <summary>An access to an allocation that was freed.</summary>
    UseAfterFree,

    /// <summary>An address that is no multiple of the access's size.</summary>
    Misaligned,

    /// <summary>A read of memory that nothing has written.</summary>
    UnwrittenRead,

    /// <summary>An access that left the regions which the launch's parameters point into.</summary>
    RegionOverrun,

    /// <summary>An access to a part of an allocation whose region has died, or that never was one.</summary>
    DeadRegion,

    /// <summary>A write to constant memory.</summary>
    ReadOnly,

    /// <summary>Two warps touch one shared address, one of them writing, with no barrier between them.</summary>
    SharedRace,

    /// <summary>
    /// Two lanes of a warp touch one shared address, one of them writing, with no <c>bar.warp.sync</c> between them, or write one global
    /// address in one instruction.
    /// </summary>
    WarpRace,

    /// <summary>Two blocks of a launch touch one global address, one of them writing, without atomics.</summary>
    BlockConflict,

    /// <summary>A load that promises unchanging memory (<c>ld.global.nc</c>) of what this launch has written.</summary>
    NonCoherentRead,

    /// <summary>A barrier that a part of a warp reaches, or that a part of the block has exited without reaching.</summary>
    DivergentBarrier,

    /// <summary>Every warp that is left waits.</summary>
    Deadlock,

    /// <summary>
    /// Another block's shared memory touched with no cluster barrier before that says that the block has begun, or none after that keeps it from
    /// ending.
    /// </summary>
    ClusterLifetime,

    /// <summary>
    /// In a launch beside the one before it: a thread that writes global memory, or reads what one of the launches before wrote, without having
    /// executed <c>griddepcontrol.wait</c>; a warp that exits without.
    /// </summary>
    PreviousNotAwaited,

    /// <summary>Shared memory touched while a <c>cp.async</c> into it is under way.</summary>
    CpAsyncNotAwaited,

    /// <summary>
    /// Shared memory touched while a bulk copy into it is under way, or after that by a warp that has not waited for its mbarrier; a block that
    /// ends with one under way into its memory.
    /// </summary>
    BulkNotAwaited,

    /// <summary>
    /// An mbarrier used where there is none or with no order behind its initialisation, initialised again, given more arrivals or bytes than it
    /// takes, or touched by an ordinary access.
    /// </summary>
    Mbarrier,

    /// <summary>
    /// A <c>wgmma</c> instruction that the four warps of a warpgroup do not execute alike: other instructions, descriptors or scales.
    /// </summary>
    WarpgroupDivergence,

    /// <summary>Registers or shared memory of a <c>wgmma</c> touched while it is under way, or one that is never waited for.</summary>
    WgmmaNotAwaited,

    /// <summary>A <c>wgmma</c> that uses registers touched since the last <c>wgmma.fence</c>.</summary>
    WgmmaFence,

    /// <summary>
    /// A <c>wgmma</c> that reads shared memory, or a bulk copy that overwrites it, whose writes no <c>fence.proxy.async</c> has made visible to it.
    /// </summary>
    ProxyFence,

    /// <summary>A launch that the emulated architecture, or the kernel's own bounds, do not allow.</summary>
    LaunchLimit,

    /// <summary>More local memory a thread than the architecture has.</summary>
    StackLimit,

    /// <summary>The kernel executed <c>trap</c>.</summary>
    Trap,

    /// <summary>A warp-wide instruction whose member mask is not the set of lanes that execute it.</summary>
    SyncMask,

    /// <summary>An instruction or a module for a newer architecture than the emulated one.</summary>
    Architecture,

    /// <summary>A free of an address that no live allocation begins at, or a region outside of its allocation.</summary>
    InvalidAddress,

    /// <summary>An indirect branch to no target, an undefined operand value, and the like.</summary>
    InvalidOperation,
}
