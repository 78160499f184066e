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
        Terminal.IsRich ? Bar.Show(options, run) : run(new Lines(options));

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

    protected string Describe(in TrainingStep step) =>
        $"epoch {step.Epoch}/{Options.Epochs}  step {step.Step}/{Start!.StepsPerEpoch}  loss {(step.Loss is { } loss ? loss.ToString("F4") : "none")}  " +
        $"lr {step.LearningRate:F5}  {step.ImagesPerSecond:F2} images/s  eta {Show(step.Remaining)}";

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

    private sealed class Bar(TrainingOptions options, ProgressTask task) : TrainingDisplay(options)
    {
        private string _step = "";

        public static new TrainingResult Show(TrainingOptions options, Func<ITrainingObserver, TrainingResult> run) => AnsiConsole.Progress()
            .Columns(new ProgressBarColumn { Width = 20 }, new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .Start(context => run(new Bar(options, context.AddTask("starting"))));

        public override void OnStarted(TrainingStart start)
        {
            base.OnStarted(start);
            task.MaxValue = start.TotalSteps;
            task.Value = start.Iteration;
        }

        public override void OnStep(in TrainingStep step)
        {
            task.Value = step.Iteration;
            task.Description = _step = Markup.Escape(Describe(step));
        }

        public override void OnValidating(int done, int count) => task.Description = $"{_step}  validating {done}/{count}";

        protected override void WriteLine(string line) => AnsiConsole.WriteLine(line);
    }
}
