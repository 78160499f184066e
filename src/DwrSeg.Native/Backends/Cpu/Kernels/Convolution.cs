namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Dense 1x1 or 3x3 convolution of stride 1 or 2 with padding kernel/2: y[n, i, j, o] = Σ x[n, i·s + ky − p, j·s + kx − p, c] ·
/// w[o, ky, kx, c], output size ceil(in / s), then an <see cref="Epilogue"/>.
/// </summary>
internal sealed unsafe class Convolution : IDisposable
{
    private readonly ImplicitGemm? _gemm;
    private readonly WinogradConvolution? _winograd;
    private readonly PointwiseTail? _tail;
    private readonly int _kernel, _stride, _inChannels, _outChannels;

    /// <param name="kernel">1 or 3.</param>
    /// <param name="stride">1 or 2.</param>
    /// <param name="inChannels">Channels of x.</param>
    /// <param name="outChannels">Channels of y.</param>
    /// <param name="workspace">Scratch, shared with other kernels.</param>
    /// <param name="tail">A 1x1 convolution that takes the output's pixels instead of a map; the caller packs it, this disposes it.</param>
    /// <param name="allowWinograd">Takes <see cref="WinogradConvolution"/> where it suits: much faster, slightly less precise.</param>
    public Convolution(
        int kernel, int stride, int inChannels, int outChannels, Workspace workspace, PointwiseTail? tail = null, bool allowWinograd = true)
    {
        ConvolutionShape.Check(kernel, stride, inChannels, outChannels);
        (_kernel, _stride, _inChannels, _outChannels) = (kernel, stride, inChannels, outChannels);
        _tail = tail;
        if (allowWinograd && kernel == 3 && stride == 1 && WinogradConvolution.Suits(inChannels, outChannels))
        {
            _winograd = new WinogradConvolution(inChannels, outChannels, dataGradient: false, workspace, tail);
            return;
        }
        Tap[] taps = new Tap[kernel * kernel];
        for (int i = 0; i < taps.Length; i++) taps[i] = new Tap(i / kernel - kernel / 2, i % kernel - kernel / 2, i);
        _gemm = new ImplicitGemm(inChannels, outChannels, stride, taps, workspace, rowTaps: kernel, tail);
    }

    /// <summary>Takes over weights in OHWI order; call again whenever they change.</summary>
    public void Pack(WorkerPool pool, float* weights)
    {
        _winograd?.Pack(pool, weights);
        _gemm?.Pack(pool, weights, _kernel * _kernel, transposed: false);
    }

    public void Run(WorkerPool pool, Map x, Map y, in Epilogue epilogue) => Run(pool, x, y, epilogue, null);

    /// <summary>
    /// Runs with the tail behind it. <paramref name="y"/> is the map between them, of which only the shape counts; the epilogue must neither
    /// accumulate nor hold a residual.
    /// </summary>
    public void Run(WorkerPool pool, Map x, Map y, in Epilogue epilogue, in PointwiseTail.Job tail)
    {
        PointwiseTail.Job job = tail;
        Run(pool, x, y, epilogue, &job);
    }

    private void Run(WorkerPool pool, Map x, Map y, in Epilogue epilogue, PointwiseTail.Job* tail)
    {
        ConvolutionShape.CheckMaps(_stride, _inChannels, _outChannels, x, y);
        if (epilogue.BorderBias && (_kernel != 3 || _stride != 1))
            throw new ArgumentException("A border bias needs a 3x3 convolution of stride 1.", nameof(epilogue));
        _winograd?.Run(pool, x, y, epilogue, tail);
        _gemm?.Run(pool, x, y, new OutputGrid(y.H, y.W, 0, 0, 1), epilogue, tail);
    }

    public void Dispose()
    {
        _winograd?.Dispose();
        _gemm?.Dispose();
        _tail?.Dispose();
    }
}
