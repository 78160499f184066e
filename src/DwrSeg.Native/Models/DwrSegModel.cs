using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Models;

/// <summary>DWRSeg as a layer graph. Parameter names are PyTorch's <c>state_dict</c> names.</summary>
internal static class DwrSegModel
{
    /// <summary>The (N, H, W, 3) input.</summary>
    public const string Image = "image";

    /// <summary>The (N, H, W, 1) byte input of a training graph.</summary>
    public const string Labels = "labels";

    /// <summary>The classifier's output at 1/8 of the input size.</summary>
    public const string Logits = "logits";

    /// <summary>The logits upsampled to the input size.</summary>
    public const string FullLogits = "logits.full";

    /// <summary>The scalar loss of a training graph.</summary>
    public const string Loss = "loss";

    /// <summary>The network for inference, running statistics in its BNs. Output: <see cref="Logits"/>, or with
    /// <paramref name="fullSize"/> <see cref="FullLogits"/>.</summary>
    public static LayerGraph Inference(DwrSegConfig config, int n, int height, int width, bool fullSize = false)
    {
        var builder = new GraphBuilder();
        Tensor logits = new ModuleBuilder(builder, config, isTraining: false).Network(builder.Input(Image, new Shape(n, height, width, 3)));
        return builder.Build(fullSize ? builder.Add(FullLogits, new Resize(height, width), logits) : logits);
    }

    /// <summary>The network with the batch's statistics in its BNs, and the loss. Outputs: <see cref="Loss"/>, and with
    /// <paramref name="keepLogits"/> <see cref="FullLogits"/>.</summary>
    public static LayerGraph Training(DwrSegConfig config, int n, int height, int width, OhemCrossEntropy loss, bool keepLogits = false)
    {
        var builder = new GraphBuilder();
        Tensor image = builder.Input(Image, new Shape(n, height, width, 3));
        Tensor labels = builder.Input(Labels, new Shape(n, height, width, 1), ElementType.UInt8);
        Tensor logits = new ModuleBuilder(builder, config, isTraining: true).Network(image);
        Tensor full = builder.Add(FullLogits, new Resize(height, width), logits);
        Tensor value = builder.Add(Loss, loss, full, labels);
        LayerGraph graph = keepLogits ? builder.Build(value, full) : builder.Build(value);
        return Graph.Passes.PlaceBranches.Apply(graph);
    }

    private sealed class ModuleBuilder(GraphBuilder builder, DwrSegConfig config, bool isTraining)
    {
        public Tensor Network(Tensor image)
        {
            config.Validate();
            int c = config.BaseChannels;
            Tensor x = Stem(image, c);
            Tensor s2 = Stage("stage2", x, c, config.EffectiveStages[0]);
            Tensor s3 = Stage("stage3", s2, 2 * c, config.EffectiveStages[1]);
            Tensor s4 = Stage("stage4", s3, 2 * c, config.EffectiveStages[2]);
            return Decoder(s2, s3, s4, 2 * c);
        }

        private Tensor Stem(Tensor image, int c)
        {
            Tensor x = ConvBn("stem.conv", image, c / 2, 3, 2, relu: false);
            // First the pool: at inference x is then gone before the expanded map, the largest of all, comes.
            Tensor pool = builder.Add("stem.pool", new MaxPool(), x);
            Tensor down = ConvBn("stem.down", ConvBn("stem.expand", x, c, 1), c / 2, 3, 2);
            return ConvBn("stem.fuse", builder.Add("stem.concat", new Concat(), down, pool), c, 3);
        }

        private Tensor Stage(string name, Tensor x, int width, StageConfig stage)
        {
            for (int i = 0; i < stage.Repeats; i++)
            {
                int stride = i == 0 ? 2 : 1;
                x = stage.Module == StageModule.Sir ? Sir($"{name}.{i}", x, width, stride) : Dwr($"{name}.{i}", x, width, stride, stage);
            }
            return x;
        }

        private Tensor Sir(string name, Tensor x, int width, int stride)
        {
            Tensor y = ConvBn($"{name}.expand", x, config.SirExpansion * x.Shape.C, 3, stride);
            if (config.SirDepthwise)
            {
                Tensor w = DepthwiseWeight($"{name}.depthwise.weight", y.Shape.C);
                y = BatchNorm($"{name}.bn", builder.Add($"{name}.depthwise", new DepthwiseConv(), y, w));
            }
            return WithShortcut(name, x, Conv($"{name}.project", y, width, 1), width, stride);
        }

        private Tensor Dwr(string name, Tensor x, int width, int stride, StageConfig stage)
        {
            int group = config.GroupWidth(width), branches = stage.Dilations.Length;
            Tensor r = Conv($"{name}.rr", x, stage.SharedBranches ? group : group * branches, 3, stride);
            if (config.RrBn) r = BatchNorm($"{name}.rr_bn", r);
            if (config.RrRelu) r = builder.Add($"{name}.rr_relu", new Relu(), r);
            var parts = new TensorView[branches];
            for (int i = 0; i < branches; i++)
            {
                Tensor w = DepthwiseWeight($"{name}.sr.{i}.weight", group * stage.BranchRatio[i]);
                TensorView part = r.Slice(stage.SharedBranches ? 0 : i * group, group);
                parts[i] = builder.Add($"{name}.sr.{i}", new DepthwiseConv(stage.Dilations[i]), part, w);
            }
            Tensor y = builder.Add($"{name}.sr", new Concat(), parts);
            if (config.SrBn) y = BatchNorm($"{name}.sr_bn", y);
            if (config.SrRelu) y = builder.Add($"{name}.sr_relu", new Relu(), y);
            y = Conv($"{name}.project", y, width, 1);
            if (config.ProjectBn) y = BatchNorm($"{name}.project_bn", y);
            return WithShortcut(name, x, y, width, stride);
        }

        private Tensor WithShortcut(string name, Tensor x, Tensor y, int width, int stride)
        {
            Tensor shortcut = stride != 1 || x.Shape.C != width ? ConvBn($"{name}.shortcut", x, width, 1, stride, relu: false) : x;
            return builder.Add($"{name}.sum", new Add(), y, shortcut);
        }

        private Tensor Decoder(Tensor s2, Tensor s3, Tensor s4, int middle)
        {
            var up = new Resize(s2.Shape.H, s2.Shape.W);
            Tensor joined = builder.Add(
                "decoder.concat", new Concat(), s2, builder.Add("decoder.up3", up, s3), builder.Add("decoder.up4", up, s4));
            Tensor y = ConvBn("decoder.conv", BatchNorm("decoder.bn", joined), middle, 3);
            Tensor w = builder.Parameter("decoder.classify.weight", new Shape(config.Classes, 1, 1, middle), ParameterLayout.Dense);
            Tensor b = builder.Parameter("decoder.classify.bias", Shape.Vector(config.Classes));
            return builder.Add(Logits, new Conv2d(1), y, w, b);
        }

        private Tensor ConvBn(string name, Tensor x, int channels, int kernel, int stride = 1, bool relu = true)
        {
            Tensor y = BatchNorm($"{name}.bn", Conv($"{name}.conv", x, channels, kernel, stride));
            return relu ? builder.Add($"{name}.relu", new Relu(), y) : y;
        }

        private Tensor Conv(string name, Tensor x, int channels, int kernel, int stride = 1)
        {
            Tensor w = builder.Parameter($"{name}.weight", new Shape(channels, kernel, kernel, x.Shape.C), ParameterLayout.Dense);
            return builder.Add(name, new Conv2d(kernel, stride), x, w);
        }

        private Tensor DepthwiseWeight(string name, int channels) =>
            builder.Parameter(name, new Shape(1, 3, 3, channels), ParameterLayout.Depthwise);

        private Tensor BatchNorm(string name, Tensor x)
        {
            Shape vector = Shape.Vector(x.Shape.C);
            Tensor gamma = builder.Parameter($"{name}.weight", vector), beta = builder.Parameter($"{name}.bias", vector);
            Tensor mean = builder.State($"{name}.running_mean", vector), variance = builder.State($"{name}.running_var", vector);
            if (!isTraining) return builder.Add(name, new BatchNorm(), x, gamma, beta, mean, variance);
            Tensor y = builder.Activation(name, x.Shape);
            Tensor batchMean = builder.Activation($"{name}.batch_mean", vector, ElementType.Float32);
            Tensor inverseDeviation = builder.Activation($"{name}.inverse_deviation", vector, ElementType.Float32);
            builder.AddInto(
                name, new BatchNormTraining(), [x, gamma, beta, mean, variance],
                new NodeOutput(y, false), new NodeOutput(batchMean, false), new NodeOutput(inverseDeviation, false),
                new NodeOutput(builder.Updated(mean), false), new NodeOutput(builder.Updated(variance), false));
            return y;
        }
    }
}
