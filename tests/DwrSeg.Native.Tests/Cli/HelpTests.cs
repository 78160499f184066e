using System.Text.RegularExpressions;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed partial class HelpTests
{
    private static readonly Dictionary<string, string[]> Promised = new()
    {
        ["segment"] = ["--model", "--device", "--precision", "--conv", "--size", "--out", "--json"],
        ["train"] = ["--data", "--split", "--out", "--model", "--config", "--verify", "--init", "--resume", "--batch", "--crop", "--epochs", "--seed", "--min-scale", "--max-scale"],
        ["eval"] = ["--data", "--split", "--model", "--device", "--precision", "--conv", "--json"],
        ["scene"] = ["--count", "--out", "--seed"],
        ["check"] = ["--device", "--precision", "--conv", "--tolerance"],
        ["info"] = ["--model", "--config", "--size"],
        ["profile"] = ["--model", "--device", "--precision", "--conv", "--size", "--gpu", "--json", "--trace"],
        ["kernels"] = ["--device", "--arch", "--gpu", "--precision", "--size", "--model", "--all", "--json"],
        ["bench"] = ["--model", "--config", "--device", "--precision", "--conv", "--peer-json", "--size", "--batch", "--train", "--json"],
    };

    [Fact]
    public void RootListsEveryCommandAndTheExitCodes()
    {
        DwrsegResult result = DwrsegProcess.Run("--help").Succeeded();
        Assert.Empty(Promised.Keys.Except(Commands(result)));
        Assert.Contains("Exit codes: 0 done; 1 ", result.Output, StringComparison.Ordinal);
        Assert.All(Entries(result, "Commands:"), line => Assert.Matches(@"^  \S.*?  +\S", line));
        Assert.Equal(result.Output, DwrsegProcess.Run("-h").Succeeded().Output);
    }

    [Fact]
    public void EveryCommandExplainsEachOfItsArgumentsAndOptions()
    {
        foreach (string command in Commands(DwrsegProcess.Run("--help")))
        {
            DwrsegResult help = DwrsegProcess.Run(command, "--help").Succeeded();
            string[] options = [.. Entries(help, "Options:")];
            Assert.All((string[])[.. options, .. Entries(help, "Arguments:")], line => Assert.Matches(@"^  \S.*?  +\S", line));
            foreach (string promised in Promised.GetValueOrDefault(command, []))
                Assert.True(options.Any(o => Regex.IsMatch(o, $@"(^|\s|,){promised}[\s,=]")), $"{command} --help does not list {promised}");
            string example = Entries(help, "Examples:").First();
            Assert.StartsWith($"  dwrseg {command}", example, StringComparison.Ordinal);
            Assert.Contains("Exit codes: ", help.Output, StringComparison.Ordinal);
            // As it is typed.
            Assert.DoesNotMatch(@"\[default: A", help.Output);
        }
    }

    [Theory]
    [InlineData("--help", "segment")]
    [InlineData("no command", "")]
    [InlineData("unknown", "frobnicate")]
    [InlineData("'--frob'", "info", "--frob")]
    [InlineData("'512'", "info", "--size", "512")]
    [InlineData("'0x5'", "segment", "a.png", "--size", "0x5")]
    [InlineData("exclude each other", "segment", "a.png", "--size", "8x8", "--native")]
    [InlineData("--threads", "segment", "a.png", "--threads", "-1")]
    [InlineData("--threads", "segment", "a.png", "--threads", "many")]
    [InlineData("'gpu'", "bench", "--device", "gpu")]
    [InlineData("'Auto' is not auto, all or none. Try 'dwrseg bench --help'", "bench", "--fuse", "Auto")]
    [InlineData("--all and --fuse exclude each other", "kernels", "--all", "--fuse", "none")]
    [InlineData("'cuda:7'", "bench", "--device", "cuda:7")]
    [InlineData("--data", "eval", "--model", "a.safetensors")]
    [InlineData("--data is empty", "train", "--out", "run", "--data", "")]
    [InlineData("--out is empty", "scene", "--count", "1", "--out", "")]
    public void WrongCommandLineIsOneLineOnStderrAndCodeTwo(string part, params string[] arguments)
    {
        bool isEmpty = arguments is [""];
        DwrsegResult result = DwrsegProcess.Run(isEmpty ? [] : arguments).Failed(2, isEmpty || part == "unknown" ? "--help" : part);
        Assert.Equal("", result.Output);
    }

    private static IEnumerable<string> Commands(DwrsegResult root) => Entries(root, "Commands:").Select(line => line.Trim().Split(' ')[0]);

    // The lines of a section that begin an entry; what is indented further goes on with the entry above.
    private static IEnumerable<string> Entries(DwrsegResult help, string section) => help.Output.Split('\n')
        .SkipWhile(line => line != section).Skip(1).TakeWhile(line => line.Length > 0).Where(line => StartOfEntry().IsMatch(line));

    [GeneratedRegex(@"^  \S")]
    private static partial Regex StartOfEntry();
}
