using System.Buffers.Binary;
using System.Text;
using DwrSeg.Native.Formats;
using Xunit;
using static DwrSeg.Native.Tests.Formats.RawSafetensors;

namespace DwrSeg.Native.Tests.Formats;

public sealed class SafetensorsFileTests
{
    public static TheoryData<string, string, int> UnsoundHeaders => new()
    {
        { Tensor("w", "F32", "[2,3]", "[0,20]"), "needs 24 bytes, data_offsets give 20", 20 },
        { Tensor("w", "F32", "[2]", "[0,16]"), "do not lie in the file's 8 data bytes", 8 },
        { Tensor("w", "F32", "[2]", "[8,0]"), "do not lie", 8 },
        { Tensor("w", "F32", "[2]", "[0,8,9]"), "must be [begin, end]", 8 },
        { Tensor("w", "F32", "[2]", "[0]"), "must be [begin, end]", 8 },
        { Tensor("w", "F32", "[-2]", "[0,8]"), "shape must hold integers from 0", 8 },
        { Tensor("w", "F32", "[2]", "[-8,0]"), "data_offsets must hold integers from 0", 8 },
        { Tensor("w", "F32", "[2.0]", "[0,8]"), "shape must hold integers", 8 },
        { Tensor("w", "F32", "[\"2\"]", "[0,8]"), "shape must hold integers", 8 },
        { Tensor("w", "F32", "2", "[0,8]"), "shape must be an array", 8 },
        { Tensor("w", "F32", "[4294967296,4294967296]", "[0,8]"), "overflows 64 bits", 8 },
        { Tensor("w", "F32", "[9223372036854775807,9223372036854775807,0]", "[0,0]"), "overflows 64 bits", 0 },
        { Tensor("w", "F32", "[99999999999999999999]", "[0,8]"), "shape must hold integers", 8 },
        { Tensor("w", "F32", $"[{string.Join(",", Enumerable.Repeat(1, 65))}]", "[0,4]"), "more than 64", 4 },
        { Tensor("w", "F8_E4M3", "[2]", "[0,2]"), "unknown dtype 'F8_E4M3'", 2 },
        { Tensor("w", "f32", "[2]", "[0,8]"), "unknown dtype 'f32'", 8 },
        { "{\"w\":{\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]}}", "dtype must be a string", 8 },
        { "{\"w\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "needs dtype, shape and data_offsets", 8 },
        { "{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "dtype is given twice", 8 },
        { "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}", "shape is given twice", 8 },
        { "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"data_offsets\":[0,8]}}", "data_offsets are given twice", 8 },
        { "{\"w\":[]}", "expected an object", 0 },
        { Pair("w", "[4]", "[0,4]", "w", "[4]", "[4,8]"), "names it twice", 8 },
        { Pair("a", "[5]", "[0,5]", "b", "[4]", "[4,8]"), "'b': its bytes overlap", 8 },
        { Pair("a", "[8]", "[0,8]", "b", "[0]", "[4,4]"), "'b': its bytes overlap", 8 },
        { Pair("a", "[3]", "[0,3]", "b", "[4]", "[4,8]"), "'b': 1 bytes before it", 8 },
        { Tensor("w", "U8", "[4]", "[0,4]"), "4 bytes at its end belong to no tensor", 8 },
        { "{}", "8 bytes at its end", 8 },
        { "{\"__metadata__\":{\"a\":1}}", "metadata 'a' must be a string", 0 },
        { "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", "metadata 'a' must be a string", 0 },
        { "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", "metadata 'a' is given twice", 0 },
        { "{\"__metadata__\":{},\"__metadata__\":{}}", "__metadata__ twice", 0 },
        { "{\"__metadata__\":[]}", "must be an object of strings", 0 },
        { "{\"a\":\"\\ud800\"}", "expected an object", 0 },
        { "{\"__metadata__\":{\"a\":\"\\ud800\"}}", "not valid Unicode", 0 },
        { "{\"w\":" + new string('[', 100) + new string(']', 100) + "}", "expected an object", 0 },
        { "{\"w\":{\"x\":" + new string('[', 100_000) + "}", "not valid JSON", 0 },
        { "{\"w\"", "not valid JSON", 0 },
        { "{} {}", "not valid JSON", 0 },
        { "{}\0", "not valid JSON", 0 },
        { " {}", "not a JSON object", 0 },
        { "[]", "not a JSON object", 0 },
        { "", "not a JSON object", 0 },
    };

    [Theory]
    [MemberData(nameof(UnsoundHeaders), DisableDiscoveryEnumeration = true)]
    public void UnsoundHeaderIsRefusedWithItsReason(string header, string reason, int dataBytes)
    {
        byte[] file = Build(header, dataBytes);
        WeightsFormatException error = Assert.Throws<WeightsFormatException>(() => SafetensorsFile.Open(file, "some.safetensors"));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.StartsWith("some.safetensors: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void InvalidUtf8IsRefused()
    {
        byte[] header = Encoding.UTF8.GetBytes("{\"__metadata__\":{\"a\":\"?\"}}");
        header[Array.IndexOf(header, (byte)'?')] = 0xFF;
        Assert.Contains("UTF-8", Refusal(Build(header, [])), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    public void FileShorterThanTheLengthFieldIsRefused(int length) =>
        Assert.Contains("no safetensors file", Refusal(new byte[length]), StringComparison.Ordinal);

    [Theory]
    [InlineData(100_000_001L, "at most 100000000")]
    [InlineData(-1L, "at most 100000000")]
    [InlineData(long.MaxValue, "at most 100000000")]
    [InlineData(90_000_000L, "only 8 follow")]
    [InlineData(9L, "only 8 follow")]
    public void HeaderLengthBeyondTheFileIsRefusedWithoutAllocatingIt(long claimed, string reason)
    {
        byte[] file = new byte[16];
        BinaryPrimitives.WriteInt64LittleEndian(file, claimed);
        Refusal(file);
        long before = GC.GetAllocatedBytesForCurrentThread();
        string message = Refusal(file);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 100_000);
        Assert.Contains(reason, message, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryTruncationOfASoundFileIsRefused()
    {
        byte[] file = Sound();
        for (int length = 0; length < file.Length; length++) Refusal(file[..length]);
    }

    [Fact]
    public void TrailingSpacesUnknownFieldsEmptyTensorsAndScalarsAreRead()
    {
        const string header = """
            {"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F32","shape":[3,0,5],"data_offsets":[4,4],"x":[{}]},
            "f":{"dtype":"I64","shape":[0],"data_offsets":[0,0]}}
            """;
        using SafetensorsFile file = SafetensorsFile.Open(Build(Encoding.UTF8.GetBytes(header + "     "), [0, 0, 0x80, 0x3F]), "x");
        Assert.Equal(["s", "e", "f"], file.Tensors.Keys);
        Assert.Empty(file["s"].Shape);
        Assert.Equal([3, 0, 5], file["e"].Shape);
        float[] scalar = new float[1];
        file.ReadFloats("s", scalar);
        Assert.Equal([1f], scalar);
        file.ReadFloats("e", []);
        file.ReadInt64("f", []);
    }

    [Fact]
    public void FileWithoutTensorsIsRead()
    {
        using SafetensorsFile file = SafetensorsFile.Open(Build("{}", 0), "x");
        Assert.Empty(file.Tensors);
        Assert.Empty(file.Metadata);
    }

    [Theory]
    [InlineData("F16", new byte[] { 0x00, 0x3C, 0x00, 0xC0, 0x01, 0x00 }, new[] { 1f, -2f, 5.9604645e-8f })]
    [InlineData("F16", new byte[] { 0x00, 0x7C, 0xFF, 0xFB }, new[] { float.PositiveInfinity, -65504f })]
    [InlineData("BF16", new byte[] { 0x80, 0x3F, 0x00, 0xC0, 0x49, 0x40 }, new[] { 1f, -2f, 3.140625f })]
    [InlineData("F64", new byte[] { 0, 0, 0, 0, 0, 0, 0xF8, 0x3F }, new[] { 1.5f })]
    [InlineData("F32", new byte[] { 0, 0, 0xC0, 0x3F }, new[] { 1.5f })]
    public void EachFloatTypeIsWidenedExactly(string dtype, byte[] data, float[] expected)
    {
        string header = Tensor("w", dtype, $"[{expected.Length}]", $"[0,{data.Length}]");
        using SafetensorsFile file = SafetensorsFile.Open(Build(Encoding.UTF8.GetBytes(header), data), "x");
        float[] values = new float[expected.Length];
        file.ReadFloats("w", values);
        Assert.Equal(expected, values);
        Assert.Contains(dtype,
            Assert.Throws<WeightsFormatException>(() => file.ReadInt64("w", new long[expected.Length])).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("I64", new byte[] { 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF }, new[] { -2L })]
    [InlineData("I32", new byte[] { 0xFE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0 }, new[] { -2L, 1L })]
    [InlineData("U8", new byte[] { 255, 0, 7 }, new[] { 255L, 0L, 7L })]
    [InlineData("BOOL", new byte[] { 1, 0 }, new[] { 1L, 0L })]
    public void EachIntegerTypeIsWidenedExactly(string dtype, byte[] data, long[] expected)
    {
        string header = Tensor("w", dtype, $"[{expected.Length}]", $"[0,{data.Length}]");
        using SafetensorsFile file = SafetensorsFile.Open(Build(Encoding.UTF8.GetBytes(header), data), "x");
        long[] values = new long[expected.Length];
        file.ReadInt64("w", values);
        Assert.Equal(expected, values);
        Assert.Throws<WeightsFormatException>(() => file.ReadFloats("w", new float[expected.Length]));
    }

    [Fact]
    public void ConversionsSpanningManyChunksKeepEveryElement()
    {
        const int count = 2000;
        byte[] data = new byte[count * 8];
        for (int i = 0; i < count; i++) BinaryPrimitives.WriteDoubleLittleEndian(data.AsSpan(i * 8), i);
        string header = Tensor("w", "F64", $"[{count}]", $"[0,{data.Length}]");
        using SafetensorsFile file = SafetensorsFile.Open(Build(Encoding.UTF8.GetBytes(header), data), "x");
        float[] values = new float[count];
        file.ReadFloats("w", values);
        Assert.Equal(Enumerable.Range(0, count).Select(i => (float)i), values);
    }

    [Fact]
    public void MissingAndMisshapenTensorsAreNamed()
    {
        using SafetensorsFile file = SafetensorsFile.Open(Build(Tensor("w", "U8", "[4,1]", "[0,4]"), 4), "net.safetensors");
        Assert.Contains("net.safetensors: tensor 'v': missing",
            Assert.Throws<WeightsFormatException>(() => file["v"]).Message, StringComparison.Ordinal);
        Assert.Contains("expected shape [1, 4], found [4, 1]",
            Assert.Throws<WeightsFormatException>(() => file.Expect("w", 1, 4)).Message, StringComparison.Ordinal);
        Assert.Equal(4, file.Expect("w", 4, 1).ElementCount);
        Assert.Throws<ArgumentException>(() => file.ReadInt64("w", new long[3]));
    }

    [Fact]
    public void RawBytesAreReadFromAnyStartWithinTheTensor()
    {
        byte[] header = Encoding.UTF8.GetBytes(Tensor("w", "U8", "[4]", "[0,4]"));
        using SafetensorsFile file = SafetensorsFile.Open(Build(header, [1, 2, 3, 4]), "x");
        byte[] two = new byte[2];
        file.ReadBytes("w", two, 2);
        Assert.Equal([3, 4], two);
        Assert.Throws<ArgumentOutOfRangeException>(() => file.ReadBytes("w", two, 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => file.ReadBytes("w", two, -1));
    }

    [Fact]
    public void TensorsBeyondFourGigabytesAreReadInPlace()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("sparse.safetensors");
        const long big = 5L << 30;
        byte[] header = Encoding.UTF8.GetBytes(
            $$$"""
            {"a":{"dtype":"U8","shape":[{{{big}}}],"data_offsets":[0,{{{big}}}]},
            "b":{"dtype":"F32","shape":[1],"data_offsets":[{{{big}}},{{{big + 4}}}]}}
            """);
        using (FileStream stream = new(path, FileMode.CreateNew))
        {
            stream.Write(Build(header, []));
            stream.SetLength(stream.Length + big);
            stream.Position = stream.Length;
            stream.Write([0, 0, 0xC0, 0x3F]);
        }
        long before = GC.GetAllocatedBytesForCurrentThread();
        using SafetensorsFile file = SafetensorsFile.Open(path);
        float[] b = new float[1];
        file.ReadFloats("b", b);
        byte[] tail = [9];
        file.ReadBytes("a", tail, big - 1);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        Assert.Equal([1.5f], b);
        Assert.Equal([0], tail);
    }

    [Fact]
    public void FileThatShrinksAfterOpeningIsAnErrorNotGarbage()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("w.safetensors");
        File.WriteAllBytes(path, Sound());
        using SafetensorsFile file = SafetensorsFile.Open(path);
        using (FileStream stream = new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) stream.SetLength(stream.Length - 4);
        Assert.Contains("became shorter",
            Assert.Throws<WeightsFormatException>(() => file.ReadFloats("w", new float[4])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FolderAndMissingFileAreNamed()
    {
        using TemporaryFolder folder = new();
        Assert.Contains("is a folder",
            Assert.Throws<WeightsFormatException>(() => SafetensorsFile.Open(folder.Path)).Message, StringComparison.Ordinal);
        string missing = folder.File("missing.safetensors");
        Assert.Contains(missing,
            Assert.Throws<FileNotFoundException>(() => SafetensorsFile.Open(missing)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FileStreamAndMemoryGiveTheSame()
    {
        using TemporaryFolder folder = new();
        byte[] bytes = Sound();
        string path = folder.File("w.safetensors");
        File.WriteAllBytes(path, bytes);
        using SafetensorsFile fromFile = SafetensorsFile.Open(path);
        using SafetensorsFile fromStream = SafetensorsFile.Open(new MemoryStream(bytes), "stream");
        using SafetensorsFile fromMemory = SafetensorsFile.Open(bytes, "memory");
        foreach (SafetensorsFile file in new[] { fromFile, fromStream, fromMemory })
        {
            float[] values = new float[4];
            file.ReadFloats("w", values);
            Assert.Equal([1, 2, 3, 4], values);
        }
    }

    [Fact]
    public void HostileNamesAreEscapedAndCutInMessages()
    {
        string name = "\\u0007" + new string('x', 10_000);
        string message = Refusal(Build(Tensor(name, "F32", "[1]", "[0,3]"), 3));
        Assert.DoesNotContain('\a', message);
        Assert.InRange(message.Length, 0, 300);
    }

    [Fact]
    public void GoldenFilesFromPyTorchAreRead()
    {
        string[] paths = Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "golden"), "*.safetensors");
        Assert.Equal(18, paths.Length);
        foreach (string path in paths)
        {
            using SafetensorsFile file = SafetensorsFile.Open(path);
            Assert.Contains("\"base_channels\"", file.Metadata["dwrseg"], StringComparison.Ordinal);
            foreach (SafetensorsEntry entry in file.Tensors.Values)
            {
                if (entry.DType == SafetensorsDType.I64)
                {
                    file.ReadInt64(entry.Name, new long[entry.ElementCount]);
                    continue;
                }
                float[] values = new float[entry.ElementCount];
                file.ReadFloats(entry.Name, values);
                Assert.True(Array.TrueForAll(values, float.IsFinite), entry.Name);
            }
        }
    }

    private static string Pair(string name1, string shape1, string offsets1, string name2, string shape2, string offsets2) =>
        Tensor(name1, "U8", shape1, offsets1)[..^1] + "," + Tensor(name2, "U8", shape2, offsets2)[1..];

    private static byte[] Sound()
    {
        SafetensorsWriter writer = new() { Metadata = { ["a"] = "b" } };
        writer.Add("w", SafetensorsDType.F32, [2, 2], [1, 2, 3, 4]);
        return Written(writer);
    }

    private static string Refusal(byte[] file) =>
        Assert.Throws<WeightsFormatException>(() => SafetensorsFile.Open(file, "some.safetensors")).Message;
}
