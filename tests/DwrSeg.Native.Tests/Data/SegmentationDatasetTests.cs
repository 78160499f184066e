using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Data;

public sealed class SegmentationDatasetTests : IDisposable
{
    private readonly DatasetFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private SegmentationDataset Open(string split) => SegmentationDataset.Open(_folder.Root, split);

    private DatasetException Refused(string split) => Assert.Throws<DatasetException>(() => Open(split));

    [Fact]
    public void CamVidFolders_PairImagesAndLabelsByName_AndIgnore11()
    {
        _folder.Image("train/images/b.png", value: 20);
        _folder.Image("train/images/a.png", value: 10);
        _folder.Labels("train/labels/a.png", 0, 10, 11);
        _folder.Labels("train/labels/b.png", 3);
        SegmentationDataset data = Open("train");
        Assert.IsType<CamVidDataset>(data);
        Assert.Equal($"{Path.GetFileName(_folder.Root)}/train", data.Name);
        Assert.Equal(["a", "b"], Enumerable.Range(0, data.Count).Select(data.SampleName));
        SegmentationSample a = data.Load(0);
        Assert.Equal((6, 4, (byte)10), (a.Width, a.Height, a.Rgb[0]));
        Assert.Equal([0, 10, 255, 0, 10, 255], a.Labels[..6]);
        Assert.Equal((20, 3), (data.Load(1).Rgb[0], data.Load(1).Labels[0]));
    }

    [Fact]
    public void SegNetTutorialLayout_IsCamVidToo()
    {
        _folder.Image("val/0016E5_07959.png");
        _folder.Labels("valannot/0016E5_07959.png", 4);
        _folder.Image("test/0001TP_1.png");
        _folder.Labels("testannot/0001TP_1.png", 5);
        SegmentationDataset data = Open("val");
        Assert.IsType<CamVidDataset>(data);
        Assert.Equal("0016E5_07959", data.SampleName(0));
        Assert.Equal(4, data.Load(0).Labels[0]);
        Assert.Equal([4, 5], [Open("val+test").Load(0).Labels[0], Open("val+test").Load(1).Labels[0]]);
    }

    [Fact]
    public void SegNetTutorialList_DecidesMembersAndOrder()
    {
        foreach (string name in (string[])["a", "b", "c"])
        {
            _folder.Image($"train/{name}.png");
            _folder.Labels($"trainannot/{name}.png", (byte)(name[0] - 'a'));
        }
        string list = _folder.Text("train.txt", """
            /SegNet/CamVid/train/c.png /SegNet/CamVid/trainannot/c.png
            /SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png
            """);
        SegmentationDataset data = Open("train");
        Assert.Equal(["c", "a"], Enumerable.Range(0, data.Count).Select(data.SampleName));
        Assert.Equal([2, 0], [data.Load(0).Labels[0], data.Load(1).Labels[0]]);
        File.Delete(_folder.PathOf("train/a.png"));
        Assert.Contains($"{list}, line 2", Refused("train").Message);
    }

    [Fact]
    public void CityscapesLabelIds_BecomeTrainIds()
    {
        _folder.Image("leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png");
        _folder.Labels("gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png", 7, 26, 0, 33, 9);
        _folder.Image("leftImg8bit/train/bonn/bonn_000003_000019_leftImg8bit.png");
        _folder.Labels("gtFine/train/bonn/bonn_000003_000019_gtFine_labelTrainIds.png", 18, 255, 0);
        SegmentationDataset data = Open("train");
        Assert.IsType<CityscapesDataset>(data);
        Assert.Equal(["bonn_000003_000019", "ulm_000001_000019"], Enumerable.Range(0, 2).Select(data.SampleName));
        Assert.Equal([18, 255, 0], data.Load(0).Labels[..3]);
        Assert.Equal([0, 13, 255, 18, 255], data.Load(1).Labels[..5]);
        Assert.True(data.HasLabels);
    }

    [Fact]
    public void CityscapesTestSplit_HasImagesButNoLabels()
    {
        _folder.Image("leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png");
        SegmentationDataset data = Open("test");
        Assert.False(data.HasLabels);
        Assert.All(data.Load(0).Labels, label => Assert.Equal(SegmentationSample.Ignore, label));
        DatasetException e = Assert.Throws<DatasetException>(() => new TrainingLoader(data, new() { CropWidth = 4, CropHeight = 4 },
            new() { BatchSize = 1, Seed = 0 }));
        Assert.Contains("no labels", e.Message);
    }

    [Fact]
    public void OwnFolder_BringsItsClassesAndIgnoreId()
    {
        _folder.Text("classes.json", """{"classes": [{"name": "floor"}, {"name": "wall"}], "ignore": 9}""");
        _folder.Image("train/images/x.png");
        _folder.Labels("train/labels/x.png", 0, 9, 1);
        SegmentationDataset data = Open("train");
        Assert.IsType<FolderDataset>(data);
        Assert.Equal(["floor", "wall"], data.Classes.Names);
        Assert.Equal([0, 255, 1], data.Load(0).Labels[..3]);
    }

    [Fact]
    public void JoinedSplits_FollowOneAnother()
    {
        foreach ((string split, byte id) in (ReadOnlySpan<(string, byte)>)[("train", 1), ("val", 2)])
        {
            for (int i = 0; i < 2 + id; i++)
            {
                _folder.Image($"{split}/images/{i}.png");
                _folder.Labels($"{split}/labels/{i}.png", id);
            }
        }
        SegmentationDataset data = Open("train + val");
        Assert.Equal(7, data.Count);
        Assert.EndsWith("/train+val", data.Name);
        Assert.Equal([1, 1, 1, 2, 2, 2, 2], Enumerable.Range(0, 7).Select(i => (int)data.Load(i).Labels[0]));
        Assert.Throws<ArgumentOutOfRangeException>(() => data.Load(7));
        Assert.Throws<ArgumentOutOfRangeException>(() => data.Load(-1));
    }

    [Fact]
    public void JoiningOtherClasses_NamesBothDataSets()
    {
        _folder.Text("classes.json", """{"classes": [{"name": "floor"}, {"name": "wall"}]}""");
        _folder.Image("train/images/x.png");
        _folder.Labels("train/labels/x.png", 0);
        SegmentationDataset own = Open("train");
        DatasetException e = Assert.Throws<DatasetException>(() => new JoinedDataset([new ArrayDataset(1, 8, 8), own]));
        Assert.Contains(own.Name, e.Message);
        Assert.Contains("blocks", e.Message);
        Assert.Contains("floor", e.Message);
    }

    [Fact]
    public void MissingOrUnknownRoot_SaysWhatIsThere()
    {
        string missing = _folder.PathOf("nowhere");
        Assert.Contains(missing, Assert.Throws<DatasetException>(() => SegmentationDataset.Open(missing, "train")).Message);
        _folder.Text("readme.txt", "");
        DatasetException e = Refused("train");
        Assert.Contains(_folder.Root, e.Message);
        Assert.Contains("holds readme.txt", e.Message);
        Assert.Contains("classes.json", e.Message);
    }

    [Fact]
    public void MissingSplit_NamesThoseThatAreThere()
    {
        _folder.Image("train/images/a.png");
        _folder.Labels("train/labels/a.png", 0);
        _folder.Folder("notes");
        DatasetException e = Refused("vall");
        Assert.Contains("'vall'", e.Message);
        Assert.Contains("there are train", e.Message);
        Assert.DoesNotContain("notes", e.Message);
    }

    [Theory]
    [InlineData("train+")]
    [InlineData("../train")]
    [InlineData("train+train")]
    [InlineData("..")]
    public void UnsoundSplitNames_AreRefused(string split)
    {
        _folder.Image("train/images/a.png");
        _folder.Labels("train/labels/a.png", 0);
        Assert.Contains(split, Refused(split).Message);
    }

    [Fact]
    public void MissingLabelFolder_IsNamed()
    {
        _folder.Image("train/images/a.png");
        Assert.Contains(_folder.PathOf("train/labels"), Refused("train").Message);
    }

    [Fact]
    public void MissingLabelFile_IsNamedWithItsImage()
    {
        string image = _folder.Image("train/images/a.png");
        _folder.Folder("train/labels");
        DatasetException e = Refused("train");
        Assert.Equal(_folder.PathOf("train/labels/a.png"), e.Path);
        Assert.Contains(e.Path, e.Message);
        Assert.Contains(image, e.Message);
    }

    [Fact]
    public void MissingCityscapesLabel_IsNamedWithItsImage()
    {
        string image = _folder.Image("leftImg8bit/val/ulm/ulm_000001_000019_leftImg8bit.png");
        _folder.Folder("gtFine/val");
        DatasetException e = Refused("val");
        Assert.Contains("ulm_000001_000019_gtFine_labelIds.png", e.Message);
        Assert.Contains(image, e.Message);
    }

    [Fact]
    public void EmptySplit_IsNamed()
    {
        _folder.Folder("train/images");
        _folder.Folder("train/labels");
        _folder.Text("train/images/.hidden.png", "");
        Assert.Contains(_folder.PathOf("train/images"), Refused("train").Message);
    }

    [Fact]
    public void TwoImagesOfOneName_AreRefused()
    {
        _folder.Image("train/images/a.png");
        _folder.Text("train/images/a.jpg", "");
        _folder.Labels("train/labels/a.png", 0);
        DatasetException e = Refused("train");
        Assert.Contains("a.png", e.Message);
        Assert.Contains("a.jpg", e.Message);
    }

    [Fact]
    public void LabelOfAnotherSize_NamesBothFilesAndSizes()
    {
        string image = _folder.Image("train/images/a.png", 6, 4), labels = _folder.SizedLabels("train/labels/a.png", 4, 6, 0);
        DatasetException e = Assert.Throws<DatasetException>(() => Open("train").Load(0));
        Assert.Contains($"{labels}: is 4x6", e.Message);
        Assert.Contains($"{image} is 6x4", e.Message);
    }

    [Fact]
    public void IdOutOfRange_NamesFilePixelAndRange()
    {
        _folder.Image("train/images/a.png");
        string labels = _folder.SizedLabels("train/labels/a.png", 6, 4, [0, 1, 2, 3, 4, 5, 6, 12]);
        DatasetException e = Assert.Throws<DatasetException>(() => Open("train").Load(0));
        Assert.Contains($"{labels}: pixel (1, 1) has id 12; expected 0 to 10, or 11", e.Message);
    }

    [Fact]
    public void DamagedFiles_AreNamedOnce()
    {
        string image = _folder.Text("train/images/a.png", "not an image");
        _folder.Labels("train/labels/a.png", 0);
        DatasetException e = Assert.Throws<DatasetException>(() => Open("train").Load(0));
        Assert.StartsWith(image, e.Message);
        Assert.DoesNotContain(image, e.Message[image.Length..]);
    }

    [Fact]
    public void FilesOfAnotherSizeOrNameAreAnotherIdentity()
    {
        _folder.Text("classes.json", """{"classes": [{"name": "floor"}, {"name": "wall"}]}""");
        string image = _folder.Image("train/images/a.png"), labels = _folder.Labels("train/labels/a.png", 0);
        SegmentationDataset data = Open("train");
        string before = data.IdentityOf(0);
        Assert.Equal(before, Open("train").IdentityOf(0));
        File.AppendAllText(image, "x");
        string longer = data.IdentityOf(0);
        Assert.NotEqual(before, longer);
        File.AppendAllText(labels, "x");
        Assert.NotEqual(longer, data.IdentityOf(0));
        Assert.StartsWith("a ", before, StringComparison.Ordinal);
        File.Delete(labels);
        Assert.Contains(labels, Assert.Throws<DatasetException>(() => data.IdentityOf(0)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void UnsoundClassList_IsNamed()
    {
        string classes = _folder.Text("classes.json", "{\"classes\": [");
        Assert.StartsWith(classes, Refused("train").Message);
    }

    [Fact]
    public void CityscapesIdOutOfRange_NamesTheFile()
    {
        _folder.Image("leftImg8bit/val/ulm/ulm_000001_000019_leftImg8bit.png");
        string ids = _folder.Labels("gtFine/val/ulm/ulm_000001_000019_gtFine_labelIds.png", 7, 34);
        Assert.Contains($"{ids}: pixel (1, 0) has id 34", Assert.Throws<DatasetException>(() => Open("val").Load(0)).Message);
        File.Delete(ids);
        string trainIds = _folder.Labels("gtFine/val/ulm/ulm_000001_000019_gtFine_labelTrainIds.png", 0, 0, 19);
        Assert.Contains($"{trainIds}: pixel (2, 0) has id 19", Assert.Throws<DatasetException>(() => Open("val").Load(0)).Message);
    }

    [Fact]
    public void OwnIdOutOfRange_NamesTheFileAndTheListsRange()
    {
        _folder.Text("classes.json", """{"classes": [{"name": "floor"}, {"name": "wall"}], "ignore": 9}""");
        _folder.Image("train/images/x.png");
        string labels = _folder.Labels("train/labels/x.png", 1, 2);
        Assert.Contains($"{labels}: pixel (1, 0) has id 2; expected 0 to 1, or 9", Assert.Throws<DatasetException>(() => Open("train").Load(0)).Message);
    }

    [Fact]
    public void DamagedLabels_AreNamed()
    {
        _folder.Image("train/images/a.png");
        string labels = _folder.Text("train/labels/a.png", "no labels");
        Assert.StartsWith(labels, Assert.Throws<DatasetException>(() => Open("train").Load(0)).Message);
        byte[] rgb = new byte[6 * 4 * 3];
        ImageCodec.SaveRgb(labels, 6, 4, rgb);
        // A picture of the classes in colour, as some data sets bring them, has no ids.
        Assert.StartsWith(labels, Assert.Throws<DatasetException>(() => Open("train").Load(0)).Message);
    }

    [Fact]
    public void TutorialLayoutWithoutLabels_NamesWhatIsMissing()
    {
        string image = _folder.Image("train/a.png");
        _folder.Folder("trainannot");
        DatasetException label = Refused("train");
        Assert.Equal(_folder.PathOf("trainannot/a.png"), label.Path);
        Assert.Contains(image, label.Message);
        _folder.Image("val/a.png");
        Assert.Contains(_folder.PathOf("valannot"), Refused("val").Message);
    }

    [Fact]
    public void TutorialListWithoutAnEntry_OrWithAMissingLabel_IsNamed()
    {
        _folder.Image("train/a.png");
        _folder.Folder("trainannot");
        string list = _folder.Text("train.txt", "\n\n");
        Assert.Contains(list, Refused("train").Message);
        File.WriteAllText(list, "train/a.png trainannot/a.png\n");
        DatasetException e = Refused("train");
        Assert.Contains($"{list}, line 1", e.Message);
        Assert.Contains("trainannot", e.Message);
    }

    [Fact]
    public void EmptyCityscapesSplit_IsNamed()
    {
        string split = _folder.Folder("leftImg8bit/val");
        _folder.Folder("gtFine/val");
        Assert.StartsWith(split, Refused("val").Message);
        Assert.Contains("there are val", Refused("train").Message);
    }

    [Fact]
    public void CityscapesWithoutAnnotation_NamesTheFolder()
    {
        _folder.Image("leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png");
        Assert.Contains(_folder.PathOf("gtFine/train"), Refused("train").Message);
    }
}
