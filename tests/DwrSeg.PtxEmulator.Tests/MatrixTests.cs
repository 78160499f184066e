using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

/// <summary><c>mma</c> and <c>ldmatrix</c> against loops over the fragments' layouts as the PTX manual gives them.</summary>
public sealed class MatrixTests
{
    [Theory]
    [InlineData("f16", 16, "sm_80")]
    [InlineData("f16", 8, "sm_75")]
    [InlineData("bf16", 16, "sm_80")]
    [InlineData("bf16", 8, "sm_80")]
    [InlineData("tf32", 8, "sm_80")]
    [InlineData("tf32", 4, "sm_80")]
    public void MmaMatchesPlainLoops(string type, int k, string target)
    {
        var random = new Random(k + type.Length);
        var a = new float[16 * k];
        var b = new float[k * 8];
        var c = new float[16 * 8];
        // Small integers and halves: exact in every type, and so are their sums, so the order of additions does not matter.
        for (int i = 0; i < a.Length; i++) a[i] = random.Next(-16, 17) * 0.5f;
        for (int i = 0; i < b.Length; i++) b[i] = random.Next(-16, 17) * 0.5f;
        for (int i = 0; i < c.Length; i++) c[i] = random.Next(-64, 65) * 0.25f;
        bool single = type == "tf32";
        int aCount = single ? k / 2 : k / 4, bCount = aCount / 2;
        var input = new uint[32 * (aCount + bCount + 4)];
        for (int lane = 0; lane < 32; lane++)
        {
            int group = lane >> 2, within = lane & 3;
            var words = new List<uint>();
            for (int r = 0; r < aCount; r++)
            {
                int row = group + (r & 1) * 8;
                if (single) words.Add(Bits(a[row * k + within + (r >> 1) * 4], type));
                else words.Add(Bits(a[row * k + within * 2 + (r >> 1) * 8], type)
                    | Bits(a[row * k + within * 2 + 1 + (r >> 1) * 8], type) << 16);
            }
            for (int r = 0; r < bCount; r++)
            {
                if (single) words.Add(Bits(b[(within + r * 4) * 8 + group], type));
                else words.Add(Bits(b[(within * 2 + r * 8) * 8 + group], type) | Bits(b[(within * 2 + 1 + r * 8) * 8 + group], type) << 16);
            }
            for (int r = 0; r < 4; r++) words.Add(BitConverter.SingleToUInt32Bits(c[(group + (r >> 1) * 8) * 8 + within * 2 + (r & 1)]));
            words.CopyTo(input, lane * words.Count);
        }
        int count = aCount + bCount + 4;
        string loads = string.Join("\n", Enumerable.Range(0, count).Select(i => $"ld.global.b32 %r{i}, [%a0+{i * 4}];"));
        string moves = string.Join("\n", Enumerable.Range(0, 4).Select(i => $"mov.b32 %f{i}, %r{aCount + bCount + i};"));
        string List(char prefix, int first, int n) => "{" + string.Join(", ", Enumerable.Range(first, n).Select(i => $"%{prefix}{i}")) + "}";
        using var device = new TestDevice(PtxSnippet.Kernel(
            $$"""
            mul.wide.u32 %a0, %tid, {{count * 4}};
            add.u64 %a0, %p0, %a0;
            {{loads}}
            {{moves}}
            mma.sync.aligned.m16n8k{{k}}.row.col.f32.{{type}}.{{type}}.f32 {{List('f', 0, 4)}}, {{List('r', 0, aCount)}}, {{List('r', aCount, bCount)}}, {{List('f', 0, 4)}};
            mul.wide.u32 %a1, %tid, 16;
            add.u64 %a1, %p1, %a1;
            st.global.v4.f32 [%a1], {{List('f', 0, 4)}};
            """, 2, target));
        ulong from = device.Upload<uint>(input, "fragments"), to = device.Memory.Allocate(512, "result");
        LaunchStatistics s = device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32)), from, to);
        float[] result = device.Download<float>(to, 128);
        for (int lane = 0; lane < 32; lane++)
        {
            for (int r = 0; r < 4; r++)
            {
                int row = (lane >> 2) + (r >> 1) * 8, column = (lane & 3) * 2 + (r & 1);
                float sum = c[row * 8 + column];
                for (int i = 0; i < k; i++) sum += a[row * k + i] * b[i * 8 + column];
                Assert.Equal(sum, result[lane * 4 + r]);
            }
        }
        Assert.Equal(2 * 16 * 8 * k, s.Total.Flops);
    }

    [Theory]
    [InlineData("x1", false)]
    [InlineData("x2", false)]
    [InlineData("x4", false)]
    [InlineData("x1", true)]
    [InlineData("x4", true)]
    public void LdMatrixDealsOutRows(string count, bool transposed)
    {
        int matrices = count[1] - '0';
        string registers = string.Join(", ", Enumerable.Range(1, matrices).Select(i => $"%r{i}"));
        using var device = new TestDevice(PtxSnippet.Kernel(
            $$"""
            .shared .align 16 .b8 tile[512];
            shl.b32 %r0, %tid, 4;
            cvt.u64.u32 %a0, %r0;
            add.u64 %a1, %p0, %a0;
            ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%a1];
            st.shared.v4.u32 [%r0], {%r10, %r11, %r12, %r13};
            bar.sync 0;
            mov.u32 %r1, 0;
            mov.u32 %r2, 0;
            mov.u32 %r3, 0;
            mov.u32 %r4, 0;
            ldmatrix.sync.aligned.m8n8.{{count}}{{(transposed ? ".trans" : "")}}.shared.b16 { {{registers}} }, [%r0];
            add.u64 %a1, %p1, %a0;
            st.global.v4.u32 [%a1], {%r1, %r2, %r3, %r4};
            """, 2));
        ushort[] tile = [.. Enumerable.Range(0, 256).Select(i => (ushort)(i * 257))];
        ulong from = device.Upload<ushort>(tile, "tile"), to = device.Memory.Allocate(512, "result");
        device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32)), from, to);
        ushort[] result = device.Download<ushort>(to, 256);
        for (int lane = 0; lane < 32; lane++)
        {
            for (int m = 0; m < 4; m++)
            {
                for (int half = 0; half < 2; half++)
                {
                    int row = lane >> 2, column = (lane & 3) * 2 + half;
                    if (transposed) (row, column) = (column, row);
                    Assert.Equal(m < matrices ? tile[m * 64 + row * 8 + column] : 0, result[lane * 8 + m * 2 + half]);
                }
            }
        }
    }

    [Fact]
    public void CpAsyncFillsWhatTheSourceLacksWithZeros()
    {
        using var device = new TestDevice(PtxSnippet.Kernel(
            """
            .shared .align 16 .b8 tile[512];
            shl.b32 %r0, %tid, 4;
            cvt.u64.u32 %a0, %r0;
            add.u64 %a1, %p0, %a0;
            rem.u32 %r1, %tid, 17;
            cp.async.cg.shared.global [%r0], [%a1], 16, %r1;
            cp.async.commit_group;
            cp.async.wait_group 0;
            ld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r0];
            add.u64 %a1, %p1, %a0;
            st.global.v4.u32 [%a1], {%r2, %r3, %r4, %r5};
            """, 2));
        byte[] source = [.. Enumerable.Range(0, 512).Select(i => (byte)(i * 7 + 1))];
        ulong from = device.Upload<byte>(source, "source"), to = device.Memory.Allocate(512, "result");
        device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(32)), from, to);
        Assert.Equal([.. Enumerable.Range(0, 512).Select(i => i % 16 < i / 16 % 17 ? source[i] : (byte)0)], device.Download<byte>(to, 512));
    }

    private static uint Bits(float value, string type) => type switch
    {
        "f16" => BitConverter.HalfToUInt16Bits((Half)value),
        "bf16" => BitConverter.SingleToUInt32Bits(value) >> 16,
        _ => BitConverter.SingleToUInt32Bits(value),
    };
}
