namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Gradient of a convolution with respect to its input: dx[n, y, x, c] (+)= Σ dy[n, i, j, o] · w[o, ky, kx, c] over all (i, ky) with
/// i·s + ky − p = y and (j, kx) likewise.
/// </summary>
/// <remarks>
/// Stride 1 is a convolution with mirrored taps. Stride 2 falls into four convolutions, one per parity of (y, x), each with the taps
/// that reach that parity: 1, 2, 2 and 4 of a 3x3 kernel; one or none of a 1x1.
/// </remarks>
internal sealed unsafe class ConvolutionDataGradient : IDisposable
{
    private readonly ImplicitGemm[] _phases;
    private readonly WinogradConvolution? _winograd;
    private readonly int _kernel, _stride, _inChannels, _outChannels;

    /// <param name="kernel">1 or 3.</param>
    /// <param name="stride">1 or 2.</param>
    /// <param name="inChannels">Channels of the convolution's input, so of dx.</param>
    /// <param name="outChannels">Channels of the convolution's output, so of dy.</param>
    /// <param name="workspace">Scratch, shared with other kernels.</param>
    /// <param name="allowWinograd">Takes <see cref="WinogradConvolution"/> where it suits: much faster, slightly less precise.</param>
    public ConvolutionDataGradient(int kernel, int stride, int inChannels, int outChannels, Workspace workspace, bool allowWinograd = true)
    {
        ConvolutionShape.Check(kernel, stride, inChannels, outChannels);
        (_kernel, _stride, _inChannels, _outChannels) = (kernel, stride, inChannels, outChannels);
        if (allowWinograd && kernel == 3 && stride == 1 && WinogradConvolution.Suits(outChannels, inChannels))
        {
            _winograd = new WinogradConvolution(outChannels, inChannels, dataGradient: true, workspace);
            _phases = [];
            return;
        }
        _phases = new ImplicitGemm[stride * stride];
        for (int phase = 0; phase < _phases.Length; phase++)
        {
            int py = phase / stride, px = phase % stride, pad = kernel / 2;
            List<Tap> taps = [];
            for (int ky = 0; ky < kernel; ky++)
            {
                for (int kx = 0; kx < kernel; kx++)
                {
                    if ((py + pad - ky) % stride != 0 || (px + pad - kx) % stride != 0) continue;
                    taps.Add(new Tap((py + pad - ky) / stride, (px + pad - kx) / stride, ky * kernel + kx));
                }
            }
            _phases[phase] = new ImplicitGemm(outChannels, inChannels, 1, [.. taps], workspace);
        }
    }

    /// <summary>Takes over the convolution's weights in OHWI order; call again whenever they change.</summary>
    public void Pack(WorkerPool pool, float* weights)
    {
        _winograd?.Pack(pool, weights);
        foreach (ImplicitGemm phase in _phases) phase.Pack(pool, weights, _kernel * _kernel, transposed: true);
    }

    /// <summary>Writes <paramref name="dx"/>, or adds to it.</summary>
    public void Run(WorkerPool pool, Map dy, Map dx, bool accumulate)
    {
        ConvolutionShape.CheckMaps(_stride, _inChannels, _outChannels, dx, dy);
        Epilogue epilogue = new() { Accumulate = accumulate };
        _winograd?.Run(pool, dy, dx, epilogue);
        for (int phase = 0; phase < _phases.Length; phase++)
        {
            if (accumulate && _phases[phase].TapCount == 0) continue;
            int py = phase / _stride, px = phase % _stride;
            OutputGrid grid = new((dx.H - py + _stride - 1) / _stride, (dx.W - px + _stride - 1) / _stride, py, px, _stride);
            _phases[phase].Run(pool, dy, dx, grid, epilogue);
        }
    }

    public void Dispose()
    {
        _winograd?.Dispose();
        foreach (ImplicitGemm phase in _phases) phase.Dispose();
    }
}
