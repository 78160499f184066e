using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

public sealed class ControlFlowTests
{
    [Fact]
    public void LoopsWithDifferentTripCountsMeetAgain()
    {
        ulong[] trips = [.. Enumerable.Range(0, 128).Select(i => (ulong)(i * 37 % 23))];
        ulong[] result = PtxSnippet.Run(
            """
            mov.u32 t0, 0;
            setp.eq.u32 p, a, 0;
            @p bra DONE;
            LOOP:
            add.u32 d, d, t0;
            add.u32 t0, t0, 1;
            setp.lt.u32 p, t0, a;
            @p bra LOOP;
            DONE:
            activemask.b32 t1;
            popc.b32 t1, t1;
            mad.lo.u32 d, d, 100, t1;
            """, "b32", "b32", trips);
        Assert.Equal([.. trips.Select(n => (n == 0 ? 0 : n * (n - 1) / 2) * 100 + 32)], result);
    }

    [Fact]
    public void NestedBranchesAndBreaksFollowEachLane()
    {
        static ulong Expected(uint a)
        {
            uint d = 0;
            for (uint i = 0; i < 20; i++)
            {
                if ((a & 1) != 0)
                {
                    if (i > a % 7) break;
                    d += i * a;
                }
                else if (i % 3 == a % 3)
                {
                    d ^= i + a;
                    continue;
                }
                d += 3;
            }
            return d;
        }
        ulong[] a = [.. Enumerable.Range(0, 128).Select(i => (ulong)(i * i % 101))];
        ulong[] result = PtxSnippet.Run(
            """
            mov.u32 t0, 0;
            HEAD:
            setp.ge.u32 p, t0, 20;
            @p bra END;
            and.b32 t1, a, 1;
            setp.eq.u32 p, t1, 0;
            @p bra EVEN;
            rem.u32 t2, a, 7;
            setp.gt.u32 p, t0, t2;
            @p bra END;
            mad.lo.u32 d, t0, a, d;
            bra TAIL;
            EVEN:
            rem.u32 t2, t0, 3;
            rem.u32 t3, a, 3;
            setp.ne.u32 p, t2, t3;
            @p bra TAIL;
            add.u32 t4, t0, a;
            xor.b32 d, d, t4;
            bra NEXT;
            TAIL:
            add.u32 d, d, 3;
            NEXT:
            add.u32 t0, t0, 1;
            bra HEAD;
            END:
            """, "b32", "b32", a);
        Assert.Equal([.. a.Select(x => Expected((uint)x))], result);
    }

    [Fact]
    public void LanesThatReturnEarlyTakeNoFurtherPart()
    {
        using var device = new TestDevice(PtxSnippet.Kernel(
            """
            mul.wide.u32 %a0, %tid, 4;
            add.u64 %a0, %p0, %a0;
            and.b32 %r0, %tid, 3;
            setp.eq.u32 %q0, %r0, 1;
            @%q0 exit;
            setp.eq.u32 %q0, %r0, 2;
            @%q0 bra OUT;
            vote.sync.ballot.b32 %r1, %q0, -1;
            activemask.b32 %r1;
            st.global.u32 [%a0], %r1;
            OUT:
            """));
        uint[] start = [.. Enumerable.Repeat(9u, 32)];
        ulong result = device.Upload<uint>(start, "result");
        // Lanes 2, 6, … wait at OUT while the others vote, so a full member mask is wrong there.
        Assert.Equal(FailureKind.SyncMask,
            Assert.Throws<EmulatorException>(() => device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32)), result)).Kind);
        using var right = new TestDevice(PtxSnippet.Kernel(
            """
            mul.wide.u32 %a0, %tid, 4;
            add.u64 %a0, %p0, %a0;
            and.b32 %r0, %tid, 3;
            setp.eq.u32 %q0, %r0, 1;
            @%q0 exit;
            activemask.b32 %r1;
            st.global.u32 [%a0], %r1;
            """));
        result = right.Upload<uint>(start, "result");
        right.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32)), result);
        Assert.Equal([.. Enumerable.Range(0, 32).Select(i => i % 4 == 1 ? 9u : 0xddddddddu)], right.Download<uint>(result, 32));
    }

    [Fact]
    public void IndirectBranchSendsEachLaneToItsTarget()
    {
        ulong[] a = [.. Enumerable.Range(0, 64).Select(i => (ulong)(i * 7 % 3))];
        ulong[] result = PtxSnippet.Run(
            """
            TARGETS: .branchtargets ZERO, ONE, TWO;
            brx.idx a, TARGETS;
            ZERO:
            add.u32 d, d, 10;
            bra END;
            ONE:
            add.u32 d, d, 20;
            TWO:
            add.u32 d, d, 5;
            END:
            """, "b32", "b32", a);
        Assert.Equal([.. a.Select<ulong, ulong>(x => x switch { 0 => 10ul, 1 => 25, _ => 5 })], result);
    }

    [Fact]
    public void NamedBarriersOrderProducersAndConsumers()
    {
        // Warp 0 fills the tile and arrives; warp 1 waits for it. They meet at no other barrier.
        using var device = new TestDevice(PtxSnippet.Kernel(
            """
            .shared .align 4 .b8 tile[128];
            shl.b32 %r0, %lane, 2;
            setp.ge.u32 %q0, %tid, 32;
            @%q0 bra CONSUME;
            mul.lo.u32 %r1, %lane, 3;
            st.shared.u32 [%r0], %r1;
            bar.arrive 3, 64;
            bra END;
            CONSUME:
            bar.sync 3, 64;
            xor.b32 %r2, %r0, 64;
            ld.shared.u32 %r3, [%r2];
            cvt.u64.u32 %a0, %r0;
            add.u64 %a0, %p0, %a0;
            st.global.u32 [%a0], %r3;
            END:
            """));
        ulong result = device.Upload<uint>(new uint[32], "result");
        for (int seed = 0; seed < 6; seed++)
        {
            device.Options = device.Options with { Seed = seed };
            device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(64)), result);
            Assert.Equal([.. Enumerable.Range(0, 32).Select(i => (uint)(i ^ 16) * 3)], device.Download<uint>(result, 32));
        }
    }

    [Fact]
    public void ReducingBarrierCountsThreadsOfTheBlock()
    {
        using var device = new TestDevice(PtxSnippet.Kernel(
            """
            rem.u32 %r0, %tid, 5;
            setp.eq.u32 %q0, %r0, 0;
            bar.red.popc.u32 %r1, 0, %q0;
            bar.red.or.pred %q1, 0, %q0;
            bar.red.and.pred %q2, 0, %q0;
            selp.u32 %r2, 1000, 0, %q1;
            selp.u32 %r3, 10000, 0, %q2;
            add.u32 %r1, %r1, %r2;
            add.u32 %r1, %r1, %r3;
            mul.wide.u32 %a0, %tid, 4;
            add.u64 %a0, %p0, %a0;
            st.global.u32 [%a0], %r1;
            """));
        ulong result = device.Memory.Allocate(100 * 4, "result");
        device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(100)), result);
        Assert.All(device.Download<uint>(result, 100), v => Assert.Equal(1020u, v));
    }

    [Fact]
    public void ThreadsKnowWhereTheyAre()
    {
        using var device = new TestDevice(PtxSnippet.Kernel(
            """
            mov.u32 %r0, %tid.x;
            mov.u32 %r1, %tid.y;
            mov.u32 %r2, %tid.z;
            mov.u32 %r3, %ntid.x;
            mov.u32 %r4, %ntid.y;
            mad.lo.u32 %r5, %r2, %r4, %r1;
            mad.lo.u32 %r5, %r5, %r3, %r0;
            mov.u32 %r6, %ctaid.y;
            mov.u32 %r7, %nctaid.x;
            mad.lo.u32 %r6, %r6, %r7, %cta;
            mad.lo.u32 %r8, %r6, 60, %r5;
            mul.wide.u32 %a0, %r8, 4;
            add.u64 %a0, %p0, %a0;
            mad.lo.u32 %r9, %r2, 10, %r1;
            mad.lo.u32 %r9, %r9, 10, %r0;
            st.global.u32 [%a0], %r9;
            """));
        ulong result = device.Memory.Allocate(60 * 6 * 4, "result");
        device.Launch("kernel", new LaunchShape(new Index3(2, 3), new Index3(5, 4, 3)), result);
        uint[] values = device.Download<uint>(result, 360);
        for (uint i = 0; i < 360; i++) Assert.Equal(i % 60 / 20 * 100 + i % 20 / 5 * 10 + i % 5, values[i]);
    }
}
