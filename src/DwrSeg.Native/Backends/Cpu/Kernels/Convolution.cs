namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Dense 1x1 or 3x3 convolution of stride 1 or 2 with padding kernel/2: y[n, i, j, o] = Σ x[n, i·s + ky − p, j·s + kx − p, c] ·
/// w[o, ky, kx, c], output size ceil(in / s), then an <see cref="Epilogue"/>.
/// </summary>
internal sealed unsafe class Convolution : IDisposable
{
    private readonly ImplicitGemm _gemm;
    private readonly int _kernel;

    public Convolution(int kernel, int stride, int inChannels, int outChannels, Workspace workspace)
    {
        ConvolutionShape.Check(kernel, stride, inChannels, outChannels);
        _kernel = kernel;
        Tap[] taps = new Tap[kernel * kernel];
        for (int i = 0; i < taps.Length; i++) taps[i] = new Tap(i / kernel - kernel / 2, i % kernel - kernel / 2, i);
        _gemm = new ImplicitGemm(inChannels, outChannels, stride, taps, workspace, rowTaps: kernel);
    }

    /// <summary>Takes over weights in OHWI order; call again whenever they change.</summary>
    public void Pack(WorkerPool pool, float* weights) => _gemm.PackForward(pool, weights, _kernel * _kernel);

    public void Run(WorkerPool pool, Map x, Map y, in Epilogue epilogue)
    {
        ConvolutionShape.CheckMaps(_gemm.Stride, _gemm.InChannels, _gemm.OutChannels, x, y);
        if (epilogue.BorderBias && (_kernel != 3 || _gemm.Stride != 1))
            throw new ArgumentException("A border bias needs a 3x3 convolution of stride 1.", nameof(epilogue));
        _gemm.Run(pool, x, y, new OutputGrid(y.H, y.W, 0, 0, 1), epilogue);
    }

    public void Dispose() => _gemm.Dispose();
}
