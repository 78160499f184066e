using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>Whatever comes in, the answer is a class map or one error that names the thing.</summary>
public sealed class HostileInputTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly Segmenter _segmenter;

    public HostileInputTests() => _segmenter = Segmenter.Load(SmallModel.Save(_folder.File("model.safetensors"), inputSize: (32, 48)));

    public void Dispose()
    {
        _segmenter.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, Segmenter.MaxSide)]
    [InlineData(Segmenter.MaxSide, 2)]
    public void ThinImagesAreSegmented(int width, int height)
    {
        Segmentation result = _segmenter.Run(RawPng.Build(width, height, 8, RawPng.Grey, new byte[height * (width + 1)]).AsSpan());
        Assert.Equal((width, height, width * height), (result.Width, result.Height, result.Classes.Length));
        Assert.All(result.Classes.ToArray(), id => Assert.InRange(id, 0, 3));
    }

    [Fact]
    public void ThinImagesAreSegmentedAtTheirOwnSizeToo()
    {
        using Segmenter segmenter = Segmenter.Load(_folder.File("model.safetensors"), new SegmenterOptions { SizePolicy = SizePolicy.Native });
        byte[] classes = new byte[3000];
        segmenter.Run(new byte[9000], 1, 3000, 3, PixelFormat.Rgb, classes);
        segmenter.Run(new byte[9000], 3000, 1, 9000, PixelFormat.Rgb, classes);
        Assert.All(classes, id => Assert.InRange(id, 0, 3));
    }

    [Fact]
    public void ImagesWithLongerSidesAreRefusedByName()
    {
        string path = _folder.File("tall.png");
        File.WriteAllBytes(path, RawPng.Build(1, 20000, 8, RawPng.Grey, new byte[20000 * 2]));
        var error = Assert.Throws<ImageFormatException>(() => _segmenter.Run(path));
        Assert.Equal($"{path}: is 1 x 20000 pixels; at most 16384 each are possible, scale it down first", error.Message);
        Assert.Equal(path, error.File);
    }

    [Fact]
    public void HugeDeclaredSizeIsRefusedWithoutTheMemoryForIt()
    {
        byte[] file = RawPng.Build(2_000_000_000, 2_000_000_000, 8, RawPng.Color, [0]);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<ImageFormatException>(() => _segmenter.Run(file.AsSpan()));
        byte[] smaller = RawPng.Build(16384, 16384, 8, RawPng.Color, [0]);
        Assert.Contains("16384 x 16384", Assert.Throws<ImageFormatException>(() => _segmenter.Run(smaller.AsSpan())).Message, StringComparison.Ordinal);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Fact]
    public void NetworkLargerThanTheMachineIsRefusedBeforeItTakesTheMemory()
    {
        // 1000 of the largest images: terabytes.
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1000, Segmenter.MaxSide, Segmenter.MaxSide));
        using var backend = new CpuBackend(1);
        using ITensorStore store = backend.CreateStore();
        var error = Assert.Throws<InsufficientMemoryException>(() => backend.Compile(graph, store));
        Assert.Contains("choose a smaller input size", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void CutShortEmptyAndForeignBytesAreErrors()
    {
        ImageCodec.SaveRgb(_folder.File("a.png"), 40, 30, SmallModel.Picture(40, 30));
        byte[] png = File.ReadAllBytes(_folder.File("a.png"));
        foreach (byte[] bytes in (byte[][])[[], png[..8], png[..(png.Length / 2)], [.. "no image at all, but long enough for a signature"u8]])
        {
            Assert.Throws<ImageFormatException>(() => _segmenter.Run(bytes.AsSpan()));
            Assert.StartsWith("the encoded image: ", Assert.Throws<ImageFormatException>(() => _segmenter.Run(new MemoryStream(bytes))).Message, StringComparison.Ordinal);
        }
        Assert.Throws<FileNotFoundException>(() => _segmenter.Run(_folder.File("none.png")));
        Assert.Throws<ImageFormatException>(() => _segmenter.Run(_folder.Path));
        // None of it harmed the segmenter.
        Assert.Equal(40 * 30, _segmenter.Run(png.AsSpan()).Classes.Length);
    }

    [Fact]
    public void OrientedImageIsSegmentedAsItIsSeen()
    {
        // 24 x 8 stored; orientation 6 turns it by a quarter, as a phone held upright writes it.
        byte[] jpeg = RawJpeg.WithOrientation(RawJpeg.Grey(3, 1, 200), 6);
        Segmentation result = _segmenter.Run(jpeg.AsSpan());
        Assert.Equal((8, 24), (result.Width, result.Height));
    }

    public static IEnumerable<TheoryDataRow<int, int, int, int, int, int, string>> WrongBuffers()
    {
        // width, height, rowBytes, pixels, classes, confidence → the name in the message.
        yield return (0, 4, 12, 48, 16, 0, "width");
        yield return (-1, 4, 12, 48, 16, 0, "width");
        yield return (16385, 1, 49155, 49155, 16385, 0, "width");
        yield return (4, 0, 12, 48, 16, 0, "height");
        yield return (1, 16385, 3, 49155, 16385, 0, "height");
        yield return (4, 4, 11, 48, 16, 0, "rowBytes");
        yield return (4, 4, -12, 48, 16, 0, "rowBytes");
        yield return (4, 4, 12, 47, 16, 0, "pixels");
        yield return (4, 4, int.MaxValue, 48, 16, 0, "pixels");
        yield return (4, 4, 12, 0, 16, 0, "pixels");
        yield return (4, 4, 12, 48, 15, 0, "classes");
        yield return (4, 4, 12, 48, 16, 15, "confidence");
    }

    [Theory]
    [MemberData(nameof(WrongBuffers))]
    public void WrongBufferIsNamedAndNothingIsWritten(int width, int height, int rowBytes, int pixels, int classes, int confidence, string name)
    {
        byte[] classMap = [.. Enumerable.Repeat((byte)77, classes)];
        var error = Assert.ThrowsAny<ArgumentException>(
            () => _segmenter.Run(new byte[pixels], width, height, rowBytes, PixelFormat.Rgb, classMap, new byte[confidence]));
        Assert.Equal(name, error.ParamName);
        Assert.All(classMap, b => Assert.Equal(77, b));
    }

    [Fact]
    public void LengthsInErrorsAreThoseFoundAndNeeded()
    {
        var error = Assert.Throws<ArgumentException>(() => _segmenter.Run(new byte[47], 4, 4, 12, PixelFormat.Rgb, new byte[16]));
        Assert.StartsWith("pixels has 47 bytes; 48 are needed.", error.Message, StringComparison.Ordinal);
        error = Assert.Throws<ArgumentException>(() => _segmenter.Run(new byte[64], 4, 4, 12, PixelFormat.Bgra, new byte[16]));
        Assert.StartsWith("rowBytes is 12; a row of 4 Bgra pixels needs 16.", error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => _segmenter.Run(new byte[64], 4, 4, 16, (PixelFormat)9, new byte[16]));
    }

    [Fact]
    public void OverlayBuffersAreChecked()
    {
        byte[] pixels = new byte[96], classes = new byte[16];
        Assert.Equal("overlay", Assert.Throws<ArgumentException>(
            () => _segmenter.PaintOverlay(pixels, 4, 4, 12, PixelFormat.Rgb, classes, new byte[47])).ParamName);
        Assert.Equal("classes", Assert.Throws<ArgumentException>(
            () => _segmenter.PaintOverlay(pixels, 4, 4, 12, PixelFormat.Rgb, classes.AsSpan(1), new byte[48])).ParamName);
        Assert.Contains("overlaps", Assert.Throws<ArgumentException>(
            () => _segmenter.PaintOverlay(pixels, 4, 4, 12, PixelFormat.Rgb, classes, pixels.AsSpan(1))).Message, StringComparison.Ordinal);
        _segmenter.PaintOverlay(pixels, 4, 4, 12, PixelFormat.Rgb, classes, pixels.AsSpan(48));
        Assert.Throws<ArgumentOutOfRangeException>(
            () => _segmenter.PaintOverlay(pixels, 4, 4, 12, PixelFormat.Rgb, classes, pixels, opacity: double.NaN));
    }

    [Theory]
    [InlineData("decoder.classify.bias", float.NaN)]
    [InlineData("stem.conv.conv.weight", float.PositiveInfinity)]
    [InlineData("stem.conv.bn.running_var", -0.5f)]
    public void WeightsThatCanNotBeAreRefusedByName(string tensor, float value)
    {
        string path = SmallModel.SaveWith(_folder.File("damaged.safetensors"), tensor, value);
        var error = Assert.Throws<WeightsFormatException>(() => Segmenter.Load(path));
        Assert.Contains(path, error.Message, StringComparison.Ordinal);
        Assert.Contains(tensor, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WrongFilesAndOptionsAreNamed()
    {
        string model = _folder.File("model.safetensors");
        Assert.Contains("none.safetensors", Assert.Throws<FileNotFoundException>(() => Segmenter.Load(_folder.File("none.safetensors"))).Message, StringComparison.Ordinal);
        File.WriteAllText(_folder.File("text.safetensors"), "this is no safetensors file");
        Assert.Contains("text.safetensors", Assert.Throws<WeightsFormatException>(() => Segmenter.Load(_folder.File("text.safetensors"))).Message, StringComparison.Ordinal);
        Assert.Equal("Threads", Assert.Throws<ArgumentOutOfRangeException>(() => Segmenter.Load(model, new SegmenterOptions { Threads = -1 })).ParamName);
        Assert.Equal("Threads", Assert.Throws<ArgumentOutOfRangeException>(() => Segmenter.Load(model, new SegmenterOptions { Threads = 1025 })).ParamName);
        Assert.Equal("InputSize.Width", Assert.Throws<ArgumentOutOfRangeException>(
            () => Segmenter.Load(model, new SegmenterOptions { InputSize = (8, 0) })).ParamName);
        Assert.Contains("'gpu'", Assert.Throws<ArgumentException>(() => Segmenter.Load(model, new SegmenterOptions { Device = "gpu" })).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>(() => Segmenter.Load(model, new SegmenterOptions { Device = null! }));
    }
}
