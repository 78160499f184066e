namespace DwrSeg.Native.Data;

/// <summary>From the ids that a kind of label file holds to train ids and <see cref="SegmentationSample.Ignore"/>.</summary>
internal sealed class LabelMap
{
    private readonly byte[] _trainIds = new byte[256];
    private readonly bool[] _known = new bool[256];
    private readonly string _expected;

    private LabelMap(string expected) => _expected = expected;

    /// <summary>Ids that are train ids already, with one more for ignored pixels.</summary>
    public static LabelMap TrainIds(int classes, int ignoreId)
    {
        LabelMap map = new($"0 to {classes - 1}, or {ignoreId} for pixels without a class");
        for (int id = 0; id < classes; id++) map.Add(id, (byte)id);
        map.Add(ignoreId, SegmentationSample.Ignore);
        return map;
    }

    /// <summary>Ids 0, 1, … that stand for the train ids given.</summary>
    public static LabelMap Table(ReadOnlySpan<byte> trainIds)
    {
        LabelMap map = new($"0 to {trainIds.Length - 1}");
        for (int id = 0; id < trainIds.Length; id++) map.Add(id, trainIds[id]);
        return map;
    }

    /// <exception cref="DatasetException">An id is not one of the map's; the message names the file and the first such pixel.</exception>
    public void Apply(ReadOnlySpan<byte> ids, int width, Span<byte> trainIds, string file)
    {
        bool known = true;
        for (int i = 0; i < ids.Length; i++)
        {
            known &= _known[ids[i]];
            trainIds[i] = _trainIds[ids[i]];
        }
        if (known) return;
        int at = 0;
        while (_known[ids[at]]) at++;
        throw new DatasetException(file, $"pixel ({at % width}, {at / width}) has id {ids[at]}; expected {_expected}. Is it a label " +
            "image of this data set?");
    }

    private void Add(int id, byte trainId) => (_trainIds[id], _known[id]) = (trainId, true);
}
