using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Models;

public sealed class ModelMetadataTests
{
    public static TheoryData<DwrSegConfig> Configurations =>
    [
        DwrSegConfig.Base(),
        DwrSegConfig.Large(11),
        new DwrSegConfig { BaseChannels = 32, Classes = 2, Repeats = [1, 2, 3], SirExpansion = 1, SirDepthwise = true, RrExpansion = 3, SharedBranches = true },
        new DwrSegConfig { BranchRatio = [1, 1, 1], RrRelu = false, RrBn = false, SrBn = false, SrRelu = true, ProjectBn = true },
        SharedBranchesInEveryStage,
    ];

    // The paper's Figure 7: three branches that share one map, in stages 2, 3 and 4.
    private static DwrSegConfig SharedBranchesInEveryStage => new()
    {
        BaseChannels = 8,
        Stages = [.. Enumerable.Repeat(
            new StageConfig { Module = StageModule.Dwr, Repeats = 2, Dilations = [1, 3, 5], BranchRatio = [1, 1, 1], SharedBranches = true }, 3)],
    };

    [Theory]
    [MemberData(nameof(Configurations))]
    public void EveryConfigurationSurvivesItsFile(DwrSegConfig config)
    {
        var classes = new ClassList(Enumerable.Range(0, config.Classes).Select(i => $"class {i}"));
        var norm = new Normalization(0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f);
        var metadata = new ModelMetadata { Config = config, Classes = classes, Normalization = norm, InputSize = (360, 480) };
        ModelMetadata read = ModelMetadata.Read(FileWith(metadata.ToJson()));
        Assert.Equal(config, read.Config);
        Assert.Equal(classes.Names.AsEnumerable(), read.Classes!.Names);
        Assert.Equal(classes.Colors.AsEnumerable(), read.Classes.Colors);
        Assert.Equal((classes.IgnoreId, norm, (360, 480)), (read.Classes.IgnoreId, read.Normalization, read.InputSize!.Value));
    }

    [Theory]
    [InlineData("""{"classes": 1}""", "classes")]
    [InlineData("""{"classes": "many"}""", "classes")]
    [InlineData("""{"classes": 99999999999}""", "classes")]
    [InlineData("""{"base_channels": 7}""", "base_channels")]
    [InlineData("""{"base_channels": 1000000}""", "base_channels")]
    [InlineData("""{"repeats": [7, 3]}""", "repeats")]
    [InlineData("""{"repeats": [7, 3, 100000]}""", "repeats")]
    [InlineData("""{"branch_ratio": [2, 1]}""", "branch_ratio")]
    [InlineData("""{"rr_expansion": 0}""", "rr_expansion")]
    [InlineData("""{"stages": [{"module": "resnet"}]}""", "stages")]
    [InlineData("""{"stages": [{"module": "sir", "repeats": 1}]}""", "stages")]
    [InlineData("""{"class_names": ["a", "b"]}""", "class names")]
    [InlineData("""{"classes": 2, "class_names": ["a", "a"]}""", "twice")]
    [InlineData("""{"classes": 2, "class_names": ["a", "b"], "palette": ["red", "green"]}""", "palette")]
    [InlineData("""{"input_mean": [0, 0]}""", "input_mean must be three numbers, found '[0, 0]'")]
    [InlineData("""{"input_mean": "grey"}""", "input_mean must be three numbers")]
    [InlineData("""{"input_deviation": ["1", "1", "1"]}""", "input_deviation must be three numbers")]
    [InlineData("""{"class_names": "road"}""", "class_names must be a list of names, found '\"road\"'")]
    [InlineData("""{"class_names": [1, 2]}""", "class_names must be a list of names")]
    [InlineData("""{"class_names": ["a", null]}""", "class_names must be a list of names")]
    [InlineData("""{"palette": 7}""", "palette must be a list of colours")]
    [InlineData("""{"ignore_id": "none"}""", "ignore_id must be an integer")]
    [InlineData("""{"ignore_id": 2.5}""", "ignore_id must be an integer")]
    [InlineData("""{"input_size": "480x640"}""", "input_size must be [height, width]")]
    [InlineData("""{"input_deviation": [0, 1, 1]}""", "input_deviation")]
    [InlineData("""{"input_size": [0, 480]}""", "input_size")]
    [InlineData("[]", "dwrseg")]
    [InlineData("{", "dwrseg")]
    public void UnsoundMetadataIsOneClearError(string json, string named)
    {
        var error = Assert.Throws<WeightsFormatException>(() => ModelMetadata.Read(FileWith(json)));
        Assert.Contains("model.safetensors", error.Message, StringComparison.Ordinal);
        Assert.Contains(named, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MissingMetadataSaysSo()
    {
        var error = Assert.Throws<WeightsFormatException>(() => ModelMetadata.Read(FileWith(null)));
        Assert.Contains("not a DWRSeg model", error.Message, StringComparison.Ordinal);
    }

    private static SafetensorsFile FileWith(string? json)
    {
        var writer = new SafetensorsWriter();
        if (json is not null) writer.Metadata[ModelMetadata.Key] = json;
        var stream = new MemoryStream();
        writer.WriteTo(stream);
        return SafetensorsFile.Open(stream.ToArray(), "model.safetensors");
    }
}
