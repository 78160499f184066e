namespace DwrSeg.PtxEmulator.Tests.Driver;

/// <summary>Small kernels in PTX; every parameter has 8 bytes.</summary>
internal static class TestKernels
{
    /// <summary>
    /// <c>add(array, value, count)</c> adds a value to words, one a thread. <c>store(address)</c> writes one word, 77.
    /// <c>copy(to, from)</c> copies one. <c>bounded</c> takes blocks of at most 128 threads and has 1 KiB of shared memory.
    /// <c>fixed_block</c> takes blocks of 32 x 2 only. The variables are <c>table</c> (global, 1, 2, 3, 4) and <c>limit</c> (constant, 8
    /// bytes).
    /// </summary>
    public static string Ptx(string target = "sm_61", string version = "7.0") => $$"""
        .version {{version}}
        .target {{target}}
        .address_size 64

        .global .align 4 .u32 table[4] = {1, 2, 3, 4};
        .const .align 8 .u64 limit = 5;

        .visible .entry add(.param .u64 array, .param .u64 value, .param .u64 count)
        {
            .reg .pred %p<2>;
            .reg .b32 %r<8>;
            .reg .b64 %rd<8>;
            ld.param.u64 %rd1, [array];
            ld.param.u64 %rd2, [value];
            ld.param.u64 %rd3, [count];
            mov.u32 %r1, %ctaid.x;
            mov.u32 %r2, %ntid.x;
            mov.u32 %r3, %tid.x;
            mad.lo.s32 %r4, %r1, %r2, %r3;
            cvt.u64.u32 %rd4, %r4;
            setp.ge.u64 %p1, %rd4, %rd3;
            @%p1 bra $done;
            cvta.to.global.u64 %rd5, %rd1;
            shl.b64 %rd6, %rd4, 2;
            add.s64 %rd7, %rd5, %rd6;
            ld.global.u32 %r5, [%rd7];
            cvt.u32.u64 %r6, %rd2;
            add.s32 %r7, %r5, %r6;
            st.global.u32 [%rd7], %r7;
        $done:
            ret;
        }

        .visible .entry store(.param .u64 address)
        {
            .reg .b32 %r<2>;
            .reg .b64 %rd<2>;
            ld.param.u64 %rd1, [address];
            mov.u32 %r1, 77;
            st.global.u32 [%rd1], %r1;
            ret;
        }

        .visible .entry copy(.param .u64 to, .param .u64 from)
        {
            .reg .b32 %r<2>;
            .reg .b64 %rd<3>;
            ld.param.u64 %rd1, [to];
            ld.param.u64 %rd2, [from];
            ld.global.u32 %r1, [%rd2];
            st.global.u32 [%rd1], %r1;
            ret;
        }

        .visible .entry bounded()
        .maxntid 128, 1, 1
        {
            .shared .align 4 .b8 scratch[1024];
            .reg .b32 %r<3>;
            mov.u32 %r1, 0;
            mov.u32 %r2, scratch;
            st.shared.u32 [%r2], %r1;
            ret;
        }

        .visible .entry fixed_block()
        .reqntid 32, 2, 1
        {
            ret;
        }
        """;
}
