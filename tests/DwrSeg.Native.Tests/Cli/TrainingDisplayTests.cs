using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using DwrSeg.Cli;
using DwrSeg.Native.Tests.Training;
using DwrSeg.Native.Training;
using Spectre.Console;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed partial class TrainingDisplayTests
{
    private const string Everything = "epoch 123/400  step 367/367  loss 1.2346  lr 0.01234  12.35 images/s  eta 30:45:56";

    [Theory]
    [InlineData(200, Everything)]
    [InlineData(80, "epoch 123/400  step 367/367  loss 1.2346  eta 30:45:56")]
    [InlineData(60, "epoch 123/400  loss 1.2346")]
    [InlineData(24, "epoch 123/400")]
    public void TheBarStays_AndTheStepTellsWhatThereIsRoomFor(int width, string step)
    {
        using StringWriter output = new();
        ShowShortTraining(output, width, TimeSpan.FromMilliseconds(150));
        string last = Escapes().Replace(output.ToString(), "").Split('\n').Last(line => line.Contains("epoch 123", StringComparison.Ordinal)).Trim();
        Assert.Matches("^━{1,20} +30% +epoch", last);
        Assert.EndsWith(step, last, StringComparison.Ordinal);
        Assert.InRange(last.Length, 1, width);
    }

    [Fact]
    public void AllIsDrawnByTheThreadThatReports()
    {
        // Another one might outlive the bar, and its writer. It would draw ten times a second.
        using ThreadRecorder output = new();
        ShowShortTraining(output, width: 80, TimeSpan.FromMilliseconds(300));
        Assert.Equal([Environment.CurrentManagedThreadId], output.Threads.Distinct());
    }

    private static void ShowShortTraining(TextWriter output, int width, TimeSpan pause = default)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = AnsiSupport.Yes, Interactive = InteractionSupport.Yes, ColorSystem = ColorSystemSupport.NoColors, Out = new AnsiConsoleOutput(output),
        });
        console.Profile.Width = width;
        TrainingDisplay.ShowBar(console, SmallTraining.Options with { Epochs = 400 }, observer =>
        {
            if (pause > TimeSpan.Zero) Assert.Contains("starting", output.ToString(), StringComparison.Ordinal);
            observer.OnStarted(new TrainingStart("cpu", 3000, 500, 367, 400 * 367, 0, null, 1 << 30));
            Thread.Sleep(pause);
            observer.OnStep(new TrainingStep(123, 367, 45141, 1.23456f, 0.01234f, 12.345, new TimeSpan(30, 45, 56)));
            // Drawn at once, where the last time is long enough ago.
            if (pause > TimeSpan.Zero) Assert.Contains("epoch 123", output.ToString(), StringComparison.Ordinal);
            return new TrainingResult(true, 45141, null, null, null);
        });
    }

    private sealed class ThreadRecorder : StringWriter
    {
        public ConcurrentQueue<int> Threads { get; } = [];

        public override void Write(string? value)
        {
            Threads.Enqueue(Environment.CurrentManagedThreadId);
            base.Write(value);
        }
    }

    [GeneratedRegex(@"\e\[[0-9;?]*[A-Za-z]|\r")]
    private static partial Regex Escapes();
}
