using System.Security.Cryptography;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Tests.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Data;

public sealed class SceneGeneratorTests
{
    private static int[] Histogram(SegmentationSample scene)
    {
        int[] counts = new int[256];
        foreach (byte label in scene.Labels) counts[label]++;
        return counts;
    }

    [Fact]
    public void AFixedSeed_DrawsTheSameSceneOnEveryMachine()
    {
        SegmentationSample scene = SceneGenerator.Generate(7, 3, 160, 120);
        Assert.Equal("ec77017a25dec770", Hash(scene.Labels));
        Assert.Equal("e1799c33c6c18f9e", Hash(scene.Rgb));

        static string Hash(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes))[..16];
    }

    [Fact]
    public void SeedAndIndex_ChooseTheScene()
    {
        SegmentationSample scene = SceneGenerator.Generate(7, 3, 80, 60);
        Assert.Equal(scene.Rgb, SceneGenerator.Generate(7, 3, 80, 60).Rgb);
        Assert.NotEqual(scene.Labels, SceneGenerator.Generate(7, 4, 80, 60).Labels);
        Assert.NotEqual(scene.Labels, SceneGenerator.Generate(8, 3, 80, 60).Labels);
    }

    [Fact]
    public void Scenes_AreComposedLikeStreets()
    {
        long[] total = new long[256];
        int skyAbove = 0;
        const int Scenes = 24;
        for (int index = 0; index < Scenes; index++)
        {
            SegmentationSample scene = SceneGenerator.Generate(1, index, 160, 120);
            int[] counts = Histogram(scene);
            for (int id = 0; id < 256; id++) total[id] += counts[id];
            Assert.True(counts[SceneId("road")] > 0.1 * scene.Labels.Length, $"scene {index} has hardly any road");
            double RowOf(string name)
                => scene.Labels.Index().Where(p => p.Item == SceneId(name)).Select(p => p.Index).DefaultIfEmpty().Average();
            if (RowOf("sky") < RowOf("car") && RowOf("building") < RowOf("road")) skyAbove++;
        }
        Assert.All(SceneGenerator.Classes.Names, name => Assert.True(total[SceneId(name)] > 0, $"no scene shows a {name}"));
        Assert.True(total[SegmentationSample.Ignore] > 0, "nothing is unlabelled");
        Assert.Equal(total.Sum(), total[..11].Sum() + total[255]);
        // A scene may lack cars or sky.
        Assert.True(skyAbove > Scenes / 2);
        // CamVid's training split has 32 % road, 24 % building, 16 % sky, 10 % tree.
        Assert.InRange(total[SceneId("road")] / (double)total.Sum(), 0.22, 0.42);
        Assert.InRange(total[SceneId("building")] / (double)total.Sum(), 0.14, 0.34);
        Assert.InRange(total[SceneId("sky")] / (double)total.Sum(), 0.10, 0.28);

        static int SceneId(string name) => SceneGenerator.Classes.Names.IndexOf(name);
    }

    [Fact]
    public void ASceneLooksTheSameAtEverySize()
    {
        SegmentationSample small = SceneGenerator.Generate(2, 5, 96, 72), large = SceneGenerator.Generate(2, 5, 288, 216);
        int same = 0;
        for (int y = 0; y < 72; y++)
        {
            for (int x = 0; x < 96; x++) if (small.Labels[y * 96 + x] == large.Labels[(3 * y + 1) * 288 + 3 * x + 1]) same++;
        }
        // The centres of the small pixels are centres of large ones; rounding may move an edge past a few.
        Assert.InRange(same, 0.99 * 96 * 72, 96 * 72);
    }

    [Theory]
    [InlineData(16, 16)]
    [InlineData(257, 16)]
    [InlineData(17, 133)]
    public void OddSizes_AreFilledWhole(int width, int height)
    {
        SegmentationSample scene = SceneGenerator.Generate(3, 0, width, height);
        Assert.Equal((width, height), (scene.Width, scene.Height));
        Assert.All(scene.Labels, label => Assert.True(label < 11 || label == SegmentationSample.Ignore));
        Assert.True(scene.Rgb.Distinct().Count() > 20);
    }

    [Fact]
    public void SizesAndIndicesOutOfRange_AreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => SceneGenerator.Generate(1, 0, 15, 100));
        Assert.Throws<ArgumentOutOfRangeException>(() => SceneGenerator.Generate(1, 0, 100, 8193));
        Assert.Throws<ArgumentOutOfRangeException>(() => SceneGenerator.Generate(1, -1, 100, 100));
        Assert.Throws<ArgumentOutOfRangeException>(() => new GeneratedDataset(1, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new GeneratedDataset(1, 2).Load(2));
    }

    [Fact]
    public void WrittenDataset_ReadsBackAsTheGeneratedOne()
    {
        using TemporaryFolder folder = new();
        List<int> told = [];
        SceneGenerator.WriteDataset(folder.Path, "train", 3, 9, 64, 48, new Progress(told), TestContext.Current.CancellationToken);
        SegmentationDataset written = SegmentationDataset.Open(folder.Path, "train");
        GeneratedDataset generated = new(SceneGenerator.SeriesOf(9, "train"), 3, 64, 48);
        Assert.IsType<FolderDataset>(written);
        Assert.Equal(generated.Classes.Names, written.Classes.Names);
        Assert.Equal(3, written.Count);
        for (int i = 0; i < 3; i++)
        {
            SegmentationSample expected = generated.Load(i), found = written.Load(i);
            Assert.Equal(expected.Name, found.Name);
            Assert.Equal(expected.Rgb, found.Rgb);
            Assert.Equal(expected.Labels, found.Labels);
        }
        Assert.Equal([1, 2, 3], told.Order());
        SceneGenerator.WriteDataset(folder.Path, "val", 1, 9, 64, 48, cancellation: TestContext.Current.CancellationToken);
        SegmentationDataset joined = SegmentationDataset.Open(folder.Path, "train+val");
        Assert.Equal(4, joined.Count);
        Assert.NotEqual(joined.Load(0).Labels, joined.Load(3).Labels);
    }

    [Fact]
    public void GeneratedScenes_JoinCamVid()
    {
        using DatasetFolder folder = new();
        folder.Image("train/images/a.png");
        folder.Labels("train/labels/a.png", 3);
        JoinedDataset joined = new([SegmentationDataset.Open(folder.Root, "train"), new GeneratedDataset(1, 5, 32, 24)]);
        Assert.Equal(6, joined.Count);
        Assert.Equal((6, 32), (joined.Load(0).Width, joined.Load(5).Width));
    }

    [Fact]
    public void FolderOfOtherDataOrOtherScenes_IsLeftAlone()
    {
        using DatasetFolder folder = new();
        string classes = folder.Text("classes.json", """{"classes": [{"name": "floor"}, {"name": "wall"}]}""");
        DatasetException e = Assert.Throws<DatasetException>(() => Write(1));
        Assert.Contains(classes, e.Message);
        Assert.Contains("floor", e.Message);
        File.Delete(classes);
        Write(2);
        Write(2);
        Assert.Contains("scene_000001.png", Assert.Throws<DatasetException>(() => Write(1)).Message);

        void Write(int count) => SceneGenerator.WriteDataset(folder.Root, "train", count, 1, 16, 16);
    }

    [Fact]
    public void AClassListWithAnotherIgnoreId_IsFollowed()
    {
        using DatasetFolder folder = new();
        new ClassList(ClassList.CamVid.Names, ClassList.CamVid.Colors, 200).Save(folder.PathOf("classes.json"));
        SceneGenerator.WriteDataset(folder.Root, "train", 1, 4, 64, 48, cancellation: TestContext.Current.CancellationToken);
        SegmentationSample scene = SegmentationDataset.Open(folder.Root, "train").Load(0);
        Assert.Equal(SceneGenerator.Generate(SceneGenerator.SeriesOf(4, "train"), 0, 64, 48).Labels, scene.Labels);
    }

    [Fact]
    public void Cancellation_StopsWriting()
    {
        using TemporaryFolder folder = new();
        using CancellationTokenSource source = new();
        source.Cancel();
        Assert.Throws<OperationCanceledException>(
            () => SceneGenerator.WriteDataset(folder.Path, "train", 50, 1, 64, 48, cancellation: source.Token));
        Assert.Empty(Directory.GetFiles(folder.File("train/images")));
    }

    private sealed class Progress(List<int> told) : IProgress<int>
    {
        public void Report(int value)
        {
            lock (told) told.Add(value);
        }
    }
}
