using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>The order of a kernel's weights. The numbers are those of <c>pack_weights.cu</c>.</summary>
internal enum WeightOrder
{
    /// <summary>Tiles of outputs and input channels, as they lie in shared memory: tensor-core kernels.</summary>
    Tiles,

    /// <summary>All outputs of an input together, rounded up to 4: <c>conv_ffma.cu</c>, <c>conv_first_ffma.cu</c>.</summary>
    Columns,

    /// <summary>32 values an output: <c>conv_first.cu</c>.</summary>
    Image,

    /// <summary>The 16 points that Winograd's transform makes of nine taps, in tiles of outputs and input channels: <c>conv_winograd.cu</c>.</summary>
    Points,
}

/// <summary>How a kernel wants its weights to lie.</summary>
/// <param name="Order">The order.</param>
/// <param name="Rows">Of a tile, the outputs.</param>
/// <param name="Depth">Of a tile, the input channels: 32 or 64, of points 8.</param>
/// <param name="Parts">Tiles of one row of tiles come in multiples of this.</param>
internal readonly record struct WeightLayout(WeightOrder Order, int Rows = 0, int Depth = 0, int Parts = 1)
{
    private const int ColumnVector = 4, ImageValues = 32, PointCount = 16;

    public static WeightLayout Columns => new(WeightOrder.Columns);

    public static WeightLayout Image => new(WeightOrder.Image);

    public static WeightLayout Tiles(int rows, int depth, int parts = 1) => new(WeightOrder.Tiles, rows, depth, parts);

    public static WeightLayout Points(int rows, int depth) => new(WeightOrder.Points, rows, depth);

    /// <summary>Tiles that so many inputs take.</summary>
    public int ChunksOf(int inputs) => Order is WeightOrder.Tiles or WeightOrder.Points ? (int)(Grid.Blocks(inputs, (long)Depth * Parts) * Parts) : 0;

    /// <summary>Elements that packed weights take.</summary>
    public long ElementsOf(int outputs, int taps, int inputs) => Order switch
    {
        WeightOrder.Tiles => Grid.Blocks(outputs, Rows) * Rows * taps * ChunksOf(inputs) * Depth,
        WeightOrder.Points => Grid.Blocks(outputs, Rows) * Rows * PointCount * ChunksOf(inputs) * Depth,
        WeightOrder.Columns => (long)taps * inputs * Grid.Blocks(outputs, ColumnVector) * ColumnVector,
        _ => (long)outputs * ImageValues,
    };
}

/// <summary>Gives a convolution's weights, in the maps' type and in the layout that the chosen kernel wants, on 16 bytes.</summary>
internal delegate CUdeviceptr WeightPacking(WeightLayout layout);
