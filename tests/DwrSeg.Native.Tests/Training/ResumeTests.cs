using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

public sealed class ResumeTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void CancelledAfterAnyStep_ResumedRunGivesTheSameBits()
    {
        RunFiles whole = Whole();
        for (int step = 1; step < SmallTraining.Steps; step++)
        {
            string folder = _folder.File($"cancelled-{step}");
            using CancellationTokenSource source = new();
            TrainingResult first = SmallTraining.Run(folder, observer: CancelAfter(step, source), cancellation: source.Token);
            Assert.False(first.IsComplete);
            Assert.Equal((step, null), (first.Iteration, first.ModelFile));
            // How batches are prepared and when checkpoints are written may change in between.
            TrainingOptions others = SmallTraining.Options with { Workers = 1 + step % 3, SaveInterval = TimeSpan.FromMilliseconds(step) };
            Assert.True(SmallTraining.Run(folder, others, ExistingRun.Resume).IsComplete);
            new RunFiles(folder).AssertSame(whole, $"cancelled after step {step}");
        }
    }

    [Fact]
    public void InterruptedAfterEveryStep_ManyResumptionsGiveTheSameBits()
    {
        RunFiles whole = Whole();
        string folder = _folder.File("steps");
        for (int step = 1; step <= SmallTraining.Steps; step++)
        {
            using CancellationTokenSource source = new();
            Observer observer = CancelAfter(step, source);
            SmallTraining.Run(folder, existing: ExistingRun.Resume, observer: observer, cancellation: source.Token);
            Assert.Single(observer.Steps);
        }
        SmallTraining.Run(folder, existing: ExistingRun.Resume);
        new RunFiles(folder).AssertSame(whole, "interrupted after every step");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(600)]
    public void LostWithoutASave_ResumedRunGivesTheSameBits(int secondsBetweenSaves)
    {
        RunFiles whole = Whole();
        TrainingOptions options = SmallTraining.Options with { SaveInterval = TimeSpan.FromSeconds(secondsBetweenSaves) };
        // In the middle of each epoch; its ends are saved either way.
        for (int step = 2; step <= SmallTraining.Steps; step += SmallTraining.StepsPerEpoch)
        {
            string folder = _folder.File($"lost-{secondsBetweenSaves}-{step}");
            Observer observer = new() { Stepped = s => Lose(s.Iteration == step) };
            Assert.Throws<PowerCut>(() => SmallTraining.Run(folder, options, observer: observer));
            SmallTraining.Run(folder, options, ExistingRun.Resume);
            new RunFiles(folder).AssertSame(whole, $"lost after step {step}");
        }
    }

    [Fact]
    public void LostOrCancelledWhileValidating_ResumedRunValidatesAgain()
    {
        RunFiles whole = Whole();
        for (int epoch = 1; epoch <= 4; epoch++)
        {
            string cancelled = _folder.File($"validation-{epoch}"), lost = _folder.File($"lost-validation-{epoch}");
            using CancellationTokenSource source = new();
            int validations = 0;
            Observer canceller = new() { Validating = done => { if (done == 1 && ++validations == epoch) source.Cancel(); } };
            Assert.False(SmallTraining.Run(cancelled, observer: canceller, cancellation: source.Token).IsComplete);
            Observer observer = new();
            SmallTraining.Run(cancelled, existing: ExistingRun.Resume, observer: observer);
            Assert.Equal(epoch, observer.Validations[0].Epoch);
            new RunFiles(cancelled).AssertSame(whole, $"cancelled in validation {epoch}");

            Assert.Throws<PowerCut>(() => SmallTraining.Run(lost, observer: new Observer { Validated = e => Lose(e == epoch) }));
            SmallTraining.Run(lost, existing: ExistingRun.Resume);
            new RunFiles(lost).AssertSame(whole, $"lost after validation {epoch}");
        }
    }

    [Fact]
    public void MetricsCutInALine_AreWrittenAgain()
    {
        RunFiles whole = Whole();
        string folder = _folder.File("cut");
        Assert.Throws<PowerCut>(() => SmallTraining.Run(folder, observer: new Observer { Stepped = s => Lose(s.Iteration == 8) }));
        RunFiles run = new(folder);
        File.AppendAllText(run.Metrics, """{"kind":"step","epoch":3,"itera""");
        SmallTraining.Run(folder, existing: ExistingRun.Resume);
        run.AssertSame(whole, "metrics cut in a line");
    }

    [Fact]
    public void CompleteRunResumed_ExportsItsModelAgainAndChangesNothing()
    {
        RunFiles whole = Whole();
        File.Copy(whole.Model, _folder.File("model"));
        byte[] last = File.ReadAllBytes(whole.Last), metrics = File.ReadAllBytes(whole.Metrics);
        File.Delete(whole.Model);
        Observer observer = new();
        TrainingResult result = SmallTraining.Run(_folder.File("whole"), existing: ExistingRun.Resume, observer: observer);
        Assert.True(result.IsComplete);
        Assert.Empty(observer.Steps);
        Assert.Equal(File.ReadAllBytes(_folder.File("model")), File.ReadAllBytes(whole.Model));
        Assert.Equal(last, File.ReadAllBytes(whole.Last));
        Assert.Equal(metrics, File.ReadAllBytes(whole.Metrics));
    }

    [Fact]
    public void WithoutValidation_ResumedRunGivesTheSameBitsToo()
    {
        string whole = _folder.File("a"), resumed = _folder.File("b");
        Trainer.Run(SmallTraining.Options, SmallTraining.Training, null, whole);
        using CancellationTokenSource source = new();
        Trainer.Run(SmallTraining.Options, SmallTraining.Training, null, resumed, ExistingRun.Refuse, CancelAfter(6, source), source.Token);
        Trainer.Run(SmallTraining.Options, SmallTraining.Training, null, resumed, ExistingRun.Resume);
        Assert.Equal(File.ReadAllBytes(new RunFiles(whole).Last), File.ReadAllBytes(new RunFiles(resumed).Last));
        Assert.Equal(File.ReadAllBytes(new RunFiles(whole).Model), File.ReadAllBytes(new RunFiles(resumed).Model));
        Assert.False(File.Exists(new RunFiles(whole).Best));
    }

    private RunFiles Whole()
    {
        string folder = _folder.File("whole");
        Assert.True(SmallTraining.Run(folder).IsComplete);
        return new RunFiles(folder);
    }

    private static Observer CancelAfter(int step, CancellationTokenSource source) =>
        new() { Stepped = s => { if (s.Iteration == step) source.Cancel(); } };

    private static void Lose(bool now)
    {
        if (now) throw new PowerCut();
    }

    private sealed class PowerCut : Exception;
}
