using System.Buffers.Binary;
using System.Text;
using DwrSeg.Native.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Formats.Fuzzing;

public sealed class FormatFuzzTests
{
    private const string DataFolder = "/data";

    [Fact]
    public void SafetensorsReaderWithstandsMutatedFiles()
    {
        byte[][] sound = [.. SoundWeights()];
        // A byte of header becomes at most an entry with its strings and lists, a byte of data at most one 64-bit integer.
        new Fuzzer(random => MutateSafetensors(random, sound), ReadAllTensors, e => e is WeightsFormatException, 64).Run(sound);
    }

    [Fact]
    public void CheckpointReaderWithstandsMutatedFiles()
    {
        byte[][] sound = [SoundCheckpoint()];
        new Fuzzer(
            random => random.Next(2) == 0 ? MutateSafetensors(random, sound) : MutateTrainingFields(random),
            ReadCheckpoint, e => e is WeightsFormatException, 64).Run(sound);
    }

    [Fact]
    public void ClassListParserWithstandsMutatedFiles()
    {
        byte[][] sound = [.. SoundClassLists()];
        new Fuzzer(
            random => new Mutator(random).MutateText(Pick(random, sound), Pick(random, sound)),
            input =>
            {
                ClassList list = ClassList.Parse(input, "classes.json");
                Assert.InRange(list.Count, 2, 255);
                Assert.Equal(list.Count, list.Colors.Length);
                Assert.InRange(list.IgnoreId, list.Count, 255);
                Assert.Equal(list.Names, ClassList.Parse(list.ToJson(), "again").Names);
            },
            e => e is DataFormatException, 64).Run(sound);
    }

    [Fact]
    public void ListFileParserWithstandsMutatedFiles()
    {
        HashSet<string> files = [.. Enumerable.Range(0, 40).SelectMany(i => new[] { $"/data/train/{i}.png", $"/data/trainannot/{i}.png" })];
        byte[][] sound = [.. SoundLists()];
        new Fuzzer(
            random => new Mutator(random).MutateText(Pick(random, sound), Pick(random, sound)),
            input =>
            {
                foreach (ListEntry entry in ListFile.Parse(input, "train.txt", DataFolder, files.Contains))
                {
                    Assert.StartsWith(DataFolder, Path.GetFullPath(entry.Image), StringComparison.Ordinal);
                    Assert.StartsWith(DataFolder, Path.GetFullPath(entry.Label), StringComparison.Ordinal);
                }
            },
            // Each of a path's leading folders is tried away, so a deep path costs its length several times.
            e => e is DataFormatException, 256).Run(sound);
    }

    [Fact]
    public void LabelReaderWithstandsMutatedFiles()
    {
        byte[][] sound = [.. SoundLabels()];
        new Fuzzer(
            random => MutatePng(random, sound),
            input =>
            {
                LabelImage labels = ImageCodec.DecodeLabels(input, "labels.png");
                Assert.Equal(labels.Width * labels.Height, labels.Ids.Length);
            },
            // The densest deflate stream of one-bit pixels gives 8 x 1032 ids per byte; sound files are far from it.
            e => e is ImageFormatException, 8 * 1032).Run(sound);
    }

    [Fact]
    public void JpegWalkerWithstandsMutatedFiles()
    {
        byte[][] sound = [RawJpeg.Grey(3, 2, 90), RawJpeg.GreyWithRestarts(3, 2, 90), RawJpeg.ProgressiveGrey(3, 2, 90)];
        new Fuzzer(
            random => new Mutator(random).Mutate(Pick(random, sound), Pick(random, sound)),
            input =>
            {
                if (!JpegMarkers.IsComplete(input)) throw new ImageFormatException("a.jpg", "breaks off");
            },
            e => e is ImageFormatException, 0).Run(sound);
    }

    private static T Pick<T>(Random random, T[] items) => items[random.Next(items.Length)];

    private static IEnumerable<byte[]> SoundWeights()
    {
        SafetensorsWriter writer = new() { Metadata = { ["dwrseg"] = "{\"classes\": 11}", ["format"] = "pt" } };
        writer.Add("stem.conv.weight", SafetensorsDType.F32, [2, 3, 1, 1], [1, 2, 3, 4, 5, 6]);
        writer.Add("stem.bn.bias", SafetensorsDType.F16, [3], [1, 2, 3]);
        writer.Add("stem.bn.weight", SafetensorsDType.BF16, [3], [1, 2, 3]);
        writer.Add("stem.bn.num_batches_tracked", [], [3]);
        writer.Add("empty", SafetensorsDType.F32, [0, 5], []);
        yield return RawSafetensors.Written(writer);
        yield return RawSafetensors.Build(RawSafetensors.Tensor("w", "F64", "[2]", "[0,16]"), 16);
        yield return RawSafetensors.Build(RawSafetensors.Tensor("mask", "BOOL", "[2,2]", "[0,4]") + "   ", 4);
        yield return RawSafetensors.Build(RawSafetensors.Tensor("ids", "I32", "[4]", "[0,16]"), 16);
        yield return RawSafetensors.Build("{}", 0);
    }

    private static byte[] SoundCheckpoint(string training = "{\"epoch\":3,\"step\":120,\"best\":0.5125,\"seed\":7,\"split\":\"train\"}")
    {
        SafetensorsWriter writer = new() { Metadata = { [Checkpoint.TrainingKey] = training } };
        writer.Add("w", SafetensorsDType.F32, [2, 2], [1, 2, 3, 4]);
        writer.Add("velocity.w", SafetensorsDType.F32, [2, 2], [1, 2, 3, 4]);
        return RawSafetensors.Written(writer);
    }

    private static IEnumerable<byte[]> SoundClassLists()
    {
        yield return """{"classes": [{"name": "a", "color": "#0a0b0c"}, {"name": "b", "color": [1, 2, 255]}], "ignore": 2}"""u8.ToArray();
        yield return """{"classes": [{"name": "a"}, {"name": "\u00fc"}, {"name": "b"}]}"""u8.ToArray();
        yield return Encoding.UTF8.GetBytes(ClassList.CamVid.ToJson());
    }

    private static IEnumerable<byte[]> SoundLists()
    {
        yield return Encoding.UTF8.GetBytes(string.Concat(
            Enumerable.Range(0, 40).Select(i => $"/SegNet/CamVid/train/{i}.png /SegNet/CamVid/trainannot/{i}.png\n")));
        yield return "\uFEFF# list\r\n\r\ntrain/1.png\ttrainannot/1.png\r\n"u8.ToArray();
        yield return "C:\\x\\train\\2.png ./trainannot/2.png"u8.ToArray();
    }

    private static IEnumerable<byte[]> SoundLabels()
    {
        foreach ((int width, int height, byte depth, byte color, bool interlaced) in PngKinds())
        {
            int mask = (1 << depth) - 1;
            int Value(int x, int y) => (x + y) & mask;
            byte[] rows = interlaced ? RawPng.PackInterlaced(width, height, depth, Value) : RawPng.PackRows(width, height, depth, Value);
            yield return RawPng.Build(width, height, depth, color, rows, interlaced);
        }
    }

    private static IEnumerable<(int Width, int Height, byte Depth, byte Color, bool Interlaced)> PngKinds()
    {
        yield return (7, 5, 8, RawPng.Grey, false);
        yield return (9, 9, 4, RawPng.Palette, false);
        yield return (10, 9, 8, RawPng.Palette, true);
        yield return (33, 3, 1, RawPng.Grey, true);
        yield return (6, 6, 2, RawPng.Grey, false);
    }

    /// <summary>Damages the whole file, or the header's text alone with a length field that is right again.</summary>
    private static byte[] MutateSafetensors(Random random, byte[][] sound)
    {
        Mutator mutator = new(random);
        byte[] file = Pick(random, sound), other = Pick(random, sound);
        if (random.Next(4) == 0) return mutator.Mutate(file, other);
        int length = BinaryPrimitives.ReadInt32LittleEndian(file);
        byte[] data = file[(8 + length)..];
        if (random.Next(8) == 0) data = mutator.Mutate(data, other);
        return RawSafetensors.Build(mutator.MutateText(file[8..(8 + length)], other[8..]), data);
    }

    private static byte[] MutateTrainingFields(Random random)
    {
        byte[] sound = Encoding.UTF8.GetBytes("{\"epoch\":3,\"step\":120,\"best\":0.5125,\"seed\":7,\"split\":\"train\"}");
        return SoundCheckpoint(Encoding.UTF8.GetString(new Mutator(random).MutateText(sound, sound)));
    }

    /// <summary>Damages the whole file, the file with checksums made right again, or the rows before they are compressed.</summary>
    private static byte[] MutatePng(Random random, byte[][] sound)
    {
        Mutator mutator = new(random);
        byte[] file = Pick(random, sound);
        switch (random.Next(4))
        {
            case 0:
                return mutator.Mutate(file, Pick(random, sound));
            case 1:
                (int width, int height, byte depth, byte color, bool interlaced) = Pick(random, PngKinds().ToArray());
                byte[] rows = RawPng.PackRows(width, height, depth, (x, y) => 1);
                if (interlaced) rows = RawPng.PackInterlaced(width, height, depth, (x, y) => 1);
                for (int i = random.Next(4); i > 0; i--) rows[random.Next(rows.Length)] = (byte)random.Next(8);
                return RawPng.Build(width + (random.Next(8) == 0 ? 1 : 0), height, depth, color, rows, interlaced);
            default:
                return WithRightChecksums(mutator.Mutate(file, Pick(random, sound)));
        }
    }

    private static byte[] WithRightChecksums(byte[] png)
    {
        byte[] file = [.. png];
        int position = 8;
        while (position + 12 <= file.Length)
        {
            uint length = BinaryPrimitives.ReadUInt32BigEndian(file.AsSpan(position));
            if (length > file.Length - position - 12) break;
            Span<byte> content = file.AsSpan(position + 4, (int)length + 4);
            BinaryPrimitives.WriteUInt32BigEndian(file.AsSpan(position + 8 + (int)length), PngChunk.Checksum(content));
            position += 12 + (int)length;
        }
        return file;
    }

    private static void ReadAllTensors(byte[] input)
    {
        using SafetensorsFile file = SafetensorsFile.Open(input, "fuzzed");
        foreach (SafetensorsEntry entry in file.Tensors.Values)
        {
            switch (entry.DType)
            {
                case SafetensorsDType.F32 or SafetensorsDType.F16 or SafetensorsDType.BF16 or SafetensorsDType.F64:
                    file.ReadFloats(entry.Name, new float[entry.ElementCount]);
                    break;
                case SafetensorsDType.I64 or SafetensorsDType.I32 or SafetensorsDType.U8 or SafetensorsDType.Bool:
                    file.ReadInt64(entry.Name, new long[entry.ElementCount]);
                    break;
                default:
                    file.ReadBytes(entry.Name, new byte[entry.ByteLength]);
                    break;
            }
        }
    }

    private static void ReadCheckpoint(byte[] input)
    {
        using SafetensorsFile file = SafetensorsFile.Open(input, "fuzzed");
        JsonFields training = Checkpoint.Training(file);
        Assert.InRange(training.Integer("epoch", 0, 1000), 0, 1000);
        training.Integer("step");
        Assert.True(double.IsFinite(training.Number("best")));
        training.Text("split");
        float[] values = new float[4];
        file.Expect("w", 2, 2);
        file.ReadFloats("w", values);
        file.Expect("velocity.w", 2, 2);
        file.ReadFloats("velocity.w", values);
    }
}
