using System.Globalization;
using System.Text.Json;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Data;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Data;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.Native.Tests.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Evaluation;

/// <summary>
/// What a network predicts for generated scenes is taken down first; labels are then made from it with a confusion known in advance.
/// </summary>
public sealed class EvaluatorTests : IDisposable
{
    private const int Width = 61, Height = 47, Scenes = 3;

    private static readonly EvaluationOptions Options = new() { Device = "cpu", Threads = 2 };

    private readonly TemporaryFolder _folder = new();
    private readonly DatasetFolder _data = new();

    public void Dispose()
    {
        _folder.Dispose();
        _data.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void MeasuresAreThoseOfTheKnownConfusion(bool resized)
    {
        string model = SmallModel.Save(_folder.File("model.safetensors"));
        EvaluationOptions options = resized ? Options with { InputSize = (32, 40) } : Options;
        byte[][] predicted = Predictions(model, options);
        Assert.True(predicted.SelectMany(map => map).Distinct().Count() > 1, "the network predicts one class only; choose another seed");
        long[,] counts = new long[4, 4];
        long ignored = 0;
        byte[][] labels = [.. predicted.Select(map => Confuse(map, counts, ref ignored))];
        using Evaluator evaluator = Evaluator.Load(model, options);
        EvaluationResult result = evaluator.Run(new Labelled(labels));
        Assert.Equal((Scenes, ignored), (result.Images, result.Matrix.Ignored));
        double right = 0, sum = 0, present = 0;
        for (int label = 0; label < 4; label++)
        {
            long row = 0, column = 0;
            for (int other = 0; other < 4; other++)
            {
                Assert.Equal(counts[label, other], result.Matrix[label, other]);
                row += counts[label, other];
                column += counts[other, label];
            }
            right += counts[label, label];
            Assert.Equal(row, result.PerClass[label].Pixels);
            if (row + column == 0) continue;
            double iou = counts[label, label] / (double)(row + column - counts[label, label]);
            Assert.Equal(iou, result.PerClass[label].Iou!.Value, 1e-12);
            sum += iou;
            present++;
        }
        Assert.Equal(sum / present, result.MeanIou!.Value, 1e-12);
        Assert.Equal(right / (Scenes * Width * Height - ignored), result.PixelAccuracy!.Value, 1e-12);
    }

    [Fact]
    public void PerfectLabels_MeasureOne()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors"));
        using Evaluator evaluator = Evaluator.Load(model, Options);
        EvaluationResult result = evaluator.Run(new Labelled(Predictions(model, Options)));
        Assert.Equal((1.0, 1.0), (result.MeanIou, result.PixelAccuracy));
    }

    [Fact]
    public void MapsAreTheSegmenters()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors"));
        byte[][] predicted = Predictions(model, Options);
        using Segmenter segmenter = Segmenter.Load(model, new SegmenterOptions { Device = "cpu", Threads = 2 });
        SegmentationSample scene = Labelled.Scene(1);
        byte[] classes = new byte[Width * Height];
        segmenter.Run(scene.Rgb, Width, Height, 3 * Width, PixelFormat.Rgb, classes);
        Assert.Equal(classes, predicted[1]);
    }

    [Fact]
    public void OtherClasses_AreRefused()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors"));
        using Evaluator evaluator = Evaluator.Load(model, Options);
        ArgumentException e = Assert.Throws<ArgumentException>(() => evaluator.Run(new GeneratedDataset(1, 1, 32, 32)));
        Assert.Contains("sky, house, road, car", e.Message);
        Assert.Contains("scenes/1", e.Message);
    }

    [Fact]
    public void TheToolMeasuresASplit_AndItsLastLineIsTheMeanIou()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors"));
        long[,] counts = new long[4, 4];
        long ignored = 0;
        byte[][] labels = [.. Predictions(model, Options).Select(map => Confuse(map, counts, ref ignored))];
        SmallModel.Classes.Save(_data.PathOf("classes.json"));
        for (int i = 0; i < Scenes; i++)
        {
            SegmentationSample scene = Labelled.Scene(i);
            Directory.CreateDirectory(_data.PathOf("odd/images"));
            Directory.CreateDirectory(_data.PathOf("odd/labels"));
            ImageCodec.SaveRgb(_data.PathOf($"odd/images/{scene.Name}.png"), Width, Height, scene.Rgb);
            ImageCodec.SaveLabels(_data.PathOf($"odd/labels/{scene.Name}.png"), Width, Height, labels[i]);
        }
        using Evaluator evaluator = Evaluator.Load(model, Options);
        EvaluationResult expected = evaluator.Run(new Labelled(labels));
        string json = _folder.File("result.json"), maps = _folder.File("maps");
        string output = DwrSegProcess.Run(
            "eval", "--data", _data.Root, "--split", "odd", "--model", model, "--device", "cpu", "--threads", "2", "--json", json, "--export", maps);
        Assert.Equal($"mIoU {expected.MeanIou:F4}", output.TrimEnd().Split('\n')[^1]);
        using JsonDocument written = JsonDocument.Parse(File.ReadAllBytes(json));
        JsonElement root = written.RootElement;
        Assert.Equal(expected.MeanIou, root.GetProperty("mIoU").GetDouble());
        Assert.Equal(expected.PixelAccuracy, root.GetProperty("pixelAccuracy").GetDouble());
        Assert.Equal(Scenes, root.GetProperty("images").GetInt32());
        for (int label = 0; label < 4; label++)
        {
            Assert.Equal(SmallModel.Classes.Names[label], root.GetProperty("classes")[label].GetProperty("name").GetString());
            for (int other = 0; other < 4; other++) Assert.Equal(counts[label, other], root.GetProperty("confusion")[label][other].GetInt64());
        }
        Assert.Equal(Scenes, Directory.GetFiles(maps, "*.classes.png").Length);
        // The CUDA kernels: where two classes are within rounding of each other, either may win.
        foreach (string precision in (string[])["fp32", "fp16"])
        {
            output = DwrSegProcess.Run("eval", "--data", _data.Root, "--split", "odd", "--model", model, "--device", "emulated", "--precision", precision);
            string last = output.TrimEnd().Split('\n')[^1];
            Assert.StartsWith("mIoU ", last, StringComparison.Ordinal);
            Assert.Equal(expected.MeanIou!.Value, double.Parse(last[5..], CultureInfo.InvariantCulture), 0.01);
        }
    }

    [Fact]
    public void TheToolExportsACityscapesSubmission_AtFullSize()
    {
        string model = _folder.File("cityscapes.safetensors");
        DwrSegConfig config = SmallModel.Config with { Classes = 19 };
        using (CpuStore store = new())
        {
            LayerGraph graph = DwrSegModel.Inference(config, 1, 32, 32);
            ModelWeights.Initialize(graph, store, seed: 3);
            SafetensorsWriter writer = new();
            writer.Metadata[ModelMetadata.Key] = new ModelMetadata { Config = config, Classes = ClassList.Cityscapes }.ToJson();
            ModelWeights.Save(writer, graph, store, batchesTracked: 0);
            writer.Save(model);
        }
        const string Name = "berlin_000000_000019";
        _data.Folder("leftImg8bit/test/berlin");
        SegmentationSample scene = Labelled.Scene(0);
        ImageCodec.SaveRgb(_data.PathOf($"leftImg8bit/test/berlin/{Name}_leftImg8bit.png"), Width, Height, scene.Rgb);
        string output = DwrSegProcess.Run(
            "eval", "--data", _data.Root, "--split", "test", "--model", model, "--size", "32x40", "--device", "cpu", "--threads", "2",
            "--export", _folder.File("submission"));
        Assert.EndsWith("mIoU none\n", output);
        LabelImage map = ImageCodec.DecodeLabels(_folder.File($"submission/{Name}_pred_labelIds.png"));
        Assert.Equal((Width, Height), (map.Width, map.Height));
        byte[] predicted = [];
        using Evaluator evaluator = Evaluator.Load(model, Options with { InputSize = (32, 40) });
        evaluator.Run(SegmentationDataset.Open(_data.Root, "test"), (_, classes, _) => predicted = [.. classes]);
        Assert.Equal(predicted, map.Ids.ToArray().Select(id => CityscapesLabels.TrainIdByLabelId[id]));
    }

    private static byte[][] Predictions(string model, EvaluationOptions options)
    {
        List<byte[]> maps = [];
        using Evaluator evaluator = Evaluator.Load(model, options);
        evaluator.Run(new Labelled([.. Enumerable.Range(0, Scenes).Select(_ => new byte[Width * Height])]), (_, classes, _) => maps.Add([.. classes]));
        return [.. maps];
    }

    // Of ten pixels in a row one is ignored, two are labelled as the next class, one as the one after it, and six as predicted.
    private static byte[] Confuse(byte[] predicted, long[,] counts, ref long ignored)
    {
        byte[] labels = new byte[predicted.Length];
        for (int i = 0; i < labels.Length; i++)
        {
            int turn = i % 10;
            if (turn == 0)
            {
                labels[i] = SegmentationSample.Ignore;
                ignored++;
                continue;
            }
            labels[i] = (byte)((predicted[i] + (turn <= 2 ? 1 : turn == 3 ? 2 : 0)) % 4);
            counts[labels[i], predicted[i]]++;
        }
        return labels;
    }

    /// <summary>Generated scenes with labels given, in the classes of <see cref="SmallModel"/>.</summary>
    private sealed class Labelled(byte[][] labels) : SegmentationDataset
    {
        public override string Name => "labelled";

        public override ClassList Classes => SmallModel.Classes;

        public override int Count => labels.Length;

        public static SegmentationSample Scene(int index) => SceneGenerator.Generate(4, index, Width, Height);

        public override string SampleName(int index) => SceneGenerator.Generate(4, index, 16, 16).Name;

        public override SegmentationSample Load(int index)
        {
            SegmentationSample scene = Scene(index);
            return new SegmentationSample(scene.Name, Width, Height, scene.Rgb, [.. labels[index]]);
        }
    }
}
