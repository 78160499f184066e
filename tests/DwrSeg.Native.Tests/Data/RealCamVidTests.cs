using DwrSeg.Native.Data;
using Xunit;

namespace DwrSeg.Native.Tests.Data;

public sealed class RealCamVidTests
{
    [Fact]
    public void EverySplitOpens_AndFramesShowTheClassesOfAStreet()
    {
        string root = RealCamVid.Root;
        (string, int)[] splits = [("train", 367), ("val", 101), ("test", 233), ("train+val", 468)];
        foreach ((string split, int count) in splits)
        {
            SegmentationDataset data = SegmentationDataset.Open(root, split);
            Assert.Equal(count, data.Count);
            SegmentationSample sample = data.Load(count / 2);
            int sky = data.Classes.Names.IndexOf("sky"), road = data.Classes.Names.IndexOf("road");
            double Height(int id) => sample.Labels.Index().Where(p => p.Item == id).Average(p => p.Index / (double)sample.Labels.Length);
            Assert.True(Height(sky) < 0.4 && Height(road) > 0.5, $"{data.Name}: sky is not above the road");
        }
    }
}
