namespace DwrSeg.Native.Data.Scenes;

/// <summary>The ids of CamVid's classes.</summary>
internal static class Labels
{
    public const byte Sky = 0, Building = 1, Pole = 2, Road = 3, Pavement = 4, Tree = 5, Sign = 6, Fence = 7, Car = 8, Pedestrian = 9,
        Bicyclist = 10, None = SegmentationSample.Ignore;
}
