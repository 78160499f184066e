using System.Collections.Immutable;
using DwrSeg.Native.Backends.Cpu.Kernels;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>One lowering per layer: how nodes become calls of kernels. Fused covers use the same lowerings with more nodes.</summary>
internal static unsafe class CpuLowerings
{
    private delegate CpuStep Lowering(StepBinder binder, ImmutableArray<Node> nodes);

    private static readonly Dictionary<Type, (string Name, Lowering Bind)> Table = new()
    {
        [typeof(Conv2d)] = ("conv", BindConvolution),
        [typeof(Conv2dDataGradient)] = ("conv-dx", BindConvolutionDataGradient),
        [typeof(Conv2dWeightGradient)] = ("conv-dw", BindConvolutionWeightGradient),
        [typeof(Graph.BiasGradient)] = ("bias-gradient", BindBiasGradient),
        [typeof(Graph.DepthwiseConv)] = ("depthwise", BindDepthwise),
        [typeof(DepthwiseDataGradient)] = ("depthwise-dx", BindDepthwiseDataGradient),
        [typeof(Graph.DepthwiseWeightGradient)] = ("depthwise-dw", BindDepthwiseWeightGradient),
        [typeof(Graph.BatchNorm)] = ("bn", BindNorm),
        [typeof(BatchNormTraining)] = ("bn-training", BindNorm),
        [typeof(BatchNormGradient)] = ("bn-dx", BindNormGradient),
        [typeof(Graph.Relu)] = ("relu", BindRelu),
        [typeof(Graph.ReluGradient)] = ("relu-dx", BindReluGradient),
        [typeof(Graph.Add)] = ("add", BindAdd),
        [typeof(Graph.Copy)] = ("copy", BindCopy),
        [typeof(Graph.Fill)] = ("fill", BindFill),
        [typeof(Graph.MaxPool)] = ("max-pool", BindMaxPool),
        [typeof(Graph.MaxPoolGradient)] = ("max-pool-dx", BindMaxPoolGradient),
        [typeof(Graph.Resize)] = ("resize", BindResize),
        [typeof(Graph.ResizeGradient)] = ("resize-dx", BindResizeGradient),
        [typeof(Graph.OhemCrossEntropy)] = ("ohem", BindOhem),
        [typeof(Graph.CrossEntropyGradient)] = ("ohem-dx", BindCrossEntropyGradient),
        [typeof(Graph.SgdUpdate)] = ("sgd", BindUpdates),
        [typeof(Graph.FoldBatchNorm)] = ("fold-bn", BindFoldBatchNorm),
        [typeof(FoldInputBatchNorm)] = ("fold-input-bn", BindFoldInputBatchNorm),
        [typeof(Graph.FoldPointwise)] = ("fold-pointwise", BindFoldPointwise),
    };

    /// <summary>The layer's name in a step's name.</summary>
    public static string NameOf(Node node) => node.Layer switch
    {
        Conv2d conv => $"conv{conv.Kernel}x{conv.Kernel}" + (conv.Stride == 1 ? "" : $"/{conv.Stride}"),
        _ when Table.TryGetValue(node.Layer.GetType(), out var row) => row.Name,
        _ => node.Layer.GetType().Name,
    };

    /// <summary>The lowering of a single node.</summary>
    /// <exception cref="InvalidOperationException">The CPU backend has none.</exception>
    public static Func<StepBinder, ImmutableArray<Node>, CpuStep> For(Node node)
    {
        if (!Table.TryGetValue(node.Layer.GetType(), out var row))
            throw new InvalidOperationException($"The CPU backend cannot run {node.Layer.GetType().Name} ('{node.Name}'); a graph pass should have removed it.");
        return (binder, nodes) => row.Bind(binder, nodes);
    }

    /// <summary>A convolution, then in any order at most one ReLU and one sum.</summary>
    public static CpuStep BindConvolution(StepBinder binder, ImmutableArray<Node> nodes)
    {
        Node first = nodes[0];
        var conv = (Conv2d)first.Layer;
        var epilogue = new Epilogue
        {
            Bias = first.Inputs.Length == 3 ? binder.Values(first.Inputs[2]) : null,
            BorderBias = conv.BorderBias,
            Accumulate = nodes[^1].Outputs[0].Accumulate,
        };
        for (int i = 1; i < nodes.Length; i++)
        {
            if (nodes[i].Layer is Graph.Relu)
            {
                epilogue.Relu = true;
                continue;
            }
            epilogue.Residual = binder.Map(nodes[i].Inputs.Single(v => v != nodes[i - 1].Output));
            epilogue.ResidualAfterRelu = epilogue.Relu;
        }
        Map x = binder.Map(first.Inputs[0]), y = binder.Map(nodes[^1].Output);
        float* weights = binder.Values(first.Inputs[1]);
        var kernel = new Convolution(conv.Kernel, conv.Stride, x.C, first.Output.Channels, binder.Workspace);
        WorkerPool pool = binder.Pool;
        if (!binder.IsUpdated(first.Inputs[1])) return new CpuStep(() => kernel.Run(pool, x, y, epilogue), () => kernel.Pack(pool, weights), kernel);
        return new CpuStep(
            () =>
            {
                kernel.Pack(pool, weights);
                kernel.Run(pool, x, y, epilogue);
            },
            null, kernel);
    }

    /// <summary>A convolution, perhaps its ReLU, then a 1x1 convolution and perhaps a sum; what is between is never a whole map.</summary>
    public static CpuStep BindConvolutionWithTail(StepBinder binder, ImmutableArray<Node> nodes)
    {
        Node first = nodes[0];
        var conv = (Conv2d)first.Layer;
        int second = nodes[1].Layer is Graph.Relu ? 2 : 1;
        Node project = nodes[second];
        var epilogue = new Epilogue
        {
            Bias = first.Inputs.Length == 3 ? binder.Values(first.Inputs[2]) : null,
            BorderBias = conv.BorderBias,
            Relu = second == 2,
        };
        Map x = binder.Map(first.Inputs[0]), y = binder.Map(nodes[^1].Output);
        Map residual = second + 1 < nodes.Length ? binder.Map(nodes[^1].Inputs.Single(v => v != project.Output)) : default;
        var middle = new Map(null, y.N, y.H, y.W, first.Output.Channels, first.Output.Channels);
        float* weights = binder.Values(first.Inputs[1]), tailWeights = binder.Values(project.Inputs[1]);
        var tail = new PointwiseTail(middle.C, y.C);
        var kernel = new Convolution(conv.Kernel, conv.Stride, x.C, middle.C, binder.Workspace, tail);
        PointwiseTail.Job job = tail.Bind(y, residual, project.Inputs.Length == 3 ? binder.Values(project.Inputs[2]) : null);
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => kernel.Run(pool, x, middle, epilogue, job), Pack, kernel);

        void Pack()
        {
            kernel.Pack(pool, weights);
            tail.Pack(pool, tailWeights);
        }
    }

    private static CpuStep BindConvolutionDataGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        var layer = (Conv2dDataGradient)nodes[0].Layer;
        float* weights = binder.Values(nodes[0].Inputs[0]);
        Map dy = binder.Map(nodes[0].Inputs[1]), dx = binder.Map(nodes[0].Output);
        bool accumulate = nodes[0].Outputs[0].Accumulate;
        var kernel = new ConvolutionDataGradient(layer.Kernel, layer.Stride, dx.C, dy.C, binder.Workspace);
        WorkerPool pool = binder.Pool;
        return new CpuStep(
            () =>
            {
                kernel.Pack(pool, weights);
                kernel.Run(pool, dy, dx, accumulate);
            },
            null, kernel);
    }

    private static CpuStep BindConvolutionWeightGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        var layer = (Conv2dWeightGradient)nodes[0].Layer;
        Map x = binder.Map(nodes[0].Inputs[0]), dy = binder.Map(nodes[0].Inputs[1]);
        float* dw = binder.Values(nodes[0].Output);
        bool accumulate = nodes[0].Outputs[0].Accumulate;
        var kernel = new ConvolutionWeightGradient(layer.Kernel, layer.Stride, x.C, dy.C, binder.Workspace);
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => kernel.Run(pool, x, dy, dw, accumulate));
    }

    private static CpuStep BindBiasGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        Map dy = binder.Map(nodes[0].Inputs[0]);
        float* db = binder.Values(nodes[0].Output);
        bool accumulate = nodes[0].Outputs[0].Accumulate;
        var kernel = new Kernels.BiasGradient(dy.C, binder.Workspace);
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => kernel.Run(pool, dy, db, accumulate));
    }

    /// <summary>Depth-wise branches, the last node perhaps the ReLU behind their joined map.</summary>
    public static CpuStep BindDepthwise(StepBinder binder, ImmutableArray<Node> nodes)
    {
        Node[] convs = [.. nodes.Where(n => n.Layer is Graph.DepthwiseConv)];
        bool relu = convs.Length < nodes.Length;
        DepthwiseBranch[] branches = [.. convs.Select(n =>
        {
            TensorView output = relu ? nodes[^1].Output.Slice(n.Output.Channel, n.Output.Channels) : n.Output;
            float* bias = n.Inputs.Length == 3 ? binder.Values(n.Inputs[2]) : null;
            return new DepthwiseBranch(
                binder.Map(n.Inputs[0]), binder.Map(output), binder.Values(n.Inputs[1]), bias, output.Channels / n.Inputs[0].Channels,
                ((Graph.DepthwiseConv)n.Layer).Dilation, n.Outputs[0].Accumulate);
        })];
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => Kernels.DepthwiseConv.Run(pool, branches, relu));
    }

    private static CpuStep BindDepthwiseDataGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        var layer = (DepthwiseDataGradient)nodes[0].Layer;
        DepthwiseBranch[] branches =
        [
            new(
                binder.Map(nodes[0].Output), binder.Map(nodes[0].Inputs[1]), binder.Values(nodes[0].Inputs[0]), null, layer.Multiplier,
                layer.Dilation, nodes[0].Outputs[0].Accumulate),
        ];
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => Kernels.DepthwiseConv.DataGradient(pool, branches));
    }

    private static CpuStep BindDepthwiseWeightGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        var layer = (Graph.DepthwiseWeightGradient)nodes[0].Layer;
        Map dy = binder.Map(nodes[0].Inputs[1]);
        DepthwiseBranch[] branches =
        [
            new(
                binder.Map(nodes[0].Inputs[0]), dy, binder.Values(nodes[0].Output), null, layer.Multiplier, layer.Dilation,
                nodes[0].Outputs[0].Accumulate),
        ];
        var kernel = new Kernels.DepthwiseWeightGradient(dy.C);
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => kernel.Run(pool, branches), null, kernel);
    }

    /// <summary>A BN with running or batch statistics, perhaps with the ReLU behind it.</summary>
    public static CpuStep BindNorm(StepBinder binder, ImmutableArray<Node> nodes)
    {
        Node norm = nodes[0];
        bool relu = nodes.Length == 2;
        Map x = binder.Map(norm.Inputs[0]), y = binder.Map(nodes[^1].Output);
        float* gamma = binder.Values(norm.Inputs[1]), beta = binder.Values(norm.Inputs[2]);
        float* runningMean = binder.Values(norm.Inputs[3]), runningVariance = binder.Values(norm.Inputs[4]);
        var kernel = new Kernels.BatchNorm(x.C);
        WorkerPool pool = binder.Pool;
        if (norm.Layer is Graph.BatchNorm inference)
            return new CpuStep(() => kernel.Infer(pool, x, gamma, beta, runningMean, runningVariance, inference.Epsilon, y, relu), null, kernel);
        var layer = (BatchNormTraining)norm.Layer;
        float* mean = binder.Values(norm.Outputs[1].View), inverseDeviation = binder.Values(norm.Outputs[2].View);
        return new CpuStep(
            () => kernel.Train(
                pool, x, gamma, beta, runningMean, runningVariance, layer.Epsilon, layer.Momentum, y, mean, inverseDeviation, relu),
            null, kernel);
    }

    /// <summary>The gradient of a BN, perhaps with that of the ReLU behind it in front.</summary>
    public static CpuStep BindNormGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        Node norm = nodes[^1];
        bool relu = nodes.Length == 2;
        Map x = binder.Map(norm.Inputs[0]), dx = binder.Map(norm.Output);
        Map y = relu ? binder.Map(nodes[0].Inputs[0]) : default, dy = binder.Map(relu ? nodes[0].Inputs[1] : norm.Inputs[4]);
        float* gamma = binder.Values(norm.Inputs[1]);
        float* mean = binder.Values(norm.Inputs[2]), inverseDeviation = binder.Values(norm.Inputs[3]);
        float* dgamma = binder.Values(norm.Outputs[1].View), dbeta = binder.Values(norm.Outputs[2].View);
        bool accumulate = norm.Outputs[0].Accumulate;
        if (norm.Outputs[1].Accumulate || norm.Outputs[2].Accumulate) throw new NotSupportedException($"'{norm.Name}': two BNs share one scale or shift.");
        var kernel = new Kernels.BatchNorm(x.C);
        ReluMask mask = relu ? ReluMask.FromOutput : ReluMask.None;
        WorkerPool pool = binder.Pool;
        return new CpuStep(
            () => kernel.Backward(pool, x, gamma, null, mean, inverseDeviation, y, dy, mask, dx, dgamma, dbeta, accumulate), null, kernel);
    }

    private static CpuStep BindRelu(StepBinder binder, ImmutableArray<Node> nodes)
    {
        (Map x, Map y, WorkerPool pool) = (binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Output), binder.Pool);
        return new CpuStep(() => Kernels.Relu.Run(pool, x, y));
    }

    private static CpuStep BindReluGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        (Map y, Map dy, Map dx) = (binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Inputs[1]), binder.Map(nodes[0].Output));
        bool accumulate = nodes[0].Outputs[0].Accumulate;
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => Kernels.ReluGradient.Run(pool, y, dy, dx, accumulate));
    }

    private static CpuStep BindAdd(StepBinder binder, ImmutableArray<Node> nodes)
    {
        (Map a, Map b, Map y) = (binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Inputs[1]), binder.Map(nodes[0].Output));
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => Kernels.Add.Run(pool, a, b, y));
    }

    private static CpuStep BindCopy(StepBinder binder, ImmutableArray<Node> nodes)
    {
        (Map x, Map y, WorkerPool pool) = (binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Output), binder.Pool);
        if (nodes[0].Outputs[0].Accumulate) return new CpuStep(() => Kernels.Accumulate.Run(pool, x, y));
        return new CpuStep(() => Kernels.Copy.Run(pool, x, y));
    }

    private static CpuStep BindFill(StepBinder binder, ImmutableArray<Node> nodes)
    {
        (Map y, float value, WorkerPool pool) = (binder.Map(nodes[0].Output), ((Graph.Fill)nodes[0].Layer).Value, binder.Pool);
        return new CpuStep(() => Kernels.Fill.Run(pool, value, y));
    }

    private static CpuStep BindMaxPool(StepBinder binder, ImmutableArray<Node> nodes)
    {
        (Map x, Map y, WorkerPool pool) = (binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Output), binder.Pool);
        return new CpuStep(() => Kernels.MaxPool.Run(pool, x, y));
    }

    private static CpuStep BindMaxPoolGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        (Map x, Map dy, Map dx) = (binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Inputs[1]), binder.Map(nodes[0].Output));
        bool accumulate = nodes[0].Outputs[0].Accumulate;
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => Kernels.MaxPoolGradient.Run(pool, x, dy, dx, accumulate));
    }

    private static CpuStep BindResize(StepBinder binder, ImmutableArray<Node> nodes)
    {
        (Map x, Map y, WorkerPool pool) = (binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Output), binder.Pool);
        var kernel = new Kernels.Resize(x.H, x.W, y.H, y.W, x.C, binder.Pool.Workers);
        return new CpuStep(() => kernel.Run(pool, x, y), null, kernel);
    }

    private static CpuStep BindResizeGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        (Map dy, Map dx, WorkerPool pool) = (binder.Map(nodes[0].Inputs[0]), binder.Map(nodes[0].Output), binder.Pool);
        bool accumulate = nodes[0].Outputs[0].Accumulate;
        var kernel = new Kernels.Resize(dx.H, dx.W, dy.H, dy.W, dx.C, binder.Pool.Workers);
        return new CpuStep(() => kernel.Gradient(pool, dy, dx, accumulate), null, kernel);
    }

    private static CpuStep BindOhem(StepBinder binder, ImmutableArray<Node> nodes)
    {
        var layer = (Graph.OhemCrossEntropy)nodes[0].Layer;
        Map logits = binder.Map(nodes[0].Inputs[0]);
        byte* labels = binder.Bytes(nodes[0].Inputs[1]);
        float* loss = binder.Values(nodes[0].Output), weights = binder.Values(nodes[0].Outputs[1].View);
        var kernel = new Kernels.OhemCrossEntropy(logits.Pixels);
        WorkerPool pool = binder.Pool;
        return new CpuStep(
            () => kernel.Run(pool, logits, labels, layer.Ignore, layer.Threshold, layer.MinKeptFraction, loss, weights), null, kernel);
    }

    private static CpuStep BindCrossEntropyGradient(StepBinder binder, ImmutableArray<Node> nodes)
    {
        ImmutableArray<TensorView> inputs = nodes[0].Inputs;
        Map logits = binder.Map(inputs[0]), dlogits = binder.Map(nodes[0].Output);
        byte* labels = binder.Bytes(inputs[1]);
        float* weights = binder.Values(inputs[2]), dLoss = binder.Values(inputs[3]);
        bool accumulate = nodes[0].Outputs[0].Accumulate;
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => Kernels.CrossEntropyGradient.Run(pool, logits, labels, weights, dLoss, dlogits, accumulate));
    }

    /// <summary>Any number of weight updates.</summary>
    public static CpuStep BindUpdates(StepBinder binder, ImmutableArray<Node> nodes)
    {
        Kernels.SgdUpdate[] updates = [.. nodes.Select(n => new Kernels.SgdUpdate
        {
            Parameter = binder.Values(n.Inputs[0]),
            Gradient = binder.Values(n.Inputs[1]),
            Velocity = binder.Values(n.Inputs[2]),
            Rate = binder.Values(n.Inputs[3]),
            Count = n.Inputs[0].Shape.Elements,
            Momentum = ((Graph.SgdUpdate)n.Layer).Momentum,
            WeightDecay = ((Graph.SgdUpdate)n.Layer).WeightDecay,
        })];
        int tasks = Kernels.SgdUpdate.Plan(updates);
        WorkerPool pool = binder.Pool;
        return new CpuStep(() => Kernels.SgdUpdate.Run(pool, updates, tasks));
    }

    private static CpuStep BindFoldBatchNorm(StepBinder binder, ImmutableArray<Node> nodes)
    {
        var layer = (Graph.FoldBatchNorm)nodes[0].Layer;
        ImmutableArray<TensorView> inputs = nodes[0].Inputs;
        Shape w = inputs[0].Shape;
        float* weights = binder.Values(inputs[0]), bias = layer.HasBias ? binder.Values(inputs[1]) : null;
        Kernels.FoldBatchNorm.Norm norm = NormOf(binder, inputs[^4..], layer.Epsilon);
        float* foldedWeights = binder.Values(nodes[0].Output), foldedBias = binder.Values(nodes[0].Outputs[1].View);
        if (layer.Depthwise)
        {
            return new CpuStep(() => Kernels.FoldBatchNorm.Depthwise(
                weights, bias, norm, w.H * w.W, w.C, foldedWeights, foldedBias));
        }
        return new CpuStep(() => Kernels.FoldBatchNorm.Dense(
            weights, bias, norm, w.N, w.H * w.W * w.C, foldedWeights, foldedBias));
    }

    private static CpuStep BindFoldInputBatchNorm(StepBinder binder, ImmutableArray<Node> nodes)
    {
        var layer = (FoldInputBatchNorm)nodes[0].Layer;
        ImmutableArray<TensorView> inputs = nodes[0].Inputs;
        Shape w = inputs[0].Shape;
        float* weights = binder.Values(inputs[0]), bias = layer.HasBias ? binder.Values(inputs[1]) : null;
        Kernels.FoldBatchNorm.Norm norm = NormOf(binder, inputs[^4..], layer.Epsilon);
        float* foldedWeights = binder.Values(nodes[0].Output), foldedBias = binder.Values(nodes[0].Outputs[1].View);
        return new CpuStep(() => Kernels.FoldBatchNorm.Input(
            weights, bias, norm, w.N, w.H, w.C, foldedWeights, foldedBias));
    }

    private static Kernels.FoldBatchNorm.Norm NormOf(StepBinder binder, ImmutableArray<TensorView> norm, float epsilon) =>
        new(binder.Values(norm[0]), binder.Values(norm[1]), binder.Values(norm[2]), binder.Values(norm[3]), epsilon);

    private static CpuStep BindFoldPointwise(StepBinder binder, ImmutableArray<Node> nodes)
    {
        ImmutableArray<TensorView> inputs = nodes[0].Inputs;
        Shape a = inputs[0].Shape;
        float* weightsA = binder.Values(inputs[0]), biasA = binder.Values(inputs[1]);
        float* weightsB = binder.Values(inputs[2]), biasB = binder.Values(inputs[3]);
        float* foldedWeights = binder.Values(nodes[0].Output), foldedBias = binder.Values(nodes[0].Outputs[1].View);
        int outputs = inputs[2].Shape.N;
        return new CpuStep(() => Kernels.FoldPointwise.Run(
            weightsA, biasA, weightsB, biasB, outputs, a.N, a.H * a.W * a.C, foldedWeights, foldedBias));
    }
}
