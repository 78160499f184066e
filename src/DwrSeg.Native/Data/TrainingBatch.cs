namespace DwrSeg.Native.Data;

/// <summary>
/// Samples ready for a training step. The arrays belong to the loader: disposing the batch gives them back to be filled again.
/// </summary>
internal sealed class TrainingBatch : IDisposable
{
    private readonly TrainingLoader _loader;

    internal TrainingBatch(TrainingLoader loader, int size, int height, int width)
    {
        _loader = loader;
        Size = size;
        Height = height;
        Width = width;
        // Pinned, so that a device can copy from them directly.
        int pixels = checked(size * height * width);
        Images = GC.AllocateArray<float>(checked(pixels * 3), pinned: true);
        Labels = GC.AllocateArray<byte>(pixels, pinned: true);
        Indices = new int[size];
    }

    public int Size { get; }

    public int Height { get; }

    public int Width { get; }

    /// <summary>Normalised images, Size x Height x Width x 3.</summary>
    public float[] Images { get; }

    /// <summary>Train ids, Size x Height x Width; 255 is ignored.</summary>
    public byte[] Labels { get; }

    /// <summary>Which samples of the data set these are.</summary>
    public int[] Indices { get; }

    public int Epoch { get; internal set; }

    /// <summary>Number of the batch within its epoch.</summary>
    public int Step { get; internal set; }

    internal int NextSlot;
    internal int Remaining;
    internal Exception? Failure;
    internal bool Lent;

    public void Dispose() => _loader.Return(this);
}
