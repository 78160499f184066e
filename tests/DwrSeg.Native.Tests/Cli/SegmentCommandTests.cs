using System.Text.Json;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed class SegmentCommandTests : IDisposable
{
    private const int Interrupt = 2, Terminate = 15;

    private readonly TemporaryFolder _folder = new();
    private readonly string _model, _out;

    public SegmentCommandTests()
    {
        _model = SmallModel.Save(_folder.File("model.safetensors"), inputSize: (32, 48));
        _out = _folder.File("out");
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void WritesClassMapAndOverlayInTheImagesOwnSize()
    {
        string image = Picture("street.png", 71, 50, seed: 1);
        DwrsegResult result = DwrsegProcess.Run("segment", image, "--model", _model, "--out", _out).Succeeded();

        Assert.Equal(["street.classes.png", "street.overlay.png"], Written());
        using Segmenter segmenter = Segmenter.Load(_model);
        Segmentation expected = segmenter.Run(image);
        Assert.Equal(expected.Classes.ToArray(), ClassesOf("street"));
        RgbImage overlay = ImageCodec.Decode(Path.Combine(_out, "street.overlay.png"));
        Assert.Equal((71, 50), (overlay.Width, overlay.Height));
        Assert.Equal(expected.Overlay(), overlay.Pixels);

        Assert.Equal(3, result.Lines.Length);
        Assert.StartsWith($"{_model} on cpu: ", result.Lines[0], StringComparison.Ordinal);
        Assert.Matches(@"street\.png: 71x50, \d+ ms -> .*street\.classes\.png, .*street\.overlay\.png$", result.Lines[1]);
        int largest = expected.ClassShares().Index().MaxBy(s => s.Item).Index;
        Assert.StartsWith($"  {segmenter.Classes.Names[largest]} {100 * expected.ClassShares()[largest]:F1} %", result.Lines[2], StringComparison.Ordinal);
    }

    [Fact]
    public void WithoutAModelTheShippedOneIsTaken()
    {
        DwrsegResult result = DwrsegProcess.Run("segment", Picture("a.png", 96, 64), "--size", "64x96", "--out", _out).Succeeded();
        Assert.Contains("dwrseg-base-camvid.safetensors on cpu: ", result.Lines[0], StringComparison.Ordinal);
        Assert.All(ClassesOf("a"), id => Assert.InRange(id, 0, ClassList.CamVid.Count - 1));
        Assert.Contains(ClassList.CamVid.Names, name => result.Lines[2].StartsWith($"  {name} ", StringComparison.Ordinal));
    }

    [Fact]
    public void FolderIsTakenInTheOrderOfItsNamesWithoutEarlierResults()
    {
        Picture("in/b.png", 20, 10);
        Picture("in/a.PNG", 20, 10);
        Picture("in/old.classes.png", 20, 10);
        Picture("in/old.overlay.png", 20, 10);
        Picture("in/deeper/c.png", 20, 10);
        Picture("in/._b.png", 20, 10);
        File.WriteAllText(_folder.File("in/notes.txt"), "no image");
        DwrsegResult result = DwrsegProcess.Run("segment", _folder.File("in"), "--model", _model, "--out", _out, "--json").Succeeded();
        Assert.Equal(["a.PNG", "b.png"], ImagesOf(result).Select(i => Path.GetFileName(i.GetProperty("image").GetString())));
        Assert.Equal(["a.classes.png", "a.overlay.png", "b.classes.png", "b.overlay.png"], Written());
    }

    [Fact]
    public void ImagesOfTheSameNameGetNumbersAndTheSameImageIsDoneOnce()
    {
        string first = Picture("one/x.png", 20, 10, seed: 1), second = Picture("two/x.png", 30, 10, seed: 2), third = Picture("two/X.jpg", 8, 8);
        DwrsegProcess.Run("segment", first, second, _folder.File("two"), first, "--model", _model, "--out", _out).Succeeded();
        Assert.Equal(["X-3.classes.png", "X-3.overlay.png", "x-2.classes.png", "x-2.overlay.png", "x.classes.png", "x.overlay.png"], Written());
        Assert.Equal(20 * 10, ClassesOf("x").Length);
        Assert.Equal(30 * 10, ClassesOf("x-2").Length);
        Assert.True(File.Exists(third));
    }

    [Fact]
    public void JsonIsAllThereIsOnStandardOutput()
    {
        string image = Picture("a b.png", 33, 21);
        DwrsegResult result = DwrsegProcess.Run("segment", image, "--model", _model, "--out", _out, "--json").Succeeded();
        using JsonDocument json = JsonDocument.Parse(result.Output);
        Assert.Equal(_model, json.RootElement.GetProperty("model").GetString());
        Assert.Equal("cpu", json.RootElement.GetProperty("device").GetString());
        JsonElement entry = Assert.Single(json.RootElement.GetProperty("images").EnumerateArray());
        Assert.Equal((image, 33, 21), (entry.GetProperty("image").GetString(), entry.GetProperty("width").GetInt32(), entry.GetProperty("height").GetInt32()));
        Assert.True(File.Exists(entry.GetProperty("classes").GetString()));
        Assert.True(File.Exists(entry.GetProperty("overlay").GetString()));
        Assert.True(entry.GetProperty("milliseconds").GetDouble() > 0);
        JsonProperty[] shares = [.. entry.GetProperty("shares").EnumerateObject()];
        Assert.Equal(SmallModel.Classes.Names, shares.Select(s => s.Name));
        // Each is rounded to six digits.
        Assert.Equal(1, shares.Sum(s => s.Value.GetDouble()), 5);
    }

    [Theory]
    [InlineData("--size", "24x56")]
    [InlineData("--native", null)]
    [InlineData("--threads", "3")]
    public void OptionsReachTheSegmenter(string option, string? value)
    {
        string image = Picture("a.png", 61, 45, seed: 3);
        string[] arguments = ["segment", image, "--model", _model, "--out", _out, "--device", "cpu", option, .. value is null ? [] : new[] { value }];
        DwrsegProcess.Run(arguments).Succeeded();
        using Segmenter segmenter = Segmenter.Load(_model, option switch
        {
            "--size" => new SegmenterOptions { InputSize = (24, 56) },
            "--native" => new SegmenterOptions { SizePolicy = SizePolicy.Native },
            _ => new SegmenterOptions(),
        });
        Assert.Equal(segmenter.Run(image).Classes.ToArray(), ClassesOf("a"));
    }

    [Fact]
    public void UnreadableImageIsReportedAndTheOthersAreDone()
    {
        string good = Picture("in/a.png", 20, 10), bad = _folder.File("in/b.png"), last = Picture("in/c.png", 20, 10);
        File.WriteAllBytes(bad, File.ReadAllBytes(good)[..60]);
        DwrsegResult result = DwrsegProcess.Run("segment", _folder.File("in"), "--model", _model, "--out", _out).Failed(3, bad);
        Assert.Equal(["a.classes.png", "a.overlay.png", "c.classes.png", "c.overlay.png"], Written());
        Assert.Equal(5, result.Lines.Length);

        result = DwrsegProcess.Run("segment", good, bad, last, "--model", _model, "--out", _out, "--json").Failed(3, bad);
        JsonElement[] images = ImagesOf(result);
        Assert.Equal([good, bad, last], images.Select(i => i.GetProperty("image").GetString()));
        Assert.Contains(bad, images[1].GetProperty("error").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void ImageTooLargeForTheMemoryIsReportedAndTheOthersAreDone()
    {
        Picture("in/a.png", 20, 10);
        string large = Picture("in/b.png", 3000, 2000);
        Picture("in/c.png", 20, 10);
        // What the runtime may take counts as the machine's memory: 256 MiB here.
        Dictionary<string, string> limit = new() { ["DOTNET_GCHeapHardLimit"] = "10000000" };
        DwrsegProcess.RunWith(limit, "segment", _folder.File("in"), "--native", "--out", _out).Failed(1, "2000x3000");
        Assert.Equal(["a.classes.png", "a.overlay.png", "c.classes.png", "c.overlay.png"], Written());
        Assert.True(File.Exists(large));
    }

    [Fact]
    public void WhatIsMissingOrCanNotBeWrittenIsNamed()
    {
        string image = Picture("a.png", 20, 10);
        DwrsegProcess.Run("segment", _folder.File("none.png"), "--model", _model, "--out", _out).Failed(3, "none.png");
        DwrsegProcess.Run("segment", image, "--model", _folder.File("none.safetensors"), "--out", _out).Failed(3, "none.safetensors");
        DwrsegProcess.Run("segment", image, "--model", image, "--out", _out).Failed(3, image);
        Directory.CreateDirectory(_folder.File("empty"));
        DwrsegProcess.Run("segment", _folder.File("empty"), "--model", _model, "--out", _out).Failed(3, "empty");

        DwrsegProcess.Run("segment", "", "--model", _model, "--out", _out).Failed(2, "An argument is empty");
        DwrsegProcess.Run("segment", image, "--model", _model, "--out", "").Failed(2, "--out is empty");
        DwrsegProcess.Run("segment", image, "--model", _model, "--out", image).Failed(3, $"{image} is a file; the output must be a folder");
        if (OperatingSystem.IsLinux())
            DwrsegProcess.Run("segment", image, "--model", _model, "--out", "/proc/foo").Failed(3, "cannot create folder /proc/foo");

        // A folder in the place of a result: that image fails, by the result's name.
        Directory.CreateDirectory(Path.Combine(_out, "a.overlay.png"));
        DwrsegProcess.Run("segment", image, "--model", _model, "--out", _out).Failed(3, "a.overlay.png");
    }

    [Theory]
    [InlineData(Interrupt, "cpu")]
    [InlineData(Terminate, "cpu")]
    [InlineData(Interrupt, "emulated")]
    [InlineData(Terminate, "emulated")]
    public void SignalEndsTheRunAfterTheImageInProgress(int signal, string device)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "there are no such signals");
        Assert.SkipWhen(signal == Interrupt && InterruptIsIgnored(), "this process's parent ignores SIGINT, and children inherit that");
        for (int i = 0; i < 300; i++) Picture($"in/{i:000}.png", 120, 90);
        string size = device == "cpu" ? "90x120" : "16x24";
        using DwrsegProcess process = DwrsegProcess.Start("segment", _folder.File("in"), "--model", _model, "--out", _out, "--size", size, "--device", device);
        process.Output.ReadLine();
        process.Output.ReadLine();
        process.Signal(signal);
        process.Finish().Failed(130, "interrupted");
        string[] written = Written();
        Assert.InRange(written.Length, 2, 598);
        // Whole files, in pairs.
        Assert.Equal(0, written.Length % 2);
        foreach (string name in written) ImageCodec.Decode(Path.Combine(_out, name));
    }

    [Fact]
    public void PrecisionIsTheDevicesOrTheOneAskedFor()
    {
        string image = Picture("a.png", 24, 16);
        string[] arguments = ["segment", image, "--model", _model, "--size", "16x24", "--out", _out];
        foreach ((string precision, string name) in new[] { ("auto", "f16"), ("fp32", "f32"), ("fp16", "f16"), ("bf16", "bf16") })
        {
            DwrsegResult result = DwrsegProcess.Run([.. arguments, "--device", "emulated", "--precision", precision]).Succeeded();
            Assert.Contains($"emulated sm_90, sm_90, {name};", result.Lines[0], StringComparison.Ordinal);
        }
        DwrsegProcess.Run([.. arguments, "--device", "cpu", "--precision", "fp32"]).Succeeded();
        DwrsegProcess.Run([.. arguments, "--device", "cpu", "--precision", "fp16"]).Failed(2, "fp32 only");
        DwrsegProcess.Run([.. arguments, "--precision", "fp8"]).Failed(2, "'fp8'");
    }

    private string[] Written() => [.. Directory.GetFileSystemEntries(_out).Select(f => Path.GetFileName(f)!).Order(StringComparer.Ordinal)];

    private byte[] ClassesOf(string stem) => ImageCodec.DecodeLabels(Path.Combine(_out, $"{stem}.classes.png")).Ids.ToArray();

    private string Picture(string name, int width, int height, int seed = 0)
    {
        string path = _folder.File(name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        ImageCodec.SaveRgb(path, width, height, SmallModel.Picture(width, height, seed));
        return path;
    }

    private static JsonElement[] ImagesOf(DwrsegResult result) =>
        [.. JsonDocument.Parse(result.Output).RootElement.GetProperty("images").EnumerateArray()];

    private static bool InterruptIsIgnored()
    {
        if (!OperatingSystem.IsLinux()) return false;
        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("SigIgn:", StringComparison.Ordinal));
        return (Convert.ToUInt64(line[7..].Trim(), 16) & (1UL << (Interrupt - 1))) != 0;
    }
}
