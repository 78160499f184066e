using System.Numerics;
using System.Runtime.CompilerServices;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.PtxEmulator.Driver;
using DwrSeg.PtxEmulator.Memory;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

/// <summary>How a cuDNN takes tensors with gaps between their pixels.</summary>
internal enum SliceSupport
{
    Taken,

    /// <summary>Refused when asked for algorithms or workspace.</summary>
    Refused,

    /// <summary>Refused only when it is to compute.</summary>
    RefusedLate,
}

/// <summary>
/// Stands in for cuDNN on an emulated device: executes its calls in plain float64 on stream order, and is strict about all that the reference asks of
/// callers: descriptors that are set and fit each other, the stream, the workspace, alignment, what may overlap what.
/// </summary>
internal sealed unsafe class CudnnDouble(EmulatedDriver driver, SliceSupport slices = SliceSupport.Taken, int major = 9) : ICudnn
{
    private sealed class Library
    {
        public CUcontext Context;
        public CUstream? Stream;
    }

    private sealed class TensorShape
    {
        public CudnnDataType Type;
        public int N, C, H, W, NStride, CStride, HStride, WStride;

        public CudaElement Element => ElementOf(Type);

        public bool HasGaps => WStride != C;

        // NHWC: a pixel's channels together, pixels and rows at one distance.
        public bool IsNhwc => N > 0 && C > 0 && CStride == 1 && WStride >= C && (H == 1 || HStride == W * WStride) && (N == 1 || NStride == H * W * WStride);

        public long Pixels => (long)N * H * W;

        public ulong Span => (ulong)(((Pixels - 1) * WStride + C) * Element.Bytes());

        public bool IsLike(TensorShape o) =>
            (Type, N, C, H, W, NStride, CStride, HStride, WStride) == (o.Type, o.N, o.C, o.H, o.W, o.NStride, o.CStride, o.HStride, o.WStride);
    }

    private sealed class FilterShape
    {
        public CudnnDataType Type;
        public CudnnTensorFormat Format;
        public int K, C, H, W;
    }

    private sealed class ConvolutionShape
    {
        public int Pad, Stride, Dilation, Groups = 1;
        public CudnnMathType Math;
    }

    private sealed class Activation
    {
        public CudnnActivation? Mode;
    }

    private sealed class Window
    {
        public int Size, Pad, Stride;
    }

    // Of a call that may be executed.
    private sealed record Problem(TensorShape X, FilterShape W, ConvolutionShape C, TensorShape Y);

    public LibraryObjects Objects { get; } = new(driver);

    /// <summary>What a convolution takes on a planted clock.</summary>
    public double Milliseconds { get; init; }

    public Version Version { get; } = new(major, 1, 0);

    public string Location { get; init; } = "cudnnDouble";

    /// <summary>Whether it fails while its stream is captured.</summary>
    public bool RefusesCapture { get; init; }

    /// <summary>Whether it waits for its stream, which a capture does not survive.</summary>
    public bool BreaksCapture { get; init; }

    /// <summary>Whether its first convolution waits for the stream, as where code is loaded; a capture does not survive it.</summary>
    public bool LoadsAtFirst { get; set; }

    /// <summary>The last call's fault, in words.</summary>
    public string Fault { get; private set; } = "";

    private int BadParameter => Version.Major < 9 ? 3 : 2000;

    private int NotSupported => Version.Major < 9 ? 9 : 3000;

    public string GetErrorString(int status) => $"status {status}: {Fault}";

    public int Create(out nint handle)
    {
        handle = 0;
        if (Begin() is var status and not 0) return status;
        if (Objects.Current.Value == 0) return Bad("no context is current");
        handle = Objects.Add(new Library { Context = Objects.Current });
        return 0;
    }

    public int Destroy(nint handle) => Objects.Remove<Library>(handle) ? 0 : Bad("no handle");

    public int SetStream(nint handle, CUstream stream)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<Library>(handle) is not { } library) return Bad("no handle");
        library.Stream = stream;
        return 0;
    }

    public int CreateTensorDescriptor(out nint descriptor) => Make(new TensorShape(), out descriptor);

    public int DestroyTensorDescriptor(nint descriptor) => Objects.Remove<TensorShape>(descriptor) ? 0 : Bad("no tensor");

    public int SetTensor4dDescriptorEx(
        nint descriptor, CudnnDataType type, int n, int c, int h, int w, int nStride, int cStride, int hStride, int wStride)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<TensorShape>(descriptor) is not { } t) return Bad("no tensor");
        (t.Type, t.N, t.C, t.H, t.W, t.NStride, t.CStride, t.HStride, t.WStride) = (type, n, c, h, w, nStride, cStride, hStride, wStride);
        return Enum.IsDefined(type) && Math.Min(Math.Min(n, c), Math.Min(h, w)) > 0 && Math.Min(Math.Min(nStride, cStride), Math.Min(hStride, wStride)) > 0
            ? 0 : Bad("a size, stride or type that is none");
    }

    public int CreateFilterDescriptor(out nint descriptor) => Make(new FilterShape(), out descriptor);

    public int DestroyFilterDescriptor(nint descriptor) => Objects.Remove<FilterShape>(descriptor) ? 0 : Bad("no filter");

    public int SetFilter4dDescriptor(nint descriptor, CudnnDataType type, CudnnTensorFormat format, int k, int c, int h, int w)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<FilterShape>(descriptor) is not { } f) return Bad("no filter");
        (f.Type, f.Format, f.K, f.C, f.H, f.W) = (type, format, k, c, h, w);
        return format == CudnnTensorFormat.Nhwc && Math.Min(Math.Min(k, c), Math.Min(h, w)) > 0 ? 0 : Bad("a filter that is not KRSC");
    }

    public int CreateConvolutionDescriptor(out nint descriptor) => Make(new ConvolutionShape(), out descriptor);

    public int DestroyConvolutionDescriptor(nint descriptor) => Objects.Remove<ConvolutionShape>(descriptor) ? 0 : Bad("no convolution");

    public int SetConvolution2dDescriptor(
        nint descriptor, int padH, int padW, int strideH, int strideW, int dilationH, int dilationW, CudnnConvolutionMode mode, CudnnDataType compute)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<ConvolutionShape>(descriptor) is not { } c) return Bad("no convolution");
        (c.Pad, c.Stride, c.Dilation) = (padH, strideH, dilationH);
        bool isSquare = (padH, strideH, dilationH) == (padW, strideW, dilationW) && padH >= 0 && strideH > 0 && dilationH > 0;
        return isSquare && mode == CudnnConvolutionMode.CrossCorrelation && compute == CudnnDataType.Float ? 0 : Bad("not a network's convolution with fp32 sums");
    }

    public int SetConvolutionMathType(nint descriptor, CudnnMathType math)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<ConvolutionShape>(descriptor) is not { } c) return Bad("no convolution");
        c.Math = math;
        return 0;
    }

    public int SetConvolutionGroupCount(nint descriptor, int groups)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<ConvolutionShape>(descriptor) is not { } c) return Bad("no convolution");
        c.Groups = groups;
        return groups > 0 ? 0 : Bad("no groups");
    }

    public int CreateActivationDescriptor(out nint descriptor) => Make(new Activation(), out descriptor);

    public int DestroyActivationDescriptor(nint descriptor) => Objects.Remove<Activation>(descriptor) ? 0 : Bad("no activation");

    public int SetActivationDescriptor(nint descriptor, CudnnActivation mode, CudnnNan nan, double coefficient)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<Activation>(descriptor) is not { } a) return Bad("no activation");
        a.Mode = mode;
        return Enum.IsDefined(mode) ? 0 : Bad("an activation that the fused call does not take");
    }

    public int CreatePoolingDescriptor(out nint descriptor) => Make(new Window(), out descriptor);

    public int DestroyPoolingDescriptor(nint descriptor) => Objects.Remove<Window>(descriptor) ? 0 : Bad("no window");

    public int SetPooling2dDescriptor(
        nint descriptor, CudnnPooling mode, CudnnNan nan, int windowH, int windowW, int padH, int padW, int strideH, int strideW)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<Window>(descriptor) is not { } w) return Bad("no window");
        (w.Size, w.Pad, w.Stride) = (windowH, padH, strideH);
        return (windowH, padH, strideH) == (windowW, padW, strideW) && padH < windowH && mode == CudnnPooling.Max ? 0 : Bad("not a square maximum");
    }

    public int GetConvolutionForwardAlgorithm(
        nint handle, nint x, nint filter, nint convolution, nint y, int requested, out int returned, CudnnAlgorithmPerformance* results)
    {
        returned = 0;
        if (Begin() is var status and not 0) return status;
        if (Check(handle, x, filter, convolution, y, isExecution: false, out _, out Problem? problem) is var fault and not 0) return fault;
        // As the library does: what cannot do it stands in the list too, with its status.
        CudnnAlgorithm[] order = [CudnnAlgorithm.ImplicitPrecompGemm, CudnnAlgorithm.ImplicitGemm, CudnnAlgorithm.Winograd];
        returned = Math.Min(requested, order.Length);
        for (int i = 0; i < returned; i++)
        {
            results[i] = new CudnnAlgorithmPerformance
            {
                Algorithm = order[i], Status = order[i] == CudnnAlgorithm.Winograd ? NotSupported : 0, Memory = WorkspaceOf(problem!, order[i]),
                Milliseconds = -1, MathType = problem!.C.Math,
            };
        }
        return 0;
    }

    public int GetConvolutionForwardWorkspaceSize(
        nint handle, nint x, nint filter, nint convolution, nint y, CudnnAlgorithm algorithm, out nuint bytes)
    {
        bytes = 0;
        if (Begin() is var status and not 0) return status;
        if (Check(handle, x, filter, convolution, y, isExecution: false, out _, out Problem? problem) is var fault and not 0) return fault;
        if (!IsOffered(algorithm)) return Refuse($"{algorithm} is not for NHWC");
        bytes = WorkspaceOf(problem!, algorithm);
        return 0;
    }

    public int ConvolutionForward(
        nint handle, float* alpha, nint xDescriptor, CUdeviceptr x, nint filterDescriptor, CUdeviceptr filter, nint convolution, CudnnAlgorithm algorithm,
        CUdeviceptr workspace, nuint workspaceBytes, float* beta, nint yDescriptor, CUdeviceptr y)
    {
        if (Begin() is var status and not 0) return status;
        if (Check(handle, xDescriptor, filterDescriptor, convolution, yDescriptor, isExecution: true, out Library? library, out Problem? p) is var fault and not 0)
            return fault;
        if (CheckMemory(p!, algorithm, x, filter, y, workspaceBytes) is var misplaced and not 0) return misplaced;
        (double a, double b) = (*alpha, *beta);
        return Submit(library!, $"cudnnConvolutionForward {algorithm}", memory =>
        {
            DeviceValues.Scribble(memory, workspace.Value, workspaceBytes);
            double[] sums = Convolve(memory, p!, x, filter);
            double[]? before = b == 0 ? null : Read(memory, "y", p!.Y, y);
            for (int i = 0; i < sums.Length; i++) sums[i] = a * sums[i] + (before is null ? 0 : b * before[i]);
            Write(memory, p!.Y, y, sums);
        });
    }

    public int ConvolutionBiasActivationForward(
        nint handle, float* alpha1, nint xDescriptor, CUdeviceptr x, nint filterDescriptor, CUdeviceptr filter, nint convolution, CudnnAlgorithm algorithm,
        CUdeviceptr workspace, nuint workspaceBytes, float* alpha2, nint zDescriptor, CUdeviceptr z, nint biasDescriptor, CUdeviceptr bias, nint activation,
        nint yDescriptor, CUdeviceptr y)
    {
        if (Begin() is var status and not 0) return status;
        if (Check(handle, xDescriptor, filterDescriptor, convolution, yDescriptor, isExecution: true, out Library? library, out Problem? p) is var fault and not 0)
            return fault;
        if (CheckMemory(p!, algorithm, x, filter, y, workspaceBytes) is var misplaced and not 0) return misplaced;
        if (Objects.Find<Activation>(activation)?.Mode is not { } mode) return Bad("an activation that was never set");
        if (mode == CudnnActivation.Identity && algorithm != CudnnAlgorithm.ImplicitPrecompGemm) return Refuse("identity goes with IMPLICIT_PRECOMP_GEMM alone");
        if (Objects.Find<TensorShape>(zDescriptor) is not { } zShape || !zShape.IsLike(p!.Y)) return Bad("z is not described as y is");
        if (z.Value == 0 || Overlap(z, zShape, x, p.X)) return Bad("z is where x is, or nowhere");
        if (Objects.Find<TensorShape>(biasDescriptor) is not { } biasShape || (biasShape.N, biasShape.C, biasShape.H, biasShape.W) != (1, p.Y.C, 1, 1)
            || biasShape.Type != p.Y.Type || bias.Value == 0 || bias.Value % 16 != 0)
            return Bad("a bias that is not one value an output, of the outputs' type, on 16 bytes");
        (double a, double b) = (*alpha1, *alpha2);
        return Submit(library!, $"cudnnConvolutionBiasActivationForward {algorithm}", memory =>
        {
            DeviceValues.Scribble(memory, workspace.Value, workspaceBytes);
            double[] sums = Convolve(memory, p, x, filter);
            double[] biases = Read(memory, "bias", biasShape, bias);
            double[]? added = b == 0 ? null : Read(memory, "z", zShape, z);
            for (int i = 0; i < sums.Length; i++)
            {
                double sum = a * sums[i] + (added is null ? 0 : b * added[i]) + biases[i % p.Y.C];
                sums[i] = mode == CudnnActivation.Relu ? Math.Max(sum, 0) : sum;
            }
            Write(memory, p.Y, y, sums);
        });
    }

    public int PoolingForward(nint handle, nint pooling, float* alpha, nint xDescriptor, CUdeviceptr x, float* beta, nint yDescriptor, CUdeviceptr y)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<Library>(handle) is not { Stream: not null } library || library.Context != Objects.Current) return Bad("no handle, stream or context");
        if (Objects.Find<Window>(pooling) is not { Size: > 0 } w) return Bad("a window that was never set");
        if (Objects.Find<TensorShape>(xDescriptor) is not { IsNhwc: true } from || Objects.Find<TensorShape>(yDescriptor) is not { IsNhwc: true } to)
            return Bad("tensors that are not NHWC");
        int Side(int side) => (side + 2 * w.Pad - w.Size) / w.Stride + 1;
        if ((to.N, to.C, to.H, to.W, to.Type) != (from.N, from.C, Side(from.H), Side(from.W), from.Type)) return Bad("y is not x pooled");
        if (*alpha != 1 || *beta != 0) return Refuse("factors");
        return Submit(library, "cudnnPoolingForward", memory =>
        {
            double[] values = Read(memory, "x", from, x), best = new double[to.Pixels * to.C];
            for (int i = 0; i < best.Length; i++)
            {
                (int c, int column, int row, int n) = (i % to.C, i / to.C % to.W, i / to.C / to.W % to.H, i / to.C / to.W / to.H);
                double most = double.NegativeInfinity;
                for (int ky = 0; ky < w.Size; ky++)
                for (int kx = 0; kx < w.Size; kx++)
                {
                    int iy = row * w.Stride + ky - w.Pad, ix = column * w.Stride + kx - w.Pad;
                    if (iy >= 0 && iy < from.H && ix >= 0 && ix < from.W) most = Math.Max(most, values[((n * from.H + iy) * from.W + ix) * from.C + c]);
                }
                best[i] = most;
            }
            Write(memory, to, y, best);
        });
    }

    private static CudaElement ElementOf(CudnnDataType type) => type switch
    {
        CudnnDataType.Float => CudaElement.Float32,
        CudnnDataType.Half => CudaElement.Float16,
        _ => CudaElement.BFloat16,
    };

    private static bool IsOffered(CudnnAlgorithm algorithm) => algorithm is CudnnAlgorithm.ImplicitGemm or CudnnAlgorithm.ImplicitPrecompGemm;

    private static nuint WorkspaceOf(Problem p, CudnnAlgorithm algorithm) =>
        algorithm == CudnnAlgorithm.ImplicitPrecompGemm ? (nuint)(16384 + 16 * p.X.W * p.W.H) : 0;

    private static double[] Read(DeviceMemory memory, string name, TensorShape t, CUdeviceptr at) =>
        DeviceValues.Read(memory, $"cuDNN's {name}", t.Element, at.Value, t.Pixels, t.C, t.WStride);

    private static void Write(DeviceMemory memory, TensorShape t, CUdeviceptr at, double[] values) =>
        DeviceValues.Write(memory, t.Element, at.Value, t.Pixels, t.C, t.WStride, values);

    private static bool Overlap(CUdeviceptr a, TensorShape aShape, CUdeviceptr b, TensorShape bShape) =>
        a.Value < b.Value + bShape.Span && b.Value < a.Value + aShape.Span;

    private static double[] Convolve(DeviceMemory memory, Problem p, CUdeviceptr x, CUdeviceptr filter)
    {
        (TensorShape from, TensorShape to, FilterShape w, ConvolutionShape c) = (p.X, p.Y, p.W, p.C);
        double[] values = Read(memory, "x", from, x);
        double[] weights = DeviceValues.Read(memory, "cuDNN's filter", ElementOf(w.Type), filter.Value, (long)w.K * w.H * w.W, w.C, w.C);
        var sums = new double[to.Pixels * to.C];
        int outputsOfGroup = w.K / c.Groups;
        for (int n = 0; n < to.N; n++)
        for (int row = 0; row < to.H; row++)
        for (int column = 0; column < to.W; column++)
        for (int ky = 0; ky < w.H; ky++)
        for (int kx = 0; kx < w.W; kx++)
        {
            int iy = row * c.Stride + ky * c.Dilation - c.Pad, ix = column * c.Stride + kx * c.Dilation - c.Pad;
            if (iy < 0 || iy >= from.H || ix < 0 || ix >= from.W) continue;
            int pixel = ((n * from.H + iy) * from.W + ix) * from.C, target = ((n * to.H + row) * to.W + column) * to.C;
            for (int k = 0; k < w.K; k++)
            {
                ReadOnlySpan<double> inputs = values.AsSpan(pixel + k / outputsOfGroup * w.C, w.C);
                sums[target + k] += Dot(inputs, weights.AsSpan(((k * w.H + ky) * w.W + kx) * w.C, w.C));
            }
        }
        return sums;
    }

    private static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        int i = 0;
        Vector<double> sums = Vector<double>.Zero;
        for (; i <= a.Length - Vector<double>.Count; i += Vector<double>.Count) sums += new Vector<double>(a[i..]) * new Vector<double>(b[i..]);
        double sum = Vector.Sum(sums);
        for (; i < a.Length; i++) sum += a[i] * b[i];
        return sum;
    }

    private int Begin([CallerMemberName] string call = "") => Objects.Begin(call);

    private int Make(object made, out nint descriptor, [CallerMemberName] string call = "")
    {
        descriptor = 0;
        if (Objects.Begin(call) is var status and not 0) return status;
        descriptor = Objects.Add(made);
        return 0;
    }

    private int Bad(string fault)
    {
        Fault = fault;
        return BadParameter;
    }

    private int Refuse(string fault)
    {
        Fault = fault;
        return NotSupported;
    }

    private int Check(
        nint handle, nint x, nint filter, nint convolution, nint y, bool isExecution, out Library? library, out Problem? problem)
    {
        problem = null;
        library = Objects.Find<Library>(handle);
        if (library is null || library.Context != Objects.Current) return Bad("no handle, or of another context than the current one");
        if (isExecution && library.Stream is null) return Bad("no stream was set");
        if (Objects.Find<TensorShape>(x) is not { IsNhwc: true } from || Objects.Find<TensorShape>(y) is not { IsNhwc: true } to)
            return Bad("tensors that are not NHWC");
        if (Objects.Find<FilterShape>(filter) is not { K: > 0 } w || Objects.Find<ConvolutionShape>(convolution) is not { Stride: > 0 } c)
            return Bad("a filter or convolution that was never set");
        if (from.Type != to.Type || from.Type != w.Type) return Bad("types differ");
        if (w.C * c.Groups != from.C || w.K != to.C || w.K % c.Groups != 0) return Bad("channels do not fit");
        int Side(int side) => (side + 2 * c.Pad - (w.H - 1) * c.Dilation - 1) / c.Stride + 1;
        if ((to.N, to.H, to.W) != (from.N, Side(from.H), Side(from.W))) return Bad("y has not the size that the convolution gives");
        if (c.Math != (from.Type == CudnnDataType.Float ? CudnnMathType.Fma : CudnnMathType.TensorOp))
            return Bad("fp32 that may become TF32, or 16 bits without tensor cores");
        bool refuses = slices == SliceSupport.Refused || (slices == SliceSupport.RefusedLate && isExecution);
        if (refuses && (from.HasGaps || to.HasGaps)) return Refuse("pixels with gaps between them");
        problem = new Problem(from, w, c, to);
        return 0;
    }

    private int CheckMemory(Problem p, CudnnAlgorithm algorithm, CUdeviceptr x, CUdeviceptr filter, CUdeviceptr y, nuint workspaceBytes)
    {
        if (!IsOffered(algorithm)) return Refuse($"{algorithm} is not for NHWC");
        if (x.Value == 0 || y.Value == 0 || filter.Value == 0 || (x.Value | y.Value | filter.Value) % 16 != 0) return Bad("an address that is not on 16 bytes");
        if (Overlap(x, p.X, y, p.Y) && p.X.WStride == p.X.C) return Bad("y is where x is");
        return workspaceBytes < WorkspaceOf(p, algorithm) ? Bad("too little workspace") : 0;
    }

    private int Submit(Library library, string name, Action<DeviceMemory> body)
    {
        int failed = Version.Major < 9 ? 8 : 5000;
        CUstream stream = library.Stream!.Value;
        driver.StreamIsCapturing(stream, out CUstreamCaptureStatus status);
        if (RefusesCapture && status == CUstreamCaptureStatus.Active) return failed;
        if (LoadsAtFirst)
        {
            LoadsAtFirst = false;
            driver.StreamSynchronize(stream);
        }
        if (BreaksCapture)
        {
            driver.StreamSynchronize(stream);
            if (status != CUstreamCaptureStatus.None) return 0;
        }
        return driver.Submit(stream, name, Milliseconds, body) == CUresult.Success ? 0 : failed;
    }
}
