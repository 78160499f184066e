using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

/// <summary>Every check against a kernel with the bug that it is there for.</summary>
public sealed class StrictnessTests
{
    private const string SharedTile = ".shared .align 16 .b8 tile[1024];";

    [Fact]
    public void WriteBehindAnAllocationIsOutOfBounds()
    {
        using TestDevice device = Device("mul.wide.u32 %a0, %tid, 4;\nadd.u64 %a0, %p0, %a0;\nst.global.u32 [%a0], %tid;");
        ulong target = device.Memory.Allocate(31 * 4, "target");
        EmulatorException failure = Fails(FailureKind.OutOfBounds, () => device.Launch("kernel", Threads(32), target));
        Assert.Equal(target + 124, failure.Address);
        Assert.Equal("target", failure.MemoryName);
        Assert.Equal(new Index3(31, 0, 0), failure.Site!.Thread);
        Assert.Contains("st.global.u32 [%a0], %tid;", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ReadBeforeAnAllocationIsOutOfBounds()
    {
        using TestDevice device = Device("ld.global.u32 %r0, [%p0+-4];");
        Fails(FailureKind.OutOfBounds, () => device.Launch("kernel", Threads(32), device.Upload<uint>([1, 2], "source")));
    }

    [Fact]
    public void FreedMemoryIsNamed()
    {
        using TestDevice device = Device("ld.global.u32 %r0, [%p0];");
        ulong source = device.Upload<uint>([1, 2], "weights");
        device.Memory.Free(source);
        Assert.Equal("weights", Fails(FailureKind.UseAfterFree, () => device.Launch("kernel", Threads(1), source)).MemoryName);
    }

    [Fact]
    public void OddAddressIsMisaligned()
    {
        using TestDevice device = Device("ld.global.u32 %r0, [%p0+2];");
        Fails(FailureKind.Misaligned, () => device.Launch("kernel", Threads(1), device.Upload<uint>([1, 2], "source")));
    }

    [Fact]
    public void VectorLoadNeedsTheVectorsAlignment()
    {
        using TestDevice device = Device("ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%p0+8];");
        Fails(FailureKind.Misaligned, () => device.Launch("kernel", Threads(1), device.Upload<uint>(new uint[8], "source")));
    }

    [Fact]
    public void UnwrittenGlobalMemoryIsNotRead()
    {
        using TestDevice device = Device("mul.wide.u32 %a0, %tid, 4;\nadd.u64 %a0, %p0, %a0;\nld.global.u32 %r0, [%a0];");
        ulong source = device.Memory.Allocate(256, "half-written");
        device.Memory.Fill(source, 1, 99);
        EmulatorException failure = Fails(FailureKind.UnwrittenRead, () => device.Launch("kernel", Threads(32), source));
        Assert.Equal(source + 99, failure.Address);
        Assert.Equal(new Index3(24, 0, 0), failure.Site!.Thread);
    }

    [Fact]
    public void UnwrittenSharedMemoryIsNotRead()
    {
        using TestDevice device = Device("ld.shared.u32 %r0, [tile+64];", SharedTile);
        Assert.Equal("tile+64",
            Fails(FailureKind.UnwrittenRead, () => device.Launch("kernel", Threads(1), device.Upload<uint>([0], "x"))).MemoryName);
    }

    [Fact]
    public void SharedMemoryOfTheBlockBeforeCountsAsUnwritten()
    {
        using TestDevice device = Device("setp.ne.u32 %q0, %cta, 1;\n@%q0 st.shared.u32 [tile], %tid;\nld.shared.u32 %r0, [tile];",
            SharedTile);
        Fails(FailureKind.UnwrittenRead,
            () => device.Launch("kernel", new LaunchShape(new Index3(8), new Index3(1)), device.Upload<uint>([0], "x")));
    }

    [Fact]
    public void UnwrittenLocalMemoryIsNotRead()
    {
        using TestDevice device = Device("mov.u64 %a0, stack;\nst.local.u32 [%a0], %tid;\nld.local.u32 %r0, [%a0+4];",
            ".local .align 4 .b8 stack[16];");
        Fails(FailureKind.UnwrittenRead, () => device.Launch("kernel", Threads(1), device.Upload<uint>([0], "x")));
    }

    [Fact]
    public void SharedAccessBehindTheBlocksMemoryIsOutOfBounds()
    {
        using TestDevice device = Device("shl.b32 %r0, %tid, 2;\nadd.u32 %r0, %r0, 1000;\nst.shared.u32 [%r0], %tid;", SharedTile);
        Fails(FailureKind.OutOfBounds, () => device.Launch("kernel", Threads(32), device.Upload<uint>([0], "x")));
    }

    [Fact]
    public void MissingBarrierBetweenWarpsIsARace()
    {
        string body = """
            shl.b32 %r0, %tid, 2;
            st.shared.u32 [%r0], %tid;
            BARRIER
            xor.b32 %r1, %r0, 128;
            ld.shared.u32 %r2, [%r1];
            """;
        using TestDevice right = Device(body.Replace("BARRIER", "bar.sync 0;", StringComparison.Ordinal), SharedTile);
        right.Launch("kernel", Threads(64), right.Upload<uint>([0], "x"));
        using TestDevice wrong = Device(body.Replace("BARRIER", "", StringComparison.Ordinal), SharedTile);
        ulong x = wrong.Upload<uint>([0], "x");
        for (int seed = 0; seed < 8; seed++)
        {
            wrong.Options = wrong.Options with { Seed = seed };
            // The warp that runs first reads what is not written yet; the second one races. Either is the missing barrier.
            EmulatorException failure = Assert.Throws<EmulatorException>(() => wrong.Launch("kernel", Threads(64), x));
            Assert.Contains(failure.Kind, (FailureKind[])[FailureKind.SharedRace, FailureKind.UnwrittenRead]);
        }
    }

    [Fact]
    public void ReadOfWhatAnotherWarpWroteSinceTheBarrierIsARace()
    {
        using TestDevice device = Device(
            """
            shl.b32 %r0, %lane, 2;
            setp.lt.u32 %q0, %tid, 32;
            @%q0 st.shared.u32 [%r0], %tid;
            bar.sync 0;
            @%q0 st.shared.u32 [%r0], 5;
            @!%q0 ld.shared.u32 %r2, [%r0];
            """, SharedTile);
        ulong x = device.Upload<uint>([0], "x");
        for (int seed = 0; seed < 8; seed++)
        {
            device.Options = device.Options with { Seed = seed };
            Fails(FailureKind.SharedRace, () => device.Launch("kernel", Threads(64), x));
        }
    }

    [Fact]
    public void WriteAfterReadWithoutBarrierIsARace()
    {
        using TestDevice device = Device(
            """
            shl.b32 %r0, %tid, 2;
            st.shared.u32 [%r0], %tid;
            bar.sync 0;
            xor.b32 %r1, %r0, 128;
            ld.shared.u32 %r2, [%r1];
            st.shared.u32 [%r0], %r2;
            """, SharedTile);
        EmulatorException failure = Fails(FailureKind.SharedRace,
            () => device.Launch("kernel", Threads(64), device.Upload<uint>([0], "x")));
        Assert.Contains("tile+", failure.MemoryName, StringComparison.Ordinal);
    }

    [Fact]
    public void LanesOfAWarpNeedAWarpBarrier()
    {
        string body = """
            shl.b32 %r0, %tid, 2;
            st.shared.u32 [%r0], %tid;
            BARRIER
            xor.b32 %r1, %r0, 4;
            ld.shared.u32 %r2, [%r1];
            """;
        using TestDevice right = Device(body.Replace("BARRIER", "bar.warp.sync -1;", StringComparison.Ordinal), SharedTile);
        right.Launch("kernel", Threads(32), right.Upload<uint>([0], "x"));
        using TestDevice wrong = Device(body.Replace("BARRIER", "", StringComparison.Ordinal), SharedTile);
        Fails(FailureKind.WarpRace, () => wrong.Launch("kernel", Threads(32), wrong.Upload<uint>([0], "x")));
    }

    [Fact]
    public void TwoLanesWritingOneSharedAddressAreARace()
    {
        using TestDevice device = Device("shr.u32 %r0, %tid, 1;\nshl.b32 %r0, %r0, 2;\nst.shared.u32 [%r0], %tid;", SharedTile);
        Fails(FailureKind.WarpRace, () => device.Launch("kernel", Threads(32), device.Upload<uint>([0], "x")));
    }

    [Fact]
    public void HalfWordsOfOneWordAreNoRace()
    {
        using TestDevice device = Device("shl.b32 %r0, %tid, 1;\ncvt.u16.u32 %h0, %tid;\nst.shared.u16 [%r0], %h0;", SharedTile);
        device.Launch("kernel", Threads(64), device.Upload<uint>([0], "x"));
    }

    [Fact]
    public void SharedAtomicsDoNotRaceWithEachOther_ButWithPlainReads()
    {
        string body = """
            setp.eq.u32 %q0, %tid, 0;
            @%q0 st.shared.u32 [tile], 0;
            bar.sync 0;
            red.shared.add.u32 [tile], 1;
            BARRIER
            ld.shared.u32 %r0, [tile];
            @%q0 st.global.u32 [%p0], %r0;
            """;
        using TestDevice right = Device(body.Replace("BARRIER", "bar.sync 0;", StringComparison.Ordinal), SharedTile);
        ulong result = right.Upload<uint>([0], "result");
        right.Launch("kernel", Threads(96), result);
        Assert.Equal(96u, right.Download<uint>(result, 1)[0]);
        using TestDevice wrong = Device(body.Replace("BARRIER", "", StringComparison.Ordinal), SharedTile);
        EmulatorException failure = Assert.Throws<EmulatorException>(() => wrong.Launch("kernel", Threads(96),
            wrong.Upload<uint>([0], "x")));
        Assert.Contains(failure.Kind, (FailureKind[])[FailureKind.SharedRace, FailureKind.WarpRace]);
    }

    [Fact]
    public void TwoBlocksWritingOneAddressConflict_ForAnyNumberOfWorkers()
    {
        using TestDevice device = Device("shr.u32 %r0, %cta, 1;\nmul.wide.u32 %a0, %r0, 4;\nadd.u64 %a0, %p0, %a0;\nst.global.u32 [%a0], %cta;");
        ulong target = device.Memory.Allocate(4096, "target");
        var shape = new LaunchShape(new Index3(64), new Index3(1));
        string[] messages = [.. new[] { 1, 2, 3, 2, 2 }.Select(threads =>
        {
            device.Options = device.Options with { Threads = threads };
            return Fails(FailureKind.BlockConflict, () => device.Launch("kernel", shape, target)).Message;
        })];
        Assert.All(messages, m => Assert.Equal(messages[0], m));
    }

    [Fact]
    public void BlocksMayWriteBytesOfOneWord_ButNotTheSameByte()
    {
        using TestDevice device = Device(
            """
            cvt.u64.u32 %a0, %cta;
            add.u64 %a0, %p0, %a0;
            cvt.u16.u32 %h0, %cta;
            st.global.u8 [%a0], %h0;
            """);
        ulong target = device.Memory.Allocate(64, "target");
        device.Launch("kernel", new LaunchShape(new Index3(64), new Index3(1)), target);
        Assert.Equal([.. Enumerable.Range(0, 64).Select(i => (byte)i)], device.Download<byte>(target, 64));
        using TestDevice wrong = Device("shr.u32 %r0, %cta, 1;\ncvt.u64.u32 %a0, %r0;\nadd.u64 %a0, %p0, %a0;\ncvt.u16.u32 %h0, %cta;\nst.global.u8 [%a0], %h0;");
        Fails(FailureKind.BlockConflict,
            () => wrong.Launch("kernel", new LaunchShape(new Index3(64), new Index3(1)), wrong.Memory.Allocate(64, "target")));
    }

    [Fact]
    public void ReadingWhatAnotherBlockWroteIsAConflict()
    {
        using TestDevice device = Device(
            """
            mul.wide.u32 %a0, %cta, 4;
            add.u64 %a0, %p0, %a0;
            st.global.u32 [%a0], %cta;
            xor.b32 %r0, %cta, 1;
            mul.wide.u32 %a1, %r0, 4;
            add.u64 %a1, %p0, %a1;
            ld.global.u32 %r1, [%a1];
            """);
        Fails(FailureKind.BlockConflict,
            () => device.Launch("kernel", new LaunchShape(new Index3(2), new Index3(1)), device.Upload<uint>(new uint[2], "cells")));
    }

    [Theory]
    [InlineData("membar.gl;", "ld.global", "membar.gl;", "atom.global", true)]
    [InlineData("membar.gl;", "ld.volatile.global", "membar.gl;", "atom.global", true)]
    [InlineData("fence.acq_rel.gpu;", "ld.global", "fence.acq_rel.sys;", "atom.relaxed.gpu.global", true)]
    [InlineData("", "ld.global", "", "atom.acq_rel.gpu.global", true)]
    [InlineData("", "ld.global", "membar.gl;", "atom.global", false)]
    [InlineData("", "ld.volatile.global", "membar.gl;", "atom.global", false)]
    [InlineData("membar.cta;", "ld.global", "membar.gl;", "atom.global", false)]
    [InlineData("membar.gl;", "ld.global", "", "atom.global", false)]
    [InlineData("membar.gl;", "ld.volatile.global", "", "atom.global", false)]
    [InlineData("membar.gl;", "ld.global", "membar.cta;", "atom.global", false)]
    [InlineData("", "ld.global", "", "atom.acq_rel.cta.global", false)]
    [InlineData("", "ld.global", "membar.gl;", "atom.acquire.gpu.global", false)]
    [InlineData("membar.gl;", "ld.global", "", "atom.release.gpu.global", false)]
    public void HandOverToTheLastBlockNeedsAFenceOnBothSides(string release, string load, string acquire, string atomic, bool isRight)
    {
        using TestDevice device = Device(
            $"""
            mul.wide.u32 %a0, %cta, 4;
            add.u64 %a1, %p0, %a0;
            st.global.u32 [%a1], %cta;
            {release}
            {atomic}.inc.u32 %r1, [%p1], 7;
            setp.ne.u32 %q0, %r1, 7;
            @%q0 exit;
            {acquire}
            ld.global.u32 %r2, [%a1];
            xor.b32 %r3, %cta, 1;
            mul.wide.u32 %a2, %r3, 4;
            add.u64 %a2, %p0, %a2;
            {load}.u32 %r4, [%a2];
            st.global.u32 [%p2], %r4;
            """, pointers: 3);
        for (int seed = 0; seed < 4; seed++)
        {
            ulong parts = device.Memory.Allocate(32, "parts"), arrivals = device.Upload<uint>([0], "arrivals"), result = device.Upload<uint>([99], "result");
            device.Options = device.Options with { Seed = seed };
            LaunchStatistics Run() => device.Launch("kernel", new LaunchShape(new Index3(8), new Index3(1)), parts, arrivals, result);
            if (isRight) Run();
            else Fails(FailureKind.BlockConflict, Run);
            if (isRight) Assert.InRange(device.Download<uint>(result, 1)[0], 0u, 7u);
        }
    }

    [Theory]
    [InlineData("bar.sync 0;\n@%q0 membar.gl;", true)]
    [InlineData("membar.gl;\nbar.sync 0;", true)]
    [InlineData("@%q0 membar.gl;\nbar.sync 0;", false)]
    public void FenceCoversOtherWarpsOnlyBehindABarrier(string between, bool isRight)
    {
        using TestDevice device = Device(
            $"""
            mul.wide.u32 %a0, %cta, 256;
            mul.wide.u32 %a1, %tid, 4;
            add.u64 %a0, %a0, %a1;
            add.u64 %a0, %p0, %a0;
            setp.lt.u32 %q0, %tid, 32;
            setp.eq.u32 %q1, %tid, 0;
            st.global.u32 [%a0], %tid;
            {between}
            mov.u32 %r1, 0;
            @%q1 atom.global.inc.u32 %r1, [%p1], 3;
            @%q1 membar.gl;
            setp.ne.u32 %q2, %r1, 3;
            @%q2 exit;
            xor.b32 %r2, %cta, 1;
            mul.wide.u32 %a2, %r2, 256;
            add.u64 %a2, %p0, %a2;
            ld.global.u32 %r3, [%a2+252];
            """, pointers: 2);
        for (int seed = 0; seed < 4; seed++)
        {
            ulong parts = device.Memory.Allocate(1024, "parts"), arrivals = device.Upload<uint>([0], "arrivals");
            device.Options = device.Options with { Seed = seed };
            LaunchStatistics Run() => device.Launch("kernel", new LaunchShape(new Index3(4), new Index3(64)), parts, arrivals);
            if (isRight) Run();
            else Fails(FailureKind.BlockConflict, Run);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("atom.global.add.u32 %r1, [%p0+4], 1;\n")]
    public void FenceAloneLetsNoTwoBlocksWriteOneAddress(string before)
    {
        using TestDevice device = Device(before + "membar.gl;\nst.global.u32 [%p0], %cta;");
        Fails(FailureKind.BlockConflict,
            () => device.Launch("kernel", new LaunchShape(new Index3(4), new Index3(1)), device.Upload<uint>([0, 0], "x")));
    }

    [Fact]
    public void ReadOnlyPathDoesNotSeeWhatThisLaunchWrote()
    {
        const string Body =
            """
            mul.wide.u32 %a0, %tid, 4;
            add.u64 %a1, %p0, %a0;
            st.global.u32 [%a1], %tid;
            bar.sync 0;
            ld.global.nc.u32 %r0, [SOURCE];
            """;
        using TestDevice wrong = Device(Body.Replace("SOURCE", "%p0", StringComparison.Ordinal), pointers: 2);
        Fails(FailureKind.NonCoherentRead,
            () => wrong.Launch("kernel", Threads(32), wrong.Upload<uint>(new uint[32], "x"), wrong.Upload<uint>(new uint[32], "y")));
        using TestDevice right = Device(Body.Replace("SOURCE", "%p1", StringComparison.Ordinal), pointers: 2);
        ulong x = right.Upload<uint>(new uint[32], "x"), y = right.Upload<uint>(new uint[32], "y");
        for (int i = 0; i < 300; i++) right.Launch("kernel", Threads(32), i % 2 == 0 ? x : y, i % 2 == 0 ? y : x);
    }

    [Theory]
    [InlineData("shr.u32 %r0, %tid, 1;", "st.global.u32", false)]
    [InlineData("and.b32 %r0, %tid, 15;", "st.global.u32", false)]
    [InlineData("mov.u32 %r0, 3;", "st.global.u32", false)]
    [InlineData("mov.u32 %r0, 3;", "st.volatile.global.u32", true)]
    [InlineData("xor.b32 %r0, %tid, 31;", "st.global.u32", true)]
    [InlineData("xor.b32 %r0, %tid, 5;", "st.global.u32", true)]
    public void TwoLanesWritingOneGlobalAddressRace(string index, string store, bool isRight)
    {
        using TestDevice device = Device($"{index}\nmul.wide.u32 %a0, %r0, 4;\nadd.u64 %a0, %p0, %a0;\n{store} [%a0], %tid;");
        ulong target = device.Memory.Allocate(128, "target");
        if (isRight) device.Launch("kernel", Threads(32), target);
        else Assert.Contains("two lanes", Fails(FailureKind.WarpRace, () => device.Launch("kernel", Threads(32), target)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ParametersAreReadAligned()
    {
        using TestDevice device = Device("ld.param.u32 %r0, [p0+2];");
        Assert.Equal("parameters", Fails(FailureKind.Misaligned, () => device.Launch("kernel", Threads(1), 0)).MemoryName);
    }

    [Fact]
    public void StackHasALimit()
    {
        using TestDevice device = Device(".local .align 4 .b8 big[600000];\nst.local.u32 [big], %tid;");
        Fails(FailureKind.StackLimit, () => device.Launch("kernel", Threads(1), 0));
    }

    [Fact]
    public void BarrierThatABlockHasNotIsInvalid()
    {
        using TestDevice device = Device("mov.u32 %r0, 16;\nbar.sync %r0;");
        Fails(FailureKind.InvalidOperation, () => device.Launch("kernel", Threads(32), 0));
    }

    [Fact]
    public void NextLaunchMayReadWhatThisOneWrote()
    {
        using TestDevice device = Device("mul.wide.u32 %a0, %cta, 4;\nadd.u64 %a1, %p0, %a0;\nadd.u64 %a2, %p1, %a0;\nld.global.u32 %r0, [%a1];\nadd.u32 %r0, %r0, 1;\nst.global.u32 [%a2], %r0;", pointers: 2);
        ulong a = device.Upload<uint>(new uint[16], "a"), b = device.Memory.Allocate(64, "b");
        for (int round = 0; round < 300; round++)
            device.Launch("kernel", new LaunchShape(new Index3(16), new Index3(1)), round % 2 == 0 ? a : b, round % 2 == 0 ? b : a);
        Assert.All(device.Download<uint>(a, 16), v => Assert.Equal(300u, v));
    }

    [Fact]
    public void BarrierOnOneSideOfABranchIsDivergent()
    {
        using TestDevice device = Device("setp.lt.u32 %q0, %lane, 7;\n@%q0 bra AFTER;\nbar.sync 0;\nAFTER:\nmov.u32 %r0, 0;");
        EmulatorException failure = Fails(FailureKind.DivergentBarrier,
            () => device.Launch("kernel", Threads(32), device.Upload<uint>([0], "x")));
        Assert.Contains("another path", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void BarrierAfterSomeLanesExitedIsDivergent()
    {
        using TestDevice device = Device("setp.lt.u32 %q0, %lane, 7;\n@%q0 exit;\nbar.sync 0;");
        Assert.Contains("exited",
            Fails(FailureKind.DivergentBarrier, () => device.Launch("kernel", Threads(32), device.Upload<uint>([0], "x"))).Message,
                StringComparison.Ordinal);
    }

    [Fact]
    public void BarrierThatAWholeWarpNeverReachesIsDivergent()
    {
        using TestDevice device = Device("setp.ge.u32 %q0, %tid, 32;\n@%q0 exit;\nbar.sync 0;");
        Fails(FailureKind.DivergentBarrier, () => device.Launch("kernel", Threads(64), device.Upload<uint>([0], "x")));
    }

    [Fact]
    public void WarpsAtDifferentBarriersAreADeadlock()
    {
        using TestDevice device = Device("setp.ge.u32 %q0, %tid, 32;\n@%q0 bra B;\nbar.sync 1, 64;\nbra END;\nB:\nbar.sync 2, 64;\nEND:\nmov.u32 %r0, 0;");
        Fails(FailureKind.Deadlock, () => device.Launch("kernel", Threads(64), device.Upload<uint>([0], "x")));
    }

    [Fact]
    public void EndlessLoopIsGivenUp()
    {
        using TestDevice device = Device("LOOP:\nbra LOOP;");
        device.Options = device.Options with { MaxSteps = 10_000 };
        Fails(FailureKind.Deadlock, () => device.Launch("kernel", Threads(1), device.Upload<uint>([0], "x")));
    }

    [Fact]
    public void OverrunIntoALiveNeighbourIsCaught()
    {
        using TestDevice device = Device("mul.wide.u32 %a0, %tid, 4;\nadd.u64 %a0, %p0, %a0;\nst.global.u32 [%a0], %tid;");
        ulong arena = device.Memory.Allocate(1024, "arena");
        device.Memory.MarkRegion(arena, 256, "first");
        device.Memory.MarkRegion(arena + 256, 256, "second");
        device.Launch("kernel", Threads(64), arena);
        EmulatorException failure = Fails(FailureKind.RegionOverrun, () => device.Launch("kernel", Threads(65), arena));
        Assert.Equal("second", failure.MemoryName);
    }

    [Fact]
    public void AccessAcrossTheEndOfARegionIsAnOverrun()
    {
        using TestDevice device = Device("st.global.v2.u32 [%p0+8], {%tid, %tid};");
        ulong arena = device.Memory.Allocate(1024, "arena");
        device.Memory.MarkRegion(arena, 12, "first");
        Assert.Equal("first", Fails(FailureKind.RegionOverrun, () => device.Launch("kernel", Threads(1), arena)).MemoryName);
    }

    [Fact]
    public void DeadTensorIsNotRead()
    {
        using TestDevice device = Device("ld.global.u32 %r0, [%p0];");
        ulong arena = device.Memory.Allocate(1024, "arena");
        device.Memory.MarkRegion(arena, 256, "activation");
        device.Memory.Fill(arena, 0, 256);
        device.Launch("kernel", Threads(1), arena);
        device.Memory.MarkRegion(arena, 256, null);
        Assert.Equal("activation", Fails(FailureKind.DeadRegion, () => device.Launch("kernel", Threads(1), arena)).MemoryName);
    }

    [Fact]
    public void NewTensorInOldMemoryIsUnwritten()
    {
        using TestDevice device = Device("ld.global.u32 %r0, [%p0];");
        ulong arena = device.Memory.Allocate(1024, "arena");
        device.Memory.Fill(arena, 0, 1024);
        device.Memory.MarkRegion(arena, 256, "fresh");
        Assert.Equal("fresh", Fails(FailureKind.UnwrittenRead, () => device.Launch("kernel", Threads(1), arena)).MemoryName);
    }

    [Fact]
    public void ConstantMemoryIsNotWritten()
    {
        using TestDevice device = Device("mov.u64 %a0, table;\nst.global.u32 [%a0], 1;",
            globals: ".const .align 4 .u32 table[4] = {1, 2, 3, 4};");
        Fails(FailureKind.ReadOnly, () => device.Launch("kernel", Threads(1), device.Upload<uint>([0], "x")));
    }

    [Fact]
    public void TrapIsNamed()
    {
        using TestDevice device = Device("setp.eq.u32 %q0, %tid, 5;\n@%q0 trap;");
        Assert.Equal(new Index3(5, 0, 0),
            Fails(FailureKind.Trap, () => device.Launch("kernel", Threads(32), device.Upload<uint>([0], "x"))).Site!.Thread);
    }

    [Fact]
    public void ShuffleNamingLanesThatAreElsewhereFails()
    {
        using TestDevice device = Device("setp.lt.u32 %q0, %lane, 16;\n@%q0 shfl.sync.bfly.b32 %r0, %tid, 1, 31, -1;");
        Fails(FailureKind.SyncMask, () => device.Launch("kernel", Threads(32), device.Upload<uint>([0], "x")));
    }

    [Fact]
    public void CpAsyncReadBeforeItsWaitIsNamed()
    {
        using TestDevice device = Device("cp.async.ca.shared.global [tile], [%p0], 4;\ncp.async.commit_group;\nld.shared.u32 %r0, [tile];",
            SharedTile);
        Fails(FailureKind.CpAsyncNotAwaited, () => device.Launch("kernel", Threads(1), device.Upload<uint>([7], "x")));
    }

    [Fact]
    public void CpAsyncOfANewerGroupIsStillUnderWay()
    {
        string body = """
            cp.async.ca.shared.global [tile], [%p0], 4;
            cp.async.commit_group;
            cp.async.ca.shared.global [tile+4], [%p0], 4;
            cp.async.commit_group;
            cp.async.wait_group 1;
            ld.shared.u32 %r0, [tile+PLACE];
            st.global.u32 [%p1], %r0;
            """;
        using TestDevice right = Device(body.Replace("PLACE", "0", StringComparison.Ordinal), SharedTile, pointers: 2);
        ulong result = right.Memory.Allocate(4, "result");
        right.Launch("kernel", Threads(1), right.Upload<uint>([7], "x"), result);
        Assert.Equal(7u, right.Download<uint>(result, 1)[0]);
        using TestDevice wrong = Device(body.Replace("PLACE", "4", StringComparison.Ordinal), SharedTile, pointers: 2);
        Fails(FailureKind.CpAsyncNotAwaited,
            () => wrong.Launch("kernel", Threads(1), wrong.Upload<uint>([7], "x"), wrong.Memory.Allocate(4, "result")));
    }

    [Fact]
    public void CpAsyncOfAnotherThreadNeedsABarrierAfterTheWait()
    {
        using TestDevice device = Device(
            """
            shl.b32 %r0, %tid, 2;
            cp.async.ca.shared.global [%r0], [%p0], 4;
            cp.async.commit_group;
            cp.async.wait_all;
            xor.b32 %r1, %r0, 4;
            ld.shared.u32 %r2, [%r1];
            """, SharedTile);
        Fails(FailureKind.WarpRace, () => device.Launch("kernel", Threads(32), device.Upload<uint>([7], "x")));
    }

    [Fact]
    public void LaunchBeyondTheArchitecturesLimitsFails()
    {
        using TestDevice device = Device("mov.u32 %r0, 0;", directives: ".maxntid 128, 1, 1");
        ulong x = device.Upload<uint>([0], "x");
        Fails(FailureKind.LaunchLimit, () => device.Launch("kernel", Threads(256), x));
        Fails(FailureKind.LaunchLimit, () => device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32), 300_000), x));
        Fails(FailureKind.LaunchLimit, () => device.Launch("kernel", new LaunchShape(new Index3(1, 70000), new Index3(32)), x));
        Fails(FailureKind.LaunchLimit, () => device.Launch("kernel", new LaunchShape(new Index3(0), new Index3(32)), x));
        device.Options = device.Options with { MaxDynamicSharedBytes = 48 << 10 };
        Fails(FailureKind.LaunchLimit, () => device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32), 49 << 10), x));
    }

    [Fact]
    public void ModuleForANewerArchitectureDoesNotLoad() =>
        Assert.Equal(FailureKind.Architecture,
            Assert.Throws<EmulatorException>(() => new TestDevice(PtxSnippet.Kernel("", target: "sm_90"), 80)).Kind);

    [Fact]
    public void InstructionNewerThanTheTargetDoesNotLoad()
    {
        PtxLoadException failure = Assert.Throws<PtxLoadException>(() => new TestDevice(PtxSnippet.Kernel("cp.async.wait_all;",
            target: "sm_75"), 90));
        Assert.Contains("sm_80", failure.Message, StringComparison.Ordinal);
        Assert.Equal("cp.async.wait_all;", failure.Text);
    }

    private static LaunchShape Threads(uint count) => new(new Index3(1), new Index3(count));

    private static TestDevice Device(string body, string declarations = "", int pointers = 1, string directives = "",
        string globals = "") =>
        new(PtxSnippet.Kernel(declarations + "\n" + body, pointers, directives: directives, globals: globals));

    private static EmulatorException Fails(FailureKind kind, Func<LaunchStatistics> launch)
    {
        EmulatorException failure = Assert.Throws<EmulatorException>(() => launch());
        Assert.Equal(kind, failure.Kind);
        return failure;
    }
}
