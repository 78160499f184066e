using DwrSeg.Native.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Formats;

public sealed class CheckpointTests
{
    [Fact]
    public void TrainingFieldsComeBackExactly()
    {
        SafetensorsWriter writer = new();
        writer.Add("velocity.w", SafetensorsDType.F32, [2], [1, 2]);
        Checkpoint.SetTraining(writer, json =>
        {
            json.WriteNumber("step", long.MaxValue);
            json.WriteNumber("best", 0.1 + 0.2);
            json.WriteString("split", "train+val \"ü\"");
        });
        using SafetensorsFile file = SafetensorsFile.Open(RawSafetensors.Written(writer), "last.safetensors");
        JsonFields training = Checkpoint.Training(file);
        Assert.Equal(long.MaxValue, training.Integer("step"));
        Assert.Equal(0.1 + 0.2, training.Number("best"));
        Assert.Equal("train+val \"ü\"", training.Text("split"));
        Assert.Equal("train+val \"ü\"", training.OptionalText("split"));
        Assert.Null(training.OptionalText("worst"));
        Assert.Contains("'best' must be a String", Assert.Throws<WeightsFormatException>(() => training.OptionalText("best")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WeightsAloneCannotResume() => Assert.Contains("no training state", Refusal(null, _ => 0), StringComparison.Ordinal);

    [Theory]
    [InlineData("", "not valid JSON")]
    [InlineData("[]", "must be a JSON object")]
    [InlineData("{\"step\":1,\"step\":2}", "not valid JSON")]
    [InlineData("{\"step\":1}x", "not valid JSON")]
    [InlineData("{\"step\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}", "not valid JSON")]
    [InlineData("{}", "'step' is missing")]
    [InlineData("{\"step\":\"1\"}", "'step' must be a Number, found a String")]
    [InlineData("{\"step\":1.5}", "'step' must be an integer from 0 to 100, found '1.5'")]
    [InlineData("{\"step\":-1}", "'step' must be an integer from 0 to 100, found '-1'")]
    [InlineData("{\"step\":101}", "'step' must be an integer from 0 to 100")]
    [InlineData("{\"step\":1e999}", "'step' must be an integer")]
    public void UnsoundFieldsAreRefusedWithTheirReason(string json, string reason)
    {
        string message = Refusal(json, training => training.Integer("step", 0, 100));
        Assert.Contains(reason, message, StringComparison.Ordinal);
        Assert.StartsWith("last.safetensors: ", message, StringComparison.Ordinal);
    }

    [Fact]
    public void NumbersMustBeFiniteAndTextsMustBeUnicode()
    {
        Assert.Contains("finite", Refusal("{\"best\":1e999}", training => training.Number("best")), StringComparison.Ordinal);
        Assert.Contains("Unicode", Refusal("{\"split\":\"\\ud800\"}", training => training.Text("split")), StringComparison.Ordinal);
    }

    private static string Refusal(string? json, Func<JsonFields, object> read)
    {
        SafetensorsWriter writer = new();
        if (json is not null) writer.Metadata[Checkpoint.TrainingKey] = json;
        using SafetensorsFile file = SafetensorsFile.Open(RawSafetensors.Written(writer), "last.safetensors");
        return Assert.Throws<WeightsFormatException>(() => read(Checkpoint.Training(file))).Message;
    }
}
