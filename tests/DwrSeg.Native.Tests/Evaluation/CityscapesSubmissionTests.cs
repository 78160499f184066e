using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Tests.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Evaluation;

public sealed class CityscapesSubmissionTests
{
    [Fact]
    public void LabelIdsOfAllTrainIds_MapBackToThem()
    {
        byte[] trainIds = [.. Enumerable.Range(0, 19).Select(id => (byte)id), 255], labelIds = new byte[20];
        CityscapesSubmission.ToLabelIds(trainIds, labelIds);
        Assert.Equal((7, 26, 33, 0), (labelIds[0], labelIds[13], labelIds[18], labelIds[19]));
        Assert.Equal(trainIds, labelIds.Select(id => CityscapesLabels.TrainIdByLabelId[id]));
    }

    [Fact]
    public void WrittenFile_HoldsLabelIdsAtFullSize()
    {
        using TemporaryFolder folder = new();
        string path = CityscapesSubmission.Write(folder.File("results"), "berlin_000000_000019", 3, 2, [0, 1, 2, 10, 13, 18]);
        Assert.Equal("berlin_000000_000019_pred_labelIds.png", Path.GetFileName(path));
        LabelImage written = ImageCodec.DecodeLabels(path);
        Assert.Equal((3, 2), (written.Width, written.Height));
        Assert.Equal([7, 8, 11, 23, 26, 33], written.Ids.ToArray());
    }

    [Fact]
    public void IdThatIsNoTrainId_IsRefused()
    {
        ArgumentException e = Assert.Throws<ArgumentException>(() => CityscapesSubmission.ToLabelIds([0, 19], new byte[2]));
        Assert.Contains("19", e.Message);
    }
}
