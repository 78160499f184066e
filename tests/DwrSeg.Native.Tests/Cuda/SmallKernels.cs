using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Tests.Cuda;

/// <summary>Kernel files in memory.</summary>
internal static class SmallKernels
{
    public const string Kernel = """
        #include "outer.cuh"
        struct Args { float *y; int n; float factor; };
        template <typename T, int WIDTH>
        __global__ void scale(const __grid_constant__ Args a)
        {
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < a.n) a.y[i] = T(inner(a.y[i]) * a.factor * WIDTH);
        }
        """;

    public const string Outer = "#pragma once\n#include \"inner.cuh\"\n";
    public const string Inner = "#pragma once\n#ifndef OFFSET\n#define OFFSET 0\n#endif\n__device__ inline float inner(float x) { return x + OFFSET; }\n";

    public static KernelSource Scale => new("scale", "scale<float, 4>");

    public static Dictionary<string, string> Texts => new() { ["scale.cu"] = Kernel, ["outer.cuh"] = Outer, ["inner.cuh"] = Inner };

    public static KernelFiles Files(Dictionary<string, string>? texts = null)
    {
        Dictionary<string, string> all = texts ?? Texts;
        return new KernelFiles(all.GetValueOrDefault);
    }

    /// <summary>The C# mirror of <c>Args</c>.</summary>
    public readonly record struct Arguments(ulong Y, int N, float Factor);
}
