using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// An NHWC view in device memory: element (n, y, x, c) lies <c>((n·H + y)·W + x)·PixelStride + c</c> elements after
/// <paramref name="Data"/>. A channel slice of a wider tensor is a view whose pixel stride exceeds its channels.
/// </summary>
internal readonly record struct DeviceMap(CUdeviceptr Data, CudaElement Element, int N, int H, int W, int C, int PixelStride)
{
    public long Pixels => (long)N * H * W;

    public long Elements => Pixels * C;

    public long Bytes => Elements * Element.Bytes();

    /// <summary>True where every pixel's channels start on 16 bytes and fill whole vectors.</summary>
    public bool IsVector => Data.Value % CudaElements.VectorBytes == 0 && PixelStride % Element.PerVector() == 0 && C % Element.PerVector() == 0;

    /// <summary>Channels [<paramref name="channel"/>, <paramref name="channel"/> + <paramref name="channels"/>).</summary>
    public DeviceMap Slice(int channel, int channels)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(channel);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(channels);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)channel + channels, C, nameof(channels));
        return this with { Data = Data + (ulong)channel * (ulong)Element.Bytes(), C = channels };
    }

    /// <summary>
    /// Checks what every kernel takes for granted: extents of at least one, pixels of an image that an int counts, a stride that holds the
    /// channels, elements on their own alignment.
    /// </summary>
    /// <exception cref="ArgumentException">One of these does not hold; the message names the view.</exception>
    public void Validate(string name)
    {
        if (N <= 0 || H <= 0 || W <= 0 || C <= 0) throw new ArgumentException($"{name}: {this} is empty.");
        if ((long)H * W > int.MaxValue) throw new ArgumentException($"{name}: an image of {H}x{W} pixels is too large; at most 2^31 - 1 pixels.");
        if (PixelStride < C) throw new ArgumentException($"{name}: a pixel stride of {PixelStride} does not hold {C} channels.");
        if (Data.Value == 0 || Data.Value % (ulong)Element.Bytes() != 0)
            throw new ArgumentException($"{name}: address {Data} is not one of {Element} elements.");
    }

    public override string ToString() => $"{N}x{H}x{W}x{C} {Element.KernelName()}, pixel stride {PixelStride}, at {Data}";
}
