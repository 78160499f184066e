using System.CommandLine;
using System.Globalization;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;

namespace DwrSeg.Cli;

/// <summary><c>dwrseg info</c>: what a network consists of and what it costs.</summary>
internal static class InfoCommand
{
    public static Command Create()
    {
        Option<string> model = ModelChoice.Option();
        Option<(int Height, int Width)?> size = CommonOptions.Size("Input size; default: the model file's own, else 512x1024.");
        Option<int?> classes = new("--classes") { Description = "Number of classes, 2 to 255; default: the model file's own, else 19.", HelpName = "N" };
        Option<string?> config = ModelChoice.ConfigOption();
        var command = new Command("info", "Show a network's layers, parameters, multiplies and memory.") { model, config, size, classes };
        command.SetAction(result => Run(
            ModelChoice.Open(result.GetValue(model)!, result.GetValue(classes), result.GetValue(config)), result.GetValue(size)));
        return ExampleHelp.WithExamples(
            command, "dwrseg info", "dwrseg info --model large --size 768x1536", "dwrseg info --model models/dwrseg-base-camvid.safetensors",
            "dwrseg info --config '{\"beta\": 3}'");
    }

    private static int Run(ModelChoice model, (int Height, int Width)? wantedSize)
    {
        (int height, int width) = wantedSize ?? model.InputSize ?? ModelChoice.DefaultSize;
        LayerGraph graph = DwrSegModel.Inference(model.Config, 1, height, width);
        Terminal.WriteTable(["name", "layer", "output", "parameters>", "multiplies>"], [.. graph.Nodes.Select(Row)]);

        LayerGraph folded = InferencePasses.Apply(graph);
        (int steps, MemoryPlan memory) = CpuPlan.Outline(folded);
        Console.Out.WriteLine();
        Terminal.WriteTable(["total", ""],
        [
            ["network", $"{model.Name}, {model.Config.Classes} classes, input {height}x{width}"],
            ["parameters", Number(graph.Parameters.Sum(p => p.Shape.Elements))],
            ["multiplies", $"{Number(graph.Multiplies)} ({graph.Multiplies / 1e9:F3} G)"],
            ["multiplies after folding", $"{Number(folded.Multiplies)} ({folded.Multiplies / 1e9:F3} G)"],
            ["activation memory", $"{Mebibytes(memory.Bytes)} (fp32; {Mebibytes(memory.UnsharedBytes)} without sharing)"],
            ["layers", $"{graph.Nodes.Length}, run in {steps} steps on the CPU"],
        ]);
        return ExitCode.Ok;
    }

    private static string[] Row(Node node)
    {
        long parameters = node.Inputs.Where(i => i.Tensor.Kind == TensorKind.Parameter).Sum(i => i.Tensor.Shape.Elements);
        Shape output = node.Output.Shape;
        return [node.Name, Describe(node), $"{output.H}x{output.W}x{output.C}", Number(parameters), Number(node.Layer.Multiplies(node))];
    }

    private static string Describe(Node node) => node.Layer switch
    {
        Conv2d conv => $"conv {conv.Kernel}x{conv.Kernel}{(conv.Stride > 1 ? $" stride {conv.Stride}" : "")}",
        DepthwiseConv conv => $"depth-wise 3x3{(conv.Dilation > 1 ? $" dilation {conv.Dilation}" : "")}",
        BatchNorm => "batch norm",
        MaxPool => "max pool 3x3 stride 2",
        Resize resize => $"bilinear to {resize.Height}x{resize.Width}",
        Layer layer => layer.GetType().Name.ToLowerInvariant(),
    };

    private static string Number(long value) => value == 0 ? "" : value.ToString("N0", CultureInfo.InvariantCulture);

    private static string Mebibytes(long bytes) => $"{bytes / 1048576.0:F1} MiB";
}
