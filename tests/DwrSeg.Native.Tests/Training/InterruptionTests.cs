using System.Diagnostics;
using DwrSeg.Native.Tests.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

/// <summary>The tool's <c>train</c>, ended from outside.</summary>
public sealed class InterruptionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _data, _model;

    public InterruptionTests()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent as on Unix");
        (_data, _model) = SmallTraining.WriteFiles(_folder, training: 7, validation: 2);
    }

    public void Dispose() => _folder.Dispose();

    private string[] Train(string run, int epochs, params string[] more) =>
    [
        "train", "--data", _data, "--out", run, "--model", _model, "--crop", "32x48", "--batch", "2", "--epochs", $"{epochs}",
        "--threads", "2", "--seed", "3", "--metrics-every", "2", "--save-minutes", "0.001", .. more,
    ];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void KilledAtRandomMoments_TheResumedRunGivesTheSameBits(int seed)
    {
        const int Epochs = 8, MostKills = 5, MostRuns = 20;
        RunFiles whole = new(_folder.File("whole")), killed = new(_folder.File("killed"));
        TimeSpan duration = RunWhole(Epochs);
        Random random = new(seed);
        bool isComplete = false;
        int kills = 0, midway = 0, runs = 1;
        while (!isComplete)
        {
            using DwrSegProcess process = DwrSegProcess.Start(Train(_folder.File("killed"), Epochs, "--resume"));
            // Every other time after a step at least, so that there is something to resume however slow the machine is just now.
            if ((kills < MostKills || (midway == 0 && kills < 4 * MostKills)) && process.WaitFor(kills % 2 == 0 ? "  step " : " epochs of "))
            {
                // Anywhere in the training: in a step, a validation, a save, or between.
                if (!process.WaitForExit(duration * 0.6 * random.NextDouble()))
                {
                    process.Kill();
                    kills++;
                }
            }
            bool wasKilled = process.WaitForExit() != 0;
            Assert.True(!wasKilled || process.Error.Length == 0, process.Error);
            if (process.Output.Contains("resumed after step", StringComparison.Ordinal)) midway++;
            isComplete = !wasKilled;
            // Done before anything was resumed, on a machine that has just become faster: from the beginning.
            if (!isComplete || midway > 0 || runs == MostRuns) continue;
            Directory.Delete(_folder.File("killed"), recursive: true);
            (isComplete, kills) = (false, 0);
            runs++;
        }
        Assert.True(kills > 0 && midway > 0, $"{kills} kills, {midway} resumptions: the training is too short to hit");
        killed.AssertSame(whole, $"killed {kills} times");
        Assert.DoesNotContain(Directory.GetFiles(_folder.File("killed")), file => file.EndsWith(".tmp", StringComparison.Ordinal));
    }

    [Fact]
    public void CtrlC_SavesAndExitsWith130_AndTheRunGoesOnFromThere()
    {
        const int Endless = 100_000;
        string run = _folder.File("run");
        using DwrSegProcess first = DwrSegProcess.Start(Train(run, Endless));
        Assert.True(first.WaitFor("  step "), first.Error);
        first.Signal(DwrSegProcess.Interrupt);
        Assert.Equal(130, first.WaitForExit());
        Assert.StartsWith("dwrseg: interrupted after step ", first.Error);
        string step = first.Error["dwrseg: interrupted after step ".Length..].Split(';')[0];
        Assert.Contains("--resume", first.Error);
        using DwrSegProcess second = DwrSegProcess.Start(Train(run, Endless, "--resume"));
        Assert.True(second.WaitFor($"resumed after step {step}"), second.Output + second.Error);
        Assert.True(second.WaitFor("  step "), second.Error);
        second.Signal(DwrSegProcess.Interrupt);
        Assert.Equal(130, second.WaitForExit());
    }

    [Fact]
    public void ASecondProcessInTheFolder_IsRefused()
    {
        string run = _folder.File("run");
        using DwrSegProcess first = DwrSegProcess.Start(Train(run, 100_000));
        Assert.True(first.WaitFor("  step "), first.Error);
        using DwrSegProcess second = DwrSegProcess.Start(Train(run, 100_000, "--resume"));
        Assert.Equal(1, second.WaitForExit());
        Assert.Contains("another run", second.Error);
        Assert.Contains(run, second.Error);
        first.Kill();
        Assert.NotEqual(0, first.WaitForExit());
        // The lock dies with its process.
        using DwrSegProcess third = DwrSegProcess.Start(Train(run, 100_000, "--resume"));
        Assert.True(third.WaitFor("resumed after step") || third.WaitFor("  step "), third.Error);
    }

    [Fact]
    public void AFullDisk_EndsTheTrainingWithTheFilesNameAndTheOldCheckpoint()
    {
        string run = _folder.File("run");
        using DwrSegProcess first = DwrSegProcess.Start(Train(run, 100_000));
        Assert.True(first.WaitFor("  step "), first.Error);
        first.Signal(DwrSegProcess.Interrupt);
        Assert.Equal(130, first.WaitForExit());
        RunFiles files = new(run);
        byte[] last = File.ReadAllBytes(files.Last);
        // No file may grow beyond half of a checkpoint: as on a full disk, writing fails in its middle.
        using DwrSegProcess second = DwrSegProcess.StartAfter(
            $"trap '' XFSZ; ulimit -f {last.Length / 2048}", Train(run, 100_000, "--resume"));
        Assert.Equal(3, second.WaitForExit());
        Assert.StartsWith("dwrseg: cannot write ", second.Error);
        Assert.Contains(run, second.Error);
        Assert.Single(second.Error.TrimEnd().Split('\n'));
        Assert.Equal(last, File.ReadAllBytes(files.Last));
        Assert.DoesNotContain(Directory.GetFiles(run), file => file.EndsWith(".tmp", StringComparison.Ordinal));
    }

    private TimeSpan RunWhole(int epochs)
    {
        using DwrSegProcess process = DwrSegProcess.Start(Train(_folder.File("whole"), epochs));
        Assert.True(process.WaitFor(" epochs of "), process.Error);
        long began = Stopwatch.GetTimestamp();
        Assert.True(process.WaitForExit() == 0, process.Error);
        return Stopwatch.GetElapsedTime(began);
    }
}
