using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

/// <summary>
/// Mbarriers and bulk copies: a pipeline whose two blocks fetch half of each tile for both, and each rule of that against a kernel that breaks it.
/// </summary>
public sealed class BulkCopyTests
{
    private const string ClusterBarrier = "barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;\n";
    private const string WarpSync = "bar.warp.sync 0xffffffff;\n";
    private const int Steps = 6, TileBytes = 512;

    // Two stages of a tile. Full barriers count the block's producer and a tile's bytes, empty ones the warps of both blocks.
    private const string Pipeline = $"""
        .shared .align 16 .b8 tiles[1024];
        .shared .align 8 .b8 barriers[32];
        mov.u32 %r0, tiles;
        mov.u32 %r1, barriers;
        mov.u32 %r2, %cluster_ctarank;
        shl.b32 %r3, %tid, 2;
        setp.eq.u32 %q0, %tid, 0;
        setp.eq.u32 %q3, %lane, 0;
        @!%q0 bra READY;
        mbarrier.init.shared::cta.b64 [%r1], 1;
        mbarrier.init.shared::cta.b64 [%r1+8], 1;
        mbarrier.init.shared.b64 [%r1+16], 4;
        mbarrier.init.shared.b64 [barriers+24], 4;
        fence.mbarrier_init.release.cluster;
        READY:
        //first
        {ClusterBarrier}
        mov.u16 %h0, 3;
        mov.u32 %r10, 0;
        mov.u32 %r11, 0;
        LOOP:
        and.b32 %r12, %r10, 1;
        shr.u32 %r13, %r10, 1;
        and.b32 %r13, %r13, 1;
        shl.b32 %r14, %r12, 3;
        add.u32 %r14, %r1, %r14;
        add.u32 %r15, %r14, 16;
        shl.b32 %r16, %r12, 9;
        add.u32 %r16, %r0, %r16;
        @!%q0 bra CONSUME;
        xor.b32 %r17, %r13, 1;
        EMPTY:
        mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %q1, [%r15], %r17;
        @!%q1 bra EMPTY;
        mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r14], 512;
        mul.wide.u32 %a0, %r10, 512;
        mul.wide.u32 %a1, %r2, 256;
        add.u64 %a0, %a0, %a1;
        add.u64 %a0, %p0, %a0;
        mad.lo.u32 %r18, %r2, 256, %r16;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r18], [%a0], 256, [%r14], %h0;
        CONSUME:
        bar.warp.sync 0xffffffff;
        FULL:
        mbarrier.try_wait.parity.shared::cta.b64 %q2, [%r14], %r13;
        @!%q2 bra FULL;
        add.u32 %r19, %r16, %r3;
        ld.shared.u32 %r20, [%r19];
        ld.shared.u32 %r21, [%r19+256];
        mad.lo.u32 %r11, %r11, 3, %r20;
        mad.lo.u32 %r11, %r11, 3, %r21;
        //read
        {WarpSync}
        @!%q3 bra NEXT;
        mapa.shared::cluster.u32 %r22, %r15, 0;
        mapa.shared::cluster.u32 %r23, %r15, 1;
        mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r22];
        mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r23];
        NEXT:
        {WarpSync}
        add.u32 %r10, %r10, 1;
        setp.lt.u32 %q4, %r10, 6;
        @%q4 bra LOOP;
        mov.u32 %r9, %ntid.x;
        mad.lo.u32 %r9, %cta, %r9, %tid;
        mul.wide.u32 %a2, %r9, 4;
        add.u64 %a2, %p1, %a2;
        st.global.u32 [%a2], %r11;
        //last
        {ClusterBarrier}
        """;

    // One block, one copy of a word for each thread.
    private const string Single = """
        .shared .align 16 .b8 tile[320];
        .shared .align 8 .b8 bar[16];
        mov.u32 %r0, tile;
        mov.u32 %r1, bar;
        shl.b32 %r3, %tid, 2;
        add.u32 %r4, %r0, %r3;
        setp.eq.u32 %q0, %tid, 0;
        //before
        @!%q0 bra READY;
        mbarrier.init.shared.b64 [%r1], 1;
        fence.mbarrier_init.release.cluster;
        READY:
        bar.sync 0;
        @!%q0 bra WAIT;
        mbarrier.arrive.expect_tx.shared.b64 %a9, [%r1], 256;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%p0], 256, [%r1];
        WAIT:
        //wait
        mbarrier.try_wait.parity.shared.b64 %q1, [%r1], 0, 1000;
        @!%q1 bra WAIT;
        //after
        ld.shared.u32 %r5, [%r4];
        """;

    [Fact]
    public void BlocksFetchHalfOfEachTileForBoth()
    {
        for (int seed = 0; seed < 20; seed++)
        {
            uint[] image = Image();
            using TestDevice device = Device(Pipeline, seed);
            ulong result = device.Upload(new uint[256].AsSpan(), "result");
            LaunchStatistics s = device.Launch("kernel", Shape(2, 4, 64), device.Upload<uint>(image, "image"), result);
            uint[] sums = device.Download<uint>(result, 256);
            for (int thread = 0; thread < 256; thread++)
            {
                uint sum = 0;
                for (int step = 0; step < Steps; step++)
                    for (int half = 0; half < 2; half++) sum = sum * 3 + image[step * 128 + half * 64 + thread % 64];
                Assert.Equal(sum, sums[thread]);
            }
            LineStatistics copies = Assert.Single(s.Lines, l => l.Text.StartsWith("cp.async.bulk", StringComparison.Ordinal));
            Assert.Equal(InstructionClass.CpAsync, copies.Class);
            // Each block asks for half of the tiles and gets the other half from its peer.
            Assert.Equal(4 * Steps * TileBytes / 2 / 32, copies.Counters.GlobalLoadSectors);
            Assert.Equal(4 * Steps * TileBytes / 2, copies.Counters.GlobalLoadBytes);
            Assert.Equal(4 * Steps * TileBytes / 2 / 32, s.BlockLoadSectors);
            Assert.Equal(Steps * TileBytes / 32, s.LaunchLoadSectors);
            Assert.Equal(4 * Steps * TileBytes / 2, copies.Counters.MulticastBytes);
            Assert.Equal(4 * Steps, copies.Counters.WarpInstructions);
            Assert.Equal(4 * Steps * 2 * 2, copies.Counters.SharedWavefronts);
        }
    }

    [Theory]
    [InlineData("@!%q2 bra FULL;", "", "BulkNotAwaited", "")]
    [InlineData("FULL:\n", "FULL:\nsetp.ge.u32 %q5, %tid, 32;\n@%q5 bra READ;\n", "BulkNotAwaited UnwrittenRead", "tiles")]
    [InlineData("@!%q1 bra EMPTY;", "", "SharedRace BulkNotAwaited Mbarrier", "")]
    [InlineData("parity.acquire.cluster", "parity", "SharedRace BulkNotAwaited", "no mbarrier that the two use with .cluster|nor is it ordered")]
    [InlineData("//read\nbar.warp.sync 0xffffffff;", "", "SharedRace WarpRace", "is written here")]
    [InlineData("fence.mbarrier_init.release.cluster;", "", "Mbarrier", "fence.mbarrier_init or fence.proxy.async")]
    [InlineData("//first\nbarrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;", "", "Mbarrier ClusterLifetime", "")]
    [InlineData("//first\nbarrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;", "bar.sync 0;", "ClusterLifetime", "may not have begun")]
    [InlineData("_, [%r14], 512;", "_, [%r14], 768;", "Deadlock", "for 256 bytes")]
    [InlineData("_, [%r14], 512;", "_, [%r14], 256;", "BulkNotAwaited UnwrittenRead", "tiles")]
    [InlineData("mov.u16 %h0, 3;", "mov.u16 %h0, 0;", "InvalidOperation", "mask 0x0 in a cluster of 2")]
    [InlineData("mov.u16 %h0, 3;", "mov.u16 %h0, 7;", "InvalidOperation", "mask 0x7 in a cluster of 2")]
    [InlineData("mov.u16 %h0, 3;", "mov.u16 %h0, 1;", "Deadlock", "bytes")]
    [InlineData("[barriers+24], 4", "[barriers+24], 5", "Deadlock", "waits in its phase 0 for 1 of 5 arrivals and for 0 bytes")]
    [InlineData("[barriers+24], 4", "[barriers+24], 3", "SharedRace Deadlock BulkNotAwaited", "")]
    [InlineData("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r23];", "", "Deadlock", "arrivals")]
    [InlineData("[%r18], [%a0], 256", "[%r18], [%a0], 264", "InvalidOperation", "264 bytes")]
    [InlineData("[%r18], [%a0], 256", "[%r18], [%a0], 0", "InvalidOperation", "0 bytes")]
    [InlineData("[%r18], [%a0], 256", "[%r18+8], [%a0], 256", "Misaligned", "no multiple of 16")]
    [InlineData("[%r18], [%a0], 256", "[%r18], [%a0+8], 256", "Misaligned", "no multiple of 16")]
    [InlineData("[%r18], [%a0], 256, [%r14]", "[%r18], [%a0], 256, [%r14+4]", "Misaligned", "no multiple of 8")]
    [InlineData("[%r18], [%a0], 256, [%r14]", "[%r18], [%a0], 256, [%r0]", "Mbarrier", "is no mbarrier")]
    [InlineData("[%r18], [%a0], 256", "[%r18+1024], [%a0], 256", "OutOfBounds", "a bulk copy of 256 bytes")]
    [InlineData("[%r18], [%a0], 256", "[%r18+67108864], [%a0], 256", "OutOfBounds", "in the shared memory of a cluster of 2")]
    [InlineData("[%r18], [%a0], 256", "[%r18], [%a0+2944], 256", "OutOfBounds", "image")]
    [InlineData("setp.lt.u32 %q4, %r10, 6;", "setp.lt.u32 %q4, %r10, 7;", "OutOfBounds", "image")]
    [InlineData("ld.shared.u32 %r20, [%r19];", "st.shared.u32 [%r19], %r10;", "SharedRace ProxyFence", "is written here|no fence.proxy.async")]
    [InlineData("//last\nbarrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;", "", "ClusterLifetime", "")]
    public void EachRuleOfThePipelineIsWatched(string right, string wrong, string kinds, string part)
    {
        string kernel = Pipeline.With(right, wrong).With("add.u32 %r19, %r16, %r3;", "READ:\nadd.u32 %r19, %r16, %r3;");
        AssertFails(kernel, 2, kinds, part);
    }

    // In one of these ways, whatever the order.
    private static void AssertFails(string kernel, int clusterBlocks, string kinds, string part)
    {
        foreach (EmulatorException failure in Fails(kernel, clusterBlocks))
        {
            Assert.True(kinds.Split(' ').Contains(failure.Kind.ToString()), failure.ToString());
            Assert.True(part.Split('|').Any(p => failure.Message.Contains(p, StringComparison.Ordinal)), failure.Message);
            Assert.NotNull(failure.Site);
        }
    }

    [Theory]
    [InlineData("@%q4 bra LOOP;", "@%q4 bra LOOP;")]
    [InlineData("//first\nbarrier.cluster.arrive.release", "barrier.cluster.arrive.relaxed")]
    [InlineData("fence.mbarrier_init.release.cluster;", "fence.proxy.async.shared::cta;")]
    [InlineData("fence.mbarrier_init.release.cluster;\nREADY:", "READY:\nfence.proxy.async;")]
    [InlineData("mbarrier.try_wait.parity.shared::cta", "mbarrier.test_wait.parity.acquire.cta.shared")]
    [InlineData("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r14], 512;",
        "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r14], 512;\nmbarrier.arrive.release.cta.shared::cta.b64 _, [%r14];")]
    public void WhatTheRulesAllowPasses(string from, string to)
    {
        string kernel = Pipeline.With(from, to);
        for (int seed = 0; seed < 12; seed++) Launch(kernel, seed, 2, 4);
    }

    [Theory]
    // What the async proxy does not know of, it may not overwrite.
    [InlineData("//before", "st.shared.u32 [%r4], 1;", "ProxyFence SharedRace", "no fence.proxy.async|is written here")]
    [InlineData("//before", "st.shared.u32 [%r4], 1;\nbar.sync 1;", "ProxyFence SharedRace", "no fence.proxy.async")]
    [InlineData("//before", "@!%q0 bra OVER;\nst.shared.u32 [%r0], 1;\nOVER:", "ProxyFence", "no fence.proxy.async")]
    [InlineData("//before", "@!%q0 bra OVER;\nst.shared.u32 [%r0], 1;\nOVER:\nfence.proxy.async.global;", "ProxyFence", "no fence.proxy.async")]
    [InlineData("//wait", "ld.shared.u32 %r6, [%r4];", "UnwrittenRead BulkNotAwaited", "")]
    [InlineData("//wait", "bar.sync 0;\nld.shared.u32 %r6, [%r4];", "BulkNotAwaited", "while the bulk copy of line")]
    [InlineData("//wait", "st.shared.u32 [%r4], 1;", "BulkNotAwaited SharedRace ProxyFence", "")]
    [InlineData("@!%q1 bra WAIT;", "", "BulkNotAwaited", "while|neither waited")]
    [InlineData("mbarrier.init.shared.b64 [%r1], 1;", "", "Mbarrier", "is no mbarrier: mbarrier.init has to come first")]
    [InlineData("mbarrier.init.shared.b64 [%r1], 1;", "mbarrier.init.shared.b64 [%r1], 0;", "InvalidOperation", "for 0 arrivals")]
    [InlineData("mbarrier.init.shared.b64 [%r1], 1;", "mbarrier.init.shared.b64 [%r1+4], 1;", "Misaligned", "no multiple of 8")]
    [InlineData("mbarrier.init.shared.b64 [%r1], 1;", "mbarrier.init.shared.b64 [%r1+1024], 1;", "OutOfBounds", "8 bytes")]
    [InlineData("fence.mbarrier_init.release.cluster;", "mbarrier.init.shared.b64 [%r1], 1;", "Mbarrier", "mbarrier.inval has to come first")]
    [InlineData("fence.mbarrier_init.release.cluster;", "", "Mbarrier", "fence.mbarrier_init or fence.proxy.async")]
    [InlineData("fence.mbarrier_init.release.cluster;\nREADY:", "READY:\n@%q0 bra ON;\nfence.mbarrier_init.release.cluster;\nON:", "Mbarrier",
        "fence.mbarrier_init or fence.proxy.async")]
    [InlineData("bar.sync 0;", "", "Mbarrier", "is no mbarrier|no barrier lies between")]
    [InlineData("bar.sync 0;", "bar.warp.sync 0xffffffff;", "Mbarrier", "is no mbarrier|no barrier lies between")]
    [InlineData("//after", "ld.shared.u32 %r6, [bar];", "Mbarrier", "an mbarrier lies there")]
    [InlineData("//after", "ld.shared.v4.u32 {%r6, %r7, %r8, %r9}, [bar];", "Mbarrier", "an mbarrier lies there")]
    [InlineData("//after", "st.shared.u32 [bar+4], 0;", "Mbarrier", "an mbarrier lies there")]
    [InlineData("//after", "atom.shared.add.u32 %r6, [bar], 1;", "Mbarrier", "an mbarrier lies there")]
    [InlineData("//after", "@%q0 cp.async.ca.shared.global [bar], [%p0], 8;", "Mbarrier", "an mbarrier lies there")]
    [InlineData("//after", "mbarrier.arrive.shared.b64 _, [%r1+8];", "Mbarrier", "is no mbarrier")]
    [InlineData("//after", "@%q0 mbarrier.arrive.shared.b64 _, [%r1], 2;", "Mbarrier", "takes 2 more arrivals, but its phase 1 waits for 1 of 1")]
    [InlineData("//after", "@%q0 mbarrier.arrive.shared.b64 _, [%r1], 0;", "Mbarrier", "takes 0 more arrivals")]
    [InlineData("//after", "@%q0 mbarrier.arrive.expect_tx.shared.b64 _, [%r1], 1048576;", "Mbarrier", "1048576 bytes")]
    [InlineData("//after", "LATER:\nmbarrier.try_wait.parity.shared.b64 %q1, [%r1], 1;\n@!%q1 bra LATER;", "Deadlock",
        "mbarrier at shared address 0x140 (bar+0) waits in its phase 1 for 1 of 1 arrivals and for 0 bytes")]
    [InlineData("//after", "mbarrier.try_wait.parity.shared.b64 %q1, [%r1], 2;", "InvalidOperation", "a parity is 0 or 1, not 2")]
    [InlineData("256", "128", "UnwrittenRead", "nothing in the block has written it")]
    [InlineData("[%r0], [%p0], 256, [%r1];",
        "[%r0], [%p0], 256, [%r1];\ncp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0+64], [%p0], 64, [%r1];",
        "BulkNotAwaited", "is touched while the bulk copy of line")]
    [InlineData("[%r0], [%p0], 256, [%r1];", "[%r0+80], [%p0], 256, [%r1];", "Mbarrier", "an mbarrier lies there")]
    [InlineData("[%r0], [%p0], 256, [%r1];", "[%r0], [%p1], 128, [%r1];", "UnwrittenRead", "nothing has written it")]
    [InlineData("//wait", "exit;", "BulkNotAwaited", "ends with this bulk copy into its shared memory under way")]
    [InlineData("//wait", "@%q0 mbarrier.inval.shared.b64 [%r1];", "Mbarrier", "is invalidated while a bulk copy")]
    [InlineData("//after", "bar.sync 0;\n@%q0 mbarrier.inval.shared.b64 [%r1];\nbar.sync 0;\nmbarrier.test_wait.parity.shared.b64 %q1, [%r1], 0;",
        "Mbarrier", "is no mbarrier")]
    public void EachRuleOfOneBlockIsWatched(string right, string wrong, string kinds, string part)
    {
        AssertFails(Single.With(right, wrong), 1, kinds, part);
    }

    [Theory]
    [InlineData("//before", "")]
    [InlineData("//before", "st.shared.u32 [%r4], 1;\nfence.proxy.async;\nbar.sync 1;")]
    [InlineData("//before", "@!%q0 bra OVER;\nst.shared.u32 [%r0], 1;\nOVER:\nfence.proxy.async;")]
    [InlineData("fence.mbarrier_init.release.cluster;\nREADY:", "READY:\nfence.proxy.async;")]
    [InlineData("//after",
        "bar.sync 0;\n@!%q0 bra OVER;\nmbarrier.inval.shared.b64 [%r1];\nst.shared.u32 [%r1], 7;\nmbarrier.init.shared.b64 [%r1], 2;\n"
        + "OVER:\nbar.sync 0;")]
    [InlineData("//after", "bar.sync 0;\nst.shared.u32 [%r4], 1;")]
    [InlineData("//after", "st.shared.u32 [%r4], 1;")]
    // A parity of the phase before the first one is complete from the start.
    [InlineData("mbarrier.arrive", "mbarrier.try_wait.parity.shared.b64 %q2, [%r1], 1;\n@!%q2 trap;\nmbarrier.arrive")]
    [InlineData("//after", "bar.sync 0;\nmbarrier.test_wait.parity.shared.b64 %q2, [%r1], 1;\n@%q2 trap;")]
    // The bytes may come before they are announced, as long as the arrival that the phase needs is missing.
    [InlineData("mbarrier.arrive.expect_tx.shared.b64 %a9, [%r1], 256;\n"
        + "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%p0], 256, [%r1];",
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%p0], 256, [%r1];\n"
        + "mbarrier.test_wait.parity.shared.b64 %q1, [%r1], 0;\n"
        + "@%q1 trap;\nmbarrier.arrive.expect_tx.shared.b64 %a9, [%r1], 256;")]
    public void WhatTheRulesAllowInOneBlockPasses(string from, string to)
    {
        for (int seed = 0; seed < 12; seed++) Launch(Single.With(from, to), seed, 1, 3);
    }

    [Fact]
    public void ABarrierBehindOneThatWaitedIsEnough()
    {
        // One warp waits; the other reads behind a barrier, or without one.
        string Kernel(string barrier) => Single.With("//wait", "setp.ge.u32 %q2, %tid, 32;\n@%q2 bra READ;").With("//after", "READ:\n" + barrier);
        for (int seed = 0; seed < 12; seed++) Launch(Kernel("bar.sync 0;"), seed, 1, 2);
        foreach (EmulatorException failure in Fails(Kernel("bar.warp.sync 0xffffffff;"), 1))
        {
            // Whoever comes first: the reader, or the copy at the other warp's wait.
            Assert.Contains(failure.Kind, new[] { FailureKind.BulkNotAwaited, FailureKind.UnwrittenRead });
        }
    }

    [Theory]
    // One lane waits for its warp.
    [InlineData("//wait", "@%q2 bra WAITED;", "//after", "WAITED:\nbar.warp.sync 0xffffffff;", true)]
    [InlineData("//wait", "@%q2 bra WAITED;", "//after", "WAITED:\nbar.sync 0;", true)]
    [InlineData("//wait", "@%q2 bra WAITED;", "//after", "WAITED:", false)]
    // One lane waits and uses the data alone.
    [InlineData("//wait", "@%q2 bra READ;", "//after", "ld.shared.u32 %r6, [%r4];\nbar.warp.sync 1;\nREAD:\nret;", true)]
    [InlineData("//wait", "@%q2 bra READ;", "//after", "READ:\n@%q2 ld.shared.u32 %r6, [%r4];\nret;", false)]
    public void WhatOneLaneHasWaitedForTheOthersHaveNot(string from, string to, string after, string then, bool isRight)
    {
        string kernel = Single.With(from, to).With(after, then).With("//before", "setp.ne.u32 %q2, %lane, 0;");
        if (isRight) for (int seed = 0; seed < 12; seed++) Launch(kernel, seed, 1, 2);
        else
            Assert.All(Fails(kernel, 1), f => Assert.Contains("of its own lanes 0x00000001 have, with no bar.warp.sync since", f.Message, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("st.shared.u32 [%r1], 5;", "", "ld.shared.u32 %r3, [tile];\nld.shared.u32 %r3, [tile+124];", true)]
    [InlineData("@%q0 st.shared.u32 [%r1], 5;", "", "ld.shared.u32 %r3, [tile];", true)]
    [InlineData("@!%q0 st.shared.u32 [%r1], 5;", "bar.warp.sync 0xffffffff;", "ld.shared.u32 %r3, [tile+4];", true)]
    [InlineData("@!%q0 st.shared.u32 [%r1], 5;", "", "ld.shared.u32 %r3, [tile+4];", false)]
    [InlineData("ld.shared.u32 %r3, [%r2];", "", "st.shared.u32 [tile+256], 5;", true)]
    [InlineData("ld.shared.u32 %r3, [%r2];", "bar.warp.sync 0xffffffff;", "st.shared.u32 [tile+260], 5;", true)]
    [InlineData("ld.shared.u32 %r3, [%r2];", "", "st.shared.u32 [tile+260], 5;", false)]
    public void AnArrivalReleasesWhatItsLaneDidAndWhatTheWarpMetAfter(string before, string sync, string after, bool isRight)
    {
        // Lane 0 of the first warp arrives for it; the first lane of the second one goes on behind that.
        bool all = !before.StartsWith('@') && after.Contains("tile+124", StringComparison.Ordinal);
        string kernel = $"""
            .shared .align 8 .b8 bar[8];
            .shared .align 16 .b8 tile[512];
            mov.u32 %r4, tile;
            shl.b32 %r0, %tid, 2;
            add.u32 %r1, %r4, %r0;
            add.u32 %r2, %r1, 256;
            st.shared.u32 [%r2], 1;
            setp.eq.u32 %q0, %tid, 0;
            @%q0 mbarrier.init.shared.b64 [bar], 1;
            bar.sync 0;
            setp.ge.u32 %q2, %tid, 32;
            @%q2 bra WAIT;
            {before}
            {sync}
            {(all ? "bar.warp.sync 0xffffffff;" : "")}
            @%q0 mbarrier.arrive.shared.b64 %a0, [bar];
            ret;
            WAIT:
            setp.ne.u32 %q3, %lane, 0;
            @%q3 exit;
            AGAIN:
            mbarrier.test_wait.parity.shared.b64 %q1, [bar], 0;
            @!%q1 bra AGAIN;
            {after}
            """;
        if (isRight) for (int seed = 0; seed < 12; seed++) Launch(kernel, seed, 1, 2);
        else Assert.All(Fails(kernel, 1), f => Assert.Contains(f.Kind, new[] { FailureKind.SharedRace, FailureKind.UnwrittenRead }));
    }

    [Fact]
    public void LanesOfAWarpWaitForMbarriersOfTheirOwn()
    {
        string Kernel(string wait) => $"""
            .shared .align 8 .b8 bars[32];
            .shared .align 16 .b8 tile[64];
            mov.u32 %r0, bars;
            mov.u32 %r1, tile;
            and.b32 %r2, %lane, 3;
            shl.b32 %r3, %r2, 3;
            add.u32 %r0, %r0, %r3;
            shl.b32 %r3, %r2, 4;
            add.u32 %r4, %r1, %r3;
            cvt.u64.u32 %a0, %r3;
            add.u64 %a0, %p0, %a0;
            setp.lt.u32 %q0, %tid, 4;
            @!%q0 bra READY;
            mbarrier.init.shared.b64 [%r0], 1;
            fence.mbarrier_init.release.cluster;
            mbarrier.arrive.expect_tx.shared.b64 _, [%r0], 16;
            cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r4], [%a0], 16, [%r0];
            READY:
            bar.sync 0;
            WAIT:
            {wait}
            @!%q1 bra WAIT;
            {WarpSync}
            xor.b32 %r5, %r3, 48;
            add.u32 %r5, %r1, %r5;
            ld.shared.u32 %r6, [%r5];
            """;
        for (int seed = 0; seed < 12; seed++) Launch(Kernel("mbarrier.try_wait.parity.shared.b64 %q1, [%r0], 0;"), seed, 1, 2);
        Assert.All(Fails(Kernel("and.b32 %r7, %r0, 0xfffffff7;\nmbarrier.try_wait.parity.shared.b64 %q1, [%r7], 0;"), 1),
            f => Assert.Equal(FailureKind.BulkNotAwaited, f.Kind));
    }

    [Fact]
    public void LdmatrixWaitsAsWell()
    {
        const string Load = "and.b32 %r6, %r3, 0x1c;\nshl.b32 %r6, %r6, 2;\nadd.u32 %r6, %r0, %r6;\n"
            + "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r7}, [%r6];";
        for (int seed = 0; seed < 12; seed++) Launch(Single.With("//after", Load), seed, 1, 2);
        Assert.All(Fails(Single.With("//wait", "bar.sync 0;\n" + Load), 1), f => Assert.Equal(FailureKind.BulkNotAwaited, f.Kind));
    }

    [Fact]
    public void OrdinaryThreadsMeetAtAnMbarrier()
    {
        // Each thread arrives for itself and reads behind that what another one wrote.
        string Kernel(string arrive) => $"""
            .shared .align 8 .b8 bar[8];
            .shared .align 16 .b8 tile[256];
            shl.b32 %r0, %tid, 2;
            mov.u32 %r4, tile;
            add.u32 %r1, %r4, %r0;
            setp.eq.u32 %q0, %tid, 0;
            @%q0 mbarrier.init.shared.b64 [bar], 64;
            bar.sync 0;
            st.shared.u32 [%r1], %tid;
            {arrive}
            WAIT:
            mbarrier.test_wait.parity.shared.b64 %q1, [bar], 0;
            @!%q1 bra WAIT;
            xor.b32 %r2, %r0, 192;
            add.u32 %r2, %r4, %r2;
            ld.shared.u32 %r3, [%r2];
            """;
        for (int seed = 0; seed < 12; seed++) Launch(Kernel("mbarrier.arrive.shared.b64 %a0, [bar];"), seed, 1, 2);
        Assert.All(Fails(Kernel("@%q0 mbarrier.arrive.shared.b64 %a0, [bar], 64;"), 1),
            f => Assert.Contains(f.Kind, new[] { FailureKind.SharedRace, FailureKind.UnwrittenRead }));
    }

    [Theory]
    [InlineData("fence.proxy.async;", true)]
    [InlineData("setp.eq.u32 %q5, %r2, 0;\n@%q5 fence.proxy.async;", false)]
    [InlineData("setp.eq.u32 %q5, %r2, 1;\n@%q5 fence.proxy.async;", false)]
    [InlineData("", false)]
    public void EveryBlockThatACopyGoesToHasToFenceWhatItWrote(string fence, bool isRight)
    {
        string kernel = Pipeline.With("//first", $"add.u32 %r24, %r0, %r3;\nst.shared.u32 [%r24], 1;\nst.shared.u32 [%r24+256], 1;\n{fence}");
        if (isRight) for (int seed = 0; seed < 12; seed++) Launch(kernel, seed, 2, 4);
        else Assert.All(Fails(kernel, 2), f => Assert.Equal(FailureKind.ProxyFence, f.Kind));
    }

    [Theory]
    [InlineData(ClusterBarrier, true)]
    [InlineData("barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;", false)]
    [InlineData("bar.sync 0;", false)]
    public void WhatAnotherBlockHasWaitedForIsReadBehindTheClustersBarrier(string barrier, bool isRight)
    {
        string kernel = Pipeline.With("//last",
            $"{barrier}\nxor.b32 %r24, %r2, 1;\nmapa.shared::cluster.u32 %r24, %r19, %r24;\n"
            + "ld.shared::cluster.u32 %r25, [%r24];\nld.shared::cluster.u32 %r25, [%r24+256];");
        if (isRight) for (int seed = 0; seed < 12; seed++) Launch(kernel, seed, 2, 4);
        else Assert.All(Fails(kernel, 2), f => Assert.Equal(FailureKind.BulkNotAwaited, f.Kind));
    }

    [Fact]
    public void AWaitEndsWithoutItsPhaseWhereOtherwiseNothingCouldGoOn()
    {
        // The first warp looks at one mbarrier, and then does what the other warp needs to arrive there.
        string Kernel(string then) => $"""
            .shared .align 8 .b8 bars[16];
            setp.eq.u32 %q0, %tid, 0;
            @%q0 mbarrier.init.shared.b64 [bars], 32;
            @%q0 mbarrier.init.shared.b64 [bars+8], 32;
            bar.sync 0;
            setp.ge.u32 %q1, %tid, 32;
            @%q1 bra SECOND;
            LOOK:
            mbarrier.try_wait.parity.shared.b64 %q2, [bars], 0;
            {then}
            FIRST:
            mbarrier.test_wait.parity.shared.b64 %q2, [bars], 0;
            @!%q2 bra FIRST;
            ret;
            SECOND:
            mbarrier.try_wait.parity.shared.b64 %q2, [bars+8], 0;
            @!%q2 bra SECOND;
            mbarrier.arrive.shared.b64 %a0, [bars];
            """;
        for (int seed = 0; seed < 12; seed++) Launch(Kernel("mbarrier.arrive.shared.b64 %a0, [bars+8];"), seed, 1, 2);
        Assert.All(Fails(Kernel("@!%q2 bra LOOK;"), 1), f =>
        {
            Assert.Equal(FailureKind.Deadlock, f.Kind);
            Assert.Contains("waits in its phase 0 for 32 of 32 arrivals", f.Message, StringComparison.Ordinal);
            Assert.Contains("at the mbarrier at 0x", f.Message, StringComparison.Ordinal);
        });
    }

    [Fact]
    public void NothingArrivesInABlockThatHasEnded()
    {
        string Kernel(string copy) => $"""
            .shared .align 16 .b8 tile[256];
            .shared .align 8 .b8 bar[8];
            mov.u32 %r0, %cluster_ctarank;
            setp.eq.u32 %q0, %r0, 0;
            setp.eq.u32 %q1, %tid, 0;
            @%q1 mbarrier.init.shared.b64 [bar], 1;
            @%q1 fence.mbarrier_init.release.cluster;
            {ClusterBarrier}
            mov.u32 %r1, bar;
            mov.u32 %r2, tile;
            mapa.shared::cluster.u32 %r3, %r1, 0;
            mapa.shared::cluster.u32 %r4, %r2, 0;
            @%q0 exit;
            {copy}
            """;
        foreach (string copy in (string[])["mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r3];",
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r4], [%p0], 64, [%r3];"])
        {
            Assert.All(Fails(Kernel(copy), 2, 1), f => Assert.Contains(f.Kind, new[] { FailureKind.ClusterLifetime, FailureKind.BulkNotAwaited }));
        }
    }

    [Fact]
    public void TheFormsThatPtxasTakesAreTaken() => Device("""
        .shared .align 8 .b8 bar[32];
        mbarrier.arrive.shared.b64 %a2, [bar+8], %r1;
        mbarrier.arrive.release.cta.shared.b64 _, [%r1];
        mbarrier.arrive.release.cluster.shared::cta.b64 %a2, [%a1];
        mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r3], 3;
        mbarrier.arrive.expect_tx.release.cluster.shared::cluster.b64 _, [%r3+8], 16;
        mbarrier.expect_tx.relaxed.cluster.shared::cluster.b64 [%r1], 512;
        mbarrier.try_wait.parity.shared.b64 %q1, [%r1], %r2, %r3;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%a1+16], [%a0+16], %r1, [%a2+8];
        fence.proxy.async.shared::cluster;
        """, 0).Dispose();

    [Theory]
    [InlineData("mbarrier.arrive.release.cluster.shared::cluster.b64 %a0, [%r1];", "gives no state")]
    [InlineData("mbarrier.try_wait.parity.acquire.cluster.shared::cluster.b64 %q0, [%r1], 0;", "not possible on another block's")]
    [InlineData("mbarrier.arrive.b64 %a0, [%a1];", "shared addresses only")]
    [InlineData("mbarrier.try_wait.shared.b64 %q0, [%r1], %a0;", "only waits for a parity")]
    [InlineData("mbarrier.arrive_drop.shared.b64 %a0, [%r1];", "this form of mbarrier")]
    [InlineData("mbarrier.arrive.noComplete.shared.b64 %a0, [%r1], 1;", ".noComplete")]
    [InlineData("cp.async.mbarrier.arrive.shared.b64 [%r1];", "only cp.async and bulk copies")]
    [InlineData("cp.async.bulk.commit_group;", "bulk copies are emulated from .global")]
    [InlineData("cp.async.bulk.global.shared::cta.bulk_group [%a0], [%r1], 16;", "bulk copies are emulated from .global")]
    [InlineData("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%a0, {%r2, %r3}], [%r4];", "operands")]
    [InlineData("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r1], [%a0], 16, [%r2];", "4 operands")]
    [InlineData("fence.mbarrier_init.acquire.cluster;", "release.cluster")]
    public void WhatIsNotEmulatedIsRefusedAtTheLoad(string instruction, string problem) =>
        Assert.Contains(problem, Assert.Throws<PtxLoadException>(() => Device(instruction, 0)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("mbarrier.init.shared.b64 [%r1], 1;")]
    [InlineData("fence.mbarrier_init.release.cluster;")]
    [InlineData("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%a0], 16, [%r2];")]
    public void ItTakesSm90(string instruction) =>
        Assert.Contains("needs sm_90",
            Assert.Throws<PtxLoadException>(() => new TestDevice(PtxSnippet.Kernel(instruction, target: "sm_80"))).Message, StringComparison.Ordinal);

    private static uint[] Image() => [.. Enumerable.Range(0, Steps * TileBytes / 4).Select(i => (uint)i * 2654435761u)];

    private static LaunchShape Shape(int cluster, int blocks, int threads) =>
        new(new Index3((uint)blocks), new Index3((uint)threads), 0, (uint)cluster);

    private static TestDevice Device(string body, int seed)
    {
        var device = new TestDevice(PtxSnippet.Kernel(body, 2));
        device.Options = device.Options with { Seed = seed };
        return device;
    }

    private static void Launch(string body, int seed, int cluster, int clusters)
    {
        using TestDevice device = Device(body, seed);
        ulong image = device.Upload<uint>(Image(), "image"), result = device.Memory.Allocate(4096, "result");
        device.Launch("kernel", Shape(cluster, cluster * clusters, 64), image, result);
    }

    /// <summary>How a kernel fails, which it has to in every order of warps.</summary>
    private static List<EmulatorException> Fails(string body, int cluster, int clusters = 1)
    {
        var failures = new List<EmulatorException>();
        for (int seed = 0; seed < 16; seed++) failures.Add(Assert.Throws<EmulatorException>(() => Launch(body, seed, cluster, clusters)));
        return failures;
    }
}
