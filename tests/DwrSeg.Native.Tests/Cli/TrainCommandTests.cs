using System.CommandLine;
using System.CommandLine.Parsing;
using DwrSeg.Cli;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Training;
using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed class TrainCommandTests : IDisposable
{
    // Values that are not the recipe's, and what they must have become.
    private static readonly (string Option, string Value, Func<TrainingOptions, object?> Property, object? Expected)[] s_settings =
    [
        ("--batch", "3", o => o.BatchSize, 3),
        ("--epochs", "17", o => o.Epochs, 17),
        ("--crop", "96x128", o => (o.Augmentation.CropHeight, o.Augmentation.CropWidth), (96, 128)),
        ("--min-scale", "0.75", o => o.Augmentation.MinScale, 0.75),
        ("--max-scale", "1.25", o => o.Augmentation.MaxScale, 1.25),
        ("--flip", "0.125", o => o.Augmentation.FlipProbability, 0.125),
        ("--brightness", "0.1", o => o.Augmentation.Brightness, 0.1),
        ("--contrast", "0.2", o => o.Augmentation.Contrast, 0.2),
        ("--saturation", "0.3", o => o.Augmentation.Saturation, 0.3),
        ("--learning-rate", "0.003", o => o.LearningRate, 0.003),
        ("--power", "1.5", o => o.Power, 1.5),
        ("--warmup", "40", o => o.WarmupSteps, 40),
        ("--momentum", "0.85", o => o.Momentum, 0.85),
        ("--weight-decay", "0.0001", o => o.WeightDecay, 0.0001),
        ("--ohem-threshold", "0.6", o => o.OhemThreshold, 0.6),
        ("--ohem-min-kept", "0.25", o => o.OhemMinKept, 0.25),
        ("--seed", "18446744073709551615", o => o.Seed, ulong.MaxValue),
        ("--init", "first.safetensors", o => o.InitialWeights, "first.safetensors"),
        ("--validate-every", "5", o => o.ValidationInterval, 5),
        ("--size", "120x160", o => o.ValidationSize, (120, 160)),
        ("--save-minutes", "2.5", o => o.SaveInterval, TimeSpan.FromSeconds(150)),
        ("--metrics-every", "7", o => o.MetricsInterval, 7),
        ("--export-type", "bf16", o => o.ExportType, SafetensorsDType.BF16),
        ("--device", "cpu", o => o.Device, "cpu"),
        ("--threads", "3", o => o.Threads, 3),
        ("--workers", "4", o => o.Workers, 4),
    ];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void EveryOptionReachesItsPropertyAndNoOther()
    {
        TrainingOptions recipe = SmallTraining.Options with { Device = "auto" };
        Assert.Equal(recipe, Parse(recipe));
        foreach ((string option, string value, var property, object? expected) in s_settings)
        {
            TrainingOptions options = Parse(recipe, option, value);
            Assert.True(Equals(expected, property(options)), $"{option} {value} became {property(options)}");
            foreach (var other in s_settings.Where(s => s.Option != option))
                Assert.True(Equals(other.Property(recipe), other.Property(options)), $"{option} changed what {other.Option} means");
        }
        TrainingOptions all = Parse(recipe, [.. s_settings.SelectMany(s => new[] { s.Option, s.Value })]);
        Assert.All(s_settings, s => Assert.Equal(s.Expected, s.Property(all)));
    }

    [Fact]
    public void TheTableHasEveryOption_AndOptionsEverythingThatDecidesARun()
    {
        Assert.Equal(s_settings.Select(s => s.Option).Order(), TrainCommand.Settings().Select(s => s.Option.Name).Order());
        Assert.Empty(TrainingOptions.Decisive.Select(d => $"--{d.Name}").Except(s_settings.Select(s => s.Option)));
    }

    [Theory]
    [InlineData("--save-minutes", "1e300", "--save-minutes is 1E+300; 0 to 525600")]
    [InlineData("--save-minutes", "NaN", "--save-minutes is NaN")]
    [InlineData("--save-minutes", "-1", "--save-minutes is -1")]
    [InlineData("--batch", "0", "batch is 0")]
    [InlineData("--threads", "100000", "--threads is 100000")]
    [InlineData("--export-type", "f64", "f64")]
    public void ValuesOutOfRangeAreNamed(string option, string value, string part) =>
        DwrsegProcess.Run(["train", "--data", Scenes(), "--out", _folder.File("run"), option, value]).Failed(2, part);

    [Fact]
    public void BatchesTooLargeForAnArrayOrTheMemoryAreRefusedBeforeAnythingIsWritten()
    {
        string data = Scenes(), run = _folder.File("run");
        string[] common = ["train", "--data", data, "--val-split", "none", "--out", run];
        DwrsegProcess.Run([.. common, "--batch", "128", "--crop", "4096x4096"]).Failed(2, "batch x crop is 128 x 4096x4096");
        // What the runtime may take counts as the machine's memory: 256 MiB here.
        Dictionary<string, string> limit = new() { ["DOTNET_GCHeapHardLimit"] = "10000000" };
        DwrsegProcess.RunWith(limit, [.. common, "--batch", "2", "--crop", "2048x2048"]).Failed(1, "choose a smaller input size or batch");
        Assert.False(Directory.Exists(run));
    }

    [Fact]
    public void AnAblationIsOneOption_InlineOrInAFile()
    {
        string config = _folder.File("ablation.json"), run = _folder.File("run");
        File.WriteAllText(config, """{"base_channels": 8, "repeats": [1, 1, 1], "alpha": [1, 1, 1], "beta": 3, "lambda": 2, "rr_relu": false}""");
        DwrsegProcess.Run(
            "train", "--data", Scenes(), "--out", run, "--config", config, "--crop", "32x48", "--batch", "2", "--epochs", "1", "--verify").Succeeded();
        using SafetensorsFile model = SafetensorsFile.Open(new RunFiles(run).Model);
        DwrSegConfig expected = new()
        {
            Classes = SceneGenerator.Classes.Count, BaseChannels = 8, Repeats = [1, 1, 1], BranchRatio = [1, 1, 1], RrExpansion = 3, SirExpansion = 2, RrRelu = false,
        };
        Assert.Equal(expected, ModelMetadata.Read(model).Config);
    }

    [Fact]
    public void VerifyFindsABrokenLabelBeforeTheRunBegins()
    {
        string data = Scenes(), broken = Path.Combine(data, "val", "labels", SceneGenerator.NameOf(1) + ".png");
        File.WriteAllBytes(broken, File.ReadAllBytes(broken)[..^20]);
        DwrsegResult result = DwrsegProcess.Run("train", "--data", data, "--out", _folder.File("run"), "--verify").Failed(3, broken);
        Assert.Equal(["scenes/train: 3 samples are sound"], result.Lines);
        Assert.False(Directory.Exists(_folder.File("run")));
    }

    private string Scenes()
    {
        string data = _folder.File("scenes");
        SceneGenerator.WriteDataset(data, "train", 3, 1, 64, 48, cancellation: TestContext.Current.CancellationToken);
        SceneGenerator.WriteDataset(data, "val", 2, 1, 64, 48, cancellation: TestContext.Current.CancellationToken);
        return data;
    }

    private static TrainingOptions Parse(TrainingOptions recipe, params string[] arguments)
    {
        TrainCommand.Setting[] settings = [.. TrainCommand.Settings()];
        Command command = new("train");
        foreach (TrainCommand.Setting setting in settings) command.Add(setting.Option);
        ParseResult result = command.Parse(arguments);
        Assert.Empty(result.Errors);
        return TrainCommand.Apply(settings, result, recipe);
    }
}
