using System.CommandLine;
using DwrSeg.Cli.Profiling;
using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda.Profiling;

namespace DwrSeg.Cli;

/// <summary><c>dwrseg profile</c>: where a frame's time goes.</summary>
internal static class ProfileCommand
{
    public static Command Create()
    {
        Argument<string?> image = new("IMAGE")
        {
            Description = "The image to segment; default: noise of the input's size.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        Option<string> model = ModelChoice.Option();
        Option<string> device = CommonOptions.Device();
        Option<int> threads = CommonOptions.Threads();
        Option<Precision> precision = CommonOptions.Precision();
        Option<Fusion> fuse = CommonOptions.Fuse();
        Option<ConvolutionChoice> convolutions = CommonOptions.Convolutions();
        Option<(int Height, int Width)?> size = CommonOptions.Size("Input size; default: the model file's own, else 512x1024.");
        Option<GpuLimits?> gpu = CommonOptions.Gpu();
        Option<string?> json = CommonOptions.JsonFile("Also write everything as JSON to this file.");
        Option<string?> trace = new("--trace")
        {
            Description = "Also write the launches as a trace for Perfetto or Chrome to this file.",
            HelpName = "FILE",
        };
        var command = new Command(
            "profile",
            "Profile a frame launch by launch, from the image to the class map. On cuda each launch is replayed back to back, with warm caches " +
            "(on sm_90 overlapping, as the launches of a frame do), and their sum " +
            "held against the whole frame, and where CUPTI is found, recorded within the frame; on the CPU each step's fastest run; on " +
            "'emulated' counts, and the time that a model expects on a card. Bytes are compulsory ones: inputs and weights read once, outputs written once. Copies between host and device are left out.")
        {
            image, model, device, threads, precision, convolutions, fuse, size, gpu, json, trace,
        };
        command.Exclude(fuse, convolutions);
        command.SetAction(result =>
        {
            ModelChoice choice = ModelChoice.Open(result.GetValue(model)!);
            (int height, int width) = result.GetValue(size) ?? choice.InputSize ?? ModelChoice.DefaultSize;
            var settings = new ProfileSettings(choice, height, width, result.GetValue(image), result.GetValue(fuse));
            Precision wanted = result.GetValue(precision);
            GpuLimits card = CommonOptions.CardFor(result.GetValue(gpu), wanted);
            FrameProfile profile = FrameProfiler.Run(
                result.GetValue(device)!, result.GetValue(threads), settings, wanted, card, out string note, convolutions: result.GetValue(convolutions));
            if (note.Length > 0) profile = profile with { Description = $"{profile.Description} ({note})" };
            ProfileTables.WriteHead(profile);
            ProfileTables.WriteLaunches(profile);
            ProfileTables.WriteTotals(profile);
            if (result.GetValue(json) is { } jsonFile) ProfileJson.Save(jsonFile, profile);
            if (result.GetValue(trace) is { } traceFile) ChromeTrace.Save(traceFile, profile);
            return ExitCode.Ok;
        });
        return ExampleHelp.WithExamples(
            command, "dwrseg profile street.jpg", "dwrseg profile --device cuda --precision fp16 --json profile.json --trace trace.json",
            "dwrseg profile --device emulated --gpu a100 --size 256x512");
    }
}
