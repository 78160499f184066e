using DwrSeg.PtxEmulator.Ptx;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

public sealed class ParsingTests
{
    [Fact]
    public void EntryTellsItsParametersAndBounds()
    {
        PtxModule module = PtxModule.Parse(
            """
            .version 8.4
            .target sm_80
            .address_size 64
            .file 1 "conv.cu"
            .const .align 4 .b8 table[8] = {0, 0, 128, 63, 1, 2};
            .global .align 8 .u64 place = table;
            .extern .shared .align 128 .b8 dynamic[];
            .visible .entry conv(.param .align 8 .b8 conv_param_0[40], .param .u32 conv_param_1, .param .u64 conv_param_2)
            .maxntid 128, 2, 1
            .minnctapersm 3
            {
                .local .align 8 .b8 __local_depot0[72];
                .shared .align 4 .b8 tile[500];
                .reg .b32 %r<4>;
                .loc 1 12 3
                mov.u32 %r1, dynamic;
                ret;
            }
            .section .debug_str { $L__info: .b8 95, 90 }
            """);
        Assert.Equal(84, module.Version);
        Assert.Equal(80, module.Architecture);
        PtxEntry entry = Assert.Single(module.Entries);
        Assert.Equal("conv", entry.Name);
        Assert.Equal([(0u, 40ul), (40u, 4ul), (48u, 8ul)], entry.Parameters.Select(p => (p.Offset, p.Bytes)));
        Assert.Equal(56u, entry.ParameterBytes);
        Assert.Equal(256u, entry.MaxThreads);
        Assert.Equal(3u, entry.MinBlocksPerMultiprocessor);
        Assert.Equal(500u, entry.StaticSharedBytes);
        Assert.Equal(512u, entry.DynamicSharedOffset);
        Assert.Equal(72u, entry.LocalBytes);
        Assert.Equal("conv.cu:12", entry.Instructions[0].Source);
        Assert.Equal(["table", "place"], module.Variables.Select(v => v.Name));
    }

    [Fact]
    public void VariablesHaveTheirInitialBytes()
    {
        using var device = new TestDevice(PtxSnippet.Kernel(
            "ld.const.f32 %f0, [table+4];\nmov.u64 %a0, place;\nld.global.u64 %a1, [%a0];\nld.const.u32 %r0, [%a1+8];\nst.global.f32 [%p0], %f0;\nst.global.u32 [%p0+4], %r0;",
            globals: ".const .align 4 .f32 table[4] = {0f3F800000, 0f40000000, 0f40400000};\n.global .align 8 .u64 place = table;"));
        ulong result = device.Memory.Allocate(8, "result");
        device.Launch("kernel", new LaunchShape(new Index3(1), new Index3(1)), result);
        Assert.Equal([2f, 3f], device.Download<float>(result, 2));
    }

    [Fact]
    public void NamesInBracesAreTheirOwn()
    {
        ulong result = PtxSnippet.Run1("{ .reg .b32 x; add.u32 x, a, 1; L: mov.u32 d, x; }\n{ .reg .b64 x; cvt.u64.u32 x, d; bra L; add.u64 x, x, 100; L: cvt.u32.u64 t0, x; add.u32 d, d, t0; }", "b32", "b32", 20);
        Assert.Equal(42ul, result);
    }

    [Theory]
    [InlineData("frobnicate.u32 %r0, %r1;", "frobnicate")]
    [InlineData("add.wrapping.u32 %r0, %r1, %r2;", "wrapping")]
    [InlineData("ld.global.L3.u32 %r0, [%p0];", "L3")]
    [InlineData("mov.u32 %r0, %envreg99;", "envreg99")]
    [InlineData("add.u32 %r0, %a1, %r2;", "%a1")]
    [InlineData("call something, (%r0);", "inlined")]
    [InlineData("bra NOWHERE;", "NOWHERE")]
    [InlineData("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f0}, {%r0}, {%r1}, {%f0};", "shape")]
    [InlineData(".frame 3;", ".frame")]
    public void WhatIsNotKnownFailsTheLoadWithLineAndText(string instruction, string named)
    {
        PtxLoadException failure = Assert.Throws<PtxLoadException>(() => new TestDevice(PtxSnippet.Kernel(instruction)));
        Assert.Contains(named, failure.Message, StringComparison.Ordinal);
        Assert.Equal(instruction, failure.Text);
        Assert.Equal(instruction, PtxSnippet.Kernel(instruction).Split('\n')[failure.Line - 1].Trim());
    }

    [Fact]
    public void TextThatIsNotPtxSaysSo() => Assert.Throws<PtxLoadException>(() => PtxModule.Parse("int main() {}"));
}
