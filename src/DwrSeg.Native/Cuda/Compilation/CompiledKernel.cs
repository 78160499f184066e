namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>What a compilation yields.</summary>
/// <param name="Image">A cubin, or PTX with its terminating zero.</param>
/// <param name="LoweredName">The kernel's name in the image.</param>
/// <param name="ParameterBytes">Size of its parameters together.</param>
/// <param name="Log">The compiler's warnings.</param>
internal sealed record CompiledKernel(byte[] Image, string LoweredName, int ParameterBytes, string Log);
