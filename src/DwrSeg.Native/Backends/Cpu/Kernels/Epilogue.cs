namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// What a convolution does with its sums before they are stored:
/// <c>y = relu?(sum + bias [+ residual]) [+ residual]</c>, or <c>y += …</c> when accumulating.
/// </summary>
internal unsafe struct Epilogue
{
    /// <summary>Null, [C], or with <see cref="BorderBias"/> [16][C].</summary>
    public float* Bias;

    /// <summary>
    /// The bias depends on which kernel taps fall outside the map: row (top ? 1 : 0 | bottom ? 2 : 0)·4 + (left ? 1 : 0 | right ? 2 : 0)
    /// for a pixel in the first/last row/column. Makes a batch normalisation folded from in front of a zero-padded 3x3 convolution of
    /// stride 1 exact.
    /// </summary>
    public bool BorderBias;

    public bool Relu;

    /// <summary>Map of the output's shape that is added; absent when its data is null.</summary>
    public Map Residual;

    /// <summary>The residual is added after the ReLU, not before.</summary>
    public bool ResidualAfterRelu;

    /// <summary>Adds to the output instead of overwriting it.</summary>
    public bool Accumulate;
}
