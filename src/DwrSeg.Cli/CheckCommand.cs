using System.CommandLine;
using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;

namespace DwrSeg.Cli;

/// <summary><c>dwrseg check</c>: a device against recorded results of the reference network.</summary>
internal static class CheckCommand
{
    public static Command Create()
    {
        Argument<string[]> files = new("FILE")
        {
            Description = "Golden files: weights (param.*), input, labels and logits, for a training step also loss, grad.* and after.*.",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<string> device = CommonOptions.Device();
        Option<int> threads = CommonOptions.Threads();
        Option<Precision> precision = CommonOptions.Precision();
        Option<ConvolutionChoice> convolutions = CommonOptions.Convolutions();
        Option<double?> tolerance = new("--tolerance")
        {
            Description = "Largest relative error of logits, loss, updated parameters and running statistics; gradients may have ten times it. 1e-4 in fp32, 1e-2 in fp16, 3e-2 in bf16.",
            HelpName = "T",
        };
        var command = new Command(
            "check",
            "Compare a device with recorded results of the reference network: builds the network that each file describes, runs it (for a " +
            "training file one whole step of SGD) and prints the worst relative error |a-b| / |b|; for gradients |b| is at least 1e-4 of all " +
            "gradients together. Training steps are computed in fp32: in another precision such files are skipped. Exit code 1 where a file fails or can't be read.")
        {
            files, device, threads, precision, convolutions, tolerance.NotNegative(),
        };
        command.SetAction(result => Run(
            result.GetValue(files)!, result.GetValue(device)!, result.GetValue(threads), result.GetValue(precision), result.GetValue(convolutions),
            result.GetValue(tolerance)));
        return ExampleHelp.WithExamples(command, "dwrseg check tests/golden/*.safetensors", "dwrseg check tests/golden/train.safetensors --device cpu --tolerance 1e-5");
    }

    private static int Run(string[] files, string device, int threads, Precision precision, ConvolutionChoice convolutions, double? wanted)
    {
        using IBackend backend = Devices.Open(device, threads, out _, precision, convolutions: convolutions);
        double tolerance = wanted ?? ToleranceOf(backend.Precision);
        var tolerances = new GoldenTolerance(Logits: tolerance, Loss: tolerance, Gradients: 10 * tolerance, Updated: tolerance);
        int failed = 0, skipped = 0;
        foreach (string path in files)
        {
            Interruption.Token.ThrowIfCancellationRequested();
            try
            {
                using SafetensorsFile file = SafetensorsFile.Open(path);
                IReadOnlyList<GoldenError> errors = GoldenCheck.Run(file, backend, tolerance: tolerances);
                bool passes = errors.All(e => e.Passes);
                if (!passes) failed++;
                Console.Out.WriteLine($"{(passes ? "PASS" : "FAIL")} {path}: {string.Join(", ", errors.Select(Describe))}");
            }
            catch (Exception e) when (e is WeightsFormatException or IOException or UnauthorizedAccessException)
            {
                failed++;
                Errors.Report(e);
                Console.Out.WriteLine($"FAIL {path}: can't be read");
            }
            catch (NotSupportedException)
            {
                skipped++;
                Console.Out.WriteLine($"SKIP {path}: a training step, which is computed in fp32; --precision fp32 checks it");
            }
        }
        int passed = files.Length - failed - skipped;
        Console.Out.WriteLine($"{passed} passed, {failed} failed{(skipped > 0 ? $", {skipped} skipped" : "")}");
        if (passed == 0 && failed == 0)
            throw new UsageException("nothing was checked: all files hold training steps, which are computed in fp32; take --precision fp32");
        return failed > 0 ? ExitCode.Failed : ExitCode.Ok;
    }

    // The reference is fp32; storing activations in 11 or 8 significant bits moves logits by about as much.
    private static double ToleranceOf(Precision precision) => precision switch
    {
        Precision.Float16 => 1e-2,
        Precision.BFloat16 => 3e-2,
        _ => new GoldenTolerance().Logits,
    };

    private static string Describe(GoldenError error) => error.Passes
        ? $"{error.Quantity} {error.Error:0.0e+0}"
        : $"{error.Quantity} {error.Error:0.0e+0} above {error.Tolerance:0.0e+0} at {error.Tensor}";
}
