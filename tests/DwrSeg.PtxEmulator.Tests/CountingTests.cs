using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

/// <summary>Counts against numbers worked out by hand.</summary>
public sealed class CountingTests
{
    [Fact]
    public void ConsecutiveFloatsTakeFourSectorsAWarp()
    {
        LaunchStatistics s = Copy(stride: 4, blocks: 2, threads: 64);
        Assert.Equal(4, s.Total.GlobalLoadRequests);
        Assert.Equal(16, s.Total.GlobalLoadSectors);
        Assert.Equal(16, s.Total.GlobalStoreSectors);
        Assert.Equal(512, s.Total.GlobalLoadBytes);
        Assert.Equal(16, s.LaunchLoadSectors);
    }

    [Fact]
    public void FloatsASectorApartTakeOneSectorEach() => Assert.Equal(64, Copy(stride: 32, blocks: 1, threads: 64).Total.GlobalLoadSectors);

    [Fact]
    public void SectorsThatBlocksShareCountOnceALaunchAndOnceABlock()
    {
        LaunchStatistics s = Copy(stride: 0, blocks: 8, threads: 64);
        Assert.Equal(16, s.Total.GlobalLoadSectors);
        Assert.Equal(8, s.BlockLoadSectors);
        Assert.Equal(1, s.LaunchLoadSectors);
    }

    [Theory]
    [InlineData(4, 0)]
    [InlineData(8, 1)]
    [InlineData(16, 3)]
    [InlineData(128, 31)]
    [InlineData(132, 0)]
    public void StridedWordsConflictInTheirBanks(int stride, int conflicts)
    {
        using var device = new TestDevice(PtxSnippet.Kernel($".shared .align 16 .b8 tile[8192];\nmul.lo.u32 %r0, %tid, {stride};\nst.shared.u32 [%r0], %tid;"));
        LaunchStatistics s = device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32)), device.Upload<uint>([0], "x"));
        Assert.Equal(conflicts, s.Total.SharedConflicts);
        Assert.Equal(conflicts + 1, s.Total.SharedWavefronts);
    }

    [Theory]
    [InlineData(16, 0, 4)]
    [InlineData(32, 4, 8)]
    [InlineData(128, 28, 32)]
    public void SixteenByteAccessesGoByQuarterWarps(int stride, int conflicts, int wavefronts)
    {
        using var device = new TestDevice(PtxSnippet.Kernel($".shared .align 16 .b8 tile[8192];\nmul.lo.u32 %r0, %tid, {stride};\nst.shared.v4.u32 [%r0], {{%tid, %tid, %tid, %tid}};"));
        LaunchStatistics s = device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32)), device.Upload<uint>([0], "x"));
        Assert.Equal(conflicts, s.Total.SharedConflicts);
        Assert.Equal(wavefronts, s.Total.SharedWavefronts);
    }

    [Fact]
    public void OneWordForAllLanesIsOnePass()
    {
        using var device = new TestDevice(PtxSnippet.Kernel(".shared .align 16 .b8 tile[64];\nsetp.eq.u32 %q0, %tid, 0;\n@%q0 st.shared.u32 [tile], 1;\nbar.sync 0;\nld.shared.u32 %r0, [tile];"));
        LaunchStatistics s = device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32)), device.Upload<uint>([0], "x"));
        Assert.Equal(0, s.Total.SharedConflicts);
        Assert.Equal(2, s.Total.SharedWavefronts);
        Assert.Equal(1, s.Barriers);
    }

    [Theory]
    [InlineData(16, 0)]
    [InlineData(128, 28)]
    [InlineData(144, 0)]
    public void MatrixRowsConflictByEightRows(int pitch, int conflicts)
    {
        using var device = new TestDevice(PtxSnippet.Kernel(
            $$"""
            .shared .align 16 .b8 tile[8192];
            mul.lo.u32 %r0, %tid, {{pitch}};
            st.shared.v4.u32 [%r0], {%tid, %tid, %tid, %tid};
            bar.sync 0;
            ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r0];
            """));
        LaunchStatistics s = device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32)), device.Upload<uint>([0], "x"));
        Counters line = s.Lines.Single(l => l.Class == InstructionClass.LdMatrix).Counters;
        Assert.Equal(conflicts, line.SharedConflicts);
        Assert.Equal(4 + conflicts, line.SharedWavefronts);
    }

    [Fact]
    public void FlopsAndClassesAreThoseOfTheLanesThatRan()
    {
        using var device = new TestDevice(PtxSnippet.Kernel(
            """
            cvt.rn.f32.u32 %f0, %tid;
            fma.rn.f32 %f1, %f0, %f0, %f0;
            setp.lt.u32 %q0, %tid, 10;
            @%q0 add.f32 %f1, %f1, %f0;
            @!%q0 bra END;
            mul.f32 %f1, %f1, %f1;
            END:
            """));
        LaunchStatistics s = device.Launch("kernel", new LaunchShape(new Index3(3), new Index3(64)), device.Upload<uint>([0], "x"));
        Assert.Equal(3 * (64 * 2 + 10 + 10), s.Total.Flops);
        Assert.Equal(3 * (2 + 1 + 1), s[InstructionClass.Float32]);
        Assert.Equal(3 * 10, s.Lines.Single(l => l.Text.Contains("add.f32", StringComparison.Ordinal)).Counters.ThreadInstructions);
    }

    [Fact]
    public void ResultsFailuresAndCountsDoNotDependOnTheWorkers()
    {
        const string body = """
            mul.wide.u32 %a0, %tid, 4;
            mul.wide.u32 %a1, %cta, 128;
            add.u64 %a0, %a0, %a1;
            add.u64 %a2, %p0, %a0;
            add.u64 %a3, %p1, %a0;
            ld.global.u32 %r0, [%a2];
            mul.lo.u32 %r0, %r0, %r0;
            st.global.u32 [%a3], %r0;
            red.global.add.u32 [%p2], %r0;
            """;
        var seen = new List<string>();
        foreach (int threads in (int[])[1, 2, 4, 2])
        {
            using var device = new TestDevice(PtxSnippet.Kernel(body, 3)) { Options = new EmulatorOptions { Threads = threads, Seed = 7 } };
            ulong from = device.Upload<uint>([.. Enumerable.Range(0, 64 * 32).Select(i => (uint)i)], "from"),
                to = device.Memory.Allocate(64 * 128, "to"), sum = device.Upload<uint>([0], "sum");
            LaunchStatistics s = device.Launch("kernel", new LaunchShape(new Index3(64), new Index3(32)), from, to, sum);
            seen.Add(string.Join(' ',
                s.Lines.Select(l => $"{l.Line}:{l.Counters.WarpInstructions},{l.Counters.GlobalLoadSectors},{l.Counters.GlobalStoreSectors}"))
                + $" {s.LaunchLoadSectors} {s.BlockLoadSectors} {s.LaunchStoreSectors} {device.Download<uint>(sum, 1)[0]} {string.Join(',', device.Download<uint>(to, 2048))}");
            // Blocks 20 and up miss the target: of all that fail, the first in the seed's order is named.
            seen[^1] += Assert.Throws<EmulatorException>(() => device.Launch("kernel", new LaunchShape(new Index3(64), new Index3(32)),
                from, device.Memory.Allocate(20 * 128, "short"), sum)).Message;
        }
        Assert.All(seen, text => Assert.Equal(seen[0], text));
    }

    [Fact]
    public void FloatingPointAtomicsAddInTheSeedsOrder()
    {
        using var device = new TestDevice(PtxSnippet.Kernel("cvt.rn.f32.u32 %f0, %cta;\nrcp.rn.f32 %f0, %f0;\nsetp.ne.u32 %q0, %cta, 0;\n@%q0 red.global.add.f32 [%p0], %f0;"));
        var sums = new HashSet<uint>();
        foreach (int threads in (int[])[1, 2, 4])
        {
            device.Options = new EmulatorOptions { Threads = threads, Seed = 3 };
            ulong sum = device.Upload<float>([0], "sum");
            device.Launch("kernel", new LaunchShape(new Index3(500), new Index3(1)), sum);
            sums.Add(device.Download<uint>(sum, 1)[0]);
        }
        Assert.Single(sums);
        // The 499 terms of the harmonic series, to what their rounding can make of them.
        Assert.Equal(Enumerable.Range(1, 499).Sum(i => 1.0 / i), BitConverter.UInt32BitsToSingle(sums.Single()), 1e-4);
    }

    private static LaunchStatistics Copy(int stride, uint blocks, uint threads)
    {
        using var device = new TestDevice(PtxSnippet.Kernel(
            $"""
            mov.u32 %r0, %ntid.x;
            mad.lo.u32 %r0, %r0, %cta, %tid;
            mul.wide.u32 %a0, %r0, {stride};
            add.u64 %a0, %p0, %a0;
            mul.wide.u32 %a1, %r0, 4;
            add.u64 %a1, %p1, %a1;
            ld.global.u32 %r1, [%a0];
            st.global.u32 [%a1], %r1;
            """, 2));
        ulong from = device.Upload<uint>(new uint[Math.Max(8, blocks * threads * stride / 4)], "from"),
            to = device.Memory.Allocate(blocks * threads * 4, "to");
        return device.Launch("kernel", new LaunchShape(new Index3(blocks), new Index3(threads)), from, to);
    }
}
