using System.Globalization;
using System.Text;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

/// <summary><c>wgmma</c> against plain loops over the layouts of the PTX manual, and each rule of its use against a kernel that breaks it.</summary>
public sealed class WgmmaTests
{
    private const int Tile = 40960, StartB = 8192;

    public static TheoryData<int> AllColumns => [.. Enumerable.Range(1, 32).Select(i => i * 8)];

    [Theory]
    [MemberData(nameof(AllColumns))]
    public void EveryNumberOfColumnsMatchesPlainLoops(int columns) => Check(new Case("f16", columns, 128));

    [Theory]
    [InlineData("f16", 64, 128, false, false, false)]
    [InlineData("bf16", 64, 128, false, false, false)]
    [InlineData("bf16", 96, 64, false, false, false)]
    [InlineData("f16", 40, 32, false, false, false)]
    [InlineData("f16", 72, 16, false, false, false)]
    [InlineData("f16", 64, 128, true, false, false)]
    [InlineData("bf16", 192, 128, true, false, false)]
    [InlineData("f16", 24, 64, true, false, false)]
    [InlineData("f16", 128, 128, false, true, true)]
    [InlineData("bf16", 64, 128, false, true, false)]
    [InlineData("f16", 64, 128, false, false, true)]
    [InlineData("f16", 64, 64, false, true, true)]
    [InlineData("bf16", 96, 32, false, true, true)]
    [InlineData("f16", 72, 16, false, true, true)]
    [InlineData("bf16", 128, 64, true, false, true)]
    public void TypesSourcesAndLayoutsMatchPlainLoops(string type, int columns, int rowBytes, bool fragments, bool transposesA, bool transposesB) =>
        Check(new Case(type, columns, rowBytes) { HasFragments = fragments, TransposesA = transposesA, TransposesB = transposesB });

    [Theory]
    [InlineData(-1, 1, true)]
    [InlineData(1, -1, true)]
    [InlineData(-1, -1, false)]
    [InlineData(1, 1, false)]
    public void ScalesNegateOperandsAndLeaveOutTheSum(int scaleA, int scaleB, bool adds)
    {
        Check(new Case("f16", 32, 128) { ScaleA = scaleA, ScaleB = scaleB, Adds = adds });
        Check(new Case("bf16", 32, 64) { HasFragments = true, ScaleA = scaleA, ScaleB = scaleB, Adds = adds });
    }

    [Theory]
    [InlineData(128)]
    [InlineData(16)]
    public void ProductsAreCountedWithTheirTraffic(int rowBytes)
    {
        var shape = new Case("f16", 96, rowBytes);
        LaunchStatistics s = Check(shape);
        LineStatistics[] products = [.. s.Lines.Where(l => l.Text.Contains("mma_async", StringComparison.Ordinal))];
        Assert.Equal(shape.Products, products.Length);
        Assert.Equal(2L * 64 * 96 * 16 * products.Length, products.Sum(l => l.Counters.Flops));
        Assert.All(products, l => Assert.Equal(InstructionClass.Wgmma, l.Class));
        Assert.All(products, l => Assert.Equal(4, l.Counters.WarpInstructions));
        // Once a warpgroup, 128 bytes at a time.
        Assert.All(products, l => Assert.Equal((64 + 96) * 32 / 128, l.Counters.SharedWavefronts));
        Assert.All(products, l => Assert.Equal(0, l.Counters.SharedConflicts));
    }

    [Fact]
    public void MatricesWithoutPermutationLieWhereTheStridesSay() => Check(new Case("f16", 64, 16) { SpreadsMatrices = true });

    [Fact]
    public void TwoWarpgroupsShareB()
    {
        var shape = new Case("bf16", 64, 128) { Groups = 2 };
        Check(shape);
        Check(shape with { HasFragments = true });
    }

    [Fact]
    public void SumsArriveAtTheWaitThatCoversThem()
    {
        // The first group is over, the second under way.
        string kernel = new Case("f16", 8, 128) { Steps = ["%m0; commit; %m1; commit; wait 1;"] }.Kernel();
        Run(kernel.Replace("%after;", "mov.b32 %r0, %d0;", StringComparison.Ordinal), new Case("f16", 8, 128));
        Fails(FailureKind.WgmmaNotAwaited, kernel.Replace("%after;", "mov.b32 %r0, %e0;", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("bar.sync 0;", "", nameof(FailureKind.WarpRace))]
    [InlineData("bar.sync 0;", "bar.warp.sync 0xffffffff;", nameof(FailureKind.SharedRace))]
    [InlineData("fence.proxy.async;", "", nameof(FailureKind.ProxyFence))]
    [InlineData("fence.proxy.async;", "@%q0 fence.proxy.async;", nameof(FailureKind.ProxyFence))]
    [InlineData("wgmma.fence.sync.aligned;", "", nameof(FailureKind.WgmmaFence))]
    [InlineData("%before;", "mov.b32 %d1, 0;", nameof(FailureKind.WgmmaFence))]
    [InlineData("%before;", "mov.b32 %d1, %r0;", nameof(FailureKind.WgmmaFence))]
    [InlineData("%before;", "mov.b32 %r0, %d1;", nameof(FailureKind.WgmmaFence))]
    [InlineData("wgmma.commit_group.sync.aligned;", "", nameof(FailureKind.WgmmaNotAwaited))]
    [InlineData("wgmma.wait_group.sync.aligned 0;", "", nameof(FailureKind.WgmmaNotAwaited))]
    [InlineData("wgmma.wait_group.sync.aligned 0;", "wgmma.wait_group.sync.aligned 1;", nameof(FailureKind.WgmmaNotAwaited))]
    [InlineData("wgmma.commit_group.sync.aligned;", "mov.b32 %r0, %d3;\nwgmma.commit_group.sync.aligned;", nameof(FailureKind.WgmmaNotAwaited))]
    [InlineData("wgmma.commit_group.sync.aligned;", "mov.b32 %d3, 0;\nwgmma.commit_group.sync.aligned;", nameof(FailureKind.WgmmaNotAwaited))]
    [InlineData("wgmma.commit_group.sync.aligned;", "st.shared.b32 [tile+64], %tid;\nwgmma.commit_group.sync.aligned;", nameof(FailureKind.WgmmaNotAwaited))]
    [InlineData("%after;", "st.shared.b32 [tile+64], %tid;", nameof(FailureKind.SharedRace))]
    [InlineData("%before;", "@%q0 add.u64 %descB, %descB, 64;", nameof(FailureKind.WarpgroupDivergence))]
    [InlineData("%before;", "@%q1 add.u64 %descB, %descB, 64;", nameof(FailureKind.WarpgroupDivergence))]
    [InlineData("%before;", "@%q1 setp.ne.u32 %adds, %tid, %tid;", nameof(FailureKind.WarpgroupDivergence))]
    [InlineData("%before;", "setp.eq.u32 %adds, %tid, 5;", nameof(FailureKind.WarpgroupDivergence))]
    [InlineData("%before;", "@%q1 ret;", nameof(FailureKind.WarpgroupDivergence))]
    [InlineData("%before;", "@%q1 bar.sync 1, 64;", nameof(FailureKind.WarpgroupDivergence))]
    [InlineData("%before;", "@%q1 bra AFTER;", nameof(FailureKind.WarpgroupDivergence))]
    [InlineData("%before;", "@%q0 bra AFTER;", nameof(FailureKind.SyncMask))]
    [InlineData("%before;", "add.u64 %descB, %descB, 8;", nameof(FailureKind.Misaligned))]
    [InlineData("%before;", "add.u64 %descB, %descB, 7;", nameof(FailureKind.Misaligned))]
    [InlineData("%before;", "or.b64 %descB, %descB, 0x0002000000000000;", nameof(FailureKind.Misaligned))]
    [InlineData("%before;", "add.u64 %descB, %descB, 0x100000000;", nameof(FailureKind.Misaligned))]
    [InlineData("%before;", "or.b64 %descB, %descB, 0x4000;", nameof(FailureKind.InvalidOperation))]
    [InlineData("%before;", "add.u64 %descB, %descB, 2560;", nameof(FailureKind.OutOfBounds))]
    [InlineData("%before;", "add.u64 %descB, %descB, 1024;", nameof(FailureKind.UnwrittenRead))]
    public void EachRuleOfUseIsWatched(string right, string wrong, string kind)
    {
        string kernel = new Case("f16", 16, 128).Kernel();
        Assert.Contains(right, kernel, StringComparison.Ordinal);
        Fails(Enum.Parse<FailureKind>(kind), kernel.Replace(right, wrong, StringComparison.Ordinal));
    }

    [Fact]
    public void FragmentOfAIsNotOverwrittenUnderWay()
    {
        string kernel = new Case("f16", 16, 128) { HasFragments = true }.Kernel();
        EmulatorException failure = Fails(FailureKind.WgmmaNotAwaited,
            kernel.Replace("wgmma.commit_group.sync.aligned;", "mov.b32 %a2, 7;\nwgmma.commit_group.sync.aligned;", StringComparison.Ordinal));
        Assert.Contains("mov.b32 %a2, 7;", failure.Message, StringComparison.Ordinal);
        Fails(FailureKind.WgmmaFence, kernel.Replace("%before;", "mov.b32 %a2, 7;", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("cp.async.wait_group 0;\nfence.proxy.async;", null)]
    [InlineData("fence.proxy.async;\ncp.async.wait_group 0;", nameof(FailureKind.ProxyFence))]
    [InlineData("cp.async.wait_group 0;", nameof(FailureKind.ProxyFence))]
    [InlineData("fence.proxy.async;", nameof(FailureKind.CpAsyncNotAwaited))]
    public void AsynchronousCopiesArriveBeforeTheProxyFence(string order, string? kind)
    {
        var shape = new Case("f16", 16, 128);
        string kernel = shape.Kernel().Replace("ld.global.b32 %r0, [%from];\nst.shared.b32 [%r1], %r0;",
            "cp.async.ca.shared.global [%r1], [%from], 4;\ncp.async.commit_group;", StringComparison.Ordinal)
            .Replace("fence.proxy.async;", order, StringComparison.Ordinal);
        if (kind is not null) Fails(Enum.Parse<FailureKind>(kind), kernel);
        else Run(kernel, shape);
    }

    [Fact]
    public void CopiesMayNotLandInOperandsUnderWay()
    {
        string kernel = new Case("f16", 16, 128).Kernel();
        Fails(FailureKind.WgmmaNotAwaited, kernel.Replace("wgmma.commit_group.sync.aligned;",
            "cp.async.cg.shared.global [tile+8192], [%image], 16;\nwgmma.commit_group.sync.aligned;", StringComparison.Ordinal));
    }

    [Fact]
    public void ReadersFenceCountsAsWell()
    {
        var shape = new Case("f16", 16, 128);
        Run(shape.Kernel().Replace("fence.proxy.async;\nbar.sync 0;", "bar.sync 0;\nfence.proxy.async;", StringComparison.Ordinal), shape);
    }

    [Fact]
    public void AnotherShapeOfTheSameAccumulatorsNeedsAFence()
    {
        var shape = new Case("f16", 16, 128);
        string other = shape.Product(0).Replace("m64n16k16", "m64n8k16", StringComparison.Ordinal)
            .Replace("%d4, %d5, %d6, %d7", "", StringComparison.Ordinal).Replace("%d3, }", "%d3}", StringComparison.Ordinal);
        string kernel = shape.Kernel();
        Fails(FailureKind.WgmmaFence, kernel.Replace("wgmma.commit_group.sync.aligned;", other + "\nwgmma.commit_group.sync.aligned;", StringComparison.Ordinal));
        // As a fragment the sums have to be there first.
        string chained = new Case("f16", 16, 128) { HasFragments = true }.Product(0).Replace("{%a0, %a1, %a2, %a3}", "{%d0, %d1, %d2, %d3}", StringComparison.Ordinal)
            .Replace("{%d0, %d1, %d2, %d3, %d4, %d5, %d6, %d7}", "{%e0, %e1, %e2, %e3, %e4, %e5, %e6, %e7}", StringComparison.Ordinal);
        Fails(FailureKind.WgmmaNotAwaited, kernel.Replace("wgmma.commit_group.sync.aligned;",
            "wgmma.fence.sync.aligned;\n" + chained + "\nwgmma.commit_group.sync.aligned;", StringComparison.Ordinal).Replace(
            "wgmma.fence.sync.aligned;\n%before;", "mov.b32 %e0, 0;\nwgmma.fence.sync.aligned;\n%before;", StringComparison.Ordinal));
    }

    [Fact]
    public void ThreeWarpsAreNoWarpgroup()
    {
        using TestDevice device = Load(new Case("f16", 16, 128).Kernel());
        Assert.Equal(FailureKind.WarpgroupDivergence, Assert.Throws<EmulatorException>(() => Launch(device, new Case("f16", 16, 128), 96)).Kind);
    }

    [Fact]
    public void OnlyTheTargetWithTheSuffixHasIt()
    {
        string kernel = new Case("f16", 16, 128).Kernel();
        PtxLoadException refused = Assert.Throws<PtxLoadException>(() =>
            Load(kernel.Replace("sm_90a", "sm_90", StringComparison.Ordinal)));
        Assert.Contains("sm_90a", refused.Message, StringComparison.Ordinal);
        foreach (int other in new[] { 80, 100 })
        {
            EmulatorException failure = Assert.Throws<EmulatorException>(() => Load(kernel, other));
            Assert.Equal(FailureKind.Architecture, failure.Kind);
        }
        Assert.Throws<PtxLoadException>(() => Load(kernel.Replace("m64n16k16", "m64n12k16", StringComparison.Ordinal)));
        Assert.Throws<PtxLoadException>(() => Load(kernel.Replace("f32.f16.f16", "f16.f16.f16", StringComparison.Ordinal)));
    }

    [Fact]
    public void WhatABulkCopyBringsNeedsAWaitAndNoProxyFence()
    {
        var shape = new Case("f16", 16, 128);
        string kernel = Bulk(shape);
        Check(shape, kernel);
        foreach (string wait in (string[])["@!%q3 bra FULL;", "mbarrier.try_wait.parity.shared.b64 %q3, [full], 0;\n@!%q3 bra FULL;"])
            Fails(FailureKind.BulkNotAwaited, kernel.With(wait, ""));
        // The first warp alone waits.
        Fails(FailureKind.BulkNotAwaited, kernel.With("FULL:\n", "FULL:\n@!%q1 bra WAITED;\n").With("@!%q3 bra FULL;", "@!%q3 bra FULL;\nWAITED:"));
    }

    [Fact]
    public void ABulkCopyOverwritesWhatProductsHaveRead()
    {
        // One lane of each warp says that it has waited for the product, then the first thread copies the same again.
        var shape = new Case("f16", 16, 128);
        string again = $$"""
            and.b32 %r0, %tid, 31;
            setp.eq.u32 %q2, %r0, 0;
            @%q2 mbarrier.arrive.shared.b64 _, [empty];
            setp.ne.u32 %q2, %tid, 0;
            @%q2 bra AGAIN;
            EMPTY:
            mbarrier.try_wait.parity.shared.b64 %q3, [empty], 0;
            @!%q3 bra EMPTY;
            {{Copy(shape)}}
            AGAIN:
            mbarrier.try_wait.parity.shared.b64 %q3, [full], 1;
            @!%q3 bra AGAIN;
            """;
        string kernel = Bulk(shape);
        Check(shape, kernel.With("%after;", again));
        Check(shape, kernel.With("%after;", again.With("%q2 mbarrier.arrive", "%q2 mbarrier.arrive.release.cta")));
        Fails(FailureKind.SharedRace, kernel.With("%after;",
            again.With("mbarrier.try_wait.parity.shared.b64 %q3, [empty], 0;\n@!%q3 bra EMPTY;", "")));
        // The last warp does not say so.
        Fails(FailureKind.SharedRace, kernel.With("[empty], 4", "[empty], 3").With("%after;",
            again.With("setp.eq.u32 %q2, %r0, 0;", "setp.eq.u32 %q2, %r0, 0;\nsetp.lt.and.u32 %q2, %tid, 96, %q2;")));
        Fails(FailureKind.WgmmaNotAwaited, kernel.With("wgmma.wait_group.sync.aligned 0;\n%after;", again + "\nwgmma.wait_group.sync.aligned 0;"));
    }

    private static string Copy(Case shape) => string.Create(CultureInfo.InvariantCulture,
        $"""
        mbarrier.arrive.expect_tx.shared.b64 _, [full], {shape.Image().Length};
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%image], {shape.Image().Length}, [full];
        """);

    /// <summary>The kernel with a bulk copy in place of loads and stores.</summary>
    private static string Bulk(Case shape) =>
        shape.Kernel().With("[40960];", "[40960];\n.shared .align 8 .b8 full[8];\n.shared .align 8 .b8 empty[8];")
            .With("mov.u32 %r2, %tid;", $"""
                setp.ne.u32 %q3, %tid, 0;
                @%q3 bra READY;
                mbarrier.init.shared.b64 [full], 1;
                mbarrier.init.shared.b64 [empty], 4;
                fence.mbarrier_init.release.cluster;
                {Copy(shape)}
                READY:
                mov.u32 %r2, 0x7fffffff;
                """)
            .With("fence.proxy.async;\nbar.sync 0;", "bar.sync 0;\nFULL:\nmbarrier.try_wait.parity.shared.b64 %q3, [full], 0;\n@!%q3 bra FULL;");

    private static LaunchStatistics Check(Case shape, string? kernel = null)
    {
        (LaunchStatistics s, float[] sums) = Run(kernel ?? shape.Kernel(), shape);
        int rows = 64 * shape.Groups;
        for (int row = 0; row < rows; row++)
        {
            for (int column = 0; column < shape.Columns; column++)
            {
                float sum = shape.Adds ? shape.Initial(row, column) : 0;
                // Products that replace the sum leave the last one's.
                for (int k = shape.Adds ? 0 : shape.Depth - 16; k < shape.Depth; k++) sum += shape.ScaleA * shape.A(row, k) * shape.ScaleB * shape.B(column, k);
                Assert.Equal(sum, sums[row * shape.Columns + column]);
            }
        }
        return s;
    }

    private static EmulatorException Fails(FailureKind kind, string kernel)
    {
        EmulatorException failure = Assert.Throws<EmulatorException>(() => Run(kernel, new Case("f16", 16, 128)));
        Assert.True(kind == failure.Kind, failure.ToString());
        Assert.NotNull(failure.Site);
        return failure;
    }

    private static (LaunchStatistics Statistics, float[] Sums) Run(string kernel, Case shape)
    {
        using TestDevice device = Load(kernel);
        return Launch(device, shape, 128 * shape.Groups);
    }

    /// <summary>A device with the kernel, whose places for mistakes are empty where no test has put one.</summary>
    private static TestDevice Load(string kernel, int architecture = 90) =>
        new(kernel.Replace("%before;", "", StringComparison.Ordinal).Replace("%after;", "", StringComparison.Ordinal), architecture);

    private static (LaunchStatistics, float[]) Launch(TestDevice device, Case shape, int threads)
    {
        ulong image = device.Upload<byte>(shape.Image(), "image"), fragments = device.Upload<uint>(shape.Fragments(), "fragments");
        int rows = 64 * shape.Groups;
        // Lane 4 g + t of warp w holds rows 16 w + g and 8 further on, of each eight columns 2 t and 2 t + 1.
        int[] places = new int[rows * shape.Columns];
        for (int thread = 0; thread < rows * 2; thread++)
        {
            for (int i = 0; i < shape.Columns / 2; i++)
            {
                int row = thread / 32 * 16 + thread % 32 / 4 + i % 4 / 2 * 8, column = i / 4 * 8 + thread % 4 * 2 + i % 2;
                places[thread * (shape.Columns / 2) + i] = row * shape.Columns + column;
            }
        }
        ulong sums = device.Upload<float>([.. places.Select(p => shape.Initial(p / shape.Columns, p % shape.Columns))], "sums");
        LaunchStatistics s = device.Launch("kernel", new LaunchShape(new Index3(1), new Index3((uint)threads)), image, fragments, sums);
        float[] values = device.Download<float>(sums, places.Length), ordered = new float[places.Length];
        for (int i = 0; i < places.Length; i++) ordered[places[i]] = values[i];
        return (s, ordered);
    }

    /// <summary>A product of [64 groups][depth] and [columns][depth], how its operands lie in shared memory, and the kernel that makes it.</summary>
    private sealed record Case(string Type, int Columns, int RowBytes)
    {
        public bool HasFragments { get; init; }

        public bool TransposesA { get; init; }

        public bool TransposesB { get; init; }

        public int ScaleA { get; init; } = 1;

        public int ScaleB { get; init; } = 1;

        public bool Adds { get; init; } = true;

        public int Groups { get; init; } = 1;

        /// <summary>Leaves room between matrices of eight rows.</summary>
        public bool SpreadsMatrices { get; init; }

        /// <summary>What stands between the fence and the end; %mI are products.</summary>
        public string[] Steps { get; init; } = [];

        // Along the sum a K-major row has as many products as fit.
        public int Products => TransposesA || TransposesB ? 1 : Math.Max(1, RowBytes / 32);

        public int Depth => Products * 16;

        // Small halves are exact in both types, and so are their sums.
        public float A(int row, int k) => Value(row * 131 + k * 7 + 1);

        public float B(int column, int k) => Value(column * 37 + k * 113 + 5);

        public float Initial(int row, int column) => ((row * 5 + column) % 32 - 16) * 0.25f;

        private static float Value(int index) => ((int)((uint)index * 2654435761u >> 20) % 17 - 8) * 0.5f;

        private ushort Bits(float value) =>
            Type == "bf16" ? (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16) : BitConverter.HalfToUInt16Bits((Half)value);

        /// <summary>Shared memory: A of each group from 0 on, B from <see cref="StartB"/> on (behind A of two groups, where there are two).</summary>
        public byte[] Image()
        {
            var image = new byte[Groups > 1 ? 3 * StartB : StartB + Columns * 128];
            for (int row = 0; row < 64 * Groups; row++)
                for (int k = 0; k < Depth; k++) Put(image, row / 64 * StartB + Place(row % 64, k, TransposesA), Bits(A(row, k)));
            for (int column = 0; column < Columns; column++)
                for (int k = 0; k < Depth; k++) Put(image, Groups * StartB + Place(column, k, TransposesB), Bits(B(column, k)));
            return image;

            static void Put(byte[] image, int at, ushort bits) => (image[at], image[at + 1]) = ((byte)bits, (byte)(bits >> 8));
        }

        /// <summary>The byte of a value: rows of RowBytes, eight to a pattern, their vectors of 16 bytes permuted as the mode has it.</summary>
        private int Place(int index, int k, bool transposes)
        {
            if (RowBytes == 16)
            {
                // Matrices of 8 rows of 16 bytes: those along the sum behind each other, then those across it.
                int matrix = index / 8 * MatrixStride + k / 8 * MatrixGap;
                return transposes ? matrix + k % 8 * 16 + index % 8 * 2 : matrix + index % 8 * 16 + k % 8 * 2;
            }
            // Which row, and which value in it.
            (int row, int value) = transposes ? (k, index) : (index, k);
            int perRow = RowBytes / 2, section = value / perRow;
            int vector = value % perRow / 8, key = RowBytes switch { 128 => row % 8, 64 => row / 2 % 4, _ => row / 4 % 2 };
            return section * SectionBytes + row * RowBytes + ((vector ^ key) * 16) + value % 8 * 2;
        }

        private int MatrixGap => SpreadsMatrices ? 256 : 128;

        private int MatrixStride => 2 * MatrixGap;

        // Sixteen rows of a transposed operand.
        private int SectionBytes => 16 * RowBytes;

        public uint[] Fragments()
        {
            var words = new uint[128 * Groups * 4 * Products];
            for (int thread = 0; thread < 128 * Groups; thread++)
            {
                for (int i = 0; i < 4 * Products; i++)
                {
                    int row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8, k = i / 4 * 16 + i % 4 / 2 * 8 + thread % 4 * 2;
                    words[thread * 4 * Products + i] = Bits(A(row, k)) | (uint)Bits(A(row, k + 1)) << 16;
                }
            }
            return words;
        }

        private ulong Descriptor(int start, bool transposes)
        {
            ulong mode = RowBytes switch { 128 => 1, 64 => 2, 32 => 3, _ => 0 };
            // Leading: along the sum without permutation; to the next section of a permuted row that runs across it. Stride: the other one.
            int leading = RowBytes == 16 ? MatrixGap : transposes ? SectionBytes : 16;
            int stride = RowBytes == 16 ? MatrixStride : 8 * RowBytes;
            return (ulong)start >> 4 | (ulong)leading >> 4 << 16 | (ulong)stride >> 4 << 32 | mode << 62;
        }

        public string Product(int index, string sums = "%d")
        {
            string list = string.Join(", ", Enumerable.Range(0, Columns / 2).Select(i => sums + i));
            string a = HasFragments ? $"{{{string.Join(", ", Enumerable.Range(index * 4, 4).Select(i => $"%a{i}"))}}}" : $"%descA{index}";
            string scales = string.Create(CultureInfo.InvariantCulture, $"{ScaleA}, {ScaleB}");
            string transposes = $"{(HasFragments ? "" : TransposesA ? "1, " : "0, ")}{(TransposesB ? 1 : 0)}";
            string b = index == 0 ? "%descB" : $"%descB{index}";
            return $"wgmma.mma_async.sync.aligned.m64n{Columns}k16.f32.{Type}.{Type} {{{list}}}, {a}, {b}, %adds, {scales}, {transposes};";
        }

        public string Kernel()
        {
            int words = Image().Length / 4, half = Columns / 2;
            var text = new StringBuilder();
            text.AppendLine(CultureInfo.InvariantCulture, $$"""
                .visible .entry kernel(.param .u64 p0, .param .u64 p1, .param .u64 p2)
                {
                .reg .pred %q<4>, %adds;
                .reg .b32 %r<4>, %tid, %a<16>;
                .reg .f32 %d<128>, %e<128>;
                .reg .b64 %image, %from, %fragments, %sums, %at, %group, %descB, %descA<4>, %descB<4>;
                .shared .align 1024 .b8 tile[{{Tile}}];
                ld.param.u64 %image, [p0];
                ld.param.u64 %fragments, [p1];
                ld.param.u64 %sums, [p2];
                mov.u32 %tid, %tid.x;
                setp.eq.u32 %q0, %tid, 5;
                setp.lt.u32 %q1, %tid, 32;
                setp.eq.u32 %adds, {{(Adds ? 1 : 0)}}, 1;
                mov.u32 %r2, %tid;
                mov.u32 %r1, %ntid.x;
                COPY:
                setp.ge.u32 %q2, %r2, {{words}};
                @%q2 bra COPIED;
                mul.wide.u32 %at, %r2, 4;
                add.u64 %from, %image, %at;
                shl.b32 %r1, %r2, 2;
                ld.global.b32 %r0, [%from];
                st.shared.b32 [%r1], %r0;
                mov.u32 %r1, %ntid.x;
                add.u32 %r2, %r2, %r1;
                bra COPY;
                COPIED:
                fence.proxy.async;
                bar.sync 0;
                mul.wide.u32 %at, %tid, {{16 * Products}};
                add.u64 %fragments, %fragments, %at;
                mul.wide.u32 %at, %tid, {{half * 4}};
                add.u64 %sums, %sums, %at;
                shr.u32 %r3, %tid, 7;
                mul.wide.u32 %group, %r3, {{StartB >> 4}};
                """);
            for (int i = 0; i < 4 * Products; i++) text.AppendLine(CultureInfo.InvariantCulture, $"ld.global.b32 %a{i}, [%fragments+{i * 4}];");
            for (int i = 0; i < half; i++) text.AppendLine(CultureInfo.InvariantCulture, $"ld.global.f32 %d{i}, [%sums+{i * 4}];");
            for (int p = 0; p < Products; p++)
            {
                text.AppendLine(CultureInfo.InvariantCulture, $"mov.b64 %descA{p}, 0x{Descriptor(p * 32, TransposesA):x};\nadd.u64 %descA{p}, %descA{p}, %group;");
                text.AppendLine(CultureInfo.InvariantCulture, $"mov.b64 %descB{(p == 0 ? "" : p)}, 0x{Descriptor(Groups * StartB + p * 32, TransposesB):x};");
            }
            text.AppendLine("wgmma.fence.sync.aligned;\n%before;");
            if (Steps.Length > 0)
            {
                text.AppendLine(Steps[0].Replace("%m0", Product(0).TrimEnd(';'), StringComparison.Ordinal)
                    .Replace("%m1", Product(1, "%e").TrimEnd(';'), StringComparison.Ordinal)
                    .Replace("commit;", "wgmma.commit_group.sync.aligned;", StringComparison.Ordinal)
                    .Replace("wait 1;", "wgmma.wait_group.sync.aligned 1;", StringComparison.Ordinal));
                text.AppendLine("%after;\nwgmma.wait_group.sync.aligned 0;");
            }
            else
            {
                for (int p = 0; p < Products; p++) text.AppendLine(Product(p));
                text.AppendLine("wgmma.commit_group.sync.aligned;\nAFTER:\nwgmma.wait_group.sync.aligned 0;\n%after;");
            }
            for (int i = 0; i < half; i++) text.AppendLine(CultureInfo.InvariantCulture, $"st.global.f32 [%sums+{i * 4}], %d{i};");
            text.AppendLine("ret;\n}");
            return PtxSnippet.Module(text.ToString(), "sm_90a");
        }
    }
}
