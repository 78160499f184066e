using System.CommandLine;
using System.Runtime.ExceptionServices;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Models;
using DwrSeg.Native.Training;

namespace DwrSeg.Cli;

/// <summary><c>dwrseg train</c>: trains a network as in the paper.</summary>
internal static class TrainCommand
{
    private const string NoSplit = "none";

    // A year.
    private const double MostMinutes = 525_600;

    /// <summary>An option that replaces one of the recipe's values where it is given.</summary>
    internal sealed record Setting(Option Option, Func<ParseResult, TrainingOptions, TrainingOptions> Apply);

    public static Command Create()
    {
        Option<string> data = new("--data") { Description = "The data set's folder: CamVid, Cityscapes or own data.", HelpName = "DIR", Required = true };
        Option<string> split = new("--split") { Description = "Split to train on, or several as train+val.", HelpName = "S", DefaultValueFactory = _ => "train" };
        Option<string> validation = new("--val-split")
        {
            Description = "Split to validate on, or none: then the model is the last epoch's, not the best one's.",
            HelpName = "S",
            DefaultValueFactory = _ => "val",
        };
        Option<string> output = new("--out")
        {
            Description = "The run's folder: gets last.safetensors (to resume from), best.safetensors, metrics.jsonl, and at the end model.safetensors.",
            HelpName = "DIR",
            Required = true,
        };
        Option<string> model = ModelChoice.Option();
        model.Description = "base (DWRSeg-B), large (DWRSeg-L) or a weights file, whose configuration is taken.";
        Option<string?> config = ModelChoice.ConfigOption();
        Option<bool> resume = new("--resume") { Description = "Go on where the run in --out was interrupted; the result is the same, bit for bit." };
        Option<bool> verify = new("--verify") { Description = "First decode every image and label, so that a broken one is found now and not in an hour." };
        Option<bool> overwrite = new("--overwrite") { Description = "Replace the run in --out." };
        Setting[] settings = [.. Settings()];
        var command = new Command(
            "train",
            "Train a network as in the paper: SGD, poly learning rate, OHEM cross-entropy, random scale, crop, flip and colour jitter. " +
            "Ctrl-C finishes the step, saves and exits with code 130; a second one ends at once. Exit code 1 where the training diverges.")
        {
            data, split, validation, output, model, config, resume, overwrite, verify,
        };
        foreach (Setting setting in settings) command.Add(setting.Option);
        command.Validators.Add(result =>
        {
            if (result.GetValue(resume) && result.GetValue(overwrite)) result.AddError("--resume and --overwrite exclude each other.");
        });
        command.SetAction(result =>
        {
            string root = result.GetValue(data)!;
            SegmentationDataset training = SegmentationDataset.Open(root, result.GetValue(split)!);
            SegmentationDataset? held = OpenValidation(root, result.GetValue(validation)!);
            TrainingOptions options = Apply(
                settings, result, TrainingOptions.For(training, ModelChoice.Open(result.GetValue(model)!, changes: result.GetValue(config)).Config));
            if (result.GetValue(verify))
            {
                Verify(training);
                if (held is not null) Verify(held);
            }
            ExistingRun existing = result.GetValue(resume) ? ExistingRun.Resume
                : result.GetValue(overwrite) ? ExistingRun.Overwrite
                : ExistingRun.Refuse;
            return Run(options, training, held, result.GetValue(output)!, existing);
        });
        return ExampleHelp.WithExamples(
            command,
            "dwrseg train --data camvid --out runs/camvid --batch 4 --epochs 200",
            "dwrseg train --data camvid --out runs/camvid --batch 4 --epochs 200 --resume",
            "dwrseg train --data camvid --out runs/beta3 --config '{\"beta\": 3}'",
            "dwrseg train --data camvid --split train+val --val-split none --init cityscapes.safetensors --out runs/final");
    }

    private static SegmentationDataset? OpenValidation(string root, string split)
    {
        try
        {
            return split == NoSplit ? null : SegmentationDataset.Open(root, split);
        }
        catch (DatasetException e)
        {
            throw new UsageException($"{e.Message} (--val-split {NoSplit} trains without validation)");
        }
    }

    private static int Run(TrainingOptions options, SegmentationDataset training, SegmentationDataset? validation, string output, ExistingRun existing)
    {
        TrainingResult result = TrainingDisplay.Show(
            options, display => Trainer.Run(options, training, validation, output, existing, display, Interruption.Token));
        if (!result.IsComplete)
        {
            Console.Error.WriteLine($"dwrseg: interrupted after step {result.Iteration}; the same command with --resume goes on");
            return ExitCode.Interrupted;
        }
        if (result.BestMeanIou is { } best) Console.Out.WriteLine($"best validation mIoU {best:F4} after epoch {result.BestEpoch}");
        Console.Out.WriteLine($"wrote {result.ModelFile}");
        return ExitCode.Ok;
    }

    /// <summary>The recipe with the values that the command line gives.</summary>
    internal static TrainingOptions Apply(IEnumerable<Setting> settings, ParseResult result, TrainingOptions recipe) => settings
        .Where(setting => result.GetResult(setting.Option) is not null)
        .Aggregate(recipe, (options, setting) => setting.Apply(result, options));

    // The first broken sample ends it, as it would end the training.
    private static void Verify(SegmentationDataset data)
    {
        int done = 0;
        try
        {
            Terminal.WithProgress($"verifying {data.Name}", data.Count, report =>
            {
                Parallel.For(0, data.Count, new ParallelOptions { CancellationToken = Interruption.Token }, i =>
                {
                    data.Load(i);
                    report(Interlocked.Increment(ref done));
                });
                return 0;
            });
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
        Console.Out.WriteLine($"{data.Name}: {data.Count} samples are sound");
    }

    /// <summary>One for each of the recipe's values.</summary>
    internal static IEnumerable<Setting> Settings()
    {
        yield return Number<int>("--batch", "N", "Images per step; 8 by default.", (o, v) => o with { BatchSize = v });
        yield return Number<int>("--epochs", "N", "Passes over the training set; 400 by default.", (o, v) => o with { Epochs = v });
        Option<(int Height, int Width)?> crop = CommonOptions.Size("Crop size; by default 512x1024 for Cityscapes, else the image's size up to 720x960.", "--crop");
        yield return new(crop, (r, o) => r.GetValue(crop) is not { } size ? o
            : o with { Augmentation = o.Augmentation with { CropHeight = size.Height, CropWidth = size.Width } });
        yield return Number<double>("--min-scale", "X", "Smallest random scale; 0.125 for Cityscapes, else 0.5.", (o, v) => o with { Augmentation = o.Augmentation with { MinScale = v } });
        yield return Number<double>("--max-scale", "X", "Largest random scale; 1.5 for Cityscapes, else 2.", (o, v) => o with { Augmentation = o.Augmentation with { MaxScale = v } });
        yield return Number<double>("--flip", "P", "Probability of a horizontal flip; 0.5.", (o, v) => o with { Augmentation = o.Augmentation with { FlipProbability = v } });
        yield return Number<double>("--brightness", "X", "Brightness jitter, a factor of 1 ± X; 0.5.", (o, v) => o with { Augmentation = o.Augmentation with { Brightness = v } });
        yield return Number<double>("--contrast", "X", "Contrast jitter, a factor of 1 ± X; 0.5.", (o, v) => o with { Augmentation = o.Augmentation with { Contrast = v } });
        yield return Number<double>("--saturation", "X", "Saturation jitter, a factor of 1 ± X; 0.5.", (o, v) => o with { Augmentation = o.Augmentation with { Saturation = v } });
        yield return Number<double>("--learning-rate", "X", "Learning rate of the first step; 0.02.", (o, v) => o with { LearningRate = v });
        yield return Number<double>("--power", "X", "Exponent of the poly schedule; 0.9.", (o, v) => o with { Power = v });
        yield return Number<int>("--warmup", "STEPS", "Steps of linear rise of the learning rate; 0, as in the paper.", (o, v) => o with { WarmupSteps = v });
        yield return Number<double>("--momentum", "X", "Momentum; 0.9.", (o, v) => o with { Momentum = v });
        yield return Number<double>("--weight-decay", "X", "Weight decay; 0.0005.", (o, v) => o with { WeightDecay = v });
        yield return Number<double>("--ohem-threshold", "P", "OHEM: pixels above this probability are easy; 0.7. 1 keeps all.", (o, v) => o with { OhemThreshold = v });
        yield return Number<double>("--ohem-min-kept", "X", "OHEM: share of pixels kept at least; 0.0625.", (o, v) => o with { OhemMinKept = v });
        yield return Number<ulong>("--seed", "N", "Decides initial weights, order and augmentation; 0.", (o, v) => o with { Seed = v });
        Option<string> init = new("--init") { Description = "Weights to start from; where their classes differ the classifier starts fresh.", HelpName = "FILE" };
        yield return new(init, (r, o) => o with { InitialWeights = r.GetValue(init) });
        yield return Number<int>("--validate-every", "N", "Epochs between validations; 1.", (o, v) => o with { ValidationInterval = v });
        Option<(int Height, int Width)?> size = CommonOptions.Size("Input size in validation; by default the crop's where crops are reduced, else each image's own.");
        yield return new(size, (r, o) => o with { ValidationSize = r.GetValue(size) });
        Option<double?> save = new Option<double?>("--save-minutes") { Description = "Minutes between checkpoints within an epoch; 5.", HelpName = "X" }
            .InRange(0, MostMinutes);
        yield return new(save, (r, o) => r.GetValue(save) is { } minutes ? o with { SaveInterval = TimeSpan.FromMinutes(minutes) } : o);
        yield return Number<int>("--metrics-every", "N", "Steps between lines in metrics.jsonl; 10.", (o, v) => o with { MetricsInterval = v });
        Option<string> type = new("--export-type") { Description = "Type of the model's weights: f16 (default), bf16 or f32.", HelpName = "T" };
        type.AcceptOnlyFromAmong("f16", "bf16", "f32");
        yield return new(type, (r, o) => o with { ExportType = Enum.Parse<SafetensorsDType>(r.GetValue(type)!, ignoreCase: true) });
        Option<string> device = CommonOptions.Device();
        yield return new(device, (r, o) => o with { Device = r.GetValue(device)! });
        Option<int> threads = CommonOptions.Threads();
        yield return new(threads, (r, o) => o with { Threads = r.GetValue(threads) });
        yield return Number<int>("--workers", "N", "Threads that prepare batches.", (o, v) => o with { Workers = v });
    }

    private static Setting Number<T>(string name, string helpName, string description, Func<TrainingOptions, T, TrainingOptions> apply)
        where T : struct
    {
        Option<T?> option = new(name) { Description = description, HelpName = helpName };
        return new(option, (result, options) => result.GetValue(option) is { } value ? apply(options, value) : options);
    }
}
