using System.Text.Json;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Formats;
using DwrSeg.PtxEmulator.Driver;
using static DwrSeg.Cli.Profiling.Format;

namespace DwrSeg.Cli.Profiling;

/// <summary>A variant of a kernel and what it takes of a multiprocessor.</summary>
/// <param name="Variant">The variant.</param>
/// <param name="Launches">How often a frame launches it so; null where no frame was asked.</param>
/// <param name="Threads">Threads of a block.</param>
/// <param name="DynamicSharedBytes">Null where it depends on the launch.</param>
/// <param name="Resources">Null where the compiler is older than the architecture.</param>
/// <param name="Occupancy">Where dynamic shared memory depends on the launch, what the rest allows.</param>
internal sealed record KernelListing(
    KernelVariant Variant, int? Launches, int Threads, int? DynamicSharedBytes, KernelResources? Resources, Occupancy Occupancy);

/// <summary>Kernels by what they need, without running any: compiled for an architecture, not launched.</summary>
internal static class KernelList
{
    /// <summary>Every variant that launchers can ask for on an architecture.</summary>
    public static IReadOnlyList<KernelListing> All(DeviceModel card)
    {
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [card] });
        var device = new CudaDevice(driver, 0);
        var resources = new CubinResources(FrameProfiler.RequireCompiler(), device.ComputeCapability);
        return
        [
            .. KernelCatalog.For(device.ComputeCapability).AsParallel().AsOrdered().Select(
                v => resources.Of(v) is { } known
                    ? Listing(device, v, null, known.MaxThreads, v.DynamicSharedBytes, known)
                    : throw new UsageException($"NVRTC {Nvrtc.Instance.Version} does not assemble for {device.ComputeCapability}: install a newer one.")),
        ];
    }

    /// <summary>The variants that a network's frame launches.</summary>
    public static IReadOnlyList<KernelListing> OfFrame(ProfileSettings settings, DeviceModel card, CudaElement element)
    {
        Nvrtc compiler = FrameProfiler.RequireCompiler();
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [card] });
        using var backend = new CudaBackend("emulated", driver, 0, element, wantsPtx: true);
        using var network = new ProfiledNetwork(backend, settings);
        using CudaFrame frame = FrameProfiler.FrameOf(backend, network);
        CudaDevice device = backend.Kernels.Context.Device;
        var resources = new CubinResources(compiler, device.ComputeCapability);
        return
        [
            .. frame.Launches.Select(l => l.Launch!).GroupBy(l => (l.Variant, Threads: FrameProfiler.ThreadsOf(l), l.SharedBytes)).AsParallel().AsOrdered()
                .Select(g => Listing(device, g.Key.Variant, g.Count(), g.Key.Threads, g.Key.SharedBytes, resources.Of(g.Key.Variant))),
        ];
    }

    public static void Write(IReadOnlyList<KernelListing> listings)
    {
        Terminal.WriteTable(
            ["kernel", "launches>", "threads>", "registers>", "static B>", "dynamic B>", "local B>", "blocks>", "warps>", "limit"],
            [.. listings.Select(l => (string[])
                [
                    l.Variant.ToString(), Number(l.Launches, "F0"), Number(l.Threads, "F0"), Number(l.Resources?.Registers, "F0"),
                    Number(l.Resources?.StaticSharedBytes, "F0"), l.DynamicSharedBytes is null ? "by size" : Number(l.DynamicSharedBytes, "F0"),
                    Number(l.Resources?.LocalBytes, "F0"), $"{(l.DynamicSharedBytes is null ? "up to " : "")}{l.Occupancy.Blocks}",
                    Number(l.Occupancy.Warps, "F0"), l.Occupancy.Limit.ToString(),
                ])]);
    }

    public static void Save(string path, string architecture, IReadOnlyList<KernelListing> listings) => AtomicFile.Write(path, stream =>
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteString("architecture", architecture);
        json.WriteStartArray("kernels");
        foreach (KernelListing listing in listings)
        {
            json.WriteStartObject();
            json.WriteString("kernel", listing.Variant.Name);
            json.WriteString("definitions", listing.Variant.Definitions);
            if (listing.Launches is { } launches) json.WriteNumber("launches", launches);
            json.WriteNumber("threads", listing.Threads);
            if (listing.DynamicSharedBytes is { } bytes) json.WriteNumber("dynamicSharedBytes", bytes);
            ProfileJson.WriteResources(json, listing.Resources, listing.Occupancy);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private static KernelListing Listing(
        CudaDevice device, KernelVariant variant, int? launches, int threads, int? dynamicBytes, KernelResources? resources) => new(
        variant, launches, threads, dynamicBytes, resources, Occupancy.Of(
            MultiprocessorLimits.Of(device), threads, resources?.Registers ?? 0, (resources?.StaticSharedBytes ?? 0) + (dynamicBytes ?? 0)));
}
