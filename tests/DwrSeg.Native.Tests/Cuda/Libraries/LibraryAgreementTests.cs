using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.Native.Tests.Cuda.Kernels;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

/// <summary>
/// This project's kernels against cuDNN and cuBLASLt, on a GPU where both are (<c>DWRSEG_TEST_DEVICE=cuda</c>). Elsewhere strict stand-ins take the
/// libraries' place, so that what calls them is tested everywhere.
/// </summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed unsafe class LibraryAgreementTests
{
    private const string StandIn = "stand-in", Real = "NVIDIA's";

    // Values of 16 bits in 16 bytes.
    private const int Vector = 8;

    /// <summary>Libraries and types.</summary>
    public static IEnumerable<TheoryDataRow<string, string>> Cases =>
        from library in new[] { StandIn, Real }
        from element in Enum.GetValues<CudaElement>()
        select new TheoryDataRow<string, string>(library, element.KernelName());

    /// <summary>The device of the tests with a library's handles.</summary>
    private sealed class Libraries : IDisposable
    {
        private readonly bool _isReal;
        private readonly List<string> _refused = [];
        private readonly HashSet<string> _due = [];
        private string _case = "";
        private int _compared;

        public Libraries(string which, CudaElement element)
        {
            _isReal = which == Real;
            Device = KernelDevice.Usual;
            Assert.SkipUnless(Device.Supports(element), $"{Device.Context.Device} has no {element.KernelName()}");
            ICudnn? cudnn;
            ICublasLt? cublasLt;
            if (which == StandIn)
            {
                var emulator = Device.Context.Driver as EmulatedDriver;
                Assert.SkipWhen(emulator is null, "the stand-ins compute on the emulator's memory");
                (cudnn, cublasLt) = (new CudnnDouble(emulator!), new CublasLtDouble(emulator!));
            }
            else
            {
                Assert.SkipUnless(KernelDevice.IsReal, "NVIDIA's libraries compute on a GPU: DWRSEG_TEST_DEVICE=cuda");
                cudnn = CudnnLibrary.TryOpen(out string noCudnn);
                Assert.SkipWhen(cudnn is null, noCudnn);
                cublasLt = CublasLtLibrary.TryOpen(out string noCublasLt);
                Assert.SkipWhen(cublasLt is null, noCublasLt);
            }
            Cudnn = new CudnnHandle(cudnn!, Device.Context);
            CublasLt = new CublasLtHandle(cublasLt!, Device.Context);
            Workspace = new LibraryWorkspace(Device.Context);
        }

        public KernelDevice Device { get; }

        public CudnnHandle Cudnn { get; }

        public CublasLtHandle CublasLt { get; }

        public LibraryWorkspace Workspace { get; }

        /// <summary>Values in a type, in memory of their own.</summary>
        public CudaDeviceVariable<byte> Upload(CudaElement element, IReadOnlyList<double> values)
        {
            var bytes = new byte[Math.Max(values.Count * element.Bytes(), 16)];
            for (int i = 0; i < values.Count; i++) ElementCode.Encode(element, values[i], bytes.AsSpan(i * element.Bytes()));
            return Device.Upload<byte>(bytes);
        }

        /// <summary>Begins a case.</summary>
        /// <param name="what">What it is.</param>
        /// <param name="maps">The maps that calls are given: without gaps and of whole vectors a library must take them.</param>
        public void Begin(string what, params ReadOnlySpan<DeviceMap> maps)
        {
            _case = what;
            foreach (DeviceMap map in maps)
            {
                if (map.PixelStride != map.C || map.C % Vector != 0) return;
            }
            _due.Add(what);
        }

        /// <summary>
        /// Makes a call; false where the real library says that it does not support this, as some versions do to slices. Any other failure is one of
        /// the test.
        /// </summary>
        public bool Try(Action call)
        {
            try
            {
                call();
                Device.Stream.Synchronize();
                _compared++;
                _due.Remove(_case);
                return true;
            }
            catch (CudaException e) when (e.Answer == LibraryAnswer.Refusal)
            {
                _refused.Add(e.Message);
                return false;
            }
        }

        /// <summary>Notes that the library offers nothing for a case.</summary>
        public void OffersNothing(string what) => _refused.Add($"{what}: no algorithm");

        /// <summary>Ends a test: a stand-in takes everything, a library all but slices and odd numbers of channels.</summary>
        public void AssertCompared(int cases)
        {
            string count = $"{_compared} calls compared, {_refused.Count} refused{string.Concat(_refused.Distinct().Select(r => $"\n  {r}"))}";
            TestContext.Current.TestOutputHelper?.WriteLine(count);
            if (!_isReal) Assert.True(_refused.Count == 0 && _compared >= cases, $"{cases} cases: {count}");
            Assert.True(_due.Count == 0, $"must be taken, and was not: {string.Join("; ", _due)}\n{count}");
        }

        public void Dispose()
        {
            Workspace.Dispose();
            CublasLt.Dispose();
            Cudnn.Dispose();
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void DenseConvolutionsAgreeWithCudnn(string library, string type)
    {
        CudaElement element = KernelDevice.Element(type);
        using var libraries = new Libraries(library, element);
        Random random = new(5 + type.Length);
        // First without gaps: each kernel and stride; one pixel; odd sizes; the classifier's odd channels; sums into y and elsewhere, before a ReLU
        // and without.
        ConvolutionCase[] cases =
        [
            new(1, 1, 1, 8, 8, 3), new(1, 9, 11, 16, 32, 3, 2) { Bias = true, Relu = CudaRelu.First }, new(2, 5, 7, 24, 19, 1) { Bias = true },
            new(1, 7, 6, 32, 40, 1, 2), new(1, 8, 9, 16, 16, 3) { Bias = true, Residual = true, Relu = CudaRelu.Last },
            new(1, 6, 5, 16, 24, 3) { Accumulate = true }, new(2, 4, 3, 8, 16, 1) { Residual = true },
            .. Enumerable.Range(0, 6).Select(_ => ConvolutionCase.Random(random, 12, 64) with { BorderBias = false }),
        ];
        foreach ((int number, ConvolutionCase c) in cases.Index())
        {
            using DeviceConvolution convolution = new(libraries.Device, random, element, c, aligned: number < 7, onVectors: true);
            if (!CudnnConvolution.CanExpress(convolution.Arguments)) continue;
            Compare(libraries, element, convolution, c, copiesAdded: true, call => CudnnConvolution.AlgorithmsFor(libraries.Cudnn, call)
                .Select(a => (Func<CudaWork>)(() => new CudnnConvolution(libraries.Cudnn, libraries.Workspace, call, a))));
        }
        libraries.AssertCompared(cases.Length);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void PointwiseConvolutionsAgreeWithCublasLt(string library, string type)
    {
        CudaElement element = KernelDevice.Element(type);
        using var libraries = new Libraries(library, element);
        Random random = new(6 + type.Length);
        ConvolutionCase[] cases =
        [
            new(1, 1, 1, 8, 8, 1), new(2, 5, 7, 24, 40, 1) { Bias = true }, new(1, 8, 9, 16, 16, 1) { Bias = true, Residual = true, Relu = CudaRelu.Last },
            new(1, 6, 5, 32, 24, 1) { Accumulate = true, Relu = CudaRelu.Last }, new(1, 3, 3, 64, 8, 1) { Relu = CudaRelu.First },
            .. Enumerable.Range(0, 6).Select(_ => ConvolutionCase.Random(random, 12, 64) with { Kernel = 1, Stride = 1, BorderBias = false }),
        ];
        foreach ((int number, ConvolutionCase c) in cases.Index())
        {
            using DeviceConvolution convolution = new(libraries.Device, random, element, c, aligned: number < 5, onVectors: true);
            if (!CublasLtProduct.CanExpress(convolution.Arguments)) continue;
            Compare(libraries, element, convolution, c, copiesAdded: false, call => CublasLtProduct.AlgorithmsFor(libraries.CublasLt, call)
                .Select(a => (Func<CudaWork>)(() => new CublasLtProduct(libraries.CublasLt, libraries.Workspace, call, a))));
        }
        libraries.AssertCompared(cases.Length);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void DepthwiseConvolutionsAgreeWithCudnn(string library, string type)
    {
        CudaElement element = KernelDevice.Element(type);
        using var libraries = new Libraries(library, element);
        KernelDevice device = libraries.Device;
        Random random = new(7 + type.Length);
        (int N, int H, int W, int C, int Multiplier, int Dilation)[] cases =
        [
            (1, 1, 1, 8, 1, 1), (1, 9, 11, 16, 2, 1), (2, 12, 10, 32, 1, 3), (1, 13, 7, 24, 1, 5), (1, 4, 5, 8, 2, 5),
            .. Enumerable.Range(0, 3).Select(_ => (
                random.Next(1, 3), random.Next(1, 16), random.Next(1, 16), 8 * random.Next(1, 5), random.Next(1, 3), random.Next(1, 6))),
        ];
        foreach ((int number, var s) in cases.Index())
        {
            int outputs = s.C * s.Multiplier;
            (int, int, int, int) input = (s.N, s.H, s.W, s.C);
            // Of the maps' type, so that both compute with the same numbers. Here a tap's channels lie together; cuDNN has a channel's taps together.
            double[] weights = [.. Enumerable.Range(0, 9 * outputs).Select(_ => ElementCode.Round(element, random.NextDouble() * 2 - 1))];
            using CudaDeviceVariable<float> ours = device.UploadFloats(weights);
            using CudaDeviceVariable<byte> theirs = libraries.Upload(element, [.. Enumerable.Range(0, 9 * outputs).Select(i => weights[i % 9 * outputs + i / 9])]);
            using DeviceSlice x = number < 5 ? new(device, element, input) : DeviceSlice.RandomOnVectors(random, device, element, input);
            using DeviceSlice y = new(device, element, (s.N, s.H, s.W, outputs)), z = new(device, element, (s.N, s.H, s.W, outputs));
            x.Randomise(random);
            device.Run(DepthwiseConvCuda.Prepare(
                device.Kernels, [new CudaDepthwiseBranch(x.Map, y.Map, ours.DevicePointer, default, s.Multiplier, s.Dilation)], relu: false));
            libraries.Begin($"{s}", x.Map, z.Map);
            if (!libraries.Try(() => Convolve(libraries, x.Map, z.Map, theirs.DevicePointer, s.Dilation))) continue;
            Doubles expected = y.Read($"{s}, kernel");
            z.AssertClose($"{s}, cuDNN", expected, 4e-6 + Rounding(element, expected));
        }
        libraries.AssertCompared(cases.Length);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void MaximaAgreeWithCudnn(string library, string type)
    {
        CudaElement element = KernelDevice.Element(type);
        using var libraries = new Libraries(library, element);
        KernelDevice device = libraries.Device;
        Random random = new(8 + type.Length);
        (int N, int H, int W, int C)[] cases =
        [
            (1, 1, 1, 1), (1, 16, 20, 32), (2, 17, 9, 24),
            .. Enumerable.Range(0, 4).Select(_ => (random.Next(1, 3), random.Next(1, 24), random.Next(1, 24), random.Next(1, 50))),
        ];
        foreach ((int number, var s) in cases.Index())
        {
            (int, int, int, int) pooled = (s.N, (s.H + 1) / 2, (s.W + 1) / 2, s.C);
            DeviceSlice Slice((int, int, int, int) shape) =>
                number < 3 ? new(device, element, shape) : DeviceSlice.Random(random, device, element, shape);
            using DeviceSlice x = Slice(s), y = Slice(pooled), z = Slice(pooled);
            x.Randomise(random);
            device.Run(MaxPoolCuda.Prepare(device.Kernels, x.Map, y.Map));
            libraries.Begin($"{s}", x.Map, z.Map);
            if (!libraries.Try(() => Pool(libraries, x.Map, z.Map))) continue;
            Assert.Equal(y.Read($"{s}, kernel").Data, z.Read($"{s}, cuDNN").Data);
        }
        libraries.AssertCompared(cases.Length);
    }

    // Runs each call of a convolution after this project's kernel and compares. What is added is copied to y before, or read where it lies.
    private static void Compare(
        Libraries libraries, CudaElement element, DeviceConvolution convolution, ConvolutionCase c, bool copiesAdded,
        Func<LibraryConvolution, IEnumerable<Func<CudaWork>>> callsFor)
    {
        CudaConvolution arguments = convolution.Arguments;
        using CudaDeviceVariable<byte> weights = libraries.Upload(element, convolution.Weights), bias = libraries.Upload(element, convolution.Biases);
        var call = new LibraryConvolution(arguments.X, arguments.Y, weights.DevicePointer, c.Kernel, c.Stride)
        {
            Added = arguments.Residual is null || !copiesAdded ? arguments.Residual : arguments.Y, Relu = arguments.Relu != CudaRelu.None,
        };
        if (c.Bias || CudnnConvolution.IsFused(call)) call = call with { Bias = bias.DevicePointer };
        KernelDevice device = libraries.Device;
        device.Run(element == CudaElement.Float32 ? ConvFfmaCuda.Prepare(device.Kernels, arguments) : ConvMmaCuda.Prepare(device.Kernels, arguments));
        Doubles expected = convolution.Y.Read($"{c}, kernel");
        // Both round their sums and results; the libraries' bias is rounded to the maps' type.
        double error = 2 * convolution.Error + Rounding(element, expected) + ElementCode.RoundingError(element, 1);
        Func<CudaWork>[] calls = [.. callsFor(call)];
        libraries.Begin(call.ToString(), call.X, call.Y, call.Added ?? call.Y);
        if (calls.Length == 0) libraries.OffersNothing(call.ToString());
        foreach (Func<CudaWork> make in calls)
        {
            convolution.Reset();
            if (c.Residual && copiesAdded) device.Run(ScaledCopyCuda.Prepare(device.Kernels, arguments.Residual!.Value, arguments.Y));
            CudaWork? work = null;
            bool isTaken = libraries.Try(() =>
            {
                work = make();
                libraries.Workspace.Allocate();
                work.Launch(device.Stream);
            });
            if (isTaken) convolution.Y.AssertClose($"{c}, {work!.Name}", expected, error);
            (work as IDisposable)?.Dispose();
        }
    }

    private static double Rounding(CudaElement element, Doubles values) => ElementCode.RoundingError(element, values.Data.Max(Math.Abs));

    // A depth-wise convolution as cuDNN has it: as many groups as channels.
    private static void Convolve(Libraries libraries, in DeviceMap x, in DeviceMap y, CUdeviceptr weights, int dilation)
    {
        ICudnn cudnn = libraries.Cudnn.Cudnn;
        CudnnDataType type = new LibraryConvolution(x, y, weights, 3).CudnnType;
        CudnnMathType math = x.Element == CudaElement.Float32 ? CudnnMathType.Fma : CudnnMathType.TensorOp;
        bool ofSlices = new LibraryConvolution(x, y, weights, 3).HasSlices;
        using ContextScope scope = libraries.Device.Context.Enter();
        using CudnnDescriptor from = CudnnConvolution.DescriptorOf(cudnn, type, x), to = CudnnConvolution.DescriptorOf(cudnn, type, y);
        using CudnnDescriptor filter = CudnnDescriptor.Filter(cudnn, type, y.C, 3, 1);
        using CudnnDescriptor convolution = CudnnDescriptor.Convolution(cudnn, 3, 1, math, dilation, groups: x.C);
        nint handle = libraries.Cudnn.Use(libraries.Device.Stream);
        CudnnAlgorithmPerformance best;
        CudnnStatus.Check(cudnn, cudnn.GetConvolutionForwardAlgorithm(
            handle, from.Value, filter.Value, convolution.Value, to.Value, 1, out int returned, &best), ofSlices);
        CudnnStatus.Check(cudnn, returned == 1 ? best.Status : 0, ofSlices, "GetConvolutionForwardAlgorithm");
        CudnnStatus.Check(cudnn, cudnn.GetConvolutionForwardWorkspaceSize(
            handle, from.Value, filter.Value, convolution.Value, to.Value, best.Algorithm, out nuint bytes), ofSlices);
        libraries.Workspace.Reserve((long)bytes);
        libraries.Workspace.Allocate();
        float one = 1, zero = 0;
        CudnnStatus.Check(cudnn, cudnn.ConvolutionForward(
            handle, &one, from.Value, x.Data, filter.Value, weights, convolution.Value, best.Algorithm, libraries.Workspace.Address, bytes,
            &zero, to.Value, y.Data),
            ofSlices);
    }

    private static void Pool(Libraries libraries, in DeviceMap x, in DeviceMap y)
    {
        ICudnn cudnn = libraries.Cudnn.Cudnn;
        CudnnDataType type = new LibraryConvolution(x, y, default, 3).CudnnType;
        using ContextScope scope = libraries.Device.Context.Enter();
        using CudnnDescriptor from = CudnnConvolution.DescriptorOf(cudnn, type, x), to = CudnnConvolution.DescriptorOf(cudnn, type, y);
        using CudnnDescriptor window = CudnnDescriptor.MaxPooling(cudnn, window: 3, padding: 1, stride: 2);
        nint handle = libraries.Cudnn.Use(libraries.Device.Stream);
        float one = 1, zero = 0;
        CudnnStatus.Check(cudnn, cudnn.PoolingForward(handle, window.Value, &one, from.Value, x.Data, &zero, to.Value, y.Data),
            ofSlices: new LibraryConvolution(x, y, default, 3).HasSlices);
    }
}
