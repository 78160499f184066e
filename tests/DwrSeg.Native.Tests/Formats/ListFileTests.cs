using System.Text;
using DwrSeg.Native.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Formats;

public sealed class ListFileTests
{
    private static readonly HashSet<string> Files =
        ["/data/train/a.png", "/data/trainannot/a.png", "/data/train/b.png", "/data/trainannot/b.png", "/data/ü.png", "/outside.png"];

    [Fact]
    public void AuthorsAbsolutePathsAreFoundBelowTheList()
    {
        Assert.Equal(
            [new("/data/train/a.png", "/data/trainannot/a.png", 1), new("/data/train/b.png", "/data/trainannot/b.png", 2)],
            Parse("/SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png\n" +
                "/SegNet/CamVid/train/b.png /SegNet/CamVid/trainannot/b.png"));
    }

    [Theory]
    [InlineData("train/a.png trainannot/a.png")]
    [InlineData("  train/a.png \t trainannot/a.png  \r\n\r\n")]
    [InlineData("\uFEFF# comment\n\n \t\r\ntrain/a.png trainannot/a.png")]
    [InlineData("./train//a.png .\\trainannot\\a.png")]
    [InlineData("C:\\CamVid\\train\\a.png C:/CamVid/trainannot/a.png")]
    public void CommentsBlankLinesAndOddWhiteSpaceAreRead(string text)
    {
        ListEntry entry = Assert.Single(Parse(text));
        Assert.Equal(("/data/train/a.png", "/data/trainannot/a.png"), (entry.Image, entry.Label));
    }

    [Fact]
    public void TheLongestPathThatExistsWins()
    {
        HashSet<string> files = ["/data/x/train/a.png", "/data/train/a.png", "/data/a.png"];
        IReadOnlyList<ListEntry> entries = ListFile.Parse("x/train/a.png train/a.png"u8, "x", "/data", files.Contains);
        Assert.Equal(new ListEntry("/data/x/train/a.png", "/data/train/a.png", 1), entries[0]);
    }

    [Theory]
    [InlineData("", null, "lists no images")]
    [InlineData("# only a comment\n", null, "lists no images")]
    [InlineData("train/a.png", 1, "found 1 fields")]
    [InlineData("\ntrain/a.png trainannot/a.png more", 2, "found 3 fields")]
    [InlineData("train/c.png trainannot/a.png", 1, "image 'train/c.png' is not in /data")]
    [InlineData("train/a.png trainannot/c.png", 1, "label 'trainannot/c.png' is not in /data")]
    [InlineData("../outside.png trainannot/a.png", 1, "leaves the data folder")]
    [InlineData("train/../../outside.png trainannot/a.png", 1, "leaves the data folder")]
    [InlineData("..\\outside.png trainannot/a.png", 1, "leaves the data folder")]
    [InlineData("/outside.png trainannot/a.png", 1, "is not in /data")]
    [InlineData("/ trainannot/a.png", 1, "must name a file")]
    [InlineData("train/a.png\0x trainannot/a.png", 1, "control character 0x00")]
    [InlineData("train/a.png\rtrainannot/a.png", 1, "control character 0x0d")]
    public void BadLineIsRefusedWithItsNumberAndReason(string text, int? line, string reason)
    {
        DataFormatException error = Assert.Throws<DataFormatException>(() => Parse(text));
        Assert.Equal(line, error.Line);
        Assert.StartsWith(line is null ? "train.txt: " : $"train.txt, line {line}: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LongLinesManyLinesDeepPathsAndForeignEncodingsAreRefused()
    {
        Assert.Equal(2, Assert.Throws<DataFormatException>(() => Parse("#\n" + new string('a', 5000))).Line);
        Assert.Equal(200_001, Assert.Throws<DataFormatException>(() => Parse(new string('\n', 300_000))).Line);
        Assert.Throws<DataFormatException>(() => Parse(string.Concat(Enumerable.Repeat("a/", 100)) + " b"));
        Assert.Throws<DataFormatException>(() => ListFile.Parse([0xFF, 0xFE, (byte)'a', 0], "x", "/data", Files.Contains));
    }

    [Fact]
    public void ListOnDiskIsResolvedBesideIt()
    {
        using TemporaryFolder folder = new();
        Directory.CreateDirectory(folder.File("train"));
        File.WriteAllText(folder.File("train/a.png"), "");
        File.WriteAllText(folder.File("train.txt"), "/SegNet/CamVid/train/a.png /SegNet/CamVid/train/a.png\n", Encoding.UTF8);
        Assert.Equal(folder.File("train/a.png"), ListFile.Read(folder.File("train.txt"))[0].Label);
        Assert.Throws<FileNotFoundException>(() => ListFile.Read(folder.File("none.txt")));
        Assert.Throws<DataFormatException>(() => ListFile.Read(folder.Path));
    }

    private static IReadOnlyList<ListEntry> Parse(string text) =>
        ListFile.Parse(Encoding.UTF8.GetBytes(text), "train.txt", "/data", path => Files.Contains(path.Replace('\\', '/')));
}
