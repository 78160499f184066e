using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Tests.Cuda;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>Segmenters over a driver that a test holds.</summary>
internal static class EmulatedSegmenter
{
    public static Segmenter Load(string model, ICudaDriver driver, CudaElement element = CudaElement.Float16, SegmenterOptions? options = null)
    {
        TestNvrtc.Require();
        using SafetensorsFile file = SafetensorsFile.Open(model);
        string name = driver is NativeDriver ? "cuda" : "emulated";
        return Segmenter.Load(
            file, options ?? new SegmenterOptions(), new CudaBackend(name, driver, 0, element, wantsPtx: driver is not NativeDriver));
    }
}
