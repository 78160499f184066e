using System.Text.Json;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Formats;

namespace DwrSeg.Cli.Profiling;

/// <summary>A profile as JSON: times in microseconds, rates in 10⁹ a second, values that are not known left out.</summary>
internal static class ProfileJson
{
    private const int Digits = 6;

    public static void Save(string path, FrameProfile profile) => AtomicFile.Write(path, stream =>
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        ProfileSettings s = profile.Settings;
        json.WriteStartObject();
        json.WriteString("model", s.Model.Name);
        json.WriteString("size", $"{s.Height}x{s.Width}");
        json.WriteString("precision", profile.Precision);
        json.WriteString("fuse", CommonOptions.NameOf(s.Fuse));
        json.WriteString("device", profile.Device);
        json.WriteString("deviceDescription", profile.Description);
        if (profile.TimeSource.Length > 0) json.WriteString("timeSource", profile.TimeSource);
        if (profile.TraceSource.Length > 0) json.WriteString("traceSource", profile.TraceSource);
        if (profile.Gpu is { } gpu) WriteGpu(json, gpu);
        if (profile.Convolutions is { } convolutions) WriteConvolutions(json, convolutions);
        Number(json, "copyGBs", profile.CopyRate / 1e9);
        Number(json, "fmaPeakGflops", profile.FmaPeak / 1e9);
        json.WriteStartArray("launches");
        foreach (LaunchRow row in profile.Launches) WriteLaunch(json, profile, row);
        json.WriteEndArray();
        if (profile.Gpu is not null) WriteKernels(json, profile);
        WriteTotals(json, profile);
        json.WriteEndObject();
    });

    /// <summary>Registers, memory and occupancy.</summary>
    public static void WriteResources(Utf8JsonWriter json, KernelResources? resources, Occupancy? occupancy)
    {
        if (resources is not null)
        {
            json.WriteNumber("registers", resources.Registers);
            json.WriteNumber("staticSharedBytes", resources.StaticSharedBytes);
            json.WriteNumber("localBytes", resources.LocalBytes);
        }
        if (occupancy is not { } known) return;
        json.WriteNumber("blocksPerMultiprocessor", known.Blocks);
        json.WriteNumber("warpsPerMultiprocessor", known.Warps);
        json.WriteString("occupancyLimit", known.Limit.ToString());
    }

    /// <summary>Who computes dense convolutions.</summary>
    public static void WriteConvolutions(Utf8JsonWriter json, ConvolutionCounts counts)
    {
        json.WriteStartObject("convolutions");
        json.WriteNumber("native", counts.Native);
        json.WriteNumber("cudnn", counts.Cudnn);
        json.WriteNumber("cublasLt", counts.CublasLt);
        json.WriteEndObject();
    }

    private static void WriteGpu(Utf8JsonWriter json, GpuLimits gpu)
    {
        json.WriteStartObject("gpu");
        json.WriteString("name", gpu.Name);
        json.WriteString("title", gpu.Title);
        json.WriteString("architecture", gpu.Architecture.ToString());
        json.WriteNumber("multiprocessors", gpu.Multiprocessors);
        json.WriteNumber("clockMhz", gpu.ClockMhz);
        Number(json, "memoryGBs", gpu.MemoryGBs);
        Number(json, "l2GBs", gpu.L2Rate / 1e9);
        Number(json, "fp32Tflops", gpu.Fp32Tflops);
        Number(json, "tensorTflops", gpu.TensorTflops);
        Number(json, "mmaTflops", gpu.MmaTflops);
        Number(json, "launchUs", 1e6 * gpu.LaunchSeconds);
        json.WriteEndObject();
    }

    private static void WriteLaunch(Utf8JsonWriter json, FrameProfile profile, LaunchRow row)
    {
        json.WriteStartObject();
        json.WriteString("step", row.Step);
        json.WriteString("layer", row.Layer);
        if (row.Launch is null && row.Work is { } call)
        {
            json.WriteString("kernel", call.Call);
            json.WriteString("call", call.Name);
        }
        if (row.Launch is { } launch)
        {
            json.WriteString("kernel", launch.Variant.Name);
            json.WriteString("definitions", launch.Variant.Definitions);
            Extent(json, "grid", launch.Grid);
            json.WriteNumber("clusterBlocks", launch.ClusterBlocks);
            Extent(json, "block", launch.Block);
            json.WriteNumber("dynamicSharedBytes", launch.SharedBytes);
            WriteResources(json, row.Resources, row.Occupancy);
        }
        json.WriteNumber("bytes", row.Bytes);
        json.WriteNumber("flops", row.Flops);
        Number(json, "flopsPerByte", (double)row.Flops / row.Bytes);
        if (row.Counts is { } counts) WriteCounts(json, counts, row.Bytes);
        if (row.Seconds is { } seconds)
        {
            Number(json, "us", 1e6 * seconds);
            Number(json, "inFrameUs", 1e6 * row.FrameSeconds);
            Number(json, "GBs", row.Bytes / seconds / 1e9);
            Number(json, "gflops", row.Flops / seconds / 1e9);
            Number(json, "copyFraction", row.Bytes / seconds / profile.CopyRate);
            Number(json, "memoryFraction", row.Bytes / seconds / profile.Gpu?.MemoryRate);
            Number(json, "peakFraction", row.Flops / seconds / profile.PeakOf(row));
        }
        if (row.Model is { } model)
        {
            Number(json, "memoryUs", 1e6 * model.Memory);
            Number(json, "arithmeticUs", 1e6 * model.Arithmetic);
            Number(json, "floorUs", 1e6 * model.Floor);
            Number(json, "l2Us", 1e6 * model.L2);
            Number(json, "executionUs", 1e6 * model.Execution);
            Number(json, "expectedUs", 1e6 * model.Expected);
            json.WriteString("bound", model.Bound);
        }
        json.WriteEndObject();
    }

    private static void WriteCounts(Utf8JsonWriter json, LaunchCounts counts, long bytes)
    {
        json.WriteStartObject("counts");
        json.WriteNumber("loadSectors", counts.LoadSectors);
        json.WriteNumber("storeSectors", counts.StoreSectors);
        json.WriteNumber("blockLoadSectors", counts.BlockLoadSectors);
        json.WriteNumber("blockStoreSectors", counts.BlockStoreSectors);
        Number(json, "sectorsPerCompulsory", counts.SectorsPerCompulsory(bytes));
        Number(json, "storesFilled", counts.StoresFilled);
        json.WriteNumber("sharedAccesses", counts.SharedAccesses);
        json.WriteNumber("sharedConflicts", counts.SharedConflicts);
        Number(json, "conflictShare", counts.ConflictShare);
        json.WriteNumber("clusterBytes", counts.ClusterBytes);
        json.WriteNumber("multicastBytes", counts.MulticastBytes);
        json.WriteNumber("warpInstructions", counts.WarpInstructions);
        json.WriteNumber("mmaFlops", counts.MmaFlops);
        json.WriteNumber("otherFlops", counts.OtherFlops);
        json.WriteEndObject();
    }

    private static void WriteKernels(Utf8JsonWriter json, FrameProfile profile)
    {
        json.WriteStartArray("kernels");
        foreach (KernelSum kernel in KernelSum.Of(profile))
        {
            json.WriteStartObject();
            json.WriteString("kernel", kernel.Kernel);
            json.WriteNumber("launches", kernel.Launches);
            json.WriteNumber("bytes", kernel.Bytes);
            json.WriteNumber("flops", kernel.Flops);
            if (kernel.Counts is { } counts) WriteCounts(json, counts, kernel.Bytes);
            Number(json, "us", 1e6 * kernel.Seconds);
            Number(json, "floorUs", 1e6 * kernel.FloorSeconds);
            Number(json, "expectedUs", 1e6 * kernel.ExpectedSeconds);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteTotals(Utf8JsonWriter json, FrameProfile profile)
    {
        json.WriteStartObject("totals");
        json.WriteNumber("launches", profile.Launches.Count);
        json.WriteNumber("bytes", profile.Bytes);
        json.WriteNumber("flops", profile.Flops);
        Number(json, "floorUs", 1e6 * profile.FloorSeconds);
        Number(json, "expectedUs", 1e6 * profile.ExpectedSeconds);
        Number(json, "sumUs", 1e6 * profile.Seconds);
        Number(json, "frameUs", 1e6 * profile.FrameSeconds);
        Number(json, "tracedFrameUs", 1e6 * profile.TracedSeconds);
        Number(json, "differenceUs", 1e6 * (profile.FrameSeconds - profile.Seconds));
        json.WriteEndObject();
    }

    private static void Extent(Utf8JsonWriter json, string name, Dim3 extent)
    {
        json.WriteStartArray(name);
        json.WriteNumberValue(extent.X);
        json.WriteNumberValue(extent.Y);
        json.WriteNumberValue(extent.Z);
        json.WriteEndArray();
    }

    private static void Number(Utf8JsonWriter json, string name, double? value)
    {
        if (value is { } number && double.IsFinite(number)) json.WriteNumber(name, Math.Round(number, Digits));
    }
}
