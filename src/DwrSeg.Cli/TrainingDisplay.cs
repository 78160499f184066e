using System.Diagnostics;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Training;
using Spectre.Console;

namespace DwrSeg.Cli;

/// <summary>Shows a training: a progress bar on a terminal, else a line now and then.</summary>
internal abstract class TrainingDisplay(TrainingOptions options) : ITrainingObserver
{
    protected TrainingOptions Options { get; } = options;

    protected TrainingStart? Start { get; private set; }

    /// <summary>Runs a training with the display that suits the output.</summary>
    public static TrainingResult Show(TrainingOptions options, Func<ITrainingObserver, TrainingResult> run) =>
        Terminal.IsRich ? ShowBar(AnsiConsole.Console, options, run) : run(new Lines(options));

    /// <summary>Runs a training with a progress bar.</summary>
    internal static TrainingResult ShowBar(IAnsiConsole console, TrainingOptions options, Func<ITrainingObserver, TrainingResult> run) =>
        Bar.Show(console, options, run);

    public virtual void OnStarted(TrainingStart start)
    {
        Start = start;
        WriteLine($"{start.Device}");
        WriteLine($"{start.Images} images, {start.ValidationImages} to validate; {Options.Epochs} epochs of {start.StepsPerEpoch} steps of {Options.BatchSize} " +
            $"crops {Options.Augmentation.CropHeight}x{Options.Augmentation.CropWidth}; {start.ActivationBytes / 1048576.0:F0} MiB of activations");
        if (start.Iteration > 0) WriteLine($"resumed after step {start.Iteration}{(start.BestMeanIou is { } best ? $", best mIoU {best:F4}" : "")}");
    }

    public abstract void OnStep(in TrainingStep step);

    public virtual void OnValidating(int done, int count)
    {
    }

    public virtual void OnValidated(int epoch, EvaluationResult result, bool isBest) =>
        WriteLine($"epoch {epoch}/{Options.Epochs}  mIoU {Show(result.MeanIou)}  pixel accuracy {Show(result.PixelAccuracy)}{(isBest ? "  best" : "")}");

    protected abstract void WriteLine(string line);

    /// <summary>What a step tells, in at most so many characters: where there is less room the less important parts are left out.</summary>
    protected string Describe(in TrainingStep step, int width = int.MaxValue)
    {
        (string Text, int Rank)[] parts =
        [
            ($"epoch {step.Epoch}/{Options.Epochs}", 0),
            ($"step {step.Step}/{Start!.StepsPerEpoch}", 3),
            ($"loss {(step.Loss is { } loss ? loss.ToString("F4") : "none")}", 1),
            ($"lr {step.LearningRate:F5}", 4),
            ($"{step.ImagesPerSecond:F2} images/s", 5),
            ($"eta {Show(step.Remaining)}", 2),
        ];
        for (int rank = parts.Length - 1; ; rank--)
        {
            string line = string.Join("  ", parts.Where(part => part.Rank <= rank).Select(part => part.Text));
            if (line.Length <= width || rank == 0) return line;
        }
    }

    private static string Show(double? share) => share is { } value ? value.ToString("F4") : "none";

    private static string Show(TimeSpan time) => $"{(long)time.TotalHours}:{time.Minutes:00}:{time.Seconds:00}";

    private sealed class Lines(TrainingOptions options) : TrainingDisplay(options)
    {
        private static readonly TimeSpan Interval = TimeSpan.FromSeconds(20);
        private long _last;

        public override void OnStep(in TrainingStep step)
        {
            bool isDue = step.Step == Start!.StepsPerEpoch || _last == 0 || Stopwatch.GetElapsedTime(_last) >= Interval;
            if (!isDue) return;
            _last = Stopwatch.GetTimestamp();
            WriteLine(Describe(step));
        }

        protected override void WriteLine(string line) => Console.Out.WriteLine(line);
    }

    private sealed class Bar(TrainingOptions options, IAnsiConsole console, ProgressTask task, ProgressDrawing drawing) : TrainingDisplay(options)
    {
        private const int BarWidth = 20;

        // "100%", and a space between columns.
        private const int Beside = 6;

        private string _epoch = "";

        public static TrainingResult Show(IAnsiConsole console, TrainingOptions options, Func<ITrainingObserver, TrainingResult> run) => console.Progress()
            .AutoRefresh(false)
            .Columns(new ProgressBarColumn { Width = BarWidthOf(console) }, new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .Start(context =>
            {
                Bar bar = new(options, console, context.AddTask("starting"), new ProgressDrawing(context));
                bar.Draw();
                return run(bar);
            });

        public void Draw() => drawing.Changed();

        public override void OnStarted(TrainingStart start)
        {
            base.OnStarted(start);
            task.MaxValue = start.TotalSteps;
            task.Value = start.Iteration;
            drawing.Changed();
        }

        public override void OnStep(in TrainingStep step)
        {
            task.Value = step.Iteration;
            _epoch = $"epoch {step.Epoch}/{Options.Epochs}  ";
            // A description that does not fit takes the bar's room, and the bar is gone.
            task.Description = Markup.Escape(Describe(step, console.Profile.Width - BarWidthOf(console) - Beside));
            drawing.Changed();
        }

        public override void OnValidating(int done, int count)
        {
            task.Description = $"{_epoch}validating {done}/{count}";
            drawing.Changed();
        }

        protected override void WriteLine(string line) => console.WriteLine(line);

        private static int BarWidthOf(IAnsiConsole console) => Math.Min(BarWidth, console.Profile.Width / 4);
    }
}
