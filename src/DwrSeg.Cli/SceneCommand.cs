using System.CommandLine;
using DwrSeg.Native.Data;

namespace DwrSeg.Cli;

/// <summary><c>dwrseg scene</c>: writes generated street scenes as a data set.</summary>
internal static class SceneCommand
{
    private const int LeastSide = 16, MostSide = 8192, MostScenes = 1_000_000;

    public static Command Create()
    {
        Option<int> count = new("--count") { Description = "Number of scenes.", HelpName = "N", Required = true };
        count.InRange(1, MostScenes);
        Option<string> output = new("--out")
        {
            Description = "The data set's folder: gets classes.json, and images/ and labels/ in a folder for the split.",
            HelpName = "DIR",
            Required = true,
        };
        Option<ulong> seed = new("--seed") { Description = "Chooses the series of scenes; 0 by default.", HelpName = "S" };
        Option<string> split = new("--split")
        {
            Description = "The split to write; the same seed shows each split other scenes.",
            HelpName = "NAME",
            DefaultValueFactory = _ => "train",
        };
        Option<(int Height, int Width)?> size = CommonOptions.Size("Size of the scenes, 360x480 by default.");
        size.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<(int Height, int Width)?>() is not { } given) return;
            if (given.Height is < LeastSide or > MostSide || given.Width is < LeastSide or > MostSide)
                result.AddError($"--size is {given.Height}x{given.Width}; sides of {LeastSide} to {MostSide} are possible.");
        });
        var command = new Command(
            "scene",
            "Write procedural street scenes with exact labels in CamVid's 11 classes, as a data set for train and eval, or to try a model on. " +
            "The same options give the same files; scenes that are there already are replaced. Ctrl-C stops after the scene at hand.")
        {
            count, output, seed, split, size,
        };
        command.SetAction(result => Run(
            result.GetValue(output)!, result.GetValue(split)!, result.GetValue(count), result.GetValue(seed),
            result.GetValue(size) ?? (360, 480)));
        return ExampleHelp.WithExamples(
            command,
            "dwrseg scene --count 200 --out scenes --seed 1",
            "dwrseg scene --count 40 --out scenes --seed 1 --split val",
            "dwrseg scene --count 1 --out sample --seed 15 --size 720x960");
    }

    private static int Run(string root, string split, int count, ulong seed, (int Height, int Width) size)
    {
        Terminal.WithProgress("drawing", count, report =>
        {
            SceneGenerator.WriteDataset(root, split, count, seed, size.Width, size.Height, new Progress(report), Interruption.Token);
            return 0;
        });
        Console.Out.WriteLine($"wrote {count} {(count == 1 ? "scene" : "scenes")} to {Path.Combine(root, split)}");
        return ExitCode.Ok;
    }

    // Unlike the framework's, it reports at once, on the thread that drew a scene, so that no report comes after the bar is gone.
    private sealed class Progress(Action<int> report) : IProgress<int>
    {
        public void Report(int value) => report(value);
    }
}
