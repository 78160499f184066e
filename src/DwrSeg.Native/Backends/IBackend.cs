using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends;

/// <summary>
/// A device that executes layer graphs. The one seam between graphs and hardware: everything above it is the same on every device.
/// </summary>
internal interface IBackend : IDisposable
{
    /// <summary>What <c>--device</c> calls it: <c>cpu</c>, <c>cuda:0</c>, <c>emulated</c>.</summary>
    string Name { get; }

    /// <summary>One line about the hardware, for people.</summary>
    string Description { get; }

    /// <summary>What activations are stored in; never <see cref="Precision.Automatic"/>.</summary>
    Precision Precision { get; }

    /// <summary>
    /// What decides the last bits of a result, besides the number of threads: backends that agree in it give the same bits.
    /// </summary>
    string Arithmetic => $"{Name}, {Precision}";

    /// <summary>An empty store in this device's memory.</summary>
    ITensorStore CreateStore();

    /// <summary>
    /// Covers the graph with this device's steps, plans its memory and allocates it. Parameters and state are looked up in
    /// <paramref name="store"/> by name and shared with every other plan over that store; those missing are added, filled with zeros.
    /// </summary>
    /// <exception cref="InvalidOperationException">The graph holds a layer that this backend can't lower, or a store entry has another
    /// shape.</exception>
    IPlan Compile(LayerGraph graph, ITensorStore store, PlanOptions? options = null);

    /// <summary>A queue for frames of this backend's inference plans; with plans that are shared or disposed meanwhile it stays sound.</summary>
    /// <param name="capacity">Frames that can be begun and not ended.</param>
    IFrameQueue CreateFrameQueue(int capacity) => new SequentialFrameQueue(capacity);
}

/// <summary>How a plan is built.</summary>
internal sealed record PlanOptions
{
    /// <summary>
    /// Gives every tensor memory of its own between guard zones, poisons it with NaN before each run and checks the guards after each
    /// step. Slow; for tests and for hunting a stray write.
    /// </summary>
    public bool Guarded { get; init; }

    /// <summary>Which layers the backend joins into fused steps.</summary>
    public Fusion Fuse { get; init; }
}

/// <summary>Which layers become one step.</summary>
internal enum Fusion
{
    /// <summary>Those that are faster together, by time or by a model; on a CPU all that can.</summary>
    Auto,

    /// <summary>All that can, however fast: as few steps as there may be.</summary>
    All,

    /// <summary>None: every layer is a step, the yardstick of the fused ones.</summary>
    None,
}

/// <summary>Parameters and state by name, in a device's memory. Values cross as fp32 in the order of the tensor's own layout.</summary>
internal interface ITensorStore : IDisposable
{
    /// <summary>Names and shapes, in order of creation.</summary>
    IReadOnlyDictionary<string, Shape> Entries { get; }

    /// <summary>Adds an entry of zeros if there is none.</summary>
    /// <exception cref="InvalidOperationException">There is one of another shape.</exception>
    void Add(string name, Shape shape);

    /// <summary>Copies an entry's values to the caller.</summary>
    void Read(string name, Span<float> values);

    /// <summary>Replaces an entry's values. Plans compiled over the store see them after their next <see cref="IPlan.Prepare"/>.</summary>
    void Write(string name, ReadOnlySpan<float> values);
}

/// <summary>A compiled graph with its memory. Not thread-safe: one caller at a time. Running allocates nothing.</summary>
internal interface IPlan : IDisposable
{
    /// <summary>The graph that it executes.</summary>
    LayerGraph Graph { get; }

    /// <summary>What the plan's steps do, in order, and what its memory is.</summary>
    PlanSummary Summary { get; }

    /// <summary>Runs the part that depends on parameters alone (folding, packing). To be called after the store changed; done once by
    /// <see cref="IBackend.Compile"/>.</summary>
    void Prepare();

    /// <summary>Runs the graph over the inputs as they stand.</summary>
    void Run();

    /// <summary>Copies values into an input, NHWC.</summary>
    void Write(Tensor input, ReadOnlySpan<float> values);

    /// <summary>Copies bytes into an input of <see cref="ElementType.UInt8"/>.</summary>
    void Write(Tensor input, ReadOnlySpan<byte> values);

    /// <summary>Copies an output (or, in a guarded plan, any tensor) to the caller, NHWC.</summary>
    void Read(Tensor output, Span<float> values);

    /// <summary>Resizes an image to image <paramref name="index"/> of a (N, H, W, 3) input and normalises it.</summary>
    void WriteImage(Tensor input, int index, in ImageView image, in Normalization normalization);

    /// <summary>
    /// The class map: arg max of image <paramref name="index"/> of the logits upsampled bilinearly to <paramref name="height"/> x
    /// <paramref name="width"/>; the lowest class wins a tie. <paramref name="confidence"/>, where not empty, gets the winner's softmax
    /// probability in 1/255.
    /// </summary>
    void ReadClasses(Tensor logits, int index, int height, int width, Span<byte> classes, Span<byte> confidence);
}

/// <summary>What a plan consists of.</summary>
/// <param name="Steps">One entry a launch.</param>
/// <param name="ArenaBytes">Memory of all activations, as planned by liveness.</param>
/// <param name="UnsharedBytes">What they would take without sharing.</param>
/// <param name="StoredBytes">Parameters and state that the plan uses.</param>
internal sealed record PlanSummary(IReadOnlyList<StepSummary> Steps, long ArenaBytes, long UnsharedBytes, long StoredBytes);

/// <summary>One step of a plan.</summary>
/// <param name="Name">Step kind, such as <c>conv3x3+bias+relu</c>.</param>
/// <param name="Nodes">The layers that it covers.</param>
/// <param name="Multiplies">Multiply-accumulates.</param>
/// <param name="Bytes">Compulsory traffic: inputs and weights read once, outputs written once.</param>
internal sealed record StepSummary(string Name, IReadOnlyList<Node> Nodes, long Multiplies, long Bytes);

/// <summary>An 8-bit interleaved image in the caller's memory.</summary>
/// <param name="Pixels">The bytes, from the first row on.</param>
/// <param name="Width">Pixels in a row.</param>
/// <param name="Height">Rows.</param>
/// <param name="RowBytes">Bytes from one row to the next.</param>
/// <param name="Format">Order of bytes in a pixel.</param>
internal readonly ref struct ImageView(ReadOnlySpan<byte> Pixels, int Width, int Height, int RowBytes, PixelFormat Format)
{
    public readonly ReadOnlySpan<byte> Pixels = Pixels;
    public readonly int Width = Width, Height = Height, RowBytes = RowBytes;
    public readonly PixelFormat Format = Format;

    /// <summary>Checks that the bytes hold all rows.</summary>
    /// <exception cref="ArgumentException">The image is empty, or its bytes do not reach to its last row.</exception>
    public void Validate()
    {
        int pixelBytes = Format.BytesPerPixel();
        long lineBytes = (long)Width * pixelBytes, needed = (Height - 1L) * RowBytes + lineBytes;
        if (Width <= 0 || Height <= 0) throw new ArgumentException($"An image of {Width}x{Height} pixels is empty.");
        if (RowBytes < lineBytes || Pixels.Length < needed)
        {
            throw new ArgumentException(
                $"An image of {Width}x{Height} pixels of {pixelBytes} bytes needs rows of at least {lineBytes} bytes "
                + $"(found {RowBytes}) and {needed} bytes in all (found {Pixels.Length}).");
        }
    }
}

/// <summary>Per-channel (v / 255 − mean) / deviation, in the order red, green, blue.</summary>
internal record struct Normalization(
    float MeanR, float MeanG, float MeanB, float DeviationR, float DeviationG, float DeviationB)
{
    /// <summary>ImageNet's statistics.</summary>
    public static Normalization ImageNet => new(0.485f, 0.456f, 0.406f, 0.229f, 0.224f, 0.225f);
}
