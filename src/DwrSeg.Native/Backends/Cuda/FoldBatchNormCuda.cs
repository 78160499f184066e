using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Where a BN stands to the convolution it is folded into. The numbers are those of <c>fold_batch_norm.cu</c>.</summary>
internal enum FoldKind
{
    /// <summary>Behind a dense convolution.</summary>
    Dense,

    /// <summary>Behind a depth-wise convolution, whose weights lie tap by tap.</summary>
    Depthwise,

    /// <summary>In front of a dense convolution; for 3x3 kernels the bias is a table of border cases.</summary>
    Input,
}

/// <summary>One fold. All vectors are fp32; a bias at 0 is none.</summary>
/// <param name="Kind">Where the BN stands.</param>
/// <param name="Outputs">Output channels of the convolution (for depth-wise ones, all).</param>
/// <param name="Taps">1 or 9.</param>
/// <param name="Inputs">Input channels that an output reads; 1 for depth-wise convolutions.</param>
/// <param name="Epsilon">Added to the variance.</param>
/// <param name="FoldedElement">Type of the folded weights.</param>
internal readonly record struct CudaFold(FoldKind Kind, int Outputs, int Taps, int Inputs, float Epsilon, CudaElement FoldedElement)
{
    public required CUdeviceptr Weights { get; init; }

    public CUdeviceptr Bias { get; init; }

    public required CUdeviceptr Gamma { get; init; }

    public required CUdeviceptr Beta { get; init; }

    public required CUdeviceptr Mean { get; init; }

    public required CUdeviceptr Variance { get; init; }

    public required CUdeviceptr FoldedWeights { get; init; }

    public required CUdeviceptr FoldedBias { get; init; }
}

/// <summary>Launches <c>fold_batch_norm.cu</c>: all folds of a network in one launch, from a table that it keeps on the device.</summary>
internal sealed class FoldBatchNormCuda : IDisposable
{
    private const int Threads = 128, MostTaps = 9;

    private readonly CudaDeviceVariable<Job> _table;

    /// <summary>Writes the table and settles the launch.</summary>
    /// <exception cref="ArgumentException">There is no fold, or one is malformed.</exception>
    public FoldBatchNormCuda(KernelCache kernels, ReadOnlySpan<CudaFold> folds, CudaStream stream)
    {
        if (folds.IsEmpty) throw new ArgumentException("fold_batch_norm: there is nothing to fold.");
        var jobs = new Job[folds.Length];
        long blocks = 0, bytes = 0, flops = 0;
        for (int i = 0; i < folds.Length; i++)
        {
            CudaFold f = folds[i];
            Validate(i, f, kernels.Context.Device.ComputeCapability);
            jobs[i] = new Job
            {
                Weights = f.Weights, Bias = f.Bias, Gamma = f.Gamma, Beta = f.Beta, Mean = f.Mean, Variance = f.Variance,
                FoldedWeights = f.FoldedWeights, FoldedBias = f.FoldedBias, Epsilon = f.Epsilon, Kind = f.Kind, Type = f.FoldedElement,
                Outputs = f.Outputs, Taps = f.Taps, Inputs = f.Inputs, FirstBlock = checked((int)blocks),
            };
            blocks += f.Kind == FoldKind.Depthwise ? Grid.Blocks(f.Outputs, Threads) : f.Outputs;
            long weights = (long)f.Outputs * f.Taps * f.Inputs;
            bytes += weights * (4 + f.FoldedElement.Bytes()) + 20L * f.Outputs;
            flops += (f.Kind == FoldKind.Input ? 3 : 1) * weights;
        }
        _table = new CudaDeviceVariable<Job>(kernels.Context, jobs.Length);
        try
        {
            _table.CopyToDevice(jobs, stream);
            Arguments arguments = new() { Jobs = _table.DevicePointer, Count = jobs.Length };
            Launch = new CudaLaunch<Arguments>(kernels, Variant, new Grid(blocks), Threads, 0, arguments) { Bytes = bytes, Flops = flops };
        }
        catch
        {
            _table.Dispose();
            throw;
        }
    }

    /// <summary>The only variant.</summary>
    public static KernelVariant Variant { get; } = KernelVariant.Of("fold_batch_norm", "");

    public CudaLaunch Launch { get; }

    /// <summary>Frees the table; the launch is of no use then.</summary>
    public void Dispose() => _table.Dispose();

    private static void Validate(int index, in CudaFold f, ComputeCapability architecture)
    {
        bool isShaped = f.Outputs > 0 && f.Inputs > 0 && f.Taps is 1 or MostTaps && (f.Kind != FoldKind.Depthwise || f.Inputs == 1);
        if (!isShaped)
            throw new ArgumentException($"fold_batch_norm, fold {index}: {f.Kind} with {f.Outputs} outputs, {f.Taps} taps, {f.Inputs} inputs.");
        if (architecture < f.FoldedElement.FirstArchitecture())
            throw new ArgumentException($"fold_batch_norm, fold {index}: {architecture} has no {f.FoldedElement.KernelName()} kernels.");
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Job
    {
        public CUdeviceptr Weights, Bias, Gamma, Beta, Mean, Variance, FoldedWeights, FoldedBias;
        public float Epsilon;
        public FoldKind Kind;
        public CudaElement Type;
        public int Outputs, Taps, Inputs, FirstBlock, Padding;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr Jobs;
        public int Count, Padding;
    }
}
