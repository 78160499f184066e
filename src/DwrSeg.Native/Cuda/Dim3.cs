namespace DwrSeg.Native.Cuda;

/// <summary>Blocks of a grid, or threads of a block.</summary>
internal readonly record struct Dim3(uint X, uint Y = 1, uint Z = 1)
{
    public static implicit operator Dim3(uint x) => new(x);

    public static implicit operator Dim3(int x) => new(checked((uint)x));

    public static implicit operator Dim3((int X, int Y) xy) => new(checked((uint)xy.X), checked((uint)xy.Y));

    public static implicit operator Dim3((int X, int Y, int Z) xyz) =>
        new(checked((uint)xyz.X), checked((uint)xyz.Y), checked((uint)xyz.Z));

    public override string ToString() => $"{X}x{Y}x{Z}";
}
