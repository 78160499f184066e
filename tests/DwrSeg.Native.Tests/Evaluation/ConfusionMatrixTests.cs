using DwrSeg.Native.Evaluation;
using Xunit;

namespace DwrSeg.Native.Tests.Evaluation;

public sealed class ConfusionMatrixTests
{
    private static ConfusionMatrix Of(int classes, byte[] predicted, byte[] labels)
    {
        ConfusionMatrix matrix = new(classes);
        matrix.Add(predicted, labels);
        return matrix;
    }

    [Fact]
    public void MeasuresAreThoseCountedByHand()
    {
        ConfusionMatrix matrix = Of(4, [0, 0, 1, 1, 1, 2, 0, 9], [0, 0, 0, 1, 1, 1, 255, 255]);
        Assert.Equal((6, 2), (matrix.Pixels, matrix.Ignored));
        Assert.Equal((2, 1, 2, 1), (matrix[0, 0], matrix[0, 1], matrix[1, 1], matrix[1, 2]));
        Assert.Equal(4.0 / 6, matrix.PixelAccuracy);
        Assert.Equal(2.0 / 3, matrix.IntersectionOverUnion(0));
        Assert.Equal(2.0 / 4, matrix.IntersectionOverUnion(1));
        // Class 2 is predicted but never right, so it counts; class 3 is nowhere, so it does not.
        Assert.Equal(0, matrix.IntersectionOverUnion(2));
        Assert.Equal(double.NaN, matrix.IntersectionOverUnion(3));
        Assert.Equal((2.0 / 3 + 0.5 + 0) / 3, matrix.MeanIntersectionOverUnion, 15);
    }

    [Fact]
    public void NothingCounted_HasNoMeasure()
    {
        ConfusionMatrix matrix = Of(2, [0, 1], [255, 255]);
        Assert.Equal(double.NaN, matrix.PixelAccuracy);
        Assert.Equal(double.NaN, matrix.MeanIntersectionOverUnion);
    }

    [Fact]
    public void PartsAddedOneAfterTheOther_EqualTheWhole()
    {
        Random random = new(1);
        byte[] predicted = [.. Enumerable.Range(0, 5000).Select(_ => (byte)random.Next(7))];
        byte[] labels = [.. Enumerable.Range(0, 5000).Select(_ => random.Next(8) is < 7 and int id ? (byte)id : (byte)255)];
        ConfusionMatrix whole = Of(7, predicted, labels), parts = Of(7, predicted[..1234], labels[..1234]);
        parts.Add(predicted.AsSpan(1234), labels.AsSpan(1234));
        for (int label = 0; label < 7; label++)
        {
            for (int id = 0; id < 7; id++)
            {
                Assert.Equal(whole[label, id], parts[label, id]);
                Assert.Equal(labels.Zip(predicted).Count(p => p.First == label && p.Second == id), whole[label, id]);
            }
        }
        Assert.Equal((whole.Pixels, whole.Ignored), (parts.Pixels, parts.Ignored));
        Assert.Equal(5000, whole.Pixels + whole.Ignored);
    }

    [Theory]
    [InlineData(3, 0, "prediction 3")]
    [InlineData(255, 0, "prediction 255")]
    [InlineData(0, 3, "label 3")]
    [InlineData(0, 254, "label 254")]
    public void IdThatIsNoClass_IsNamedAndNothingIsCounted(byte predicted, byte label, string named)
    {
        ConfusionMatrix matrix = new(3);
        ArgumentException e = Assert.Throws<ArgumentException>(() => matrix.Add([1, predicted], [1, label]));
        Assert.Contains(named, e.Message);
        Assert.Equal(0, matrix.Pixels);
        matrix.Add([2], [1]);
        Assert.Equal((1, 1, 0), (matrix.Pixels, matrix[1, 2], matrix[1, 1]));
    }

    [Fact]
    public void TheLargestClassCount_IsCountedToo()
    {
        ConfusionMatrix matrix = Of(255, [254, 0, 254], [254, 254, 255]);
        Assert.Equal((2, 1, 1), (matrix.Pixels, matrix[254, 254], matrix[254, 0]));
        Assert.Equal(0.5, matrix.IntersectionOverUnion(254));
    }

    [Fact]
    public void WhatDoesNotFit_IsRefused()
    {
        ConfusionMatrix matrix = new(3);
        Assert.Throws<ArgumentException>(() => matrix.Add([1], [1, 2]));
        Assert.Throws<ArgumentOutOfRangeException>(() => matrix[3, 0]);
        Assert.Throws<ArgumentOutOfRangeException>(() => matrix[0, -1]);
        Assert.Throws<ArgumentOutOfRangeException>(() => new ConfusionMatrix(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ConfusionMatrix(256));
    }
}
