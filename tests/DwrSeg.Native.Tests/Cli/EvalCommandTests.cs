using System.Text.Json;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Data;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed class EvalCommandTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _data, _model;

    public EvalCommandTests()
    {
        _data = _folder.File("scenes");
        _model = _folder.File("model.safetensors");
        SceneGenerator.WriteDataset(_data, "train", 2, 1, 64, 48, cancellation: TestContext.Current.CancellationToken);
        SceneGenerator.WriteDataset(_data, "val", 1, 1, 64, 48, cancellation: TestContext.Current.CancellationToken);
        using CpuStore store = new();
        LayerGraph graph = DwrSegModel.Inference(SmallTraining.Model, 1, 32, 32);
        ModelWeights.Initialize(graph, store, seed: 1);
        SafetensorsWriter writer = new();
        writer.Metadata[ModelMetadata.Key] = new ModelMetadata { Config = SmallTraining.Model, Classes = SceneGenerator.Classes }.ToJson();
        ModelWeights.Save(writer, graph, store, batchesTracked: 0);
        writer.Save(_model);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void MeasuresAndMapsAreTheEvaluators_AndSplitsOfEqualNamesDoNotMeet()
    {
        string maps = _folder.File("maps"), file = _folder.File("eval.json");
        DwrsegResult result = DwrsegProcess.Run(
            "eval", "--data", _data, "--split", "train+val", "--model", _model, "--threads", "2", "--json", file, "--export", maps).Succeeded();

        using Evaluator evaluator = Evaluator.Load(_model, new EvaluationOptions { Device = "cpu", Threads = 2 });
        var expected = new List<byte[]>();
        EvaluationResult measured = evaluator.Run(SegmentationDataset.Open(_data, "train+val"), (_, classes, _) => expected.Add(classes.ToArray()));
        Assert.Equal(FormattableString.Invariant($"mIoU {measured.MeanIou:F4}"), result.Lines[^1]);
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(file));
        Assert.Equal(measured.MeanIou, json.RootElement.GetProperty("mIoU").GetDouble());

        string first = SceneGenerator.NameOf(0) + ".classes.png", second = SceneGenerator.NameOf(1) + ".classes.png";
        string[] files = [Path.Combine(maps, "train", first), Path.Combine(maps, "train", second), Path.Combine(maps, "val", first)];
        Assert.Equal(files, Directory.GetFiles(maps, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal));
        Assert.Equal(expected, files.Select(path => ImageCodec.DecodeLabels(path).Ids.ToArray()));
    }

    [Fact]
    public void OneSplitIsExportedIntoTheFolderItself()
    {
        string maps = _folder.File("maps");
        DwrsegProcess.Run("eval", "--data", _data, "--split", "val", "--model", _model, "--export", maps).Succeeded();
        Assert.Equal([Path.Combine(maps, SceneGenerator.NameOf(0) + ".classes.png")], Directory.GetFileSystemEntries(maps));
    }

    [Fact]
    public void WhatCanNotBeWrittenIsToldBeforeTheEvaluation()
    {
        string[] common = ["eval", "--data", _data, "--split", "val", "--model", _model];
        Assert.Equal("", DwrsegProcess.Run([.. common, "--json", _folder.File("none/eval.json")]).Failed(3, "none/eval.json").Output);
        Assert.Equal("", DwrsegProcess.Run([.. common, "--export", _model]).Failed(3, "is a file").Output);
    }
}
