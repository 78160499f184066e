using System.Buffers.Binary;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

/// <summary>
/// Registers out of cubins. <see cref="Kernels.KernelCompilationTests"/> holds them against the assembler's report for every kernel; here are
/// small kernels with known answers, and damaged files.
/// </summary>
public sealed class KernelResourcesTests
{
    private const string Shared = """
        extern "C" __global__ void __launch_bounds__(96) shared_kernel(float *x)
        {
            __shared__ float values[500];
            values[threadIdx.x] = x[threadIdx.x];
            __syncthreads();
            x[threadIdx.x] = values[95 - threadIdx.x];
        }
        """;

    private const string Local = """
        extern "C" __global__ void local_kernel(float *x, int n)
        {
            float values[100];
            for (int i = 0; i < 100; i++) values[i] = x[i] * n;
            for (int i = 0; i < n; i++) x[i] = values[(i * n) % 100];
        }
        """;

    public static TheoryData<int> Architectures => [61, 75, 80, 86, 89, 90];

    [Theory]
    [MemberData(nameof(Architectures))]
    public void StaticSharedMemoryAndBoundAreTheKernelsOwn(int architecture)
    {
        KernelResources resources = Read(Compile(Shared, "shared_kernel", architecture), "shared_kernel", architecture);
        Assert.Equal((2000, 0, 96), (resources.StaticSharedBytes, resources.LocalBytes, resources.MaxThreads));
        Assert.InRange(resources.Registers, 4, 32);
    }

    [Theory]
    [MemberData(nameof(Architectures))]
    public void IndexedArraysAreLocalMemory(int architecture)
    {
        KernelResources resources = Read(Compile(Local, "local_kernel", architecture), "local_kernel", architecture);
        Assert.Equal((0, 400, 1024), (resources.StaticSharedBytes, resources.LocalBytes, resources.MaxThreads));
    }

    [Fact]
    public void RegistersFollowTheOptionThatBoundsThem()
    {
        const string Many = """
            extern "C" __global__ void many(float *x)
            {
                float v[40];
                #pragma unroll
                for (int i = 0; i < 40; i++) v[i] = x[i * 1024 + threadIdx.x];
                __syncthreads();
                #pragma unroll
                for (int i = 0; i < 40; i++) x[(39 - i) * 1024 + threadIdx.x] = v[i] * v[(i * 7 + 3) % 40];
            }
            """;
        int free = Read(Compile(Many, "many", 80), "many", 80).Registers, bound = Read(Compile(Many, "many", 80, "--maxrregcount=32"), "many", 80).Registers;
        Assert.True(free >= 40, $"{free} registers for 40 values at once");
        Assert.InRange(bound, 1, 32);
    }

    [Fact]
    public void WhatIsNotThereIsNamed()
    {
        byte[] cubin = Compile(Shared, "shared_kernel", 80);
        Assert.Contains("no kernel other", Assert.Throws<InvalidDataException>(() => Read(cubin, "other", 80)).Message, StringComparison.Ordinal);
        Assert.Contains("no cubin", Assert.Throws<InvalidDataException>(() => Read("PTX text"u8.ToArray(), "shared_kernel", 80)).Message, StringComparison.Ordinal);
        Assert.Contains("no cubin", Assert.Throws<InvalidDataException>(() => Read([], "shared_kernel", 80)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void DamagedFilesAreRefused()
    {
        byte[] cubin = Compile(Shared, "shared_kernel", 90);
        for (int length = 0; length < cubin.Length; length += 7) Refuses(cubin[..length]);
        // Every word of the headers and tables as something far outside the file, and as nothing.
        for (int at = 0; at + sizeof(uint) <= cubin.Length; at += sizeof(uint))
        {
            foreach (uint value in (uint[])[0, 0x7fffffff, uint.MaxValue])
            {
                byte[] changed = [.. cubin];
                BinaryPrimitives.WriteUInt32LittleEndian(changed.AsSpan(at), value);
                Refuses(changed);
            }
        }

        // Reads it, or says that it can't: nothing else.
        static void Refuses(byte[] file)
        {
            try
            {
                Read(file, "shared_kernel", 90);
            }
            catch (InvalidDataException)
            {
            }
        }
    }

    private static KernelResources Read(byte[] cubin, string kernel, int architecture) =>
        KernelResources.OfCubin(cubin, kernel, ComputeCapability.FromNumber(architecture));

    private static byte[] Compile(string text, string kernel, int architecture, params string[] options) => TestNvrtc.Instance.Compile(
        $"{kernel}.cu", text, [], kernel, options, new NvrtcTarget(ComputeCapability.FromNumber(architecture), IsPtx: false)).Image;
}
