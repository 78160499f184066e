using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Makes the class map on the device and brings it to the caller. Memory and launch are kept while the image's size stays.</summary>
internal sealed class ClassMapOutput(KernelCache kernels, CudaStream stream) : IDisposable
{
    private CudaHostMemory<byte>? _staging;
    private CudaDeviceVariable<byte>? _device;
    private CudaLaunch? _launch;
    private Form _form;

    private readonly record struct Form(DeviceMap Logits, int Width, int Height, bool HasConfidence);

    /// <summary>Writes Height x Width bytes to each span, an empty <paramref name="confidence"/> left out, and returns when they are there.</summary>
    /// <exception cref="ArgumentException">A span is too short, or there are more classes than bytes can tell.</exception>
    public void Read(in DeviceMap logits, int height, int width, Span<byte> classes, Span<byte> confidence)
    {
        long size = (long)height * width;
        if (classes.Length < size) throw new ArgumentException($"{height}x{width} classes need {size} bytes, not {classes.Length}.");
        if (!confidence.IsEmpty && confidence.Length < size)
            throw new ArgumentException($"{height}x{width} confidences need {size} bytes, not {confidence.Length}.");
        var form = new Form(logits, width, height, !confidence.IsEmpty);
        if (_launch is null || form != _form) Rebuild(form, checked((int)size));
        _launch!.Launch(stream);
        _device!.CopyToHostAsync(_staging!, stream);
        stream.Synchronize();
        _staging!.Span[..(int)size].CopyTo(classes);
        if (form.HasConfidence) _staging.Span[(int)size..].CopyTo(confidence);
    }

    public void Dispose()
    {
        _device?.Dispose();
        _staging?.Dispose();
    }

    private void Rebuild(in Form form, int size)
    {
        _launch = null;
        int bytes = checked(size * (form.HasConfidence ? 2 : 1));
        if (_staging?.Size != bytes)
        {
            stream.Synchronize();
            Dispose();
            _staging = new CudaHostMemory<byte>(stream.Context, bytes);
            _device = new CudaDeviceVariable<byte>(stream.Context, bytes);
        }
        var classes = new ByteMap(_device!.DevicePointer, form.Width);
        ByteMap confidence = form.HasConfidence ? new ByteMap(_device.DevicePointer + (ulong)size, form.Width) : default;
        _launch = ArgMaxHeadCuda.Prepare(kernels, form.Logits, form.Height, form.Width, classes, confidence);
        _form = form;
    }
}
