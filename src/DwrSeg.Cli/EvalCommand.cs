using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using DwrSeg.Native;
using DwrSeg.Native.Data;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;

namespace DwrSeg.Cli;

/// <summary><c>dwrseg eval</c>: measures a model on a split.</summary>
internal static class EvalCommand
{
    public static Command Create()
    {
        Option<string> data = new("--data") { Description = "The data set's folder: CamVid, Cityscapes or own data.", HelpName = "DIR", Required = true };
        Option<string> split = new("--split") { Description = "The split, or several as train+val.", HelpName = "S", DefaultValueFactory = _ => "val" };
        Option<string> model = new("--model") { Description = "A weights file.", HelpName = "FILE", Required = true };
        Option<(int Height, int Width)?> size = CommonOptions.Size("Network's input size; default: the model file's, else each image's own. Labels keep their size.");
        Option<string> device = CommonOptions.Device();
        Option<Precision> precision = CommonOptions.Precision();
        Option<int> threads = CommonOptions.Threads();
        Option<ConvolutionChoice> convolutions = CommonOptions.Convolutions();
        Option<string?> json = CommonOptions.JsonFile("Also write the measures and the confusion matrix to this file.");
        Option<string?> export = new("--export")
        {
            Description = "Also write each class map at the image's full size into this folder: for Cityscapes label ids as its benchmark takes " +
                "them (NAME_pred_labelIds.png), for others class ids (NAME.classes.png). Several splits get a folder each.",
            HelpName = "DIR",
        };
        var command = new Command(
            "eval",
            "Measure a model on a data set: IoU of each class, their mean, and pixel accuracy, at the labels' resolution. " +
            "The last line is 'mIoU 0.xxxx', or 'mIoU none' where the split has no labels.")
        {
            data, split, model, size, device, precision, threads, convolutions, json, export,
        };
        command.SetAction(result =>
        {
            SegmentationDataset dataset = SegmentationDataset.Open(result.GetValue(data)!, result.GetValue(split)!);
            var options = new EvaluationOptions
            {
                InputSize = result.GetValue(size) ?? ModelChoice.Open(result.GetValue(model)!).InputSize,
                Device = result.GetValue(device)!,
                Threads = result.GetValue(threads),
                Precision = result.GetValue(precision),
                Convolutions = result.GetValue(convolutions),
            };
            return Run(dataset, result.GetValue(model)!, options, result.GetValue(json), result.GetValue(export));
        });
        return ExampleHelp.WithExamples(
            command,
            "dwrseg eval --data camvid --split test --model runs/camvid/model.safetensors",
            "dwrseg eval --data cityscapes --split test --model model.safetensors --size 512x1024 --export submission");
    }

    private static int Run(SegmentationDataset dataset, string model, EvaluationOptions options, string? jsonFile, string? exportFolder)
    {
        bool isCityscapes = dataset.Classes.Names.SequenceEqual(ClassList.Cityscapes.Names, StringComparer.Ordinal);
        // What can't be written is told before the evaluation, not after it.
        if (jsonFile is not null) AtomicFile.RequireWritable(jsonFile);
        if (exportFolder is not null) OutputFolder.Create(exportFolder);
        using Evaluator evaluator = Evaluator.Load(model, options);
        EvaluationResult result = Terminal.WithProgress("evaluating", dataset.Count, report => evaluator.Run(
            dataset,
            (sample, classes, done) =>
            {
                if (exportFolder is not null) Export(FolderOf(exportFolder, dataset, done - 1), sample, classes, isCityscapes);
                report(done);
            },
            Interruption.Token));
        Terminal.WriteTable(
            ["class", "IoU>", "pixels>"],
            [.. result.PerClass.Select(c => new[] { c.Name, Show(c.Iou), c.Pixels.ToString("N0", CultureInfo.InvariantCulture) })]);
        Console.Out.WriteLine($"images {result.Images}");
        Console.Out.WriteLine($"pixel accuracy {Show(result.PixelAccuracy)}");
        Console.Out.WriteLine($"mIoU {Show(result.MeanIou)}");
        if (jsonFile is not null) AtomicFile.Write(jsonFile, stream => WriteJson(stream, dataset, model, result));
        return ExitCode.Ok;
    }

    // Splits may use the same names, so each of several has a folder of its own.
    private static string FolderOf(string folder, SegmentationDataset dataset, int index)
    {
        if (dataset is not JoinedDataset joined) return folder;
        string own = Path.Combine(folder, Path.GetFileName(joined.PartOf(index).Name));
        OutputFolder.Create(own);
        return own;
    }

    private static void Export(string folder, SegmentationSample sample, ReadOnlySpan<byte> classes, bool isCityscapes)
    {
        if (isCityscapes) CityscapesSubmission.Write(folder, sample.Name, sample.Width, sample.Height, classes);
        else ImageCodec.SaveLabels(Path.Combine(folder, $"{sample.Name}.classes.png"), sample.Width, sample.Height, classes);
    }

    private static void WriteJson(Stream stream, SegmentationDataset dataset, string model, EvaluationResult result)
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteString("data", dataset.Name);
        json.WriteString("model", model);
        json.WriteNumber("images", result.Images);
        WriteNumber(json, "mIoU", result.MeanIou);
        WriteNumber(json, "pixelAccuracy", result.PixelAccuracy);
        json.WriteStartArray("classes");
        foreach (ClassResult of in result.PerClass)
        {
            json.WriteStartObject();
            json.WriteString("name", of.Name);
            WriteNumber(json, "iou", of.Iou);
            json.WriteNumber("pixels", of.Pixels);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteStartArray("confusion");
        for (int label = 0; label < result.Matrix.Classes; label++)
        {
            json.WriteStartArray();
            for (int predicted = 0; predicted < result.Matrix.Classes; predicted++) json.WriteNumberValue(result.Matrix[label, predicted]);
            json.WriteEndArray();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteNumber(Utf8JsonWriter json, string key, double? value)
    {
        if (value is { } number) json.WriteNumber(key, number);
        else json.WriteNull(key);
    }

    private static string Show(double? share) => share is { } value ? value.ToString("F4", CultureInfo.InvariantCulture) : "none";
}
