using DwrSeg.Native.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Models;

public sealed class DwrSegConfigJsonTests
{
    [Fact]
    public void GivenFieldsReplaceTheirs_AndTheOthersStay()
    {
        DwrSegConfig large = DwrSegConfig.Large(11);
        Assert.Equal(large with { RrExpansion = 3, SrRelu = true }, DwrSegConfigJson.Override(large, """{"beta": 3, "sr_relu": true}"""));
        Assert.Equal(large with { BranchRatio = [1, 1, 1], SirExpansion = 1 }, DwrSegConfigJson.Override(large, """{"alpha": [1, 1, 1], "lambda": 1}"""));
        Assert.Equal(large, DwrSegConfigJson.Override(large, "{}"));
    }

    [Theory]
    [InlineData("""{"gamma": 3}""", "no 'gamma'; it has classes, base_channels,")]
    [InlineData("""{"beta": "three"}""", "\"rr_expansion\" is \"three\"")]
    [InlineData("""{"rr_bn": 1}""", "\"rr_bn\" is 1")]
    [InlineData("""[3]""", "not an object")]
    [InlineData("""{"beta": 3""", "no JSON object")]
    [InlineData("""{"beta": 3, "beta": 2}""", "no JSON object")]
    public void WhatIsNoChangeIsNamed(string json, string part) => Assert.Contains(
        part, Assert.Throws<FormatException>(() => DwrSegConfigJson.Override(DwrSegConfig.Base(), json)).Message, StringComparison.Ordinal);

    [Fact]
    public void ValuesOutOfRangeAreNamed() => Assert.Contains(
        "rr_expansion = 99", Assert.Throws<ArgumentException>(() => DwrSegConfigJson.Override(DwrSegConfig.Base(), """{"beta": 99}""")).Message,
        StringComparison.Ordinal);
}
