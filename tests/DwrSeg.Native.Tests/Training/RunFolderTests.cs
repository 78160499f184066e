using DwrSeg.Native.Formats;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

public sealed class RunFolderTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly RunFiles _run;

    public RunFolderTests() => _run = new RunFiles(_folder.Path);

    public void Dispose() => _folder.Dispose();

    private static TrainingOptions OneEpoch => SmallTraining.Options with { Epochs = 1 };

    [Fact]
    public void AFolderWithARun_IsRefusedWithoutAWord_AndReplacedWithOne()
    {
        SmallTraining.Run(_folder.Path, OneEpoch);
        byte[] last = File.ReadAllBytes(_run.Last);
        TrainingException e = Assert.Throws<TrainingException>(() => SmallTraining.Run(_folder.Path, OneEpoch));
        Assert.Contains(_folder.Path, e.Message);
        Assert.Contains("--resume", e.Message);
        Assert.Equal(last, File.ReadAllBytes(_run.Last));
        SmallTraining.Run(_folder.Path, OneEpoch with { Seed = 99 }, ExistingRun.Overwrite);
        Assert.NotEqual(last, File.ReadAllBytes(_run.Last));
        Assert.Single(_run.Lines("epoch"));
    }

    [Theory]
    [InlineData("model.safetensors", ExistingRun.Refuse)]
    [InlineData("best.safetensors", ExistingRun.Refuse)]
    [InlineData("last.safetensors", ExistingRun.Refuse)]
    [InlineData("metrics.jsonl", ExistingRun.Refuse)]
    [InlineData("model.safetensors", ExistingRun.Resume)]
    [InlineData("best.safetensors", ExistingRun.Resume)]
    public void AFileOfThatName_IsNeitherReplacedNorDeleted(string name, ExistingRun existing)
    {
        File.WriteAllText(_folder.File(name), "precious");
        TrainingException e = Assert.Throws<TrainingException>(() => SmallTraining.Run(_folder.Path, OneEpoch, existing));
        Assert.Contains(name, e.Message);
        Assert.Equal("precious", File.ReadAllText(_folder.File(name)));
        Assert.Single(Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public void ARunThatCannotStart_LeavesTheOldOneAlone_AndIsNoneItself()
    {
        TrainingOptions impossible = OneEpoch with { InitialWeights = _folder.File("nowhere.safetensors") };
        Assert.Throws<FileNotFoundException>(() => SmallTraining.Run(_folder.Path, impossible));
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
        Assert.Throws<FileNotFoundException>(() => SmallTraining.Run(_folder.File("new/run/"), impossible));
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
        SmallTraining.Run(_folder.Path, OneEpoch);
        string[] files = [_run.Last, _run.Best, _run.Model, _run.Metrics];
        byte[][] before = [.. files.Select(File.ReadAllBytes)];
        Assert.Throws<FileNotFoundException>(() => SmallTraining.Run(_folder.Path, impossible, ExistingRun.Overwrite));
        Assert.Equal(before, files.Select(File.ReadAllBytes));
    }

    [Fact]
    public void ARunCanStartFromTheWeightsItReplaces()
    {
        SmallTraining.Run(_folder.Path, OneEpoch);
        Assert.True(SmallTraining.Run(_folder.Path, OneEpoch with { InitialWeights = _run.Best }, ExistingRun.Overwrite).IsComplete);
    }

    [Theory]
    [InlineData(ExistingRun.Refuse)]
    [InlineData(ExistingRun.Resume)]
    [InlineData(ExistingRun.Overwrite)]
    public void ASecondRunInTheFolderOfARunningOne_IsRefused(ExistingRun existing)
    {
        TrainingException? refusal = null;
        Observer observer = new()
        {
            Started = _ => refusal = Assert.Throws<TrainingException>(() => SmallTraining.Run(_folder.Path, OneEpoch, existing)),
        };
        Assert.True(SmallTraining.Run(_folder.Path, OneEpoch, observer: observer).IsComplete);
        Assert.Contains(_folder.Path, refusal!.Message);
        Assert.Contains("another run", refusal.Message);
    }

    [Fact]
    public void TemporaryFilesOfAKilledRun_AreCleared()
    {
        File.WriteAllText(_folder.File(".last.safetensors.99-1.tmp"), "half");
        File.WriteAllText(_folder.File(".best.safetensors.99-2.tmp"), "half");
        SmallTraining.Run(_folder.Path, OneEpoch);
        Assert.DoesNotContain(Directory.GetFiles(_folder.Path), file => file.EndsWith(".tmp", StringComparison.Ordinal));
    }

    [Fact]
    public void AFileInTheFoldersPlace_IsNamed()
    {
        string file = _folder.File("file");
        File.WriteAllText(file, "");
        Assert.Contains(file, Assert.Throws<IOException>(() => SmallTraining.Run(file, OneEpoch)).Message);
        string below = Path.Combine(file, "run");
        Assert.Contains(file, Assert.ThrowsAny<IOException>(() => SmallTraining.Run(below, OneEpoch)).Message);
    }

    [Fact]
    public void ACheckpointThatCannotBeWritten_IsNamed_AndTheOldOneStays()
    {
        // A folder in the file's place fails whoever runs the tests; permissions would not stop an administrator.
        byte[] last = [];
        Observer observer = new()
        {
            Stepped = step =>
            {
                if (step.Iteration != 2) return;
                last = File.ReadAllBytes(_run.Last);
                Directory.CreateDirectory(_run.Best);
            },
        };
        IOException e = Assert.ThrowsAny<IOException>(() => SmallTraining.Run(_folder.Path, observer: observer));
        Assert.Contains(_run.Best, e.Message);
        Assert.Equal(last, File.ReadAllBytes(_run.Last));
        Directory.Delete(_run.Best);
        Assert.True(SmallTraining.Run(_folder.Path, existing: ExistingRun.Resume).IsComplete);
    }

    [Fact]
    public void BestWeightsThatWentMissing_AreNamedBeforeTheTrainingGoesOn()
    {
        using CancellationTokenSource source = new();
        Observer observer = new() { Stepped = step => { if (step.Iteration == 4) source.Cancel(); } };
        SmallTraining.Run(_folder.Path, observer: observer, cancellation: source.Token);
        File.Delete(_run.Best);
        TrainingException e = Assert.Throws<TrainingException>(() => SmallTraining.Run(_folder.Path, existing: ExistingRun.Resume));
        Assert.Contains(_run.Best, e.Message);
        Assert.Contains("epoch 1", e.Message);
    }

    [Fact]
    public void ResumingWhereNothingIs_Starts()
    {
        Assert.True(SmallTraining.Run(_folder.File("new"), OneEpoch, ExistingRun.Resume).IsComplete);
        SafetensorsFile.Open(new RunFiles(_folder.File("new")).Model).Dispose();
    }
}
