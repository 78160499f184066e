namespace DwrSeg.Native.Graph;

/// <summary>What a tensor is to a graph; decides where its memory lives.</summary>
internal enum TensorKind
{
    /// <summary>Written by a layer, lives in the plan's arena between its first write and its last read.</summary>
    Activation,

    /// <summary>Written by the caller before a run.</summary>
    Input,

    /// <summary>A trainable weight; lives in the tensor store under its name.</summary>
    Parameter,

    /// <summary>Kept between runs but not trained by gradient (running statistics, momentum); lives in the tensor store.</summary>
    State,
}

/// <summary>How the elements of a tensor are stored.</summary>
internal enum ElementType
{
    /// <summary>The precision that the backend computes in (fp32 on the CPU, fp16 by default on CUDA).</summary>
    Compute,

    /// <summary>Always fp32: weights, statistics, losses.</summary>
    Float32,

    /// <summary>One byte: class ids.</summary>
    UInt8,
}

internal static class ElementTypes
{
    /// <summary>Bytes of an element, where one of <see cref="ElementType.Compute"/> has <paramref name="computeBytes"/>.</summary>
    public static int Bytes(this ElementType type, int computeBytes) => type switch
    {
        ElementType.Compute => computeBytes,
        ElementType.Float32 => sizeof(float),
        _ => 1,
    };
}

/// <summary>The order of a parameter's elements here, and so its shape in PyTorch's <c>state_dict</c>.</summary>
internal enum ParameterLayout
{
    /// <summary>(1, 1, 1, C); PyTorch: (C).</summary>
    Vector,

    /// <summary>(O, KH, KW, I); PyTorch: (O, I, KH, KW).</summary>
    Dense,

    /// <summary>(1, KH, KW, C), so that a tap's channels are contiguous; PyTorch: (C, 1, KH, KW).</summary>
    Depthwise,
}

/// <summary>A value of a graph. Each element is written by exactly one layer of the list (gradients may be accumulated after that).</summary>
internal sealed class Tensor
{
    internal Tensor(int id, string name, Shape shape, TensorKind kind, ElementType type, ParameterLayout layout, Tensor? alias)
    {
        (Id, Name, Shape, Kind, Type, Layout, Alias) = (id, name, shape, kind, type, layout, alias);
    }

    /// <summary>Position in <see cref="LayerGraph.Tensors"/>.</summary>
    public int Id { get; }

    /// <summary>Unique within the graph; for parameters and state the <c>state_dict</c> name.</summary>
    public string Name { get; }

    /// <summary>The size.</summary>
    public Shape Shape { get; }

    /// <summary>What it is to the graph.</summary>
    public TensorKind Kind { get; }

    /// <summary>How its elements are stored.</summary>
    public ElementType Type { get; }

    /// <summary>The order of a parameter's elements.</summary>
    public ParameterLayout Layout { get; }

    /// <summary>The parameter or state whose memory this output updates; null for any other tensor.</summary>
    public Tensor? Alias { get; }

    /// <summary>True for parameters and state, which live in a store and outlast a plan.</summary>
    public bool IsStored => Kind is TensorKind.Parameter or TensorKind.State;

    /// <summary>All channels.</summary>
    public TensorView All => new(this, 0, Shape.C);

    /// <summary>Channels [<paramref name="channel"/>, <paramref name="channel"/> + <paramref name="channels"/>).</summary>
    public TensorView Slice(int channel, int channels) => All.Slice(channel, channels);

    /// <inheritdoc/>
    public override string ToString() => $"{Name} {Shape}";

    /// <summary>All channels.</summary>
    public static implicit operator TensorView(Tensor tensor) => tensor.All;
}

/// <summary>A range of a tensor's channels. Slices are never copied: layers read and write through views.</summary>
internal readonly record struct TensorView(Tensor Tensor, int Channel, int Channels)
{
    /// <summary>The tensor's size with the view's channels.</summary>
    public Shape Shape => Tensor.Shape with { C = Channels };

    /// <summary>True where the view spans all channels.</summary>
    public bool IsWhole => Channels == Tensor.Shape.C;

    /// <summary>A part of this view.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves the view.</exception>
    public TensorView Slice(int channel, int channels)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(channel);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(channels);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)channel + channels, Channels, nameof(channels));
        return new TensorView(Tensor, Channel + channel, channels);
    }

    /// <summary>True where both name a common channel of the same tensor.</summary>
    public bool Overlaps(TensorView other) =>
        Tensor == other.Tensor && Channel < other.Channel + other.Channels && other.Channel < Channel + Channels;

    /// <summary>True where all of <paramref name="other"/> lies in this view.</summary>
    public bool Contains(TensorView other) =>
        Tensor == other.Tensor && Channel <= other.Channel && other.Channel + other.Channels <= Channel + Channels;

    /// <inheritdoc/>
    public override string ToString() => IsWhole ? Tensor.ToString() : $"{Tensor.Name}[{Channel}..{Channel + Channels}] {Shape}";
}
