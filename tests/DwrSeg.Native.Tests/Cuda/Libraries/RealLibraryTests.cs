using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

/// <summary>NVIDIA's own libraries, where they are found: what they take and answer without a GPU.</summary>
public sealed unsafe class RealLibraryTests
{
    [Fact]
    public void CublasLtTakesTheDescriptorsAsTheyAreSet()
    {
        CublasLtLibrary? cublasLt = CublasLtLibrary.TryOpen(out string problem);
        Assert.SkipWhen(cublasLt is null, problem);
        Assert.InRange(cublasLt!.Version.Major, 11, 13);
        foreach (CublasLtDataType type in Enum.GetValues<CublasLtDataType>()) CublasLtDescriptor.Matrix(cublasLt, type, 64, 1000, 192).Dispose();
        foreach (CublasLtEpilogue epilogue in Enum.GetValues<CublasLtEpilogue>())
            CublasLtDescriptor.Product(cublasLt, epilogue, epilogue.ToString().Contains("Bias", StringComparison.Ordinal) ? new CUdeviceptr(256) : default).Dispose();
        CublasLtDescriptor.Preference(cublasLt, 32 << 20, (256, 16, 8, 4)).Dispose();
        // The library knows the attributes' sizes: another one is refused, so the numbers are those of the attributes meant.
        using CublasLtDescriptor product = CublasLtDescriptor.Product(cublasLt, CublasLtEpilogue.Default, default);
        using CublasLtDescriptor preference = CublasLtDescriptor.Preference(cublasLt, 0, (256, 256, 256, 256));
        ulong value = 1;
        foreach ((CublasLtProductAttribute attribute, nuint bytes) in new (CublasLtProductAttribute, nuint)[]
        {
            (CublasLtProductAttribute.TransposeA, 8), (CublasLtProductAttribute.TransposeB, 8), (CublasLtProductAttribute.Epilogue, 8),
            (CublasLtProductAttribute.BiasPointer, 4),
        })
        {
            Assert.NotEqual(0, cublasLt.MatmulDescSetAttribute(product.Value, attribute, &value, bytes));
        }
        foreach ((CublasLtPreferenceAttribute attribute, nuint bytes) in new (CublasLtPreferenceAttribute, nuint)[]
        {
            (CublasLtPreferenceAttribute.MaxWorkspaceBytes, 4), (CublasLtPreferenceAttribute.MinAlignmentA, 8), (CublasLtPreferenceAttribute.MinAlignmentD, 8),
        })
        {
            Assert.NotEqual(0, cublasLt.MatmulPreferenceSetAttribute(preference.Value, attribute, &value, bytes));
        }
    }

    [Fact]
    public void CudnnTakesTheDescriptorsAsTheyAreSet()
    {
        CudnnLibrary? cudnn = CudnnLibrary.TryOpen(out string problem);
        Assert.SkipWhen(cudnn is null, problem);
        foreach (CudnnDataType type in Enum.GetValues<CudnnDataType>())
        {
            CudnnDescriptor.Tensor(cudnn!, type, (2, 24, 5, 7), (5 * 7 * 40, 1, 7 * 40, 40)).Dispose();
            CudnnDescriptor.Filter(cudnn!, type, 32, 3, 24).Dispose();
        }
        foreach (CudnnMathType math in Enum.GetValues<CudnnMathType>()) CudnnDescriptor.Convolution(cudnn!, 3, 2, math, dilation: 3, groups: 8).Dispose();
        foreach (CudnnActivation mode in Enum.GetValues<CudnnActivation>()) CudnnDescriptor.Activation(cudnn!, mode).Dispose();
        CudnnDescriptor.MaxPooling(cudnn!, window: 3, padding: 1, stride: 2).Dispose();
        CudaException error = Assert.Throws<CudaException>(() => CudnnDescriptor.Tensor(cudnn!, CudnnDataType.Half, (0, 1, 1, 1), (1, 1, 1, 1)));
        Assert.StartsWith("cudnnSetTensor4dDescriptorEx failed: CUDNN_STATUS_BAD_PARAM", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MissingLibraryNamesWhatToInstall()
    {
        foreach (string library in new[] { NativeLibraries.Cudnn, NativeLibraries.CublasLt })
        {
            NativeLibraryResult result = new NativeLibrarySearch(windows: false, _ => null, "/nowhere", "/nowhere").Load(library);
            // A machine whose own library path has it can't show this.
            Assert.SkipWhen(result.Handle != 0, "the system's library path has it");
            Assert.Contains("pip install", result.Problem, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void ALibraryWithoutTheCallsIsPassedOver()
    {
        // Any library that is on every machine that runs .NET is neither of these two.
        string name = OperatingSystem.IsWindows() ? "System.IO.Compression.Native.dll" : "libSystem.Native.so";
        string file = Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), name);
        var found = new NativeLibraryResult(NativeLibrary.Load(file), file, "");
        try
        {
            Assert.Null(CudnnLibrary.TryOpen(found, out string noCudnn));
            Assert.StartsWith($"{file} has no cudnn", noCudnn, StringComparison.Ordinal);
            Assert.Null(CublasLtLibrary.TryOpen(found, out string noCublasLt));
            Assert.StartsWith($"{file} has no cublasLt", noCublasLt, StringComparison.Ordinal);
            Assert.Equal("", NativeLibraries.Lacking(found, typeof(NoCalls), "nothing", nameof(NoCalls.NewerAlone)));
            Assert.Contains(nameof(NoCalls.NewerAlone), NativeLibraries.Lacking(found, typeof(NoCalls), "nothing"), StringComparison.Ordinal);
        }
        finally
        {
            NativeLibrary.Free(found.Handle);
        }
    }

    private static class NoCalls
    {
        public static void NewerAlone()
        {
        }
    }
}
