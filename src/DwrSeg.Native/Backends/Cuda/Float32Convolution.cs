using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Dense convolutions of fp32 maps: by <c>conv_ffma.cu</c>, or, where fewer products pay, by <c>conv_winograd.cu</c>.</summary>
internal static class Float32Convolution
{
    /// <summary>Names of the tiles that a convolution can be divided into.</summary>
    public static IReadOnlyList<string> TilesFor(CudaDevice device, in CudaConvolution c) =>
        [.. ConvFfmaCuda.TilesFor(c), .. ConvWinogradCuda.TilesFor(device, c)];

    /// <summary>The kernels that these take where there is memory for shared sums.</summary>
    public static IReadOnlyList<KernelVariant> VariantsFor(CudaDevice device, in CudaConvolution c) =>
        [.. ConvFfmaCuda.VariantsFor(device, c), .. ConvWinogradCuda.VariantsFor(device, c)];

    /// <summary>The workspace that would let the launch be as fast as it can be, with the tile of a name or the one that the model takes.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaDevice device, in CudaConvolution c, string? tile = null) =>
        IsWinograds(device, c, tile) ? default : ConvFfmaCuda.WorkspaceFor(device, c, tile);

    /// <summary>Settles the launch that the kernels' models find cheapest, or the cheapest of one tile.</summary>
    /// <exception cref="ArgumentException">The convolution is malformed or not of fp32 maps.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaConvolution c, in SplitWorkspace workspace = default, string? tile = null) =>
        IsWinograds(kernels.Context.Device, c, tile) ? ConvWinogradCuda.Prepare(kernels, c, tile) : ConvFfmaCuda.Prepare(kernels, c, workspace, tile);

    private static bool IsWinograds(CudaDevice device, in CudaConvolution c, string? tile) =>
        tile is null ? ConvWinogradCuda.Cycles(device, c) < ConvFfmaCuda.Cycles(device, c) : ConvWinogradCuda.TilesFor(device, c).Contains(tile);
}
