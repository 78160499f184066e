using System.Collections.Immutable;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>One lowering per layer: how nodes become launches. Fused covers use the same lowerings with more nodes.</summary>
internal static class CudaLowerings
{
    private delegate CudaStep Lowering(CudaBinder binder, ImmutableArray<Node> nodes);

    private static readonly Dictionary<Type, (string Name, Lowering Bind)> Table = new()
    {
        [typeof(Conv2d)] = ("conv", BindConvolution),
        [typeof(Conv2dDataGradient)] = ("conv-dx", CudaConvGradientLowerings.BindDataGradient),
        [typeof(Conv2dWeightGradient)] = ("conv-dw", CudaConvGradientLowerings.BindWeightGradient),
        [typeof(DepthwiseConv)] = ("depthwise", BindDepthwise),
        [typeof(BatchNorm)] = ("bn", BindNorm),
        [typeof(Relu)] = ("relu", BindRelu),
        [typeof(Add)] = ("add", BindAdd),
        [typeof(Copy)] = ("copy", BindCopy),
        [typeof(MaxPool)] = ("max-pool", BindMaxPool),
        [typeof(Resize)] = ("resize", BindResize),
        [typeof(BiasGradient)] = ("bias-gradient", CudaNormLowerings.BindBiasGradient),
        [typeof(BatchNormTraining)] = ("bn-training", CudaNormLowerings.BindNormTraining),
        [typeof(BatchNormGradient)] = ("bn-dx", CudaNormLowerings.BindNormGradient),
        [typeof(DepthwiseWeightGradient)] = ("depthwise-dw", CudaNormLowerings.BindDepthwiseWeightGradient),
        [typeof(DepthwiseDataGradient)] = ("depthwise-dx", CudaNormLowerings.BindDepthwiseDataGradient),
        [typeof(FoldBatchNorm)] = ("fold-bn", BindFolds),
        [typeof(FoldInputBatchNorm)] = ("fold-input-bn", BindFolds),
        [typeof(FoldPointwise)] = ("fold-pointwise", BindFoldPointwise),
        [typeof(Fill)] = ("fill", CudaLossLowerings.BindFill),
        [typeof(ReluGradient)] = ("relu-dx", CudaLossLowerings.BindReluGradient),
        [typeof(MaxPoolGradient)] = ("max-pool-dx", CudaLossLowerings.BindMaxPoolGradient),
        [typeof(ResizeGradient)] = ("resize-dx", CudaLossLowerings.BindResizeGradient),
        [typeof(OhemCrossEntropy)] = ("ohem", CudaLossLowerings.BindOhem),
        [typeof(CrossEntropyGradient)] = ("ohem-dx", CudaLossLowerings.BindCrossEntropyGradient),
        [typeof(SgdUpdate)] = ("sgd", CudaLossLowerings.BindUpdates),
    };

    /// <summary>The layer's name in a step's name.</summary>
    public static string NameOf(Node node) => node.Layer switch
    {
        Conv2d conv => $"conv{conv.Kernel}x{conv.Kernel}" + (conv.Stride == 1 ? "" : $"/{conv.Stride}"),
        _ when Table.TryGetValue(node.Layer.GetType(), out var row) => row.Name,
        _ => node.Layer.GetType().Name,
    };

    /// <summary>The lowering of a single node.</summary>
    /// <exception cref="NotSupportedException">The CUDA backend has none.</exception>
    public static Func<CudaBinder, ImmutableArray<Node>, CudaStep> For(Node node)
    {
        if (!Table.TryGetValue(node.Layer.GetType(), out var row))
            throw new NotSupportedException($"The CUDA backend cannot run {node.Layer.GetType().Name} ('{node.Name}'); a graph pass should have removed it.");
        return (binder, nodes) => row.Bind(binder, nodes);
    }

    /// <summary>What memory for shared sums a step would like, with any tile that can be chosen; nothing where it has none.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        if (nodes[0].Layer is Conv2dDataGradient or Conv2dWeightGradient) return CudaConvGradientLowerings.WorkspaceFor(binder, nodes[0]);
        if (nodes[0].Layer is not Conv2d) return CudaNormLowerings.WorkspaceFor(binder, nodes[0]);
        if (nodes.Count(n => n.Layer is Conv2d) > 1) return default;
        CudaConvolution c = ConvolutionOf(binder, nodes);
        (long Bytes, int Tiles) largest = default;
        IReadOnlyList<string?> candidates = binder.Device.Driver.HasClock ? [.. TilesFor(binder, c)] : [null];
        foreach (string? tile in candidates)
        {
            (long bytes, int tiles) = binder.Element == CudaElement.Float32
                ? Float32Convolution.WorkspaceFor(binder.Device, c, tile) : ConvMmaCuda.WorkspaceFor(binder.Device, c, tile);
            largest = (Math.Max(largest.Bytes, bytes), Math.Max(largest.Tiles, tiles));
        }
        return largest;
    }

    /// <summary>The ways in which such nodes can be computed on the device: this project's first, then cuBLASLt's, then cuDNN's.</summary>
    public static IReadOnlyList<ConvWay> WaysFor(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        CudaConvolution c = ConvolutionOf(binder, nodes);
        var ways = new List<ConvWay>();
        IReadOnlyList<string> tiles = IsOfImage(binder.Device, nodes, c) ? [] : TilesFor(binder, c);
        if (tiles.Count < 2) ways.Add(ConvWay.ByModel);
        else ways.AddRange(tiles.Select(t => ConvWay.ByModel with { Tile = t }));
        ways.AddRange(LibraryLowering.WaysFor(binder, nodes, c, ConvMaker.CublasLt));
        ways.AddRange(LibraryLowering.WaysFor(binder, nodes, c, ConvMaker.Cudnn));
        return ways;
    }

    /// <summary>The kernels of this project's ways to compute a convolution.</summary>
    public static IReadOnlyList<KernelVariant> VariantsFor(
        CudaDevice device, ImmutableArray<Node> nodes, Func<TensorView, DeviceMap> map, Func<TensorView, CUdeviceptr> values)
    {
        CudaConvolution c = ConvolutionOf(nodes, map, values);
        if (IsOfImage(device, nodes, c)) return [ConvFirstCuda.Variant(c.X.Element)];
        return c.X.Element == CudaElement.Float32 ? Float32Convolution.VariantsFor(device, c) : ConvMmaCuda.VariantsFor(device, c);
    }

    /// <summary>A convolution, then in any order at most one ReLU and one sum.</summary>
    public static CudaStep BindConvolution(CudaBinder binder, ImmutableArray<Node> nodes) => BindConvolution(binder, nodes, ConvWay.ByModel);

    /// <summary>The same in a way that <see cref="WaysFor"/> lists.</summary>
    public static CudaStep BindConvolution(CudaBinder binder, ImmutableArray<Node> nodes, ConvWay way)
    {
        CudaConvolution c = ConvolutionOf(binder, nodes);
        if (way.Maker != ConvMaker.Native && LibraryLowering.Bind(binder, nodes, c, way) is { } step) return step;
        if (IsOfImage(binder.Device, nodes, c)) return BindImageConvolutions(binder, nodes);
        bool exact = binder.Element == CudaElement.Float32;
        var weights = new PackedWeights(binder, nodes[0]);
        c = c with { Weights = weights.In };
        CudaLaunch run = exact
            ? Float32Convolution.Prepare(binder.Kernels, c, binder.Workspace, way.Tile) : ConvMmaCuda.Prepare(binder.Kernels, c, binder.Workspace, way.Tile);
        return weights.StepOf(run);
    }

    /// <summary>One or two 3x3 convolutions of stride 2 of the image, each perhaps with a ReLU.</summary>
    public static CudaStep BindImageConvolutions(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node[] convs = [.. nodes.Where(n => n.Layer is Conv2d)];
        DeviceMap x = binder.Map(convs[0].Inputs[0]);
        FirstOutput[] outputs = [.. convs.Select(c => nodes.FirstOrDefault(n => n.Layer is Relu && n.Inputs[0] == c.Output) is { } relu
            ? new FirstOutput(binder.Map(relu.Output), true) : new FirstOutput(binder.Map(c.Output), false))];
        if (!ConvFirstCuda.Fits(binder.Device, x, outputs))
        {
            // One launch each, by the kernels for any convolution.
            CudaStep[] single = [.. convs.Select(c => BindConvolution(
                binder, [c, .. nodes.Where(n => n.Layer is Relu && n.Inputs[0] == c.Output)]))];
            return new CudaStep(
                [.. single.SelectMany(s => s.Launches)], [.. single.SelectMany(s => s.Preparations)], [.. single.SelectMany(s => s.Owned)]);
        }
        int channels = convs.Sum(c => c.Output.Channels);
        WeightLayout layout = ConvFirstCuda.LayoutFor(binder.Element);
        long RowBytes(int outputs) => layout.ElementsOf(outputs, 9, 3) * binder.Element.Bytes();
        CudaDeviceVariable<byte> packed = binder.Allocate(RowBytes(channels));
        var preparations = new List<CudaWork>();
        var owned = new List<IDisposable> { packed };
        CUdeviceptr biasAddress = default;
        CudaDeviceVariable<byte>? bias = convs[0].Inputs.Length == 3 && convs.Length > 1 ? binder.Allocate(channels * sizeof(float)) : null;
        if (bias is not null) owned.Add(bias);
        int first = 0;
        foreach (Node conv in convs)
        {
            int count = conv.Output.Channels;
            preparations.Add(PackWeightsCuda.Prepare(
                binder.Kernels, binder.Values(conv.Inputs[1]), packed.DevicePointer + (ulong)RowBytes(first), binder.Element, layout, count, 9, 3));
            if (bias is not null)
            {
                preparations.Add(ScaledCopyCuda.Prepare(
                    binder.Kernels, Vector(binder.Values(conv.Inputs[2]), count), Vector(bias.DevicePointer + (ulong)(first * sizeof(float)), count)));
            }
            else if (conv.Inputs.Length == 3)
            {
                biasAddress = binder.Values(conv.Inputs[2]);
            }
            first += count;
        }
        if (bias is not null) biasAddress = bias.DevicePointer;
        CudaLaunch run = ConvFirstCuda.Prepare(binder.Kernels, x, packed.DevicePointer, biasAddress, outputs);
        bool isUpdated = convs.Any(c => binder.IsUpdated(c.Inputs[1]));
        return isUpdated ? new CudaStep([.. preparations, run], [], owned) : new CudaStep([run], preparations, owned);
    }

    /// <summary>A Simple Inverted Residual: a 3x3 convolution, ReLU, a 1x1 convolution, then in any order at most one ReLU and one sum.</summary>
    public static CudaStep BindSir(CudaBinder binder, ImmutableArray<Node> nodes) => BindSir(binder, nodes, clusterBlocks: null);

    /// <summary>The same with so many blocks that fetch weights together.</summary>
    public static CudaStep BindSir(CudaBinder binder, ImmutableArray<Node> nodes, int? clusterBlocks)
    {
        (CudaSir sir, Node expand, Node project) = SirOf(nodes, binder.Map, binder.Values);
        PackedWeights first = new(binder, expand), second = new(binder, project);
        CudaLaunch run = SirMmaCuda.Prepare(binder.Kernels, sir with { Expand = first.In, Project = second.In }, clusterBlocks);
        return new CudaStep([run], [first.Launch, second.Launch], [first.Memory, second.Memory]);
    }

    /// <summary>The module of such nodes without its packed weights.</summary>
    public static (CudaSir Sir, Node Expand, Node Project) SirOf(
        ImmutableArray<Node> nodes, Func<TensorView, DeviceMap> map, Func<TensorView, CUdeviceptr> values)
    {
        Node expand = nodes[0], project = nodes.First(n => n.Layer is Conv2d { Kernel: 1 });
        (DeviceMap? residual, CudaRelu relu) = TailOf(nodes, nodes.IndexOf(project), map);
        var sir = new CudaSir(
            map(expand.Inputs[0]), map(nodes[^1].Output), expand.Output.Channels, ((Conv2d)expand.Layer).Stride, default,
            expand.Inputs.Length == 3 ? values(expand.Inputs[2]) : default, default)
        {
            BorderBias = ((Conv2d)expand.Layer).BorderBias,
            Bias = project.Inputs.Length == 3 ? values(project.Inputs[2]) : default,
            Residual = residual,
            Relu = relu,
        };
        return (sir, expand, project);
    }

    /// <summary>The second half of a DWR module: depth-wise branches, perhaps a ReLU, the 1x1 convolution of their joined map and its tail.</summary>
    public static CudaStep BindSemanticResiduals(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        (CudaSrBranch[] branches, CudaConvolution projection, Node project, bool relu) = SemanticResidualsOf(nodes, binder.Map, binder.Values);
        var weights = new PackedWeights(binder, project);
        CudaLaunch run = DwrSrMmaCuda.Prepare(binder.Kernels, branches, projection with { Weights = weights.In }, relu);
        return new CudaStep([run], [weights.Launch], [weights.Memory]);
    }

    /// <summary>The kernel's view of such nodes, without the packed weights of the 1x1 convolution.</summary>
    public static (CudaSrBranch[] Branches, CudaConvolution Projection, Node Project, bool Relu) SemanticResidualsOf(
        ImmutableArray<Node> nodes, Func<TensorView, DeviceMap> map, Func<TensorView, CUdeviceptr> values)
    {
        Node[] convs = [.. nodes.Where(n => n.Layer is DepthwiseConv).OrderBy(n => n.Output.Channel)];
        Node project = nodes.First(n => n.Layer is Conv2d);
        bool relu = nodes.IndexOf(project) > convs.Length;
        CudaSrBranch[] branches = [.. convs.Select(n => new CudaSrBranch(
            map(n.Inputs[0]), values(n.Inputs[1]), n.Inputs.Length == 3 ? values(n.Inputs[2]) : default,
            n.Output.Channels / n.Inputs[0].Channels, ((DepthwiseConv)n.Layer).Dilation))];
        (DeviceMap? residual, CudaRelu last) = TailOf(nodes, nodes.IndexOf(project), map);
        DeviceMap y = map(nodes[^1].Output);
        int joined = project.Inputs[0].Channels;
        // The joined map exists only within the kernel: y's side with its channels stands for it.
        var projection = new CudaConvolution(y with { C = joined, PixelStride = Math.Max(joined, y.PixelStride) }, y, default, 1)
        {
            Bias = project.Inputs.Length == 3 ? values(project.Inputs[2]) : default,
            Residual = residual,
            Relu = last,
        };
        return (branches, projection, project, relu);
    }

    /// <summary>Depth-wise branches, the last node perhaps the ReLU behind their joined map.</summary>
    public static CudaStep BindDepthwise(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node[] convs = [.. nodes.Where(n => n.Layer is DepthwiseConv)];
        bool relu = convs.Length < nodes.Length;
        CudaDepthwiseBranch[] branches = [.. convs.Select(n =>
        {
            RequireWrite(n);
            TensorView output = relu ? nodes[^1].Output.Slice(n.Output.Channel, n.Output.Channels) : n.Output;
            CUdeviceptr bias = n.Inputs.Length == 3 ? binder.Values(n.Inputs[2]) : default;
            return new CudaDepthwiseBranch(
                binder.Map(n.Inputs[0]), binder.Map(output), binder.Values(n.Inputs[1]), bias, output.Channels / n.Inputs[0].Channels,
                ((DepthwiseConv)n.Layer).Dilation);
        })];
        return new CudaStep([.. branches.Chunk(DepthwiseConvCuda.MaxBranches).Select(b => DepthwiseConvCuda.Prepare(binder.Kernels, b, relu))], [], []);
    }

    /// <summary>A BN that no pass folded: its scale and shift are computed like a fold into weights of one.</summary>
    private static CudaStep BindNorm(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node norm = nodes[0];
        RequireWrite(norm);
        int channels = norm.Output.Channels;
        var ones = binder.Keep(new CudaDeviceVariable<float>(binder.Kernels.Context, channels));
        ones.CopyToDevice(Enumerable.Repeat(1f, channels).ToArray(), binder.Stream);
        CudaDeviceVariable<byte> scale = binder.Allocate(channels * sizeof(float)), shift = binder.Allocate(channels * sizeof(float));
        var fold = binder.Keep(new FoldBatchNormCuda(
            binder.Kernels,
            [
                new CudaFold(FoldKind.Depthwise, channels, 1, 1, ((BatchNorm)norm.Layer).Epsilon, CudaElement.Float32)
                {
                    Weights = ones.DevicePointer, Gamma = binder.Values(norm.Inputs[1]), Beta = binder.Values(norm.Inputs[2]),
                    Mean = binder.Values(norm.Inputs[3]), Variance = binder.Values(norm.Inputs[4]),
                    FoldedWeights = scale.DevicePointer, FoldedBias = shift.DevicePointer,
                },
            ],
            binder.Stream));
        CudaLaunch run = ScaledCopyCuda.Prepare(
            binder.Kernels, binder.Map(norm.Inputs[0]), binder.Map(norm.Output), 1, scale.DevicePointer, shift.DevicePointer);
        IDisposable[] owned = [ones, scale, shift, fold];
        bool isUpdated = norm.Inputs.Skip(1).Any(binder.IsUpdated);
        return isUpdated ? new CudaStep([fold.Launch, run], [], owned) : new CudaStep([run], [fold.Launch], owned);
    }

    private static CudaStep BindRelu(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        RequireWrite(nodes[0]);
        return new CudaStep(ElementwiseCuda.Relu(binder.Kernels, binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Output)));
    }

    private static CudaStep BindAdd(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        RequireWrite(nodes[0]);
        return new CudaStep(ElementwiseCuda.Add(
            binder.Kernels, binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Inputs[1]), binder.Map(nodes[0].Output)));
    }

    private static CudaStep BindCopy(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        DeviceMap x = binder.Map(nodes[0].Inputs[0]), y = binder.Map(nodes[0].Output);
        return new CudaStep(nodes[0].Outputs[0].Accumulate ? ElementwiseCuda.Add(binder.Kernels, x, y, y) : ScaledCopyCuda.Prepare(binder.Kernels, x, y));
    }

    private static CudaStep BindMaxPool(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        RequireWrite(nodes[0]);
        return new CudaStep(MaxPoolCuda.Prepare(binder.Kernels, binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Output)));
    }

    /// <summary>Resamplings to one size.</summary>
    public static CudaStep BindResize(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        foreach (Node node in nodes) RequireWrite(node);
        return new CudaStep(UpsampleCuda.Prepare(
            binder.Kernels, [.. nodes.Select(n => new CudaResampling(binder.Map(n.Inputs[0]), binder.Map(n.Output)))]));
    }

    /// <summary>BN folds, none of which needs another's result, in one launch.</summary>
    public static CudaStep BindFolds(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        var folds = binder.Keep(new FoldBatchNormCuda(binder.Kernels, [.. nodes.Select(n => FoldOf(binder, n))], binder.Stream));
        return new CudaStep([folds.Launch], [], [folds]);
    }

    /// <summary>Whether <see cref="BindFolds"/> takes a node.</summary>
    public static bool IsFold(Node node) => node.Layer is FoldBatchNorm or FoldInputBatchNorm;

    private static CudaFold FoldOf(CudaBinder binder, Node node)
    {
        Shape w = node.Inputs[0].Shape;
        int taps = w.H * w.W;
        return node.Layer switch
        {
            FoldBatchNorm { Depthwise: true } layer => Of(FoldKind.Depthwise, w.C, 1, layer.HasBias, layer.Epsilon),
            FoldBatchNorm layer => Of(FoldKind.Dense, w.N, w.C, layer.HasBias, layer.Epsilon),
            FoldInputBatchNorm layer => Of(FoldKind.Input, w.N, w.C, layer.HasBias, layer.Epsilon),
            _ => throw new ArgumentException($"'{node.Name}' is no fold of a BN.", nameof(node)),
        };

        CudaFold Of(FoldKind kind, int outputs, int inputs, bool hasBias, float epsilon)
        {
            int first = hasBias ? 2 : 1;
            return new CudaFold(kind, outputs, taps, inputs, epsilon, CudaElement.Float32)
            {
                Weights = binder.Values(node.Inputs[0]), Bias = hasBias ? binder.Values(node.Inputs[1]) : default,
                Gamma = binder.Values(node.Inputs[first]), Beta = binder.Values(node.Inputs[first + 1]),
                Mean = binder.Values(node.Inputs[first + 2]), Variance = binder.Values(node.Inputs[first + 3]),
                FoldedWeights = binder.Values(node.Outputs[0].View), FoldedBias = binder.Values(node.Outputs[1].View),
            };
        }
    }

    private static CudaStep BindFoldPointwise(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node n = nodes[0];
        Shape a = n.Inputs[0].Shape;
        return new CudaStep(FoldPointwiseCuda.Prepare(
            binder.Kernels,
            new CudaPointwiseFold(n.Inputs[2].Shape.N, a.N, a.H * a.W * a.C, CudaElement.Float32)
            {
                WeightsA = binder.Values(n.Inputs[0]), BiasA = binder.Values(n.Inputs[1]), WeightsB = binder.Values(n.Inputs[2]),
                BiasB = binder.Values(n.Inputs[3]), FoldedWeights = binder.Values(n.Outputs[0].View), FoldedBias = binder.Values(n.Outputs[1].View),
            }));
    }

    // The kernel for an image's three channels takes it; of the bias it wants more than others do.
    private static bool IsOfImage(CudaDevice device, ImmutableArray<Node> nodes, in CudaConvolution c) =>
        nodes.Length - (c.Relu == CudaRelu.None ? 0 : 1) == 1 && nodes[0].Inputs[0].Channels == 3 && c is { Kernel: 3, Stride: 2, Residual: null } && c.Bias.Value % 16 == 0
            && ConvFirstCuda.Fits(device, c.X, new FirstOutput(c.Y, c.Relu != CudaRelu.None));

    private static IReadOnlyList<string> TilesFor(CudaBinder binder, in CudaConvolution c) =>
        binder.Element == CudaElement.Float32 ? Float32Convolution.TilesFor(binder.Device, c) : ConvMmaCuda.TilesFor(binder.Device, c);

    // The convolution without its packed weights.
    private static CudaConvolution ConvolutionOf(CudaBinder binder, ImmutableArray<Node> nodes) => ConvolutionOf(nodes, binder.Map, binder.Values);

    private static CudaConvolution ConvolutionOf(ImmutableArray<Node> nodes, Func<TensorView, DeviceMap> map, Func<TensorView, CUdeviceptr> values)
    {
        Node first = nodes[0];
        var conv = (Conv2d)first.Layer;
        DeviceMap y = map(nodes[^1].Output);
        (DeviceMap? residual, CudaRelu relu) = TailOf(nodes, 0, map);
        if (nodes[^1].Outputs[0].Accumulate)
        {
            if (nodes.Length > 1) throw new NotSupportedException($"'{nodes[^1].Name}' accumulates behind a fused convolution.");
            residual = y;
        }
        return new CudaConvolution(map(first.Inputs[0]), y, default, conv.Kernel, conv.Stride)
        {
            Bias = first.Inputs.Length == 3 ? values(first.Inputs[2]) : default,
            BorderBias = conv.BorderBias,
            Residual = residual,
            Relu = relu,
        };
    }

    // What stands behind a convolution: at most one ReLU and one sum.
    private static (DeviceMap? Residual, CudaRelu Relu) TailOf(ImmutableArray<Node> nodes, int convolution, Func<TensorView, DeviceMap> map)
    {
        CudaRelu relu = CudaRelu.None;
        DeviceMap? residual = null;
        for (int i = convolution + 1; i < nodes.Length; i++)
        {
            if (nodes[i].Layer is Relu) relu = residual is null ? CudaRelu.First : CudaRelu.Last;
            else residual = map(nodes[i].Inputs.Single(v => v != nodes[i - 1].Output));
        }
        return (residual, relu);
    }

    private static DeviceMap Vector(CUdeviceptr values, int count) => new(values, CudaElement.Float32, 1, 1, 1, count, count);

    private static void RequireWrite(Node node)
    {
        if (node.Outputs[0].Accumulate) throw new NotSupportedException($"The CUDA backend cannot accumulate in '{node.Name}' ({node.Layer.GetType().Name}).");
    }
}
