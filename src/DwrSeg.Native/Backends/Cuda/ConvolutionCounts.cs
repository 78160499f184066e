using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Who computes the dense convolutions of a plan; what is fused is this project's.</summary>
/// <param name="Native">By this project's kernels.</param>
/// <param name="Cudnn">By cuDNN.</param>
/// <param name="CublasLt">By cuBLASLt.</param>
internal readonly record struct ConvolutionCounts(int Native, int Cudnn, int CublasLt)
{
    /// <summary>Counts those of steps with the layers that each covers.</summary>
    public static ConvolutionCounts Of(IEnumerable<(IReadOnlyList<Node> Nodes, IReadOnlyList<CudaWork> Launches)> steps)
    {
        ILookup<ConvMaker, int> counts = steps.ToLookup(
            s => s.Launches.Select(w => w.Maker).FirstOrDefault(m => m != ConvMaker.Native), s => s.Nodes.Count(n => n.Layer is Conv2d));
        return new ConvolutionCounts(counts[ConvMaker.Native].Sum(), counts[ConvMaker.Cudnn].Sum(), counts[ConvMaker.CublasLt].Sum());
    }

    public override string ToString() => $"{Native} native{(Cudnn == 0 ? "" : $", {Cudnn} cuDNN")}{(CublasLt == 0 ? "" : $", {CublasLt} cuBLASLt")}";
}
