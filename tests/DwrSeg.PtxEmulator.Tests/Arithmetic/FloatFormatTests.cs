using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Arithmetic;

/// <summary>The reference that the instructions are measured by is itself measured by the processor.</summary>
public class FloatFormatTests
{
    [Fact]
    public void ExactArithmeticRoundsToNearestAsTheProcessorDoes()
    {
        FloatFormat f = FloatFormat.F32;
        static float Of(ulong bits) => BitConverter.UInt32BitsToSingle((uint)bits);
        IReadOnlyList<ulong> values = InstructionSweep.Floats(f);
        void Same(float expected, ulong actual) =>
            Assert.True(float.IsNaN(expected) ? f.IsNaN(actual) : BitConverter.SingleToUInt32Bits(expected) == actual,
                $"{expected} 0x{actual:x}");
        foreach (ulong a in values)
        {
            Same(MathF.Sqrt(Of(a)), f.SquareRoot(a, Rounding.Nearest));
            foreach (ulong b in values)
            {
                Same(Of(a) + Of(b), f.Add(a, b, Rounding.Nearest));
                Same(Of(a) * Of(b), f.Multiply(a, b, Rounding.Nearest));
                Same(Of(a) / Of(b), f.Divide(a, b, Rounding.Nearest));
                Same(MathF.FusedMultiplyAdd(Of(a), Of(b), Of(values[(int)((a + b) % (ulong)values.Count)])),
                    f.MultiplyAdd(a, b, values[(int)((a + b) % (ulong)values.Count)], Rounding.Nearest));
            }
        }
    }

    [Fact]
    public void ConversionsRoundToNearestAsTheProcessorDoes()
    {
        foreach (ulong x in InstructionSweep.Floats(FloatFormat.F64))
        {
            double value = BitConverter.UInt64BitsToDouble(x);
            if (double.IsNaN(value)) continue;
            Assert.Equal(BitConverter.SingleToUInt32Bits((float)value), FloatFormat.F64.Convert(x, FloatFormat.F32, Rounding.Nearest));
            Assert.Equal(BitConverter.HalfToUInt16Bits((Half)value), FloatFormat.F64.Convert(x, FloatFormat.F16, Rounding.Nearest));
        }
    }

    [Fact]
    public void DirectedRoundingsEncloseTheValue()
    {
        FloatFormat f = FloatFormat.F16;
        Exact third = new(false, (1 << 20) / 3, -20, Sticky: true);
        Assert.Equal(0x3555ul, f.Round(third, Rounding.Zero));
        Assert.Equal(0x3555ul, f.Round(third, Rounding.Down));
        Assert.Equal(0x3556ul, f.Round(third, Rounding.Up));
        Assert.Equal(0x3555ul, f.Round(third, Rounding.Nearest));
        Exact negative = third with { Negative = true };
        Assert.Equal(0xB556ul, f.Round(negative, Rounding.Down));
        Assert.Equal(0xB555ul, f.Round(negative, Rounding.Up));
        Exact tie = new(false, (1 << 11) + 1, -11);
        Assert.Equal(0x3C00ul, f.Round(tie, Rounding.Nearest));
        Assert.Equal(0x3C01ul, f.Round(tie, Rounding.NearestAway));
    }
}
