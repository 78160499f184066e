using System.Buffers.Binary;
using System.Text;
using DwrSeg.Native.Formats;
using Xunit;
using static DwrSeg.Native.Tests.Formats.RawSafetensors;

namespace DwrSeg.Native.Tests.Formats;

public sealed class SafetensorsWriterTests
{
    [Fact]
    public void WhatIsWrittenIsReadBack()
    {
        SafetensorsWriter writer = new() { Metadata = { ["dwrseg"] = "{\"classes\": 11}", ["ü"] = "line\nbreak\0" } };
        writer.Add("half", SafetensorsDType.F16, [3], [1, -0.5f, 65504]);
        writer.Add("brain", SafetensorsDType.BF16, [1, 2], [1, 3.140625f]);
        writer.Add("single", SafetensorsDType.F32, [], [0.1f]);
        writer.Add("empty", SafetensorsDType.F32, [4, 0], []);
        writer.Add("count", [2], [long.MinValue, 7]);
        using SafetensorsFile file = SafetensorsFile.Open(Written(writer), "x");
        Assert.Equal(2, file.Metadata.Count);
        Assert.Equal("{\"classes\": 11}", file.Metadata["dwrseg"]);
        Assert.Equal("line\nbreak\0", file.Metadata["ü"]);
        Assert.Equal([1, -0.5f, 65504], Floats(file, "half"));
        Assert.Equal([1, 3.140625f], Floats(file, "brain"));
        Assert.Equal([0.1f], Floats(file, "single"));
        Assert.Empty(Floats(file, "empty"));
        long[] count = new long[2];
        file.ReadInt64("count", count);
        Assert.Equal([long.MinValue, 7], count);
        Assert.Equal(SafetensorsDType.BF16, file["brain"].DType);
        Assert.Equal([4, 0], file["empty"].Shape);
    }

    [Fact]
    public void GoldenFileSurvivesARoundTripUnchanged()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "golden", "train-odd-size.safetensors");
        using SafetensorsFile golden = SafetensorsFile.Open(path);
        SafetensorsWriter writer = new();
        foreach ((string key, string value) in golden.Metadata) writer.Metadata[key] = value;
        foreach (SafetensorsEntry entry in golden.Tensors.Values.Reverse())
        {
            if (entry.DType == SafetensorsDType.F32)
            {
                writer.Add(entry.Name, SafetensorsDType.F32, entry.Shape.AsSpan(), Floats(golden, entry.Name));
                continue;
            }
            long[] values = new long[entry.ElementCount];
            golden.ReadInt64(entry.Name, values);
            writer.Add(entry.Name, entry.Shape.AsSpan(), values);
        }
        using SafetensorsFile copy = SafetensorsFile.Open(Written(writer), "copy");
        Assert.Equal(golden.Metadata.OrderBy(m => m.Key), copy.Metadata.OrderBy(m => m.Key));
        Assert.Equal(golden.Tensors.Keys, copy.Tensors.Keys);
        foreach (SafetensorsEntry entry in golden.Tensors.Values)
        {
            byte[] expected = new byte[entry.ByteLength], found = new byte[entry.ByteLength];
            golden.ReadBytes(entry.Name, expected);
            copy.ReadBytes(entry.Name, found);
            Assert.Equal(expected, found);
        }
    }

    [Fact]
    public void OrderOfAddingDoesNotChangeTheBytes()
    {
        SafetensorsWriter forward = new() { Metadata = { ["a"] = "1", ["b"] = "2" } };
        forward.Add("x", SafetensorsDType.F32, [1], [1f]);
        forward.Add("y", [1], [2L]);
        SafetensorsWriter backward = new() { Metadata = { ["b"] = "2", ["a"] = "1" } };
        backward.Add("y", [1], [2L]);
        backward.Add("x", SafetensorsDType.F32, [1], [1f]);
        Assert.Equal(Written(forward), Written(backward));
    }

    [Fact]
    public void HeaderIsPaddedSoThatDataStartsOnEightBytes()
    {
        for (int length = 1; length <= 16; length++)
        {
            SafetensorsWriter writer = new();
            writer.Add(new string('n', length), SafetensorsDType.F32, [1], [1f]);
            byte[] file = Written(writer);
            Assert.Equal(0, BinaryPrimitives.ReadInt64LittleEndian(file) % 8);
            Assert.Equal((byte)'{', file[8]);
            using SafetensorsFile read = SafetensorsFile.Open(file, "x");
            Assert.Equal([1f], Floats(read, new string('n', length)));
        }
    }

    [Fact]
    public void ElementsAreAlignedToTheirSize()
    {
        SafetensorsWriter writer = new();
        writer.Add("a", SafetensorsDType.F16, [3], [1, 2, 3]);
        writer.Add("b", SafetensorsDType.F32, [1], [1]);
        writer.Add("c", [1], [1L]);
        using SafetensorsFile file = SafetensorsFile.Open(Written(writer), "x");
        Assert.All(file.Tensors.Values, entry => Assert.Equal(0, entry.Offset % entry.DType.Size));
    }

    [Theory]
    [InlineData(1.00390625f, 0x3F80)] // half way between 1 and the next: to the even one
    [InlineData(1.01171875f, 0x3F82)] // half way, the upper one is even
    [InlineData(1.0039064f, 0x3F81)] // just above half way
    [InlineData(-0f, 0x8000)]
    [InlineData(float.PositiveInfinity, 0x7F80)]
    [InlineData(1e-45f, 0x0000)]
    public void BFloat16RoundsToNearestEven(float value, int expected) => Assert.Equal(expected, SafetensorsWriter.ToBFloat16(value));

    [Fact]
    public void NanWithOnlyLowBitsStaysNanInBFloat16()
    {
        ushort upper = SafetensorsWriter.ToBFloat16(BitConverter.UInt32BitsToSingle(0x7F800001));
        Assert.True(float.IsNaN(BitConverter.UInt32BitsToSingle((uint)upper << 16)));
    }

    [Theory]
    [InlineData(2049f, 2048f)]
    [InlineData(2051f, 2052f)]
    [InlineData(65519f, 65504f)]
    public void HalfRoundsToNearestEven(float value, float expected)
    {
        SafetensorsWriter writer = new();
        writer.Add("w", SafetensorsDType.F16, [1], [value]);
        using SafetensorsFile file = SafetensorsFile.Open(Written(writer), "x");
        Assert.Equal([expected], Floats(file, "w"));
    }

    [Theory]
    [InlineData(SafetensorsDType.F16, 65520f)]
    [InlineData(SafetensorsDType.BF16, float.MaxValue)]
    public void FiniteValueThatWouldBecomeInfiniteIsRefused(SafetensorsDType dtype, float value)
    {
        SafetensorsWriter writer = new();
        string message = Assert.Throws<OverflowException>(() => writer.Add("w", dtype, [1], [value])).Message;
        Assert.Contains("'w'", message, StringComparison.Ordinal);
    }

    [Fact]
    public void NamesAndShapesThatDoNotFitAreRefused()
    {
        SafetensorsWriter writer = new();
        writer.Add("w", SafetensorsDType.F32, [1], [1f]);
        Assert.Throws<ArgumentException>(() => writer.Add("w", [1], [1L]));
        Assert.Throws<ArgumentException>(() => writer.Add("__metadata__", [1], [1L]));
        Assert.Throws<ArgumentException>(() => writer.Add("\ud800", [1], [1L]));
        Assert.Throws<ArgumentException>(() => writer.Add("a", [2], [1L]));
        Assert.Throws<ArgumentException>(() => writer.Add("a", [long.MaxValue, long.MaxValue], [1L]));
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.Add("a", [-1, -1], [1L]));
        Assert.Throws<ArgumentException>(() => writer.Add("a", SafetensorsDType.I64, [1], [1f]));
    }

    [Fact]
    public void SavedFileReplacesTheOldOneAndLeavesNothingElse()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("w.safetensors");
        File.WriteAllText(path, "old");
        SafetensorsWriter writer = new();
        writer.Add("w", SafetensorsDType.F32, [1], [1f]);
        writer.Save(path);
        Assert.Equal(Written(writer), File.ReadAllBytes(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void MetadataIsReadableJsonInTheHeader()
    {
        SafetensorsWriter writer = new() { Metadata = { ["dwrseg"] = "{\"a\": 1}" } };
        string header = Encoding.UTF8.GetString(Written(writer).AsSpan(8));
        Assert.StartsWith("""{"__metadata__":{"dwrseg":"{\"a\": 1}"}}""", header, StringComparison.Ordinal);
    }

    private static float[] Floats(SafetensorsFile file, string name)
    {
        float[] values = new float[file[name].ElementCount];
        file.ReadFloats(name, values);
        return values;
    }
}
