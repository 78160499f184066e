using DwrSeg.PtxEmulator.Memory;
using DwrSeg.PtxEmulator.Ptx;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Arithmetic;

public class RefusedInstructionTests
{
    [Theory]
    [InlineData("mad.hi.s16 %h0, %h1, %h2, %h3;")]
    [InlineData("sad.s64 %l0, %l1, %l2, %l3;")]
    [InlineData("cnot.b16 %h0, %h1;")]
    [InlineData("bmsk.clamp.b32 %w0, %w1, %w1;")]
    [InlineData("dp2a.lo.u32.u32 %w0, %w1, %w2, %w3;")]
    [InlineData("add.rz.f64 %l0, %l1, %l2;")]
    [InlineData("sqrt.rp.f64 %l0, %l1;")]
    [InlineData("min.xorsign.abs.f32 %w0, %w1, %w2;")]
    [InlineData("set.gt.f16x2.f16x2 %w0, %w1, %w2;")]
    [InlineData("frobnicate.b32 %w0, %w1;")]
    public void AFormThatIsNotEmulatedFailsTheLoad_InsteadOfComputingSomethingElse(string instruction)
    {
        PtxModule module = PtxModule.Parse(
            ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k()\n{\n" +
            $".reg .b16 %h<4>;\n.reg .b32 %w<4>;\n.reg .b64 %l<4>;\n{instruction}\nret;\n}}\n");
        using var memory = new DeviceMemory();
        PtxLoadException refused = Assert.Throws<PtxLoadException>(() => new LoadedModule(module, memory, 90).Dispose());
        Assert.Equal(9, refused.Line);
        Assert.Contains(instruction, refused.Message, StringComparison.Ordinal);
    }
}
