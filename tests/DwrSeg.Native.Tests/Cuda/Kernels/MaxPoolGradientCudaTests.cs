using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class MaxPoolGradientCudaTests
{
    // The first maximum of a window in row order, or its last NaN.
    private static (int Row, int Column) Winner(Doubles x, int n, int r, int k, int c)
    {
        (int Row, int Column) winner = (-1, -1);
        for (int iy = Math.Max(2 * r - 1, 0); iy <= Math.Min(2 * r + 1, x.H - 1); iy++)
        for (int ix = Math.Max(2 * k - 1, 0); ix <= Math.Min(2 * k + 1, x.W - 1); ix++)
        {
            double value = x[n, iy, ix, c];
            if (winner.Row < 0 || value > x[n, winner.Row, winner.Column, c] || double.IsNaN(value)) winner = (iy, ix);
        }
        return winner;
    }

    private static void Scatter(Doubles x, Doubles dy, Doubles dx)
    {
        for (int n = 0; n < dy.N; n++)
        for (int r = 0; r < dy.H; r++)
        for (int k = 0; k < dy.W; k++)
        for (int c = 0; c < dy.C; c++)
        {
            (int row, int column) = Winner(x, n, r, k, c);
            dx[n, row, column, c] += dy[n, r, k, c];
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void EachWindowsGradientGoesToItsFirstMaximum(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        (int N, int H, int W, int C)[] cases =
        [
            (1, 1, 1, 1), (2, 2, 2, 16), (1, 1, 9, 8), (1, 9, 1, 3), (1, 16, 20, 32), (1, 17, 21, 32), (1, 5, 4, 320),
            .. Enumerable.Range(0, 6).Select(_ => (random.Next(1, 3), random.Next(1, 24), random.Next(1, 24), random.Next(1, 70))),
        ];
        foreach (var s in cases)
        foreach (bool accumulate in new[] { false, true })
        {
            using DeviceSlice x = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            using DeviceSlice dx = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            using DeviceSlice dy = DeviceSlice.Random(random, device, CudaElement.Float32, (s.N, (s.H + 1) / 2, (s.W + 1) / 2, s.C));
            // Whole numbers: sums are exact. A few values only: most windows have several maxima.
            double[] special = [double.NegativeInfinity, double.PositiveInfinity, double.NaN];
            Doubles values = Draw(x, () => random.Next(20) == 0 ? special[random.Next(3)] : random.Next(-2, 3));
            Doubles gradients = Draw(dy, () => random.Next(-8, 9));
            Doubles expected = accumulate ? Draw(dx, () => random.Next(-8, 9)) : new Doubles(s.N, s.H, s.W, s.C);
            Scatter(values, gradients, expected);
            CudaLaunch launch = MaxPoolGradientCuda.Prepare(device.Kernels, x.Map, dy.Map, dx.Map, accumulate);
            device.Run(launch);
            Assert.Equal(expected.Data, dx.Read($"{s}, {launch}").Data);
        }
    }

    [Fact]
    public void WhereAllAreMinusInfinityTheFirstInsideTheMapWins()
    {
        KernelDevice device = KernelDevice.Usual;
        foreach (int channels in new[] { 3, 8 })
        {
            using DeviceSlice x = new(device, CudaElement.Float32, (1, 5, 6, channels)), dx = new(device, CudaElement.Float32, (1, 5, 6, channels));
            using DeviceSlice dy = new(device, CudaElement.Float32, (1, 3, 3, channels));
            Doubles values = Draw(x, () => double.NegativeInfinity), gradients = Draw(dy, () => 1), expected = new(1, 5, 6, channels);
            Scatter(values, gradients, expected);
            device.Run(MaxPoolGradientCuda.Prepare(device.Kernels, x.Map, dy.Map, dx.Map, accumulate: false));
            Assert.Equal(expected.Data, dx.Read("all -inf").Data);
        }
    }

    [Fact]
    public void MovesLittleMoreThanItMust()
    {
        // The stem: 32 channels of a map of 96, from the second half of a map of 64.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 128, 128, 32), 0, 64), dy = new(device, CudaElement.Float32, (1, 64, 64, 32), 32);
        using DeviceSlice dx = new(device, CudaElement.Float32, (1, 128, 128, 32));
        x.Randomise(new Random(1));
        dy.Randomise(new Random(2));
        LaunchStatistics counts = device.Count(MaxPoolGradientCuda.Prepare(device.Kernels, x.Map, dy.Map, dx.Map, accumulate: false));
        LaunchCounts.AssertLoadsAtMost(1, x.Map.Bytes + dy.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(1, dx.Map.Bytes, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 5, 5, 8)), dy = new(device, CudaElement.Float32, (1, 3, 3, 8));
        using DeviceSlice small = new(device, CudaElement.Float32, (1, 2, 3, 8)), half = new(device, CudaElement.Float16, (1, 5, 5, 8));
        Assert.Throws<ArgumentException>(() => MaxPoolGradientCuda.Prepare(device.Kernels, x.Map, small.Map, x.Map, false));
        Assert.Throws<ArgumentException>(() => MaxPoolGradientCuda.Prepare(device.Kernels, x.Map, dy.Map, dy.Map, false));
        Assert.Throws<ArgumentException>(() => MaxPoolGradientCuda.Prepare(device.Kernels, half.Map, dy.Map, x.Map, false));
    }

    private static Doubles Draw(DeviceSlice slice, Func<double> value)
    {
        Doubles values = new(slice.Map.N, slice.Map.H, slice.Map.W, slice.Map.C);
        for (int i = 0; i < values.Data.Length; i++) values.Data[i] = value();
        slice.Write(values.Data);
        return values;
    }
}
