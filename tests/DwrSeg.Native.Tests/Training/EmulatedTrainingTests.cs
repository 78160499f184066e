using DwrSeg.Native.Tests.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

/// <summary>The tool's <c>train</c> on the emulated CUDA device.</summary>
public sealed class EmulatedTrainingTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _data, _model;

    public EmulatedTrainingTests()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent as on Unix");
        (_data, _model) = SmallTraining.WriteFiles(_folder, training: 4, validation: 1);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void TrainsAsTheProcessorDoes_AndGivesTheSameBitsEachTime_ResumedToo()
    {
        RunFiles onCpu = Train("cpu", "cpu"), first = Train("emulated", "first");
        double[] expected = Losses(onCpu), found = Losses(first);
        Assert.Equal(expected.Length, found.Length);
        // Roundings differ from the first step on, and each step makes several times as much of what the one before left.
        for (int i = 0; i < 3; i++) Assert.Equal(expected[i], found[i], 1e-4 * expected[i]);

        using DwrSegProcess interrupted = DwrSegProcess.Start(Arguments("emulated", "second"));
        Assert.True(interrupted.WaitFor("  step "), interrupted.Error);
        // On a machine that is held up just now it may have come to its end.
        bool isInTime = interrupted.TrySignal(DwrSegProcess.Interrupt);
        Assert.True(interrupted.WaitForExit() == 0 || isInTime, interrupted.Error);
        Train("emulated", "second", "--resume").AssertSame(first, "interrupted and resumed");
    }

    private RunFiles Train(string device, string run, params string[] more)
    {
        DwrSegProcess.Run(Arguments(device, run, more));
        return new RunFiles(_folder.File(run));
    }

    private string[] Arguments(string device, string run, params string[] more) =>
    [
        "train", "--data", _data, "--out", _folder.File(run), "--model", _model, "--crop", "32x48", "--batch", "2", "--epochs", "6", "--threads", "2",
        "--seed", "3", "--metrics-every", "1", "--device", device, .. more,
    ];

    private static double[] Losses(RunFiles run) => [.. run.Lines("step").Select(line => (double)line["loss"]!)];
}
