using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed class CheckCommandTests
{
    private static string Golden(string name) => Path.Combine(AppContext.BaseDirectory, "golden", name);

    [Fact]
    public void EachFilePassesWithItsWorstErrors()
    {
        DwrsegResult result = DwrsegProcess.Run("check", Golden("eval.safetensors"), Golden("train.safetensors"), "--device", "cpu").Succeeded();
        Assert.Equal(3, result.Lines.Length);
        Assert.Matches(@"^PASS .*eval\.safetensors: logits \d\.\de[-+]\d+$", result.Lines[0]);
        Assert.Matches(@"^PASS .*train\.safetensors: logits \d\.\de[-+]\d+, loss .+, gradients .+, updated", result.Lines[1]);
        Assert.Equal("2 passed, 0 failed", result.Lines[^1]);
    }

    [Theory]
    [InlineData("fp32", @"\de-[5-9]")]
    [InlineData("fp16", @"\de-3")]
    [InlineData("bf16", @"\de-[23]")]
    public void TheEmulatedDevicePassesInEveryPrecision(string precision, string error)
    {
        string[] files = [Golden("eval.safetensors"), Golden("eval-odd-size.safetensors"), Golden("eval-large.safetensors")];
        DwrsegResult result = DwrsegProcess.Run(["check", .. files, "--device", "emulated", "--precision", precision]).Succeeded();
        foreach (string line in result.Lines[..3]) Assert.Matches($@"^PASS .*\.safetensors: logits \d\.{error}$", line);
        Assert.Equal("3 passed, 0 failed", result.Lines[^1]);
    }

    [Fact]
    public void TrainingStepsAreCheckedInFp32_AndSkippedInOthers()
    {
        string training = DwrsegProcess.Run("check", Golden("train.safetensors"), "--device", "emulated", "--precision", "fp32").Succeeded().Lines[0];
        Assert.Matches(@"^PASS .*train\.safetensors: logits \d\.\de-[5-9], loss .*, gradients .*, updated ", training);

        DwrsegResult result = DwrsegProcess.Run("check", Golden("train.safetensors"), Golden("eval-odd-size.safetensors"), "--device", "emulated").Succeeded();
        Assert.Matches(@"^SKIP .*train\.safetensors: a training step, .* --precision fp32", result.Lines[0]);
        Assert.StartsWith("PASS ", result.Lines[1], StringComparison.Ordinal);
        Assert.Equal("1 passed, 0 failed, 1 skipped", result.Lines[^1]);
        DwrsegProcess.Run("check", Golden("train.safetensors"), "--device", "emulated").Failed(2, "nothing was checked");
    }

    [Fact]
    public void NothingPassesAToleranceOfZero()
    {
        DwrsegResult result = DwrsegProcess.Run("check", Golden("eval.safetensors"), "--tolerance", "0");
        Assert.Equal((1, ""), (result.ExitCode, result.Error));
        Assert.StartsWith("FAIL ", result.Lines[0], StringComparison.Ordinal);
        Assert.Contains(" above 0", result.Lines[0], StringComparison.Ordinal);
        Assert.Equal("0 passed, 1 failed", result.Lines[^1]);
    }

    [Fact]
    public void UnreadableFileFailsAndTheOthersAreChecked()
    {
        using TemporaryFolder folder = new();
        string model = SmallModel.Save(folder.File("model.safetensors"));
        DwrsegResult result = DwrsegProcess.Run("check", folder.File("none.safetensors"), Golden("eval.safetensors"), "--threads", "1")
            .Failed(1, "none.safetensors");
        Assert.StartsWith("PASS ", result.Lines[1], StringComparison.Ordinal);
        Assert.Equal("1 passed, 1 failed", result.Lines[^1]);
        // A sound weights file, but no golden one.
        DwrsegProcess.Run("check", model).Failed(1, model);
    }

    [Theory]
    [InlineData("cpu", "cudnn", "not on the CPU: take --device cuda")]
    [InlineData("emulated", "cudnn", "cuDNN computes on NVIDIA's GPUs alone")]
    [InlineData("cpu", "fast", "--conv 'fast' is not auto, native or cudnn")]
    public void ConvolutionsThatCannotBeHadAreRefused(string device, string choice, string message) =>
        Assert.Equal("", DwrsegProcess.Run("check", Golden("eval.safetensors"), "--device", device, "--conv", choice).Failed(2, message).Output);

    [Theory]
    [InlineData("--tolerance", "-1")]
    [InlineData("--tolerance", "NaN")]
    [InlineData("--precision", "fp8")]
    [InlineData("--device", "gpu")]
    public void WrongOptionIsNamed(string option, string value) =>
        Assert.Equal("", DwrsegProcess.Run("check", Golden("eval.safetensors"), option, value).Failed(2, option == "--device" ? "'gpu'" : option[2..] == "precision" ? "fp8" : option).Output);
}
