using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

/// <summary>Clusters: what their blocks compute through each other's shared memory, and each rule of that against a kernel that breaks it.</summary>
public sealed class ClusterTests
{
    private const string Barrier = "barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n";

    // Every thread writes a word of its own and then reads the word of another thread of the cluster's next block.
    private const string Exchange = """
        .shared .align 16 .b8 tile[1024];
        mov.u32 %r0, tile;
        shl.b32 %r1, %tid, 2;
        add.u32 %r0, %r0, %r1;
        mov.u32 %r2, %cluster_ctarank;
        mov.u32 %r3, %cluster_nctarank;
        mad.lo.u32 %r4, %cta, 1000, %tid;
        st.shared.u32 [%r0], %r4;
        FIRST
        add.u32 %r5, %r2, 1;
        rem.u32 %r5, %r5, %r3;
        xor.b32 %r6, %r0, 128;
        mapa.shared::cluster.u32 %r7, %r6, %r5;
        ld.shared::cluster.u32 %r8, [%r7];
        LAST
        mov.u32 %r9, %ntid.x;
        mad.lo.u32 %r9, %cta, %r9, %tid;
        mul.wide.u32 %a0, %r9, 4;
        add.u64 %a0, %p0, %a0;
        st.global.u32 [%a0], %r8;
        """;

    public static TheoryData<int> Sizes => [1, 2, 3, 4, 8];

    [Theory]
    [MemberData(nameof(Sizes))]
    public void BlocksReadEachOthersSharedMemory(int size)
    {
        for (int seed = 0; seed < 4; seed++)
        {
            using TestDevice device = Device(Exchanging(Barrier, Barrier), seed);
            ulong result = device.Upload(new uint[size * 3 * 64].AsSpan(), "result");
            LaunchStatistics s = device.Launch("kernel", Shape(size, size * 3, 64), result);
            uint[] words = device.Download<uint>(result, size * 3 * 64);
            for (int i = 0; i < words.Length; i++)
            {
                int block = i / 64, next = block / size * size + (block % size + 1) % size;
                Assert.Equal((uint)(next * 1000 + (i % 64 ^ 32)), words[i]);
            }
            Assert.Equal(size == 1 ? 0 : words.Length * 4, s.ClusterBytes);
            Assert.Equal(size * 3 * 2 * 2, s.Total.SharedWavefronts);
            Assert.Equal(0, s.Total.SharedConflicts);
        }
    }

    [Fact]
    public void CountsAndResultsDoNotDependOnClustersOrWorkers()
    {
        var seen = new HashSet<(long, long, long, long)>();
        foreach (int size in (int[])[1, 2, 4])
        {
            foreach (int threads in (int[])[1, 3])
            {
                using TestDevice device = Device(
                    "and.b32 %r0, %tid, 7;\nmul.wide.u32 %a0, %r0, 32;\nadd.u64 %a1, %p0, %a0;\nld.global.u32 %r1, [%a1];");
                device.Options = device.Options with { Threads = threads };
                LaunchStatistics s = device.Launch("kernel", Shape(size, 8, 64), device.Upload(new uint[64].AsSpan(), "x"));
                seen.Add((s.Total.GlobalLoadSectors, s.BlockLoadSectors, s.LaunchLoadSectors, s.Total.WarpInstructions));
            }
        }
        Assert.Equal([(8 * 2 * 8, 8 * 8, 8)], seen.Select(c => (c.Item1, c.Item2, c.Item3)));
    }

    [Theory]
    [InlineData("b32", 1)]
    [InlineData("f32", 2)]
    [InlineData("u32", 4)]
    [InlineData("b64", 1)]
    [InlineData("u16", 1)]
    public void EveryWidthIsReadAndWritten(string type, int elements)
    {
        // Each lane pushes its elements to the other block, which copies them out.
        int bytes = int.Parse(type[1..], System.Globalization.CultureInfo.InvariantCulture) / 8;
        string register = type switch { "f32" => "%f", "b64" => "%a1", "u16" => "%h", _ => "%r1" };
        string list = elements == 1 ? register + "0" : "{" + string.Join(", ", Enumerable.Range(0, elements).Select(i => register + i)) + "}";
        string vector = elements == 1 ? "" : $"v{elements}.";
        using TestDevice device = Device(
            $$"""
            .shared .align 16 .b8 tile[1024];
            mul.lo.u32 %r1, %tid, {{bytes * elements}};
            cvt.u64.u32 %a5, %r1;
            mad.lo.u32 %r2, %cta, {{32 * bytes * elements}}, %r1;
            cvt.u64.u32 %a0, %r2;
            add.u64 %a2, %p0, %a0;
            add.u64 %a3, %p1, %a0;
            ld.global.{{vector}}{{type}} {{list}}, [%a2];
            mov.u32 %r3, %cluster_ctaid.x;
            xor.b32 %r3, %r3, 1;
            mov.u64 %a6, tile;
            mapa.shared::cluster.u64 %a4, %a6, %r3;
            add.u64 %a4, %a4, %a5;
            {{Barrier}}
            st.shared::cluster.{{vector}}{{type}} [%a4], {{list}};
            {{Barrier}}
            add.u64 %a6, %a6, %a5;
            ld.shared::cluster.{{vector}}{{type}} {{list}}, [%a6];
            st.global.{{vector}}{{type}} [%a3], {{list}};
            """, pointers: 2);
        byte[] data = new byte[64 * bytes * elements];
        new Random(1).NextBytes(data);
        ulong from = device.Upload(data.AsSpan(), "from"), to = device.Upload(new byte[data.Length].AsSpan(), "to");
        LaunchStatistics s = device.Launch("kernel", Shape(2, 2, 32), from, to);
        Assert.Equal([.. data[(data.Length / 2)..], .. data[..(data.Length / 2)]], device.Download<byte>(to, data.Length));
        Assert.Equal(data.Length, s.ClusterBytes);
    }

    [Fact]
    public void GenericAddressesReachTheClusterToo()
    {
        using TestDevice device = Device(Exchanging(Barrier, Barrier).With(
            "mapa.shared::cluster.u32 %r7, %r6, %r5;\nld.shared::cluster.u32 %r8, [%r7];",
            """
            cvt.u64.u32 %a5, %r6;
            cvta.shared.u64 %a5, %a5;
            mapa.u64 %a6, %a5, %r5;
            isspacep.shared::cluster %q0, %a6;
            isspacep.shared %q1, %a6;
            isspacep.global %q2, %a6;
            @%q1 trap;
            @%q2 trap;
            @!%q0 trap;
            ld.u32 %r8, [%a6];
            """));
        ulong result = device.Upload(new uint[128].AsSpan(), "result");
        Assert.Equal(512, device.Launch("kernel", Shape(2, 2, 64), result).ClusterBytes);
        Assert.Equal(1032u, device.Download<uint>(result, 1)[0]);
    }

    [Fact]
    public void VariablesCanBeNamedWhereAddressesGo()
    {
        using TestDevice device = Device(
            $"""
            .shared .align 16 .b8 tile[64];
            st.shared::cluster.u32 [tile+16], %cta;
            {Barrier}
            mapa.shared::cluster.u32 %r0, tile, 1;
            ld.shared::cluster.u32 %r1, [%r0+16];
            ld.shared::cluster.u32 %r2, [tile+16];
            mad.lo.u32 %r1, %r1, 10, %r2;
            {Barrier}
            mul.wide.u32 %a0, %cta, 4;
            add.u64 %a0, %p0, %a0;
            st.global.u32 [%a0], %r1;
            """);
        ulong result = device.Upload(new uint[4].AsSpan(), "result");
        Assert.Equal(4, device.Launch("kernel", Shape(4, 4, 1), result).ClusterBytes / 3);
        Assert.Equal([10u, 11, 12, 13], device.Download<uint>(result, 4));
    }

    [Fact]
    public void SpecialRegistersTellTheCluster()
    {
        string[] names =
        [
            "%cluster_ctaid.x", "%cluster_nctaid.x", "%cluster_ctarank", "%cluster_nctarank", "%clusterid.x", "%nclusterid.x", "%clusterid.y",
            "%nclusterid.y",
        ];
        string body = "mad.lo.u32 %r9, %ctaid.y, 6, %cta;\nmul.wide.u32 %a0, %r9, 32;\nadd.u64 %a0, %p0, %a0;\n"
            + string.Concat(names.Select((n, i) => $"mov.u32 %r0, {n};\nst.global.u32 [%a0+{i * 4}], %r0;\n"));
        using TestDevice device = Device(body);
        ulong result = device.Upload(new uint[6 * 2 * 8].AsSpan(), "result");
        device.Launch("kernel", new LaunchShape(new Index3(6, 2), new Index3(1), 0, 3), result);
        uint[] words = device.Download<uint>(result, 6 * 2 * 8);
        for (uint block = 0; block < 12; block++)
        {
            uint x = block % 6;
            Assert.Equal([x % 3, 3, x % 3, 3, x / 3, 2, block / 6, 2], words[(int)(block * 8)..(int)(block * 8 + 8)]);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void AKernelSeesWhetherItHasAClusterAtAll(int size)
    {
        using TestDevice device = Device("mov.pred %q0, %is_explicit_cluster;\nselp.u32 %r0, 7, 3, %q0;\nst.global.u32 [%p0], %r0;");
        ulong result = device.Upload<uint>([0], "result");
        device.Options = device.Options with { Strict = false };
        device.Launch("kernel", Shape(size, 2, 1), result);
        Assert.Equal(size > 1 ? 7u : 3u, device.Download<uint>(result, 1)[0]);
    }

    [Fact]
    public void ReadingWithoutABarrierBeforeIsFound()
    {
        Fails(FailureKind.ClusterLifetime, Exchanging("", Barrier), "ld.shared::cluster.u32 %r8", "may not have begun");
        // The blocks know of each other, but not what they have written.
        Fails([FailureKind.UnwrittenRead, FailureKind.SharedRace], Exchanging("", Barrier).With("st.shared", Barrier + "st.shared"));
        Fails([FailureKind.UnwrittenRead, FailureKind.SharedRace],
            Exchanging("bar.sync 0;", Barrier).With("st.shared", Barrier + "st.shared"));
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("fence.acq_rel.cta;", false)]
    [InlineData("fence.acq_rel.cluster;", true)]
    [InlineData("fence.sc.gpu;", true)]
    [InlineData("membar.sys;", true)]
    public void ARelaxedArrivalOrdersWhatAFenceCameAfter(string fence, bool orders)
    {
        string body = Exchanging($"{fence}\nbarrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;", Barrier);
        if (orders) Passes(body);
        else Fails(FailureKind.SharedRace, body, "wrote it, and no cluster barrier lies between", "of block (");
        // A fence orders what came before it.
        if (orders) Fails(FailureKind.SharedRace, body.With("st.shared", $"{fence}\nst.shared").With($"{fence}\nbarrier", "barrier"));
    }

    [Fact]
    public void WritingWhatAnotherBlockReadsIsARace()
    {
        string Body(string between) => Exchanging(Barrier, $"{between}\nst.shared.u32 [%r0], 5;\n{Barrier}");
        Passes(Body(Barrier));
        // The second block reads what the first one writes again, with a barrier of its own behind that.
        const string Again = "setp.ne.u32 %q0, %r2, 0;\n@%q0 bra READ;\nst.shared.u32 [%r0], 6;\nbar.sync 0;\nREAD:\n";
        Passes(Exchanging(Barrier + Again + Barrier, Barrier));
        Fails(FailureKind.SharedRace, Exchanging(Barrier + Again, Barrier), "no cluster barrier lies between");
        // A barrier of the block alone orders nothing that others do.
        const string Relaxed = "barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;";
        foreach (string between in (string[])["", "bar.sync 0;", "bar.sync 0;\nbar.sync 0;", Relaxed])
            Fails(FailureKind.SharedRace, Body(between), "no cluster barrier lies between");
    }

    [Fact]
    public void WritingToAnotherBlockFollowsTheSameRules()
    {
        const string Push = """
            .shared .align 16 .b8 tile[1024];
            mov.u32 %r0, tile;
            shl.b32 %r1, %tid, 2;
            add.u32 %r0, %r0, %r1;
            mov.u32 %r2, %cluster_ctarank;
            xor.b32 %r2, %r2, 1;
            mapa.shared::cluster.u32 %r3, %r0, %r2;
            BEFORE
            st.shared::cluster.u32 [%r3], %tid;
            BETWEEN
            ld.shared.u32 %r4, [%r0];
            """;
        string Body(string before, string between) =>
            Push.With("BEFORE", before).With("BETWEEN", between);
        Passes(Body(Barrier, Barrier));
        Passes(Body(Barrier, "barrier.cluster.arrive;\nbar.sync 0;\nbarrier.cluster.wait;\nbar.sync 0;"));
        Fails(FailureKind.ClusterLifetime, Body("", Barrier), "may not have begun");
        Fails([FailureKind.UnwrittenRead, FailureKind.SharedRace], Body(Barrier, "bar.sync 0;"));
        Fails(FailureKind.SharedRace, Body(Barrier, "barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;\nbar.sync 0;"));
        // Both blocks write the same words.
        Fails(FailureKind.SharedRace, Body(Barrier + "st.shared.u32 [%r0], 1;", Barrier), "is written here");
        Passes(Body("st.shared.u32 [%r0], 1;" + Barrier, Barrier));
    }

    [Fact]
    public void ABlockMustNotEndWhileOthersUseItsMemory()
    {
        Passes(Exchanging(Barrier, Barrier));
        Passes(Exchanging(Barrier, "barrier.cluster.arrive;\nbarrier.cluster.wait;"));
        Fails(FailureKind.ClusterLifetime, Exchanging(Barrier, ""));
        Fails(FailureKind.ClusterLifetime, Exchanging(Barrier, "bar.sync 0;"));
        Fails(FailureKind.ClusterLifetime, Exchanging(Barrier, "barrier.cluster.arrive;"));
        Fails(FailureKind.ClusterLifetime, Exchanging(Barrier, "barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;"));
    }

    [Fact]
    public void WhatACopyStillFillsIsNotRead()
    {
        const string Body = """
            .shared .align 16 .b8 tile[1024];
            mov.u32 %r0, tile;
            shl.b32 %r1, %tid, 2;
            add.u32 %r0, %r0, %r1;
            mul.wide.u32 %a0, %tid, 4;
            add.u64 %a0, %p0, %a0;
            cp.async.ca.shared.global [%r0], [%a0], 4;
            WAIT
            BARRIER
            mov.u32 %r2, %cluster_ctarank;
            xor.b32 %r2, %r2, 1;
            mapa.shared::cluster.u32 %r3, %r0, %r2;
            ld.shared::cluster.u32 %r4, [%r3];
            BARRIER
            cp.async.wait_all;
            """;
        string barriers = Body.With("BARRIER", Barrier);
        Passes(barriers.With("WAIT", "cp.async.wait_all;"));
        Fails(FailureKind.CpAsyncNotAwaited, barriers.With("WAIT", ""), "of block (");
    }

    [Theory]
    [InlineData("mov.u32 %r1, %r0;")]
    [InlineData("mov.u32 %r2, %cluster_ctarank;\nmapa.shared::cluster.u32 %r1, %r0, %r2;")]
    public void TheBlocksOwnMemoryIsHeldToTheSameRules(string address)
    {
        string Body(string write, string between) =>
            $"""
            .shared .align 16 .b8 tile[1024];
            mov.u32 %r0, tile;
            shl.b32 %r3, %tid, 2;
            add.u32 %r0, %r0, %r3;
            {write}
            {between}
            xor.b32 %r0, %r0, 128;
            {address}
            ld.shared::cluster.u32 %r4, [%r1];
            """;
        Passes(Body("st.shared.u32 [%r0], 1;", "bar.sync 0;"));
        Fails(FailureKind.UnwrittenRead, Body("", "bar.sync 0;"));
        Fails([FailureKind.UnwrittenRead, FailureKind.SharedRace], Body("st.shared.u32 [%r0], 1;", ""));
        Fails(FailureKind.OutOfBounds, Body("st.shared.u32 [%r0], 1;", "bar.sync 0;\nadd.u32 %r0, %r0, 2048;"));
    }

    [Fact]
    public void AddressesOutsideOfTheClusterAreFound()
    {
        const string Rank = "add.u32 %r5, %r2, 1;\nrem.u32 %r5, %r5, %r3;";
        string fine = Exchanging(Barrier, Barrier);
        Fails(FailureKind.InvalidOperation, fine.With(Rank, "add.u32 %r5, %r2, 1;"), "mapa", "block 2 of a cluster of 2", "block (", "thread (");
        Fails(FailureKind.OutOfBounds, fine.With("ld.shared::cluster.u32 %r8, [%r7]", "ld.shared::cluster.u32 %r8, [%r7+1024]"));
        Fails(FailureKind.OutOfBounds, fine.With("ld.shared::cluster.u32 %r8, [%r7]", "ld.shared::cluster.u32 %r8, [%r7+67108864]"));
        Fails(FailureKind.Misaligned, fine.With("ld.shared::cluster.u32 %r8, [%r7]", "ld.shared::cluster.u32 %r8, [%r7+2]"));
        const string Map = "mapa.shared::cluster.u32 %r7, %r6, %r5;";
        Fails(FailureKind.InvalidOperation, fine.With(Map, Map + "\nmapa.shared::cluster.u32 %r7, %r7, %r5;"));
        // The mapped address is no address of the block's own memory.
        Fails(FailureKind.OutOfBounds, fine.With("ld.shared::cluster.u32", "ld.shared.u32"));
    }

    [Fact]
    public void ArrivalsAndWaitsTakeTurns()
    {
        Fails(FailureKind.InvalidOperation, "barrier.cluster.wait;", "no barrier.cluster.arrive before");
        Fails(FailureKind.InvalidOperation, "barrier.cluster.arrive;\nbarrier.cluster.arrive;", "second time");
        Fails(FailureKind.InvalidOperation, Barrier + "barrier.cluster.wait;", "no barrier.cluster.arrive before");
        Passes(Barrier + Barrier + "barrier.cluster.arrive.relaxed;");
    }

    [Fact]
    public void AnAlignedBarrierWantsAllThreadsOfTheWarp()
    {
        const string Exit = "setp.eq.u32 %q0, %tid, 5;\n@%q0 exit;\n";
        const string Divergent = "setp.ne.u32 %q0, %tid, 5;\n@%q0 bra DO;\nbra OVER;\nDO:\n";
        string plain = Barrier.With(".aligned", "");
        Fails(FailureKind.DivergentBarrier, Exit + Barrier, "have exited before it");
        Fails(FailureKind.DivergentBarrier, Divergent + Barrier + "OVER:", "are on another path");
        // Exited threads count as arrived.
        Passes(Exit + plain);
        Fails(FailureKind.DivergentBarrier, Divergent + plain + "OVER:", "are on another path");
    }

    [Fact]
    public void ThreadsThatHaveExitedCountAsArrived()
    {
        const string Second = "mov.u32 %r0, %cluster_ctarank;\nsetp.eq.u32 %q0, %r0, 1;\n@%q0 ";
        Passes(Second + "exit;\n" + Barrier + Barrier);
        Passes(Second + "bra LATER;\n" + Barrier + "bra OVER;\nLATER:\nbarrier.cluster.arrive;\nOVER:");
        // But what they wrote is not ordered, and their memory is gone.
        Fails(FailureKind.ClusterLifetime, Exchanging("setp.eq.u32 %q0, %r2, 1;\n@%q0 exit;\n" + Barrier, Barrier), "which has ended");
    }

    [Fact]
    public void ABarrierOfTheBlockThatWaitsForTheClusterIsADeadlock() =>
        Fails(FailureKind.Deadlock,
            """
            setp.lt.u32 %q0, %tid, 32;
            mov.u32 %r0, %cluster_ctarank;
            @%q0 bra FIRST;
            barrier.cluster.arrive;
            barrier.cluster.wait;
            bar.sync 0;
            bra OVER;
            FIRST:
            bar.sync 0;
            barrier.cluster.arrive;
            barrier.cluster.wait;
            OVER:
            """, "warp 1 at the cluster's barrier", "bar.sync 0;");

    [Fact]
    public void ClustersOfOneLaunchDoNotSeeEachOther()
    {
        // What the block in the same place of the cluster before wrote counts as unwritten.
        using TestDevice device = Device(
            Exchanging(Barrier, Barrier).With("st.shared", "setp.lt.u32 %q3, %cta, 2;\n@%q3 st.shared"));
        device.Options = device.Options with { Threads = 1 };
        ulong result = device.Upload(new uint[64 * 64].AsSpan(), "result");
        Assert.Equal(FailureKind.UnwrittenRead, Assert.Throws<EmulatorException>(() => device.Launch("kernel", Shape(2, 64, 64), result)).Kind);
        using TestDevice hasty = Device(Exchanging("setp.lt.u32 %q3, %cta, 2;\n@%q3 bra READ;\n" + Barrier + "READ:", Barrier));
        hasty.Options = hasty.Options with { Threads = 1 };
        result = hasty.Upload(new uint[64 * 64].AsSpan(), "result");
        Assert.Equal(FailureKind.ClusterLifetime, Assert.Throws<EmulatorException>(() => hasty.Launch("kernel", Shape(2, 64, 64), result)).Kind);
    }

    [Fact]
    public void BankConflictsCountInAnotherBlocksMemoryAsInTheOwn()
    {
        using TestDevice device = Device(
            $"""
            .shared .align 16 .b8 tile[4096];
            shl.b32 %r0, %tid, 7;
            st.shared.u32 [%r0], %tid;
            {Barrier}
            mov.u32 %r2, %cluster_ctarank;
            xor.b32 %r2, %r2, 1;
            mapa.shared::cluster.u32 %r3, %r0, %r2;
            ld.shared::cluster.u32 %r4, [%r3];
            {Barrier}
            """);
        LaunchStatistics s = device.Launch("kernel", Shape(2, 2, 32), device.Upload<uint>([0], "x"));
        Assert.Equal(2 * 2 * 31, s.Total.SharedConflicts);
    }

    [Theory]
    [InlineData("mov.u32 %r0, %cluster_ctarank;")]
    [InlineData("barrier.cluster.arrive;")]
    [InlineData("barrier.cluster.wait;")]
    [InlineData("mapa.shared::cluster.u32 %r0, %r1, 0;")]
    [InlineData("ld.shared::cluster.u32 %r0, [%r1];")]
    [InlineData("st.shared::cluster.u32 [%r1], %r0;")]
    [InlineData("fence.acq_rel.cluster;")]
    public void InstructionsOfClustersNeedSm90(string instruction) =>
        Assert.Contains("needs sm_90",
            Assert.Throws<PtxLoadException>(() => new TestDevice(PtxSnippet.Kernel(instruction, target: "sm_80"))).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("red.shared::cluster.add.u32 [%r1], 1;", "atomics")]
    [InlineData("atom.shared::cluster.add.u32 %r0, [%r1], 1;", "atomics")]
    [InlineData("ld.acquire.cluster.shared::cluster.u32 %r0, [%r1];", "strong")]
    [InlineData("ld.volatile.shared::cluster.u32 %r0, [%r1];", "strong")]
    [InlineData("barrier.cluster.sync;", "which kind")]
    [InlineData("barrier.cluster.wait.relaxed;", ".relaxed")]
    public void WhatIsNotEmulatedIsRefusedAtTheLoad(string instruction, string problem) =>
        Assert.Contains(problem, Assert.Throws<PtxLoadException>(() => Device(instruction)).Message, StringComparison.Ordinal);

    [Fact]
    public void AClusterIsLaunchedWithinItsLimits()
    {
        void Refused(TestDevice device, LaunchShape shape) =>
            Assert.Equal(FailureKind.LaunchLimit,
                Assert.Throws<EmulatorException>(() => device.Launch("kernel", shape, device.Upload<uint>([0], "x"))).Kind);
        using (TestDevice device = Device(""))
        {
            Refused(device, Shape(3, 8, 32));
            Refused(device, Shape(16, 16, 32));
            device.Launch("kernel", Shape(8, 8, 1024), device.Upload<uint>([0], "x"));
        }
        using (TestDevice device = Device("", directives: ".explicitcluster\n.reqnctapercluster 2, 1, 1"))
        {
            Refused(device, Shape(1, 8, 32));
            Refused(device, Shape(4, 8, 32));
            device.Launch("kernel", Shape(2, 8, 32), device.Upload<uint>([0], "x"));
        }
        using (TestDevice device = Device("", directives: ".explicitcluster\n.maxclusterrank 4"))
        {
            Refused(device, Shape(1, 8, 32));
            Refused(device, Shape(8, 8, 32));
            device.Launch("kernel", Shape(4, 8, 32), device.Upload<uint>([0], "x"));
        }
        using TestDevice old = new(PtxSnippet.Kernel("", target: "sm_80"), 80);
        Refused(old, Shape(2, 8, 32));
        Assert.Contains("in y or z",
            Assert.Throws<PtxLoadException>(() => Device("", directives: ".reqnctapercluster 1, 2, 1")).Message, StringComparison.Ordinal);
    }

    private static string Exchanging(string first, string last) =>
        Exchange.With("FIRST", first).With("LAST", last);

    private static LaunchShape Shape(int cluster, int blocks, int threads) =>
        new(new Index3((uint)blocks), new Index3((uint)threads), 0, (uint)cluster);

    private static TestDevice Device(string body, int seed = 0, int pointers = 1, string directives = "")
    {
        var device = new TestDevice(PtxSnippet.Kernel(body, pointers, directives: directives));
        device.Options = device.Options with { Seed = seed };
        return device;
    }

    private static void Launch(string body, int seed, int blocks)
    {
        using TestDevice device = Device(body, seed);
        device.Launch("kernel", Shape(2, blocks, 64), device.Upload(new uint[256].AsSpan(), "x"));
    }

    private static void Passes(string body)
    {
        for (int seed = 0; seed < 12; seed++) Launch(body, seed, 4);
    }

    private static void Fails(FailureKind kind, string body, params ReadOnlySpan<string> parts)
    {
        foreach (string message in Fails([kind], body))
            foreach (string part in parts) Assert.Contains(part, message, StringComparison.Ordinal);
    }

    /// <summary>Fails in every order of warps.</summary>
    private static List<string> Fails(FailureKind[] kinds, string body)
    {
        var messages = new List<string>();
        for (int seed = 0; seed < 24; seed++)
        {
            EmulatorException failure = Assert.Throws<EmulatorException>(() => Launch(body, seed, 2));
            Assert.Contains(failure.Kind, kinds);
            Assert.NotNull(failure.Site);
            messages.Add(failure.Message);
        }
        return messages;
    }
}
