using System.Text.Json.Nodes;
using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Data;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Data;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

public sealed class TrainerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly RunFiles _run;

    public TrainerTests() => _run = new RunFiles(_folder.Path);

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void TheLossFalls_AndTheModelIsTheBestValidations()
    {
        TrainingOptions options = SmallTraining.Options with { Epochs = 12, ExportType = SafetensorsDType.F32 };
        Observer observer = new();
        TrainingResult result = SmallTraining.Run(_folder.Path, options, observer: observer);
        double[] losses = [.. _run.Lines("epoch").Select(line => (double)line["loss"]!)];
        // 36 steps on 7 scenes: far more than noise, far less than what the network can learn.
        Assert.True(losses[^1] < 0.8 * losses[0], string.Join(", ", losses));
        (int epoch, double? best, _) = observer.Validations.MaxBy(v => v.MeanIou);
        Assert.Equal((best, epoch, _run.Model), (result.BestMeanIou, result.BestEpoch, result.ModelFile));
        using Evaluator evaluator = Evaluator.Load(_run.Model, new EvaluationOptions { Device = "cpu", Threads = 2 });
        Assert.Equal(best, evaluator.Run(SmallTraining.Validation).MeanIou);
    }

    [Fact]
    public void MetricsTellEveryStepEpochAndValidation_AsItWas()
    {
        Observer observer = new();
        SmallTraining.Run(_folder.Path, observer: observer);
        JsonObject[] steps = _run.Lines("step"), epochs = _run.Lines("epoch"), validations = _run.Lines("validation");
        Assert.Equal([2, 4, 6, 8, 10, 12], steps.Select(line => (int)line["iteration"]!));
        PolySchedule schedule = new(0.02, 0.9, SmallTraining.Steps, 0);
        foreach (JsonObject line in steps)
        {
            int iteration = (int)line["iteration"]!;
            Assert.Equal(((iteration - 1) / 3 + 1, (iteration - 1) % 3 + 1), ((int)line["epoch"]!, (int)line["step"]!));
            Assert.Equal(schedule.At(iteration - 1), (float)line["learningRate"]!);
            double loss = ((double)observer.Steps[iteration - 2].Loss! + (double)observer.Steps[iteration - 1].Loss!) / 2;
            Assert.Equal(loss, (double)line["loss"]!);
        }
        for (int epoch = 1; epoch <= 4; epoch++)
        {
            double loss = observer.Steps.Where(s => s.Epoch == epoch).Average(s => (double)s.Loss!);
            Assert.Equal((epoch, 3 * epoch), ((int)epochs[epoch - 1]["epoch"]!, (int)epochs[epoch - 1]["iteration"]!));
            Assert.Equal(loss, (double)epochs[epoch - 1]["loss"]!, 1e-12);
            Assert.Equal(observer.Validations[epoch - 1].MeanIou, (double)validations[epoch - 1]["mIoU"]!);
            Assert.Equal(SceneGenerator.Classes.Names, validations[epoch - 1]["classIoU"]!.AsObject().Select(c => c.Key));
        }
    }

    [Fact]
    public void Validation_ComesEveryNEpochsAndAtTheEnd()
    {
        Observer observer = new();
        SmallTraining.Run(_folder.Path, SmallTraining.Options with { Epochs = 5, ValidationInterval = 2 }, observer: observer);
        Assert.Equal([2, 4, 5], observer.Validations.Select(v => v.Epoch));
    }

    [Fact]
    public void ResultsDoNotDependOnTheThreadsThatPrepareBatches()
    {
        SmallTraining.Run(_folder.File("one"), SmallTraining.Options with { Workers = 1 });
        SmallTraining.Run(_folder.File("many"), SmallTraining.Options with { Workers = 7 });
        new RunFiles(_folder.File("many")).AssertSame(new RunFiles(_folder.File("one")), "seven workers");
    }

    [Fact]
    public void SeedsDecideTheRun()
    {
        SmallTraining.Run(_folder.File("5"));
        SmallTraining.Run(_folder.File("6"), SmallTraining.Options with { Seed = 6 });
        Assert.NotEqual(File.ReadAllBytes(new RunFiles(_folder.File("5")).Model), File.ReadAllBytes(new RunFiles(_folder.File("6")).Model));
    }

    [Fact]
    public void BatchesWithoutALabel_ChangeNothing()
    {
        Relabelled ignored = new(SmallTraining.Training, _ => true);
        Observer observer = new();
        SmallTraining.Run(_folder.Path, observer: observer, training: ignored);
        Assert.All(observer.Steps, step => Assert.Null(step.Loss));
        Assert.All(_run.Lines("step"), line => Assert.Null(line["loss"]));
        using SafetensorsFile last = SafetensorsFile.Open(_run.Last);
        using CpuStore fresh = new();
        LayerGraph graph = TrainingPlan.CreateGraph(SmallTraining.Options);
        ModelWeights.Initialize(graph, fresh, SmallTraining.Options.Seed);
        foreach (Tensor tensor in graph.Stored)
        {
            float[] found = new float[tensor.Shape.Elements], own = new float[found.Length], expected = new float[found.Length];
            last.ReadFloats(tensor.Name, found);
            ModelWeights.FromTorch(tensor, found, own);
            fresh.Read(tensor.Name, expected);
            Assert.True(own.AsSpan().SequenceEqual(expected), $"{tensor.Name} changed");
        }
        Assert.Equal(0, Count(last));
    }

    [Fact]
    public void ABatchWithoutALabelAmongOthers_IsSkippedAndTheRestTrained()
    {
        Relabelled some = new(SmallTraining.Training, index => index % 2 == 0);
        TrainingOptions options = SmallTraining.Options with { BatchSize = 1, MetricsInterval = 1 };
        Observer observer = new();
        SmallTraining.Run(_folder.Path, options, observer: observer, training: some);
        int skipped = observer.Steps.Count(step => step.Loss is null);
        // Four of the seven samples, in each of four epochs.
        Assert.Equal((28, 16), (observer.Steps.Count, skipped));
        Assert.Equal(skipped, _run.Lines("step").Count(line => line["loss"] is null));
        using SafetensorsFile last = SafetensorsFile.Open(_run.Last);
        Assert.Equal(12, Count(last));
    }

    [Fact]
    public void ADivergedTraining_SaysWhereAndKeepsItsLastGoodState()
    {
        // Decay at this rate multiplies weights by 99 a step: they leave the range of floats within 20 steps.
        TrainingOptions options = SmallTraining.Options with { LearningRate = 100, Power = 0, WeightDecay = 1, Epochs = 20, SaveInterval = TimeSpan.Zero };
        Observer observer = new();
        TrainingException e = Assert.Throws<TrainingException>(() => SmallTraining.Run(_folder.Path, options, observer: observer));
        Assert.Contains("diverged in epoch", e.Message);
        Assert.Contains(_run.Last, e.Message);
        Assert.Contains("--learning-rate", e.Message);
        Assert.InRange(observer.Steps.Count, 1, 40);
        foreach (string file in Directory.GetFiles(_folder.Path, "*.safetensors"))
        {
            using SafetensorsFile weights = SafetensorsFile.Open(file);
            foreach (SafetensorsEntry tensor in weights.Tensors.Values.Where(t => t.DType == SafetensorsDType.F32))
            {
                float[] values = new float[tensor.ElementCount];
                weights.ReadFloats(tensor.Name, values);
                Assert.All(values, value => Assert.True(float.IsFinite(value), $"{file}: {tensor.Name}"));
            }
        }
        // Resuming meets the same end rather than training on from rubbish.
        Assert.Throws<TrainingException>(() => SmallTraining.Run(_folder.Path, options, ExistingRun.Resume));
    }

    [Fact]
    public void WeightsTooLargeForTheModelsType_EndACompleteTrainingWithTheWayToItsModel()
    {
        // BN takes the scale of the convolution before it away, so the network stays sound with weights that F16 can't hold.
        string large = _folder.File("large.safetensors"), run = _folder.File("run");
        SmallTraining.Run(_folder.File("first"), SmallTraining.Options with { Epochs = 1 });
        SafetensorsWriter writer = new();
        using (SafetensorsFile file = SafetensorsFile.Open(new RunFiles(_folder.File("first")).Best))
        {
            writer.Metadata[ModelMetadata.Key] = file.Metadata[ModelMetadata.Key];
            foreach (SafetensorsEntry tensor in file.Tensors.Values.Where(t => t.DType == SafetensorsDType.F32))
            {
                float[] values = new float[tensor.ElementCount];
                file.ReadFloats(tensor.Name, values);
                if (tensor.Name == "stem.conv.conv.weight") values = [.. values.Select(value => value * 1e6f)];
                writer.Add(tensor.Name, SafetensorsDType.F32, tensor.Shape.AsSpan(), values);
            }
            foreach (SafetensorsEntry tensor in file.Tensors.Values.Where(t => t.DType == SafetensorsDType.I64)) writer.Add(tensor.Name, tensor.Shape.AsSpan(), [1]);
        }
        writer.Save(large);

        TrainingOptions options = SmallTraining.Options with { Epochs = 1, InitialWeights = large, LearningRate = 1e-6 };
        TrainingException e = Assert.Throws<TrainingException>(() => SmallTraining.Run(run, options));
        Assert.Contains("training is complete", e.Message);
        Assert.Contains("stem.conv.conv.weight", e.Message);
        Assert.Contains("--resume --export-type f32", e.Message);
        Observer observer = new();
        TrainingResult result = SmallTraining.Run(run, options with { ExportType = SafetensorsDType.F32 }, ExistingRun.Resume, observer);
        Assert.Equal((true, 0), (result.IsComplete, observer.Steps.Count));
        SafetensorsFile.Open(result.ModelFile!).Dispose();
    }

    [Fact]
    public void ASampleThatCannotBeRead_EndsTheTrainingWithItsFilesName_AndItsStateSaved()
    {
        ArrayDataset broken = new(7, 64, 48) { Broken = 3 };
        DatasetException e = Assert.Throws<DatasetException>(
            () => Trainer.Run(SmallTraining.Options, broken, null, _folder.Path));
        Assert.Contains("blocks/block3.png", e.Message);
        using SafetensorsFile last = SafetensorsFile.Open(_run.Last);
    }

    [Fact]
    public void DataThatDoesNotFit_IsRefused()
    {
        TrainingOptions options = SmallTraining.Options;
        ArgumentException classes = Assert.Throws<ArgumentException>(
            () => SmallTraining.Run(_folder.File("a"), options with { Model = SmallTraining.Model with { Classes = 5 } }));
        Assert.Contains("5 classes", classes.Message);
        DatasetException batch = Assert.Throws<DatasetException>(() => SmallTraining.Run(_folder.File("b"), options with { BatchSize = 8 }));
        Assert.Contains("batch of 8", batch.Message);
        using DatasetFolder own = new();
        own.Text("classes.json", """{"classes": [{"name": "floor"}, {"name": "wall"}]}""");
        own.Image("val/images/x.png");
        own.Labels("val/labels/x.png", 0);
        SegmentationDataset other = SegmentationDataset.Open(own.Root, "val");
        DatasetException validation = Assert.Throws<DatasetException>(
            () => Trainer.Run(options, SmallTraining.Training, other, _folder.File("c")));
        Assert.Contains(other.Name, validation.Message);
        Assert.Contains("classes", validation.Message);
    }

    [Fact]
    public void JoinedSplits_AreTrainedOnAsOne()
    {
        using DatasetFolder data = new();
        SceneGenerator.WriteDataset(data.Root, "train", 3, 1, 64, 48, cancellation: TestContext.Current.CancellationToken);
        SceneGenerator.WriteDataset(data.Root, "val", 2, 1, 64, 48, cancellation: TestContext.Current.CancellationToken);
        Observer observer = new();
        int images = 0;
        observer = new Observer { Started = start => images = start.Images };
        SegmentationDataset joined = SegmentationDataset.Open(data.Root, "train+val");
        Trainer.Run(SmallTraining.Options with { BatchSize = 1, Epochs = 1 }, joined, null, _folder.Path, ExistingRun.Refuse, observer);
        Assert.Equal((5, 5), (images, observer.Steps.Count));
    }

    [Fact]
    public void TheExportedModel_HasHalvedMatricesAndWholeVectors()
    {
        SmallTraining.Run(_folder.Path, SmallTraining.Options with { Epochs = 1 });
        using SafetensorsFile model = SafetensorsFile.Open(_run.Model), best = SafetensorsFile.Open(_run.Best);
        Assert.DoesNotContain(model.Tensors.Keys, name => name.StartsWith(Sgd.VelocityPrefix, StringComparison.Ordinal));
        foreach (SafetensorsEntry tensor in model.Tensors.Values.Where(t => t.DType != SafetensorsDType.I64))
        {
            Assert.Equal(tensor.Shape.Length > 1 ? SafetensorsDType.F16 : SafetensorsDType.F32, tensor.DType);
            float[] values = new float[tensor.ElementCount], exact = new float[tensor.ElementCount];
            model.ReadFloats(tensor.Name, values);
            best.ReadFloats(tensor.Name, exact);
            Assert.Equal(exact.Select(v => tensor.Shape.Length > 1 ? (float)(Half)v : v), values);
        }
        ModelMetadata metadata = ModelMetadata.Read(model);
        Assert.Equal(SmallTraining.Model, metadata.Config);
        Assert.Equal(SceneGenerator.Classes.Names, metadata.Classes!.Names);
        Assert.Equal((48, 64), metadata.InputSize);
    }

    [Fact]
    public void OptionsOutOfRange_AreNamed()
    {
        TrainingOptions o = SmallTraining.Options;
        (string Name, TrainingOptions Options)[] wrong =
        [
            ("batch", o with { BatchSize = 0 }),
            ("batch x crop", o with { BatchSize = 128, Augmentation = o.Augmentation with { CropHeight = 4096, CropWidth = 4096 } }),
            ("epochs", o with { Epochs = 0 }),
            ("learning-rate", o with { LearningRate = double.NaN }),
            ("power", o with { Power = -1 }),
            ("warmup", o with { WarmupSteps = -1 }),
            ("momentum", o with { Momentum = 1 }),
            ("weight-decay", o with { WeightDecay = -1e-9 }),
            ("ohem-threshold", o with { OhemThreshold = 0 }),
            ("ohem-min-kept", o with { OhemMinKept = 1.5 }),
            ("validate-every", o with { ValidationInterval = 0 }),
            ("size", o with { ValidationSize = (0, 5) }),
            ("save-minutes", o with { SaveInterval = TimeSpan.FromSeconds(-1) }),
            ("metrics-every", o with { MetricsInterval = 0 }),
            ("threads", o with { Threads = -1 }),
            ("workers", o with { Workers = 257 }),
            ("export-type", o with { ExportType = SafetensorsDType.I64 }),
            ("crop", o with { Augmentation = o.Augmentation with { CropHeight = 0 } }),
            ("scale", o with { Augmentation = o.Augmentation with { MinScale = 3 } }),
        ];
        foreach ((string name, TrainingOptions options) in wrong)
        {
            ArgumentException e = Assert.Throws<ArgumentException>(() => SmallTraining.Run(_folder.File("run"), options));
            Assert.Contains(name, e.Message);
        }
        Assert.False(Directory.Exists(_folder.File("run")));
    }

    [Fact]
    public void TheRecipeFollowsTheData()
    {
        TrainingOptions small = TrainingOptions.For(new GeneratedDataset(1, 2, 480, 360));
        Assert.Equal((360, 480, null), (small.Augmentation.CropHeight, small.Augmentation.CropWidth, small.ValidationSize));
        TrainingOptions large = TrainingOptions.For(new GeneratedDataset(1, 2, 1920, 1440));
        Assert.Equal((720, 960, (720, 960)), (large.Augmentation.CropHeight, large.Augmentation.CropWidth, large.ValidationSize));
        Assert.Equal((0.02, 0.9, 0.9, 5e-4), (small.LearningRate, small.Power, small.Momentum, small.WeightDecay));
        Assert.Equal(11, small.Model.Classes);
    }

    private static long Count(SafetensorsFile file)
    {
        long[] count = new long[1];
        file.ReadInt64(file.Tensors.Keys.First(name => name.EndsWith("num_batches_tracked", StringComparison.Ordinal)), count);
        return count[0];
    }

    /// <summary>Another data set with all labels of some samples ignored.</summary>
    private sealed class Relabelled(SegmentationDataset inner, Func<int, bool> isIgnored) : SegmentationDataset
    {
        public override string Name => inner.Name;

        public override ClassList Classes => inner.Classes;

        public override int Count => inner.Count;

        public override string SampleName(int index) => inner.SampleName(index);

        public override SegmentationSample Load(int index)
        {
            SegmentationSample sample = inner.Load(index);
            if (isIgnored(index)) sample.Labels.AsSpan().Fill(SegmentationSample.Ignore);
            return sample;
        }
    }
}
