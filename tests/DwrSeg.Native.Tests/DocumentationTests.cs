using System.Text.RegularExpressions;
using DwrSeg.Examples;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests;

/// <summary>What the documents show is what is compiled and run here.</summary>
public sealed partial class DocumentationTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Documents => ["README.md", "docs/library.md"];

    [Theory]
    [MemberData(nameof(Documents))]
    public void EveryCSharpBlockIsPartOfAnExample(string document)
    {
        string[] examples = [.. Directory.GetFiles(Copy("docs/examples"), "*.cs").Select(f => Plain(File.ReadAllText(f)))];
        MatchCollection blocks = CSharpBlock().Matches(File.ReadAllText(Copy(document)));
        Assert.True(blocks.Count >= 2);
        foreach (Match block in blocks)
        {
            string text = Plain(block.Groups[1].Value);
            Assert.True(examples.Any(e => e.Contains(text, StringComparison.Ordinal)), $"{document} shows code that is in no example:\n{text}");
        }
    }

    [Fact]
    public void ImageExampleWritesAnOverlayAndNamesTheClasses()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors")), image = _folder.File("image.png"), overlay = _folder.File("overlay.png");
        ImageCodec.SaveRgb(image, 50, 40, SmallModel.Picture(50, 40));
        IReadOnlyList<string> names = SegmentImage.Run(model, image, overlay);
        Assert.NotEmpty(names);
        Assert.Subset(new HashSet<string>(SmallModel.Classes.Names), new HashSet<string>(names));
        Assert.Equal(50, ImageCodec.Decode(overlay).Width);
    }

    [Fact]
    public void VideoExamplePaintsTheFrameInPlace()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors"));
        byte[] frame = new byte[30 * 260];
        new Random(1).NextBytes(frame);
        byte[] before = [.. frame];
        using var video = new SegmentVideo(model, 64, 30);
        Assert.InRange(video.Paint(frame, 260), 1.0 / SmallModel.Classes.Count - 0.01, 1);
        Assert.NotEqual(before, frame);
        for (int y = 0; y < 30; y++) Assert.Equal(before[(y * 260 + 256)..(y * 260 + 260)], frame[(y * 260 + 256)..(y * 260 + 260)]);
    }

    [Fact]
    public async Task StreamExampleShowsEveryFrameInOrder()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors"));
        using Segmenter segmenter = Segmenter.Load(model);
        int taken = 0, shown = 0;
        await SegmentStream.Run(model, Take, 40, 30, Show, TestContext.Current.CancellationToken);
        Assert.Equal((7, 7), (taken, shown));

        Task<bool> Take(byte[] pixels)
        {
            if (taken == 7) return Task.FromResult(false);
            SmallModel.Picture(40, 30, seed: taken++).CopyTo(pixels, 0);
            return Task.FromResult(true);
        }

        void Show(ReadOnlyMemory<byte> classes)
        {
            byte[] expected = new byte[40 * 30];
            segmenter.Run(SmallModel.Picture(40, 30, seed: shown++), 40, 30, 120, PixelFormat.Rgb, expected);
            Assert.Equal(expected, classes.ToArray());
        }
    }

    private static string Copy(string path) => Path.Combine(AppContext.BaseDirectory, "documents", path);

    // Without indentation: a document shows a part of a method at the left margin.
    private static string Plain(string code) => string.Join('\n', code.Split('\n').Select(line => line.Trim()));

    [GeneratedRegex(@"```csharp\n(.*?)\n```", RegexOptions.Singleline)]
    private static partial Regex CSharpBlock();
}
