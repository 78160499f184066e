using System.CommandLine;
using System.Diagnostics;
using System.Text.Json;
using DwrSeg.Native;
using DwrSeg.Native.Formats;

namespace DwrSeg.Cli;

/// <summary><c>dwrseg segment</c>: class maps and overlays of images.</summary>
internal static class SegmentCommand
{
    public static Command Create()
    {
        Argument<string[]> images = new("IMAGE|DIR")
        {
            Description = "Images (JPEG, PNG, …), or folders whose .jpg, .jpeg and .png files are taken in the order of their names.",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<string?> model = new("--model") { Description = "Weights file; default: the shipped DWRSeg-B, trained on CamVid.", HelpName = "FILE" };
        Option<string> device = CommonOptions.Device();
        Option<Precision> precision = CommonOptions.Precision();
        Option<int> threads = CommonOptions.Threads();
        Option<ConvolutionChoice> convolutions = CommonOptions.Convolutions();
        Option<(int Height, int Width)?> size = CommonOptions.Size("The network's input size; default: the size that the model was trained for.");
        Option<bool> native = new("--native") { Description = "Give the network each image at its own size." };
        Option<string> output = new("--out") { Description = "Folder for the results; created where missing.", HelpName = "DIR", DefaultValueFactory = _ => "." };
        Option<bool> json = new("--json") { Description = "Print one JSON document instead of text." };
        var command = new Command(
            "segment",
            "Segment images. Writes NAME.classes.png (8-bit grey, the class id of each pixel, at the image's own size) and NAME.overlay.png " +
            "(the image blended with the class colours). An image that can't be read is reported, the others are done; the exit code is then 3.")
        {
            images, model, device, precision, threads, convolutions, size, native, output, json,
        };
        command.Validators.Add(result =>
        {
            if (result.GetValue(native) && result.GetResult(size) is { Implicit: false }) result.AddError("--native and --size exclude each other.");
        });
        command.SetAction(result => Run(
            result.GetValue(images)!, result.GetValue(model),
            new SegmenterOptions
            {
                Device = result.GetValue(device)!,
                Precision = result.GetValue(precision),
                Threads = result.GetValue(threads),
                Convolutions = result.GetValue(convolutions),
                InputSize = result.GetValue(size),
                SizePolicy = result.GetValue(native) ? SizePolicy.Native : SizePolicy.Trained,
            },
            result.GetValue(output)!, result.GetValue(json)));
        return ExampleHelp.WithExamples(
            command, "dwrseg segment street.jpg", "dwrseg segment frames/ --out results --json", "dwrseg segment a.png b.png --model weights.safetensors --size 512x1024");
    }

    private static int Run(string[] arguments, string? model, SegmenterOptions options, string folder, bool json)
    {
        List<string> images = InputImages.Expand(arguments);
        string weights = model ?? DefaultModel.Find();
        Stopwatch clock = Stopwatch.StartNew();
        using Segmenter segmenter = Segmenter.Load(weights, options);
        OutputFolder.Create(folder);
        using Report report = json ? new JsonReport(weights, segmenter) : new TextReport(weights, segmenter, clock.Elapsed);
        int code = ExitCode.Ok;
        var names = new OutputNames();
        foreach (string image in images)
        {
            Interruption.Token.ThrowIfCancellationRequested();
            string name = names.Next(image);
            try
            {
                clock.Restart();
                Segmentation result = segmenter.Run(image);
                TimeSpan time = clock.Elapsed;
                string stem = Path.Combine(folder, name), classes = stem + InputImages.ClassesSuffix, overlay = stem + InputImages.OverlaySuffix;
                result.SaveClasses(classes);
                result.SaveOverlay(overlay);
                report.Add(image, result, time, classes, overlay);
            }
            catch (Exception e) when (e is ImageFormatException or IOException or UnauthorizedAccessException || MemoryShortage.Is(e))
            {
                code = Math.Max(code, Errors.Report(e));
                report.AddFailure(image, e.Message);
            }
        }
        return code;
    }

    /// <summary>What is told of each image.</summary>
    private abstract class Report : IDisposable
    {
        public abstract void Add(string image, Segmentation result, TimeSpan time, string classes, string overlay);

        public abstract void AddFailure(string image, string message);

        public abstract void Dispose();
    }

    private sealed class TextReport : Report
    {
        public TextReport(string weights, Segmenter segmenter, TimeSpan loading) => Console.Out.WriteLine(
            $"{weights} on {segmenter.Device}: {segmenter.DeviceDescription}; loaded in {loading.TotalMilliseconds:F0} ms");

        public override void Add(string image, Segmentation result, TimeSpan time, string classes, string overlay)
        {
            Console.Out.WriteLine($"{image}: {result.Width}x{result.Height}, {time.TotalMilliseconds:F0} ms -> {classes}, {overlay}");
            double[] shares = result.ClassShares();
            IEnumerable<string> parts = Enumerable.Range(0, shares.Length).Where(i => shares[i] >= 0.0005).OrderByDescending(i => shares[i])
                .Select(i => $"{result.ClassList.Names[i]} {100 * shares[i]:F1} %");
            Console.Out.WriteLine($"  {string.Join(", ", parts)}");
        }

        // The line on stderr says it all.
        public override void AddFailure(string image, string message)
        {
        }

        public override void Dispose()
        {
        }
    }

    private sealed class JsonReport : Report
    {
        private readonly Stream _output = Console.OpenStandardOutput();
        private readonly Utf8JsonWriter _json;

        public JsonReport(string weights, Segmenter segmenter)
        {
            _json = new Utf8JsonWriter(_output, new JsonWriterOptions { Indented = true });
            _json.WriteStartObject();
            _json.WriteString("model", weights);
            _json.WriteString("device", segmenter.Device);
            _json.WriteString("deviceDescription", segmenter.DeviceDescription);
            _json.WriteStartArray("images");
        }

        public override void Add(string image, Segmentation result, TimeSpan time, string classes, string overlay)
        {
            _json.WriteStartObject();
            _json.WriteString("image", image);
            _json.WriteNumber("width", result.Width);
            _json.WriteNumber("height", result.Height);
            _json.WriteString("classes", classes);
            _json.WriteString("overlay", overlay);
            _json.WriteNumber("milliseconds", Math.Round(time.TotalMilliseconds, 3));
            _json.WriteStartObject("shares");
            double[] shares = result.ClassShares();
            for (int i = 0; i < shares.Length; i++) _json.WriteNumber(result.ClassList.Names[i], Math.Round(shares[i], 6));
            _json.WriteEndObject();
            _json.WriteEndObject();
        }

        public override void AddFailure(string image, string message)
        {
            _json.WriteStartObject();
            _json.WriteString("image", image);
            _json.WriteString("error", message);
            _json.WriteEndObject();
        }

        public override void Dispose()
        {
            _json.WriteEndArray();
            _json.WriteEndObject();
            _json.Dispose();
            _output.Write("\n"u8);
            _output.Dispose();
        }
    }
}
