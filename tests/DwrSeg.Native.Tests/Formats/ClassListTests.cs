using System.Text;
using DwrSeg.Native.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Formats;

public sealed class ClassListTests
{
    [Fact]
    public void CamVidHasItsElevenClasses()
    {
        Assert.Equal(11, ClassList.CamVid.Count);
        Assert.Equal(11, ClassList.CamVid.IgnoreId);
        Assert.Equal("bicyclist", ClassList.CamVid.Names[10]);
        Assert.Equal(new Rgb(128, 64, 128), ClassList.CamVid.Colors[3]);
    }

    [Fact]
    public void CityscapesIdsMapBothWays()
    {
        Assert.Equal(19, ClassList.Cityscapes.Count);
        Assert.Equal(34, CityscapesLabels.TrainIdByLabelId.Length);
        for (int train = 0; train < 19; train++)
        {
            Assert.Equal(train, CityscapesLabels.TrainIdByLabelId[CityscapesLabels.LabelIdByTrainId[train]]);
        }
        Assert.Equal(15, CityscapesLabels.TrainIdByLabelId.ToArray().Count(id => id == CityscapesLabels.Ignore));
        Assert.Equal("traffic sign", ClassList.Cityscapes.Names[CityscapesLabels.TrainIdByLabelId[20]]);
        Assert.Equal("bicycle", ClassList.Cityscapes.Names[CityscapesLabels.TrainIdByLabelId[33]]);
    }

    [Fact]
    public void BuiltInListsSurviveJson()
    {
        foreach (ClassList list in new[] { ClassList.CamVid, ClassList.Cityscapes })
        {
            ClassList read = ClassList.Parse(list.ToJson(), "x");
            Assert.Equal(list.Names, read.Names);
            Assert.Equal(list.Colors, read.Colors);
            Assert.Equal(list.IgnoreId, read.IgnoreId);
        }
    }

    [Fact]
    public void ColoursAreReadInBothForms()
    {
        const string json = """{"classes": [{"name": "a", "color": "#0a0B0c"}, {"name": "b", "color": [1, 2, 255]}], "ignore": 2}""";
        ClassList list = ClassList.Parse(json, "x");
        Assert.Equal([new Rgb(10, 11, 12), new Rgb(1, 2, 255)], list.Colors);
        Assert.Equal(2, list.IgnoreId);
    }

    [Fact]
    public void LeftOutColoursAreDistinctAndIgnoreIs255()
    {
        string classes = string.Join(",", Enumerable.Range(0, 255).Select(i => $$"""{"name": "c{{i}}"}"""));
        ClassList list = ClassList.Parse($$"""{"classes": [{{classes}}]}""", "x");
        Assert.Equal(255, list.Colors.Distinct().Count());
        Assert.Equal(255, list.IgnoreId);
    }

    [Theory]
    [InlineData("", "not valid JSON")]
    [InlineData("[]", "expected {")]
    [InlineData("{}", "needs the field classes")]
    [InlineData("{\"classes\": 3}", "must be an array")]
    [InlineData("{\"classes\": [\"a\", \"b\"]}", "class 0 must be an object")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}]}", "needs 2 to 255 classes, found 1")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {}]}", "class 1 has no name")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \" \"}]}", "class 1 has no name")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": 3}]}", "must be a string")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"a\"}]}", "'a' is given twice")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\", \"name\": \"c\"}]}", "name twice")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\", \"colour\": 1}]}", "unknown field 'colour'")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"ignored\": 3}", "unknown field 'ignored'")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"ignore\": 1}", "ignore id 1 is class 'b'")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"ignore\": -1}", "from 2 to 255")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"ignore\": 256}", "from 2 to 255")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"ignore\": \"2\"}", "must be an integer")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"ignore\": 2, \"ignore\": 2}", "ignore is given twice")]
    [InlineData("{\"classes\": [{\"name\": \"a\", \"color\": \"red\"}, {\"name\": \"b\"}]}", "class 0's color")]
    [InlineData("{\"classes\": [{\"name\": \"a\", \"color\": \"#12345\"}, {\"name\": \"b\"}]}", "class 0's color")]
    [InlineData("{\"classes\": [{\"name\": \"a\", \"color\": \"# 2345 \"}, {\"name\": \"b\"}]}", "class 0's color")]
    [InlineData("{\"classes\": [{\"name\": \"a\", \"color\": [1, 2, 256]}, {\"name\": \"b\"}]}", "class 0's color")]
    [InlineData("{\"classes\": [{\"name\": \"a\", \"color\": [1, 2]}, {\"name\": \"b\"}]}", "class 0's color")]
    [InlineData("{\"classes\": [{\"name\": \"a\", \"color\": [1, 2, 3, 4]}, {\"name\": \"b\"}]}", "class 0's color")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"\\ud800\"}]}", "Unicode")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\\n\"}]}", "control characters")]
    [InlineData("{\"classes\": [[[[[[[[[[[[", "class 0 must be an object")]
    [InlineData("{\"classes\": [{\"name\": \"a\"}, {\"name\": \"b\"}]} x", "not valid JSON")]
    public void UnsoundListIsRefusedWithItsReason(string json, string reason)
    {
        DataFormatException error = Assert.Throws<DataFormatException>(() => ClassList.Parse(json, "classes.json"));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.StartsWith("classes.json", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TooManyClassesAndTooLargeFilesAreRefused()
    {
        string classes = string.Join(",", Enumerable.Range(0, 256).Select(i => $$"""{"name": "c{{i}}"}"""));
        Assert.Throws<DataFormatException>(() => ClassList.Parse($$"""{"classes": [{{classes}}]}""", "x"));
        Assert.Throws<DataFormatException>(() => ClassList.Parse(new string(' ', 2_000_000), "x"));
    }

    [Fact]
    public void FileIsSavedAndLoaded()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("classes.json");
        ClassList.CamVid.Save(path);
        Assert.Equal(ClassList.CamVid.Names, ClassList.Load(path).Names);
        File.WriteAllBytes(path, [.. Encoding.UTF8.GetPreamble(), .. File.ReadAllBytes(path)]);
        Assert.Equal(ClassList.CamVid.Colors, ClassList.Load(path).Colors);
        Assert.Throws<FileNotFoundException>(() => ClassList.Load(folder.File("none.json")));
        Assert.Throws<DataFormatException>(() => ClassList.Load(folder.Path));
    }

    [Fact]
    public void ListsMadeInCodeAreCheckedToo()
    {
        Assert.Throws<ArgumentException>(() => new ClassList(["a", "b"], [default]));
        Assert.Throws<ArgumentException>(() => new ClassList(["a", "b"], null, 0));
        Assert.Throws<ArgumentException>(() => new ClassList(["a"]));
    }
}
