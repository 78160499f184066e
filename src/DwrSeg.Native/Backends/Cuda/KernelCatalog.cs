using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Every kernel variant that launchers can ask for: what tests compile, tables list and a first run may warm up.</summary>
internal static class KernelCatalog
{
    public static IReadOnlyList<KernelVariant> All { get; } =
    [
        .. DepthwiseConvCuda.Variants, .. UpsampleCuda.Variants, .. MaxPoolCuda.Variants, .. ScaledCopyCuda.Variants,
        .. PreprocessCuda.Variants, .. ArgMaxHeadCuda.Variants, FoldBatchNormCuda.Variant, FoldPointwiseCuda.Variant, .. ElementwiseCuda.Variants,
        .. PackWeightsCuda.Variants, .. ConvFirstCuda.Variants, .. ConvMmaCuda.Variants, .. ConvFfmaCuda.Variants, .. ConvWinogradCuda.Variants,
        .. ConvWeightGradientCuda.Variants,
        .. SirMmaCuda.Variants, .. DwrSrMmaCuda.Variants,
        .. BiasGradientCuda.Variants, .. BatchNormStatisticsCuda.Variants, .. BatchNormGradientCuda.Variants, .. DepthwiseGradientCuda.Variants,
        .. FillCuda.Variants, .. ReluGradientCuda.Variants, .. MaxPoolGradientCuda.Variants, .. ResizeGradientCuda.Variants, .. SgdCuda.Variants,
        .. OhemCuda.Variants, .. CrossEntropyGradientCuda.Variants,
    ];

    /// <summary>Those that run on an architecture.</summary>
    public static IEnumerable<KernelVariant> For(ComputeCapability architecture) => All.Where(v => v.RunsOn(architecture));
}
