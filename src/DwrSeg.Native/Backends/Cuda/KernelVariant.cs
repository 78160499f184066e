using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// A kernel file specialised by macro definitions. The file <c>kernels/NAME.cu</c> holds one kernel, <c>NAME</c>, with one argument struct.
/// </summary>
/// <param name="Name">The kernel.</param>
/// <param name="Definitions">What the file's header lists under "Defines", such as <c>ELEMENT=f16 WIDTH=8</c>.</param>
/// <param name="FirstArchitecture">The oldest architecture that it compiles for.</param>
internal sealed record KernelVariant(string Name, string Definitions, ComputeCapability FirstArchitecture)
{
    /// <summary>The architectures that kernels are compiled for and tested on; others take the code of the next older one.</summary>
    public static IReadOnlyList<ComputeCapability> Architectures { get; } = [new(6, 1), new(7, 5), new(8, 0), new(8, 6), new(8, 9), new(9, 0)];

    public static KernelVariant Of(string name, string definitions, params ReadOnlySpan<CudaElement> elements)
    {
        ComputeCapability first = CudaElement.Float32.FirstArchitecture();
        foreach (CudaElement element in elements)
        {
            if (element.FirstArchitecture() > first) first = element.FirstArchitecture();
        }
        return new KernelVariant(name, definitions, first);
    }

    /// <summary>It uses instructions that <see cref="FirstArchitecture"/> alone has.</summary>
    public bool IsSpecific { get; init; }

    /// <summary>Dynamic shared memory of each of its launches; null where it depends on the launch's sizes.</summary>
    public int? DynamicSharedBytes { get; init; } = 0;

    /// <summary>Its products are those of tensor cores.</summary>
    public bool UsesTensorCores => Includes("mma.cuh");

    /// <summary>It waits itself for the launch before it, where that has not ended.</summary>
    public bool AwaitsPrevious => Includes("overlap.cuh");

    /// <summary>What the kernel cache compiles.</summary>
    public KernelSource Source =>
        new(Name, Name)
        {
            Defines = [.. Definitions.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Split)], IsSpecific = IsSpecific,
        };

    public bool RunsOn(ComputeCapability architecture) => IsSpecific ? architecture == FirstArchitecture : FirstArchitecture <= architecture;

    public override string ToString() => Definitions.Length == 0 ? Name : $"{Name} {Definitions}";

    private bool Includes(string header) => KernelFiles.Embedded.Headers(KernelFiles.Embedded.Kernel(Name)).Any(h => h.Name == header);

    private static (string Name, string Value) Split(string definition)
    {
        int equals = definition.IndexOf('=');
        return (definition[..equals], definition[(equals + 1)..]);
    }
}
