using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Backends.Cpu;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

/// <summary>What a convolution of a test is like.</summary>
internal sealed record ConvolutionCase(int N, int H, int W, int Inputs, int Outputs, int Kernel, int Stride = 1)
{
    public bool Bias { get; init; }

    public bool BorderBias { get; init; }

    public bool Residual { get; init; }

    /// <summary>The residual is y itself.</summary>
    public bool Accumulate { get; init; }

    public CudaRelu Relu { get; init; }

    public int OutHeight => (H + Stride - 1) / Stride;

    public int OutWidth => (W + Stride - 1) / Stride;

    /// <summary>Any kernel, stride and epilogue; half of them with channels of whole vectors.</summary>
    public static ConvolutionCase Random(Random random, int most = 14, int mostChannels = 100)
    {
        int vector = random.Next(2) == 0 ? 8 : 1, kernel = random.Next(2) * 2 + 1, stride = random.Next(1, 3), residual = random.Next(3);
        bool border = (kernel, stride) == (3, 1) && random.Next(2) == 0;
        return new ConvolutionCase(
            random.Next(1, 3), random.Next(1, most), random.Next(1, most), random.Next(1, mostChannels / vector) * vector,
            random.Next(1, mostChannels / vector) * vector, kernel, stride)
        {
            Bias = border || random.Next(2) == 0, BorderBias = border, Residual = residual == 1, Accumulate = residual == 2,
            Relu = (CudaRelu)random.Next(3),
        };
    }
}

/// <summary>A convolution with its memory, filled with random numbers that the maps' type holds exactly; and plain loops for what it must give.</summary>
internal sealed class DeviceConvolution : IDisposable
{
    private readonly ConvolutionCase _case;
    private readonly KernelDevice _device;
    private readonly List<IDisposable> _memory = [];
    private readonly Dictionary<WeightLayout, CudaDeviceVariable<byte>> _packed = [];
    private readonly double[] _biases;
    private readonly Doubles _added;

    /// <param name="device">Where.</param>
    /// <param name="random">What fills it.</param>
    /// <param name="element">The maps' type.</param>
    /// <param name="c">What it is like.</param>
    /// <param name="aligned">Maps without gaps, on 16 bytes.</param>
    /// <param name="onVectors">Maps on 16 bytes, with or without gaps.</param>
    public DeviceConvolution(KernelDevice device, Random random, CudaElement element, ConvolutionCase c, bool aligned = false, bool onVectors = false)
    {
        (_device, _case) = (device, c);
        X = Slice((c.N, c.H, c.W, c.Inputs));
        Y = Slice((c.N, c.OutHeight, c.OutWidth, c.Outputs));
        Input = X.Randomise(random);
        int taps = c.Kernel * c.Kernel;
        // Sums of order one, whatever their length.
        double scale = Math.Sqrt(3.0 / (taps * c.Inputs));
        Weights = [.. Enumerable.Range(0, c.Outputs * taps * c.Inputs).Select(_ => ElementCode.Round(element, (random.NextDouble() * 2 - 1) * scale))];
        _biases = [.. Enumerable.Range(0, (c.BorderBias ? Conv2d.BorderCases : 1) * c.Outputs).Select(_ => c.Bias ? (float)(random.NextDouble() - 0.5) : 0)];
        var bias = Keep(device.UploadFloats(_biases));
        DeviceSlice? residual = c.Residual ? Slice((c.N, c.OutHeight, c.OutWidth, c.Outputs)) : c.Accumulate ? Y : null;
        _added = residual?.Randomise(random) ?? new Doubles(c.N, c.OutHeight, c.OutWidth, c.Outputs);
        Arguments = new CudaConvolution(X.Map, Y.Map, layout => Pack(element, layout), c.Kernel, c.Stride)
        {
            Bias = c.Bias ? bias.DevicePointer : default, BorderBias = c.BorderBias, Residual = residual?.Map, Relu = c.Relu,
        };

        DeviceSlice Slice((int N, int H, int W, int C) shape) =>
            Keep(aligned ? new DeviceSlice(device, element, shape)
                : onVectors ? DeviceSlice.RandomOnVectors(random, device, element, shape) : DeviceSlice.Random(random, device, element, shape));
    }

    public DeviceSlice X { get; }

    public DeviceSlice Y { get; }

    public Doubles Input { get; }

    /// <summary>(O, K, K, I).</summary>
    public double[] Weights { get; }

    /// <summary>[outputs], or a border bias's table; zeros where there is none.</summary>
    public double[] Biases => _biases;

    public CudaConvolution Arguments { get; }

    /// <summary>
    /// Rounding of fp32 sums of products of order 1/√n: n roundings of partial sums of order one, in random directions. Four times as
    /// much as expected, because tensor cores may round towards zero.
    /// </summary>
    public double Error => Math.Sqrt(_case.Kernel * _case.Kernel * _case.Inputs + 8) * Math.ScaleB(4, -24);

    /// <summary>Puts back what y held before the first launch.</summary>
    public void Reset() => Y.Write(_case.Accumulate ? _added.Data : []);

    public Doubles Expected()
    {
        ConvolutionCase c = _case;
        Doubles y = new(c.N, c.OutHeight, c.OutWidth, c.Outputs);
        for (int n = 0; n < y.N; n++)
        for (int row = 0; row < y.H; row++)
        for (int column = 0; column < y.W; column++)
        for (int o = 0; o < y.C; o++)
        {
            double sum = Sum(n, row, column, o) + _biases[(c.BorderBias ? BorderCase(row, y.H) * 4 + BorderCase(column, y.W) : 0) * y.C + o];
            if (c.Relu == CudaRelu.First) sum = Math.Max(sum, 0);
            sum += _added[n, row, column, o];
            y[n, row, column, o] = c.Relu == CudaRelu.Last ? Math.Max(sum, 0) : sum;
        }
        return y;
    }

    public void Dispose()
    {
        foreach (IDisposable memory in _memory) memory.Dispose();
    }

    private double Sum(int n, int row, int column, int o)
    {
        ConvolutionCase c = _case;
        double sum = 0;
        for (int ky = 0; ky < c.Kernel; ky++)
        for (int kx = 0; kx < c.Kernel; kx++)
        {
            int y = row * c.Stride + ky - c.Kernel / 2, x = column * c.Stride + kx - c.Kernel / 2;
            if (y < 0 || y >= c.H || x < 0 || x >= c.W) continue;
            for (int i = 0; i < c.Inputs; i++) sum += Input[n, y, x, i] * Weights[((o * c.Kernel + ky) * c.Kernel + kx) * c.Inputs + i];
        }
        return sum;
    }

    private CUdeviceptr Pack(CudaElement element, WeightLayout layout)
    {
        if (_packed.TryGetValue(layout, out CudaDeviceVariable<byte>? packed)) return packed.DevicePointer;
        int taps = _case.Kernel * _case.Kernel;
        CudaDeviceVariable<float> plain = Keep(_device.UploadFloats(Weights));
        packed = Keep(new CudaDeviceVariable<byte>(_device.Context, layout.ElementsOf(_case.Outputs, taps, _case.Inputs) * element.Bytes()));
        _device.Run(PackWeightsCuda.Prepare(
            _device.Kernels, plain.DevicePointer, packed.DevicePointer, element, layout, _case.Outputs, taps, _case.Inputs));
        _packed.Add(layout, packed);
        return packed.DevicePointer;
    }

    private T Keep<T>(T memory)
        where T : IDisposable
    {
        _memory.Add(memory);
        return memory;
    }

    private static int BorderCase(int index, int extent) => (index == 0 ? 1 : 0) | (index == extent - 1 ? 2 : 0);
}
