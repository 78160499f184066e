namespace DwrSeg.Native.Backends.Cpu;

/// <summary>
/// An NHWC view of fp32 values: element (n, y, x, c) lies at <c>Data[((n·H + y)·W + x)·PixelStride + c]</c>. A channel slice of a
/// wider tensor is a view whose <see cref="PixelStride"/> exceeds <see cref="C"/>. <see cref="Data"/> is 4-byte aligned only: a
/// slice may start at any channel.
/// </summary>
internal readonly unsafe struct Map(float* data, int n, int h, int w, int c, int pixelStride)
{
    public readonly float* Data = data;
    public readonly int N = n, H = h, W = w, C = c, PixelStride = pixelStride;

    public long Pixels => (long)N * H * W;

    public float* Row(int n, int y) => Data + ((long)n * H + y) * W * PixelStride;
}
