using System.CommandLine;
using DwrSeg.Cli.Profiling;
using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;
using DwrSeg.PtxEmulator.Driver;

namespace DwrSeg.Cli;

/// <summary><c>dwrseg kernels</c>: what the CUDA kernels need, do and take.</summary>
internal static class KernelsCommand
{
    public static Command Create()
    {
        Option<string?> device = new("--device")
        {
            Description = "Also run a frame: emulated counts what each launch does, cuda (cuda:N) times it. Without it nothing runs.",
            HelpName = "NAME",
        };
        Option<ComputeCapability?> architecture = new("--arch")
        {
            Description = "Architecture to list kernels for without a device, such as sm_86; default: that of --gpu.",
            HelpName = "sm_NN",
            CustomParser = result =>
            {
                string text = result.Tokens[0].Value;
                foreach (ComputeCapability known in KernelVariant.Architectures)
                {
                    if (known.ToString() == text) return known;
                }
                result.AddError($"--arch '{text}' is not {string.Join(", ", KernelVariant.Architectures)}.");
                return null;
            },
        };
        Option<GpuLimits?> gpu = CommonOptions.Gpu();
        Option<Precision> precision = CommonOptions.Precision();
        Option<Fusion> fuse = CommonOptions.Fuse();
        Option<(int Height, int Width)?> size = CommonOptions.Size("Input size; default: the model file's own, else 512x1024.");
        Option<string> model = ModelChoice.Option();
        Option<bool> all = new("--all") { Description = "List every variant that launchers can ask for, not only what the network's frame launches." };
        Option<string?> json = CommonOptions.JsonFile("Also write everything as JSON to this file.");
        var command = new Command(
            "kernels",
            "Show the CUDA kernels. Without --device: registers, shared memory and occupancy of each variant that a frame launches, compiled for " +
            "an architecture; no GPU is needed. On the device 'emulated': what each launch of a frame moves and computes, against what it must, " +
            "with its floor and its expected time on a card (docs/performance.md has the model). On 'cuda': each launch's time, replayed " +
            "back to back, on sm_90 overlapping, as the launches of a frame do.")
        {
            device, architecture, gpu, precision, fuse, size, model, all, json,
        };
        command.Validators.Add(result =>
        {
            if (result.GetValue(all) && result.GetResult(fuse) is not null)
                result.AddError("--all and --fuse exclude each other: all variants are those of every cover.");
            bool hasDevice = result.GetValue(device) is not null;
            if (!hasDevice) return;
            if (result.GetResult(architecture) is not null) result.AddError("--arch and --device exclude each other; --gpu chooses the emulated card.");
            if (result.GetValue(all)) result.AddError("--all and --device exclude each other: a frame launches what it launches.");
        });
        command.SetAction(result =>
        {
            ModelChoice choice = ModelChoice.Open(result.GetValue(model)!);
            (int height, int width) = result.GetValue(size) ?? choice.InputSize ?? ModelChoice.DefaultSize;
            var settings = new ProfileSettings(choice, height, width, Image: null, result.GetValue(fuse));
            Precision wanted = result.GetValue(precision);
            GpuLimits card = CommonOptions.CardFor(result.GetValue(gpu), wanted);
            return result.GetValue(device) is { } name
                ? Run(name, settings, wanted, card, result.GetValue(json))
                : List(result.GetValue(architecture), settings, wanted, card, result.GetValue(all), result.GetValue(json));
        });
        return ExampleHelp.WithExamples(
            command, "dwrseg kernels", "dwrseg kernels --arch sm_86 --all", "dwrseg kernels --device emulated --gpu a100 --json counts.json",
            "dwrseg kernels --device cuda --precision fp16");
    }

    private static int List(ComputeCapability? architecture, ProfileSettings settings, Precision precision, GpuLimits gpu, bool all, string? json)
    {
        DeviceModel card = architecture is { } known ? DeviceModel.Of(known.Number) : FrameProfiler.EmulatedCard(gpu);
        ComputeCapability target = architecture ?? gpu.Architecture;
        IReadOnlyList<KernelListing> listings = all
            ? KernelList.All(card) : KernelList.OfFrame(settings, card, CommonOptions.ElementFor(precision, target));
        KernelList.Write(listings);
        if (json is not null) KernelList.Save(json, target.ToString(), listings);
        return ExitCode.Ok;
    }

    private static int Run(string device, ProfileSettings settings, Precision precision, GpuLimits gpu, string? json)
    {
        FrameProfile profile = FrameProfiler.Run(device, threads: 0, settings, precision, gpu, out _, needsKernels: true);
        ProfileTables.WriteHead(profile);
        ProfileTables.WriteLaunches(profile);
        ProfileTables.WriteKernels(profile);
        ProfileTables.WriteTotals(profile);
        if (json is not null) ProfileJson.Save(json, profile);
        return ExitCode.Ok;
    }
}
