using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

/// <summary>A dense NHWC array in float64. The oracle's layers are functions from such arrays to fresh ones.</summary>
internal sealed class Values
{
    public Values(Shape shape) : this(shape, new double[shape.Elements])
    {
    }

    public Values(Shape shape, double[] data)
    {
        if (data.LongLength != shape.Elements) throw new ArgumentException($"{data.LongLength} values do not make a {shape}.", nameof(data));
        (Shape, Data) = (shape, data);
    }

    public Shape Shape { get; }

    public double[] Data { get; }

    public int N => Shape.N;

    public int H => Shape.H;

    public int W => Shape.W;

    public int C => Shape.C;

    public ref double this[int n, int y, int x, int c] => ref Data[Index(n, y, x) + c];

    /// <summary>Element <paramref name="c"/> of a vector.</summary>
    public ref double this[int c] => ref Data[c];

    /// <summary>The channels of one pixel.</summary>
    public Span<double> Pixel(int n, int y, int x) => Data.AsSpan(Index(n, y, x), C);

    /// <summary>The channels of pixel <paramref name="index"/> in the order of memory.</summary>
    public Span<double> Pixel(int index) => Data.AsSpan(index * C, C);

    private int Index(int n, int y, int x) => checked((int)((((long)n * H + y) * W + x) * C));
}
