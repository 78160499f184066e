using System.Buffers.Binary;
using System.Text;
using System.Text.RegularExpressions;
using DwrSeg.Native.Autograd;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Data;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

public sealed class TrainingCheckpointTests : IDisposable
{
    // A quotation mark in JSON that is itself a JSON string.
    private const string Quote = @"(?:\\u0022|\\"")";

    private readonly TemporaryFolder _folder = new();
    private readonly RunFiles _run;

    public TrainingCheckpointTests()
    {
        _run = new RunFiles(_folder.Path);
        using CancellationTokenSource source = new();
        Observer observer = new() { Stepped = step => { if (step.Iteration == 5) source.Cancel(); } };
        SmallTraining.Run(_folder.Path, observer: observer, cancellation: source.Token);
    }

    public void Dispose() => _folder.Dispose();

    private TException Refused<TException>(TrainingOptions? options = null, SegmentationDataset? training = null)
        where TException : Exception
    {
        byte[] last = File.ReadAllBytes(_run.Last), metrics = File.ReadAllBytes(_run.Metrics);
        TException e = Assert.Throws<TException>(() => SmallTraining.Run(_folder.Path, options, ExistingRun.Resume, training: training));
        Assert.Equal(last, File.ReadAllBytes(_run.Last));
        Assert.Equal(metrics, File.ReadAllBytes(_run.Metrics));
        Assert.Contains(_run.Last, e.Message);
        return e;
    }

    [Fact]
    public void OtherOptions_AreRefusedByName()
    {
        TrainingOptions o = SmallTraining.Options;
        AugmentationOptions a = o.Augmentation;
        (string Name, TrainingOptions Options)[] others =
        [
            ("epochs", o with { Epochs = 5 }),
            ("crop", o with { Augmentation = a with { CropWidth = 40 } }),
            ("min-scale", o with { Augmentation = a with { MinScale = 0.75 } }),
            ("max-scale", o with { Augmentation = a with { MaxScale = 1.75 } }),
            ("flip", o with { Augmentation = a with { FlipProbability = 0 } }),
            ("brightness", o with { Augmentation = a with { Brightness = 0 } }),
            ("contrast", o with { Augmentation = a with { Contrast = 0 } }),
            ("saturation", o with { Augmentation = a with { Saturation = 0 } }),
            ("learning-rate", o with { LearningRate = 0.01 }),
            ("power", o with { Power = 1 }),
            ("warmup", o with { WarmupSteps = 1 }),
            ("momentum", o with { Momentum = 0.8 }),
            ("weight-decay", o with { WeightDecay = 0 }),
            ("ohem-threshold", o with { OhemThreshold = 0.5 }),
            ("ohem-min-kept", o with { OhemMinKept = 0.5 }),
            ("seed", o with { Seed = 6 }),
            ("batch", o with { BatchSize = 3 }),
            ("validate-every", o with { ValidationInterval = 2 }),
            ("size", o with { ValidationSize = (32, 48) }),
            ("metrics-every", o with { MetricsInterval = 1 }),
            ("threads", o with { Threads = 1 }),
        ];
        Assert.Equal(TrainingOptions.Decisive.Select(d => d.Name).Order(), others.Select(other => other.Name).Order());
        foreach ((string name, TrainingOptions options) in others) Assert.Contains($"of {name}: ", Refused<TrainingException>(options).Message);
    }

    [Fact]
    public void OtherDataNetworkOrClasses_AreRefused()
    {
        Assert.Contains("the data", Refused<TrainingException>(training: new GeneratedDataset(1, 6, 64, 48)).Message);
        DwrSegConfig wider = SmallTraining.Model with { BaseChannels = 16 };
        Assert.Contains("another network", Refused<TrainingException>(SmallTraining.Options with { Model = wider }).Message);
        ReplaceField("class_names", $@"(class_names{Quote}:\[{Quote})sky", "${1}sea");
        Assert.Contains("the classes", Refused<TrainingException>().Message);
    }

    [Fact]
    public void OtherSamplesOfTheSameNameAndCount_AreRefused()
    {
        GeneratedDataset others = new(1, 7, 64, 56);
        Assert.Equal((SmallTraining.Training.Name, SmallTraining.Training.Count), (others.Name, others.Count));
        Assert.Contains("other data", Refused<TrainingException>(training: others).Message);
    }

    [Fact]
    public void OtherArithmetic_IsRefused()
    {
        // As if a machine with other vectors had written it.
        ReplaceField("arithmetic", $@"(arithmetic{Quote}:{Quote})[^\\""]+", "${1}X64, 64-bit vectors");
        Assert.Contains("'X64, 64-bit vectors'", Refused<TrainingException>().Message);
    }

    [Fact]
    public void ACheckpointThatTellsNothingOfItsOrigin_IsResumed()
    {
        foreach (string field in (ReadOnlySpan<string>)["samples", "arithmetic", "init"]) ReplaceField(field, $@"{field}{Quote}:", $"old-{field}\\\":");
        string weights = _folder.File("weights.safetensors");
        File.Copy(_run.Best, weights);
        Assert.True(SmallTraining.Run(_folder.Path, SmallTraining.Options with { InitialWeights = weights }, ExistingRun.Resume).IsComplete);
    }

    [Fact]
    public void InitialWeightsNamedAtAResumption_MustBeThoseOfTheStart()
    {
        string first = _folder.File("first.safetensors"), other = _folder.File("other.safetensors"), run = _folder.File("run");
        File.Copy(_run.Best, first);
        File.Copy(_run.Last, other);
        Assert.Contains("without initial weights", Refused<TrainingException>(SmallTraining.Options with { InitialWeights = first }).Message);

        TrainingOptions options = SmallTraining.Options with { InitialWeights = first };
        using CancellationTokenSource source = new();
        Observer observer = new() { Stepped = step => { if (step.Iteration == 2) source.Cancel(); } };
        SmallTraining.Run(run, options, observer: observer, cancellation: source.Token);
        TrainingException e = Assert.Throws<TrainingException>(
            () => SmallTraining.Run(run, options with { InitialWeights = other }, ExistingRun.Resume));
        Assert.Contains("other initial weights", e.Message);
        // Under another name it is the same file, and it is not needed any more.
        File.Move(first, _folder.File("moved.safetensors"));
        using CancellationTokenSource again = new();
        observer = new() { Stepped = step => { if (step.Iteration == 4) again.Cancel(); } };
        SmallTraining.Run(run, SmallTraining.Options, ExistingRun.Resume, observer, cancellation: again.Token);
        Assert.Throws<TrainingException>(() => SmallTraining.Run(run, options with { InitialWeights = other }, ExistingRun.Resume));
        options = options with { InitialWeights = _folder.File("moved.safetensors") };
        Assert.True(SmallTraining.Run(run, options, ExistingRun.Resume).IsComplete);
    }

    [Fact]
    public void WeightsThatAreNoCheckpoint_AreRefused()
    {
        File.Copy(_run.Best, _run.Last, overwrite: true);
        Assert.Contains("no training state", Refused<WeightsFormatException>().Message);
    }

    [Fact]
    public void ACheckpointCutShort_IsRefused()
    {
        byte[] whole = File.ReadAllBytes(_run.Last);
        foreach (int length in (ReadOnlySpan<int>)[0, 7, 100, whole.Length / 2, whole.Length - 1])
        {
            File.WriteAllBytes(_run.Last, whole[..length]);
            Refused<WeightsFormatException>();
        }
    }

    [Theory]
    [InlineData("iteration", "1000000000000000000")]
    [InlineData("iteration", "13")]
    [InlineData("iteration", "-1")]
    [InlineData("iteration", "2.5")]
    [InlineData("updates", "6")]
    [InlineData("validated_epoch", "2")]
    [InlineData("best_epoch", "2")]
    [InlineData("best_miou", "1e999")]
    [InlineData("recent_steps", "2")]
    [InlineData("epoch_steps", "3")]
    [InlineData("epoch_loss", "null")]
    public void AStateThatNoRunReaches_IsRefusedByField(string field, string value)
    {
        ReplaceField(field, $@"({field}{Quote}:)[-0-9.eE+]+", "${1}" + value);
        Assert.Contains(field, Refused<WeightsFormatException>().Message);
    }

    [Theory]
    [InlineData("stem.conv.conv.weight")]
    [InlineData("velocity.stem.conv.conv.weight")]
    public void AMissingTensor_IsNamed(string name)
    {
        string found = Header().Contains($"\"{name}\"", StringComparison.Ordinal) ? name : FirstVelocity();
        ReplaceField(found, $"\"{Regex.Escape(found)}\"", "\"elsewhere\"");
        Refused<WeightsFormatException>();
    }

    [Fact]
    public void AVelocityThatIsNoNumber_IsNamed()
    {
        string name = FirstVelocity();
        long offset;
        using (SafetensorsFile file = SafetensorsFile.Open(_run.Last)) offset = 8 + Header().Length;
        byte[] bytes = File.ReadAllBytes(_run.Last);
        int begin = int.Parse(Regex.Match(Header(), $"\"{Regex.Escape(name)}\":{{[^}}]*data_offsets\":\\[([0-9]+)").Groups[1].Value);
        BinaryPrimitives.WriteSingleLittleEndian(bytes.AsSpan((int)offset + begin), float.NaN);
        File.WriteAllBytes(_run.Last, bytes);
        Assert.Contains(name, Refused<WeightsFormatException>().Message);
    }

    private string FirstVelocity()
    {
        using SafetensorsFile file = SafetensorsFile.Open(_run.Last);
        return file.Tensors.Keys.First(name => name.StartsWith(Sgd.VelocityPrefix, StringComparison.Ordinal));
    }

    private string Header()
    {
        byte[] bytes = File.ReadAllBytes(_run.Last);
        return Encoding.UTF8.GetString(bytes.AsSpan(8, (int)BinaryPrimitives.ReadInt64LittleEndian(bytes)));
    }

    private void ReplaceField(string field, string pattern, string replacement)
    {
        byte[] bytes = File.ReadAllBytes(_run.Last);
        string header = Header(), changed = Regex.Replace(header, pattern, replacement, RegexOptions.CultureInvariant);
        Assert.False(header == changed, $"the header has no {field}");
        File.WriteAllBytes(_run.Last, RawSafetensors.Build(Encoding.UTF8.GetBytes(changed), bytes.AsSpan(8 + Encoding.UTF8.GetByteCount(header))));
    }
}
