using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Uploads an image through pinned memory and resamples it into the network's input on the device. Memory and launch are kept from image to
/// image and made anew only when the image's form changes.
/// </summary>
/// <param name="kernels">Where kernels come from.</param>
/// <param name="uploads">The stream that copies; it may be the one that computes.</param>
internal sealed class ImageInput(KernelCache kernels, CudaStream uploads) : IDisposable
{
    private readonly CudaEvent _uploaded = new(kernels.Context, timed: false);
    private CudaHostMemory<byte>? _staging;
    private CudaDeviceVariable<byte>? _device;
    private CudaLaunch? _launch;
    private Form _form;

    private readonly record struct Form(DeviceMap Target, int Width, int Height, PixelFormat Format, Normalization Normalization);

    /// <summary>
    /// Fills a map of one image. When it returns the caller's pixels are copied; the rest follows in the streams' order. Where
    /// <paramref name="compute"/> is not the stream that copies, the caller has waited for the last image's resampling.
    /// </summary>
    /// <exception cref="ArgumentException">The image is empty, or its bytes do not reach to its last row.</exception>
    public void Write(in DeviceMap target, in ImageView image, in Normalization normalization, CudaStream compute)
    {
        image.Validate();
        int lineBytes = image.Width * image.Format.BytesPerPixel();
        var form = new Form(target, image.Width, image.Height, image.Format, normalization);
        // The last image's upload may still be reading.
        _uploaded.Synchronize();
        if (_launch is null || form != _form) Rebuild(form, lineBytes);
        Span<byte> staging = _staging!.Span;
        for (int row = 0; row < image.Height; row++)
            image.Pixels.Slice(row * image.RowBytes, lineBytes).CopyTo(staging[(row * lineBytes)..]);
        _device!.CopyToDeviceAsync(_staging, uploads);
        _uploaded.Record(uploads);
        if (compute != uploads) compute.WaitFor(_uploaded);
        _launch!.Launch(compute);
    }

    public void Dispose()
    {
        Free();
        _uploaded.Dispose();
    }

    private void Rebuild(in Form form, int lineBytes)
    {
        _launch = null;
        int bytes = checked(lineBytes * form.Height);
        if (_staging?.Size != bytes)
        {
            Free();
            _staging = new CudaHostMemory<byte>(uploads.Context, bytes);
        }
        _device ??= new CudaDeviceVariable<byte>(uploads.Context, bytes);
        var image = new DeviceImage(_device.DevicePointer, form.Width, form.Height, lineBytes, form.Format);
        _launch = PreprocessCuda.Prepare(kernels, image, form.Target, form.Normalization);
        _form = form;
    }

    // Giving memory back waits for the work that uses it.
    private void Free()
    {
        _device?.Dispose();
        _staging?.Dispose();
        (_device, _staging) = (null, null);
    }
}
