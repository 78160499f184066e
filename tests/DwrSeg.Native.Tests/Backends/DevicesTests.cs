using DwrSeg.Native.Backends;
using Xunit;

namespace DwrSeg.Native.Tests.Backends;

public sealed class DevicesTests
{
    [Fact]
    public void AutomaticChoiceSaysWhatItPassedOver()
    {
        using IBackend backend = Devices.Open("auto", 1, out string note);
        Assert.Equal("cpu", backend.Name);
        Assert.StartsWith("no cuda: ", note, StringComparison.Ordinal);
    }

    [Fact]
    public void DeviceByNamePassesNothingOver()
    {
        using IBackend backend = Devices.Open("cpu", 1, out string note);
        Assert.Equal(("cpu", ""), (backend.Name, note));
    }

    [Theory]
    [InlineData("cuda")]
    [InlineData("cuda:3")]
    [InlineData("emulated")]
    public void MissingDeviceErrorNamesThoseThatAreThere(string name)
    {
        var error = Assert.Throws<DeviceUnavailableException>(() => Devices.Open(name, 1, out _));
        Assert.Contains($"'{name}'", error.Message, StringComparison.Ordinal);
        Assert.Contains("Available: auto, cpu", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("..", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void CpuHasNoCudnn()
    {
        var error = Assert.Throws<ArgumentException>(() => Devices.Open("cpu", 1, out _, convolutions: ConvolutionChoice.Cudnn));
        Assert.Contains("--conv auto", error.Message, StringComparison.Ordinal);
        Devices.Open("cpu", 1, out _, convolutions: ConvolutionChoice.Native).Dispose();
    }

    [Theory]
    [InlineData("")]
    [InlineData("gpu")]
    [InlineData("cpu:0")]
    [InlineData("cuda:")]
    [InlineData("cuda:-1")]
    [InlineData("cuda:1:2")]
    [InlineData("CPU")]
    public void UnknownNameListsTheNames(string name)
    {
        var error = Assert.Throws<ArgumentException>(() => Devices.Open(name, 1, out _));
        Assert.Contains("cuda:N", error.Message, StringComparison.Ordinal);
    }
}
