using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class SgdCudaTests
{
    private const float Momentum = 0.9f;

    /// <summary>One tensor's values on the device, and plain loops for them.</summary>
    private sealed class Update : IDisposable
    {
        private readonly DeviceSlice _parameter, _velocity, _gradient;
        private readonly float _decay;
        private readonly float[] _gradients, _parameters, _velocities;

        public Update(KernelDevice device, Random random, int count, int shift, CudaDeviceVariable<float> rate, float decay)
        {
            _decay = decay;
            _parameter = new DeviceSlice(device, CudaElement.Float32, (1, 1, 1, count), shift: shift);
            _velocity = new DeviceSlice(device, CudaElement.Float32, (1, 1, 1, count), shift: 2 * shift);
            _gradient = new DeviceSlice(device, CudaElement.Float32, (1, 1, 1, count), shift: 3 * shift);
            (_parameters, _velocities, _gradients) = (Draw(_parameter), Draw(_velocity), Draw(_gradient));
            Arguments = new CudaUpdate(
                _parameter.Map.Data, _gradient.Map.Data, _velocity.Map.Data, rate.DevicePointer, count, Momentum, decay);

            float[] Draw(DeviceSlice slice) => [.. slice.Randomise(random).Data.Select(v => (float)v)];
        }

        public CudaUpdate Arguments { get; }

        public void Step(float rate)
        {
            for (int i = 0; i < _parameters.Length; i++)
            {
                _velocities[i] = MathF.FusedMultiplyAdd(
                    Momentum, _velocities[i], MathF.FusedMultiplyAdd(_decay, _parameters[i], _gradients[i]));
                _parameters[i] = MathF.FusedMultiplyAdd(-rate, _velocities[i], _parameters[i]);
            }
        }

        public void AssertUpdated(string name)
        {
            Assert.Equal(_parameters.Select(v => (double)v), _parameter.Read($"{name}, parameter").Data);
            Assert.Equal(_velocities.Select(v => (double)v), _velocity.Read($"{name}, velocity").Data);
            Assert.Equal(_gradients.Select(v => (double)v), _gradient.Read($"{name}, gradient").Data);
        }

        public void Dispose()
        {
            _parameter.Dispose();
            _velocity.Dispose();
            _gradient.Dispose();
        }
    }

    // Fused multiply-adds round once wherever they are made, so nothing may differ.
    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void AllUpdatesOfATableAreTheCpusToTheBit(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        int[] counts = [1, 3, 4, 64, 4095, 4096, 4097, 10001, 7, 576, .. Enumerable.Range(0, 5).Select(_ => random.Next(1, 9000))];
        foreach (int shift in new[] { 0, 1 })
        {
            using CudaDeviceVariable<float> rate = device.Upload<float>([0.05f]);
            Update[] updates = [.. counts.Select((count, i) => new Update(device, random, count, i % 3 == 2 ? shift : 0, rate, i % 2 * 5e-4f))];
            using SgdCuda sgd = new(device.Kernels, [.. updates.Select(u => u.Arguments)], device.Stream);
            foreach (float value in new[] { 0.05f, 0.01f })
            {
                // A new rate in the same launch.
                rate.CopyToDevice([value], device.Stream);
                device.Run(sgd.Launch);
                foreach (Update update in updates) update.Step(value);
            }
            for (int i = 0; i < updates.Length; i++)
            {
                updates[i].AssertUpdated($"{sgd.Launch}, update {i} of {counts[i]}");
                updates[i].Dispose();
            }
        }
    }

    [Fact]
    public void MovesLittleMoreThanItMust()
    {
        KernelDevice device = KernelDevice.Usual;
        using CudaDeviceVariable<float> rate = device.Upload<float>([0.05f]);
        int[] counts = [110592, 73728, 1152, 64, 64];
        Update[] updates = [.. counts.Select(c => new Update(device, new Random(c), c, 0, rate, 5e-4f))];
        using SgdCuda sgd = new(device.Kernels, [.. updates.Select(u => u.Arguments)], device.Stream);
        LaunchStatistics statistics = device.Count(sgd.Launch);
        LaunchCounts.AssertLoadsAtMost(1.01, 12L * counts.Sum(), statistics);
        LaunchCounts.AssertStoresAtLeast(0.99, 8L * counts.Sum(), statistics);
        foreach (Update update in updates) update.Dispose();
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using CudaDeviceVariable<float> rate = device.Upload<float>([0.05f]);
        using Update update = new(device, new Random(1), 5, 0, rate, 0);
        Assert.Throws<ArgumentException>(() => new SgdCuda(device.Kernels, [], device.Stream));
        Assert.Throws<ArgumentException>(() => new SgdCuda(device.Kernels, [update.Arguments with { Count = 0 }], device.Stream));
        Assert.Throws<ArgumentException>(() => new SgdCuda(device.Kernels, [update.Arguments with { Rate = default }], device.Stream));
        Assert.Throws<ArgumentException>(
            () => new SgdCuda(device.Kernels, [update.Arguments with { Velocity = update.Arguments.Velocity + 2 }], device.Stream));
    }
}
