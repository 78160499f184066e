using System.Collections.Immutable;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// How a convolution's nodes become a library call: weights and bias in the maps' type, a border bias spread over a map that is added, slices
/// copied where the library does not take them.
/// </summary>
internal sealed class LibraryLowering : IDisposable
{
    private readonly CudaBinder _binder;
    private readonly List<CudaWork> _preparations = [];
    private readonly List<CudaWork> _before = [], _after = [];
    private readonly List<IDisposable> _owned = [];

    private LibraryLowering(CudaBinder binder) => _binder = binder;

    /// <summary>Makes the step of a way that is not native; null where its library is left out, as another plan may have found meanwhile.</summary>
    /// <param name="binder">Memory, kernels, libraries.</param>
    /// <param name="nodes">A convolution, then in any order at most one ReLU and one sum.</param>
    /// <param name="c">The same as this project's kernels would take it, without weights.</param>
    /// <param name="way">Whose call.</param>
    /// <exception cref="CudaException">The library does not take this.</exception>
    public static CudaStep? Bind(CudaBinder binder, ImmutableArray<Node> nodes, in CudaConvolution c, ConvWay way)
    {
        Func<LibraryConvolution, CudaWork>? make = way.Maker switch
        {
            ConvMaker.Cudnn when binder.Libraries.Cudnn is { } cudnn =>
                call => new CudnnConvolution(cudnn, binder.LibraryWorkspace, call, way.Algorithm),
            ConvMaker.CublasLt when binder.Libraries.CublasLt is { } cublasLt =>
                call => new CublasLtProduct(cublasLt, binder.LibraryWorkspace, call, way.Product),
            _ => null,
        };
        if (make is null) return null;
        var lowering = new LibraryLowering(binder);
        try
        {
            return lowering.Step(nodes[0], c, way, make);
        }
        catch
        {
            lowering.Dispose();
            throw;
        }
    }

    /// <summary>The ways that a library offers for a convolution, best guess first; none where it cannot give this.</summary>
    public static IReadOnlyList<ConvWay> WaysFor(CudaBinder binder, ImmutableArray<Node> nodes, in CudaConvolution c, ConvMaker maker)
    {
        try
        {
            return Offered(binder, nodes, c, maker);
        }
        catch (CudaException e) when (binder.Libraries.CanDoWithout(maker, e))
        {
            binder.Libraries.DoWithout(maker, e);
            return [];
        }
    }

    private static IReadOnlyList<ConvWay> Offered(CudaBinder binder, ImmutableArray<Node> nodes, in CudaConvolution c, ConvMaker maker)
    {
        using var lowering = new LibraryLowering(binder);
        if (maker == ConvMaker.CublasLt)
        {
            if (binder.Libraries.CublasLt is not { } cublasLt || !CublasLtProduct.CanExpress(c)) return [];
            LibraryConvolution product = lowering.Convert(nodes[0], c, needsBias: false);
            return [.. CublasLtProduct.AlgorithmsFor(cublasLt, product).Select(a => new ConvWay(ConvMaker.CublasLt) { Product = a })];
        }
        if (binder.Libraries.Cudnn is not { } cudnn || !CudnnConvolution.CanExpress(c)) return [];
        LibraryConvolution whole = lowering.Convert(nodes[0], c, needsBias: true), strided = lowering.WithAddedLikeY(whole), packed = lowering.Pack(whole);
        var ways = new List<ConvWay>();
        if (IsOnVectors(strided))
        {
            foreach (var algorithm in CudnnConvolution.AlgorithmsFor(cudnn, strided)) ways.Add(new ConvWay(ConvMaker.Cudnn) { Algorithm = algorithm });
        }
        if (packed == whole) return ways;
        foreach (var algorithm in CudnnConvolution.AlgorithmsFor(cudnn, packed))
            ways.Add(new ConvWay(ConvMaker.Cudnn) { Algorithm = algorithm, IsPacked = true });
        return ways;
    }

    /// <summary>Gives back what was made; not after a step took it.</summary>
    public void Dispose()
    {
        foreach (IDisposable owned in _owned) owned.Dispose();
        _owned.Clear();
    }

    private CudaStep Step(Node conv, in CudaConvolution c, ConvWay way, Func<LibraryConvolution, CudaWork> make)
    {
        LibraryConvolution call = Convert(conv, c, needsBias: way.Maker == ConvMaker.Cudnn);
        if (way.IsPacked) call = Pack(call);
        else if (way.Maker == ConvMaker.Cudnn) call = WithAddedLikeY(call);
        CudaWork work = make(call);
        Keep((IDisposable)work);
        CudaWork[] run = [.. _before, work, .. _after];
        return _binder.IsUpdated(conv.Inputs[1]) ? new CudaStep([.. _preparations, .. run], [], _owned) : new CudaStep(run, _preparations, _owned);
    }

    private LibraryConvolution Convert(Node conv, in CudaConvolution c, bool needsBias)
    {
        Shape w = conv.Inputs[1].Shape;
        var call = new LibraryConvolution(c.X, c.Y, Values(_binder.Values(conv.Inputs[1]), w.N, w.H * w.W, w.C), c.Kernel, c.Stride)
        {
            Bias = c.Bias.Value == 0 || c.BorderBias ? default : Values(c.Bias, 1, 1, c.Y.C),
            Added = c.BorderBias ? BorderMap(c) : c.Residual,
            Relu = c.Relu != CudaRelu.None,
        };
        return needsBias && call.Bias.Value == 0 && CudnnConvolution.IsFused(call) ? call with { Bias = Zeros(c.Y.C) } : call;
    }

    /// <summary>
    /// The same with what is added copied to y where it lies with other gaps: cuDNN's reference has it that the descriptors of z and y match.
    /// </summary>
    private LibraryConvolution WithAddedLikeY(in LibraryConvolution c)
    {
        if (c.Added is not { } added || added.PixelStride == c.Y.PixelStride) return c;
        _before.Add(ScaledCopyCuda.Prepare(_binder.Kernels, added, c.Y));
        return c with { Added = c.Y };
    }

    /// <summary>The same with a map without gaps in place of each slice, and copies to and from these.</summary>
    private LibraryConvolution Pack(in LibraryConvolution c)
    {
        DeviceMap x = PackInput(c.X);
        if (IsDense(c.Y)) return c with { X = x, Added = c.Added is { } map ? PackInput(map) : null };
        DeviceMap y = Dense(c.Y);
        // What y holds is added: its packed copy can be both.
        DeviceMap? added = c.Added is not { } residual ? null : residual == c.Y ? y : PackInput(residual);
        if (added == y) _before.Add(ScaledCopyCuda.Prepare(_binder.Kernels, c.Y, y));
        _after.Add(ScaledCopyCuda.Prepare(_binder.Kernels, y, c.Y));
        return c with { X = x, Y = y, Added = added };
    }

    private DeviceMap PackInput(in DeviceMap map)
    {
        if (IsDense(map)) return map;
        DeviceMap dense = Dense(map);
        _before.Add(ScaledCopyCuda.Prepare(_binder.Kernels, map, dense));
        return dense;
    }

    private DeviceMap Dense(in DeviceMap map) => map with { Data = Keep(_binder.Allocate(map.Bytes)).DevicePointer, PixelStride = map.C };

    // fp32 parameters in the maps' type; fp32 itself is taken as it lies.
    private CUdeviceptr Values(CUdeviceptr values, int rows, int taps, int channels)
    {
        if (_binder.Element == CudaElement.Float32 && values.Value % CudaElements.VectorBytes == 0) return values;
        var source = new DeviceMap(values, CudaElement.Float32, 1, rows, taps, channels, channels);
        DeviceMap target = Dense(source with { Element = _binder.Element });
        _preparations.Add(ScaledCopyCuda.Prepare(_binder.Kernels, source, target));
        return target.Data;
    }

    private CUdeviceptr Zeros(long elements)
    {
        CudaDeviceVariable<byte> zeros = Keep(_binder.Allocate(elements * _binder.Element.Bytes()));
        zeros.MemsetAsync(0, _binder.Stream);
        return zeros.DevicePointer;
    }

    /// <summary>
    /// The bias of each output pixel as a map: a convolution of zeros by this project's kernel, done once, costs no launch in a run, where a bias
    /// and a ReLU behind cuDNN's call would cost one.
    /// </summary>
    private DeviceMap BorderMap(in CudaConvolution c)
    {
        int channels = c.X.Element.PerVector();
        var x = new DeviceMap(Zeros(c.X.Pixels * channels), c.X.Element, c.X.N, c.X.H, c.X.W, channels, channels);
        bool exact = c.X.Element == CudaElement.Float32;
        int outputs = c.Y.C, taps = c.Taps;
        DeviceMap map = Dense(c.Y);
        var spread = new CudaConvolution(x, map, layout => Zeros(layout.ElementsOf(outputs, taps, channels)), c.Kernel) { Bias = c.Bias, BorderBias = true };
        _preparations.Add(exact ? ConvFfmaCuda.Prepare(_binder.Kernels, spread) : ConvMmaCuda.Prepare(_binder.Kernels, spread));
        return map;
    }

    // cuDNN's kernels for tensor cores read 16 bytes at a time and do not say so where an address does not allow it.
    private static bool IsOnVectors(in LibraryConvolution c) =>
        (c.X.Data.Value | c.Y.Data.Value | (c.Added?.Data.Value ?? 0)) % CudaElements.VectorBytes == 0;

    private static bool IsDense(in DeviceMap map) => map.PixelStride == map.C && map.Data.Value % CudaElements.VectorBytes == 0;

    private T Keep<T>(T made)
        where T : IDisposable
    {
        _owned.Add(_binder.Keep(made));
        return made;
    }
}
