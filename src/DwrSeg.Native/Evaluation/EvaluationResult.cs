using System.Collections.Immutable;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Evaluation;

/// <summary>What an evaluation measured.</summary>
public sealed class EvaluationResult
{
    internal EvaluationResult(ClassList classes, ConfusionMatrix matrix, int images)
    {
        (Classes, Matrix, Images) = (classes, matrix, images);
        PerClass = [.. classes.Names.Select((name, id) => new ClassResult(name, Number(matrix.IntersectionOverUnion(id)), Labelled(id)))];
    }

    /// <summary>Names and colours of the classes.</summary>
    public ClassList Classes { get; }

    /// <summary>The counts that all measures follow from.</summary>
    public ConfusionMatrix Matrix { get; }

    /// <summary>Number of images.</summary>
    public int Images { get; }

    /// <summary>Each class's measures, by id.</summary>
    public ImmutableArray<ClassResult> PerClass { get; }

    /// <summary>Mean intersection over union, 0 to 1, of the classes that occur; null where no pixel has a label.</summary>
    public double? MeanIou => Number(Matrix.MeanIntersectionOverUnion);

    /// <summary>The share of labelled pixels that are predicted right; null where there is none.</summary>
    public double? PixelAccuracy => Number(Matrix.PixelAccuracy);

    private long Labelled(int id) => Enumerable.Range(0, Matrix.Classes).Sum(predicted => Matrix[id, predicted]);

    private static double? Number(double value) => double.IsNaN(value) ? null : value;
}

/// <summary>A class's measures.</summary>
/// <param name="Name">The class.</param>
/// <param name="Iou">Intersection over union, 0 to 1; null where the class occurs in no label and no prediction.</param>
/// <param name="Pixels">Pixels that have it as their label.</param>
public readonly record struct ClassResult(string Name, double? Iou, long Pixels);
