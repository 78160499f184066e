using DwrSeg.Native.Data;
using DwrSeg.Native.Tests.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed class SceneCommandTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void WritesTheGeneratorsScenesAsADataSet()
    {
        string root = _folder.File("scenes");
        DwrsegResult result = DwrsegProcess.Run(
            "scene", "--count", "2", "--out", root, "--seed", "7", "--split", "val", "--size", "40x56").Succeeded();
        Assert.Equal([$"wrote 2 scenes to {Path.Combine(root, "val")}"], result.Lines);
        SegmentationDataset written = SegmentationDataset.Open(root, "val");
        Assert.Equal(2, written.Count);
        Assert.Equal(SceneGenerator.Classes.Names, written.Classes.Names);
        for (int i = 0; i < 2; i++)
        {
            SegmentationSample expected = SceneGenerator.Generate(SceneGenerator.SeriesOf(7, "val"), i, 56, 40), found = written.Load(i);
            Assert.Equal((56, 40), (found.Width, found.Height));
            Assert.Equal(expected.Rgb, found.Rgb);
            Assert.Equal(expected.Labels, found.Labels);
        }
    }

    [Fact]
    public void WhatIsNotPossibleIsNamed()
    {
        string root = _folder.File("scenes");
        DwrsegProcess.Run("scene", "--count", "0", "--out", root).Failed(2, "--count");
        DwrsegProcess.Run("scene", "--count", "1", "--out", root, "--size", "8x8").Failed(2, "--size is 8x8");
        DwrsegProcess.Run("scene", "--count", "1", "--out", root, "--split", "a/b").Failed(2, "'a/b'");
        DwrsegProcess.Run("scene", "--count", "1").Failed(2, "--out");
        Assert.False(Directory.Exists(root));
        string file = _folder.File("file");
        File.WriteAllText(file, "");
        DwrsegProcess.Run("scene", "--count", "1", "--out", file).Failed(3, file);
    }
}
