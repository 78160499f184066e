using DwrSeg.Native.Cuda;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

public sealed class OccupancyTests
{
    // By hand from the architectures' published limits.
    [Theory]
    [InlineData(80, 256, 32, 0, 8, 64, "Warps")]
    [InlineData(80, 256, 40, 0, 6, 48, "Registers")]           // 1280 registers a warp: 51 warps, 48 in whole quarters
    [InlineData(80, 32, 16, 0, 32, 32, "Blocks")]
    [InlineData(86, 64, 16, 0, 16, 32, "Blocks")]
    [InlineData(75, 256, 32, 0, 4, 32, "Warps")]
    [InlineData(61, 128, 32, 40 * 1024, 2, 8, "SharedMemory")] // 96 KiB hold two of 40
    [InlineData(90, 256, 134, 111104, 1, 8, "Registers")]      // 4352 registers a warp: 15 warps, 12 in whole quarters
    [InlineData(90, 256, 128, 135296, 1, 8, "SharedMemory")]   // 228 KiB hold one of 132.1 + 1
    [InlineData(90, 128, 0, 0, 16, 64, "Warps")]               // registers that are not known do not bind
    [InlineData(61, 128, 32, 49153, 0, 0, "SharedMemory")]     // more than a block can have
    [InlineData(90, 1025, 16, 0, 0, 0, "Warps")]
    public void WhatBindsFirstIsNamed(int architecture, int threads, int registers, long sharedBytes, int blocks, int warps, string limit)
    {
        using var driver = new EmulatedDriver(architecture);
        MultiprocessorLimits limits = MultiprocessorLimits.Of(new CudaDevice(driver, 0));
        Assert.Equal(new Occupancy(blocks, warps, Enum.Parse<OccupancyLimit>(limit)), Occupancy.Of(limits, threads, registers, sharedBytes));
    }
}
