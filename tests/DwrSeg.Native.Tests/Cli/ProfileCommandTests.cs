using System.Text.Json;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

/// <summary><c>dwrseg profile</c> and <c>dwrseg kernels</c> from the command line.</summary>
public sealed class ProfileCommandTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _model;
    private readonly string _json;

    public ProfileCommandTests()
    {
        _model = SmallModel.Save(_folder.File("model.safetensors"));
        _json = _folder.File("profile.json");
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void EachStepOfTheCpuHasItsTime()
    {
        string image = _folder.File("image.png"), trace = _folder.File("trace.json");
        ImageCodec.SaveRgb(image, 50, 30, SmallModel.Picture(50, 30));
        DwrsegResult result = DwrsegProcess.Run(
            "profile", image, "--model", _model, "--device", "cpu", "--size", "32x48", "--json", _json, "--trace", trace).Succeeded();
        JsonElement json = Read(_json);
        JsonElement[] launches = Launches(json);
        using var backend = new CpuBackend(1);
        using var store = new CpuStore();
        using var plan = (CpuPlan)backend.Compile(InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 48)), store);
        Assert.Equal(
            ["preprocess", .. plan.Summary.Steps.Select(s => s.Name), "class map"], launches.Select(l => l.GetProperty("step").GetString()));
        Assert.Equal(plan.Summary.Steps.Select(s => s.Bytes), launches[1..^1].Select(l => l.GetProperty("bytes").GetInt64()));
        Assert.Equal(50 * 30 * 3 + 32 * 48 * 3 * 4, launches[0].GetProperty("bytes").GetInt32());
        CheckSums(json, launches, "us", "sumUs");
        Assert.True(json.GetProperty("totals").GetProperty("frameUs").GetDouble() > 0);
        Assert.False(json.TryGetProperty("gpu", out _));
        Assert.Contains(result.Lines, l => l.StartsWith("difference", StringComparison.Ordinal));
        CheckTrace(trace, launches, "us");
    }

    [Fact]
    public void TheEmulatorsLaunchesAreCountedAndExpected()
    {
        string trace = _folder.File("trace.json");
        DwrsegResult result = DwrsegProcess.Run(
            "profile", "--model", _model, "--device", "emulated", "--gpu", "a100", "--size", "24x40", "--json", _json, "--trace", trace).Succeeded();
        JsonElement json = Read(_json);
        JsonElement[] launches = Launches(json);
        Assert.Equal(("fp16", "emulated"), (json.GetProperty("precision").GetString(), json.GetProperty("device").GetString()));
        Assert.True(json.GetProperty("convolutions").GetProperty("native").GetInt32() > 10);
        Assert.Contains(result.Lines, l => l.StartsWith("convolutions", StringComparison.Ordinal) && l.Contains(" native", StringComparison.Ordinal));
        JsonElement gpu = json.GetProperty("gpu");
        Assert.Equal(("a100", "sm_80"), (gpu.GetProperty("name").GetString(), gpu.GetProperty("architecture").GetString()));
        Assert.All(launches, CheckCounts);
        CheckSums(json, launches, "floorUs", "floorUs");
        CheckSums(json, launches, "expectedUs", "expectedUs");
        Assert.False(launches[0].TryGetProperty("us", out _));
        CheckTrace(trace, launches, "expectedUs");
        Assert.Contains(result.Lines, l => l.StartsWith("expected on   A100", StringComparison.Ordinal));
        // Kernels and launches of one table: the same frame by the other command, summed by kernel.
        string counts = _folder.File("kernels.json");
        DwrsegProcess.Run("kernels", "--model", _model, "--device", "emulated", "--gpu", "a100", "--size", "24x40", "--json", counts).Succeeded();
        JsonElement[] again = Launches(Read(counts)), kernels = [.. Read(counts).GetProperty("kernels").EnumerateArray()];
        Assert.Equal(launches.Select(l => l.GetRawText()), again.Select(l => l.GetRawText()));
        Assert.Equal(launches.Length, kernels.Sum(k => k.GetProperty("launches").GetInt32()));
        Assert.Equal(
            launches.Sum(l => l.GetProperty("counts").GetProperty("blockLoadSectors").GetInt64()),
            kernels.Sum(k => k.GetProperty("counts").GetProperty("blockLoadSectors").GetInt64()));
    }

    [Fact]
    public void WithoutFusionsEveryLayerIsALaunch()
    {
        int Launches(string fuse)
        {
            DwrsegProcess.Run("kernels", "--model", _model, "--arch", "sm_80", "--fuse", fuse, "--size", "24x40", "--json", _json).Succeeded();
            return Read(_json).GetProperty("kernels").EnumerateArray().Sum(k => k.GetProperty("launches").GetInt32());
        }

        int all = Launches("all"), auto = Launches("auto"), none = Launches("none");
        Assert.True(all <= auto && auto < none, $"{all}, {auto}, {none}");
        DwrsegProcess.Run(
            "profile", "--model", _model, "--device", "emulated", "--fuse", "none", "--gpu", "a100", "--size", "24x40", "--json", _json).Succeeded();
        JsonElement json = Read(_json);
        Assert.Equal("none", json.GetProperty("fuse").GetString());
        Assert.Equal(none, json.GetProperty("launches").GetArrayLength());
    }

    [Fact]
    public void Fp32IsExpectedOnTheCardOfThePaper()
    {
        DwrsegProcess.Run("kernels", "--model", _model, "--device", "emulated", "--precision", "fp32", "--size", "24x40", "--json", _json).Succeeded();
        JsonElement json = Read(_json);
        Assert.Equal(("fp32", "gtx1080ti"), (json.GetProperty("precision").GetString(), json.GetProperty("gpu").GetProperty("name").GetString()));
        Assert.All(Launches(json), l => Assert.Equal(0, l.GetProperty("counts").GetProperty("mmaFlops").GetInt64()));
    }

    [Fact]
    public void KernelsAreListedWithoutADevice()
    {
        DwrsegResult result = DwrsegProcess.Run("kernels", "--model", _model, "--arch", "sm_86", "--size", "24x40", "--json", _json).Succeeded();
        JsonElement json = Read(_json);
        JsonElement[] kernels = [.. json.GetProperty("kernels").EnumerateArray()];
        Assert.Equal("sm_86", json.GetProperty("architecture").GetString());
        Assert.Equal(kernels.Length + 1, result.Lines.Length);
        Assert.All(kernels, k =>
        {
            Assert.InRange(k.GetProperty("registers").GetInt32(), 8, 255);
            Assert.InRange(k.GetProperty("blocksPerMultiprocessor").GetInt32(), 1, 16);
            Assert.True(k.GetProperty("launches").GetInt32() > 0);
            Assert.Equal(0, k.GetProperty("localBytes").GetInt32());
        });
        string[] names = [.. kernels.Select(k => k.GetProperty("kernel").GetString()!)];
        Assert.Contains("preprocess", names);
        Assert.Contains("conv_mma", names);
        Assert.Contains("argmax_head", names);
        Assert.DoesNotContain("fold_batch_norm", names);
    }

    [Theory]
    [InlineData("'h300'", "kernels", "--gpu", "h300")]
    [InlineData("'h300'", "profile", "--gpu", "h300")]
    [InlineData("'sm_70'", "kernels", "--arch", "sm_70")]
    [InlineData("exclude each other", "kernels", "--device", "emulated", "--arch", "sm_80")]
    [InlineData("exclude each other", "kernels", "--device", "emulated", "--all")]
    [InlineData("'some'", "kernels", "--fuse", "some")]
    [InlineData("exclude each other", "profile", "--fuse", "all", "--conv", "cudnn")]
    [InlineData("exclude each other", "bench", "--fuse", "all", "--conv", "cudnn")]
    [InlineData("no CUDA kernels", "kernels", "--device", "cpu")]
    [InlineData("'cuda:7'", "profile", "--device", "cuda:7")]
    [InlineData("'cuda:7'", "kernels", "--device", "cuda:7")]
    [InlineData("'gpu'", "profile", "--device", "gpu")]
    [InlineData("sm_80", "kernels", "--device", "emulated", "--gpu", "t4", "--precision", "bf16")]
    public void WhatCanNotBeProfiledIsNamed(string part, params string[] arguments) =>
        Assert.Equal("", DwrsegProcess.Run([.. arguments, "--model", _model, "--size", "16x16"]).Failed(2, part).Output);

    [Fact]
    public void FilesThatAreMissingOrCanNotBeWrittenAreNamed()
    {
        DwrsegProcess.Run("profile", _folder.File("none.png"), "--model", _model, "--device", "cpu").Failed(3, "none.png");
        string[] arguments = ["profile", "--model", _model, "--device", "cpu", "--size", "16x16", "--trace", _folder.File("none/trace.json")];
        DwrsegProcess.Run(arguments).Failed(3, "none/trace.json");
    }

    private static JsonElement Read(string file) => JsonDocument.Parse(File.ReadAllBytes(file)).RootElement;

    private static JsonElement[] Launches(JsonElement json) => [.. json.GetProperty("launches").EnumerateArray()];

    // Rounded to six digits each.
    private static void CheckSums(JsonElement json, JsonElement[] launches, string value, string total)
    {
        JsonElement totals = json.GetProperty("totals");
        Assert.Equal(launches.Length, totals.GetProperty("launches").GetInt32());
        Assert.Equal(launches.Sum(l => l.GetProperty("bytes").GetInt64()), totals.GetProperty("bytes").GetInt64());
        Assert.Equal(launches.Sum(l => l.GetProperty("flops").GetInt64()), totals.GetProperty("flops").GetInt64());
        Assert.Equal(launches.Sum(l => l.GetProperty(value).GetDouble()), totals.GetProperty(total).GetDouble(), 1e-3);
    }

    private static void CheckCounts(JsonElement launch)
    {
        JsonElement counts = launch.GetProperty("counts");
        long Count(string name) => counts.GetProperty(name).GetInt64();
        double Time(string name) => launch.GetProperty(name).GetDouble();
        // No launch can move less than its output, nor a block less than what it moves alone.
        Assert.True(Count("storeSectors") > 0 && Count("blockLoadSectors") >= Count("loadSectors") && Count("blockStoreSectors") >= Count("storeSectors"));
        Assert.InRange(counts.GetProperty("storesFilled").GetDouble(), 0.01, 1);
        Assert.InRange(counts.GetProperty("conflictShare").GetDouble(), 0, 0.05);
        double moved = (Count("loadSectors") + Count("storeSectors")) * 32.0;
        Assert.Equal(moved / launch.GetProperty("bytes").GetInt64(), counts.GetProperty("sectorsPerCompulsory").GetDouble(), 1e-5);
        Assert.Equal(Math.Max(Time("memoryUs"), Time("arithmeticUs")), Time("floorUs"), 1e-5);
        Assert.True(Time("expectedUs") > Math.Max(Time("floorUs"), Math.Max(Time("l2Us"), Time("executionUs"))));
        bool isMma = launch.GetProperty("kernel").GetString() is "conv_mma" or "conv_first" or "sir_mma" or "dwr_sr_mma";
        Assert.Equal(isMma, Count("mmaFlops") > 0);
    }

    private static void CheckTrace(string file, JsonElement[] launches, string duration)
    {
        JsonElement[] events = [.. Read(file).GetProperty("traceEvents").EnumerateArray()];
        JsonElement[] spans = [.. events.Where(e => e.GetProperty("ph").GetString() == "X")];
        IEnumerable<JsonElement> names = events.Where(e => e.GetProperty("ph").GetString() == "M");
        Assert.Equal(["process_name", "thread_name"], names.Select(e => e.GetProperty("name").GetString()));
        Assert.Equal(launches.Length, spans.Length);
        double end = 0;
        foreach ((JsonElement span, JsonElement launch) in spans.Zip(launches))
        {
            Assert.Equal(end, span.GetProperty("ts").GetDouble(), 1e-3);
            Assert.Equal(launch.GetProperty(duration).GetDouble(), span.GetProperty("dur").GetDouble(), 1e-5);
            Assert.Equal(launch.GetProperty("layer").GetString(), span.GetProperty("args").GetProperty("layer").GetString());
            end += span.GetProperty("dur").GetDouble();
        }
    }
}
