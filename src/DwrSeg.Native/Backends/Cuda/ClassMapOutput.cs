using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Makes the class map on the device and brings it to the caller. Memory and launch are kept while the image's size stays.</summary>
/// <param name="kernels">Where kernels come from.</param>
/// <param name="downloads">The stream that copies; it may be the one that computes.</param>
internal sealed class ClassMapOutput(KernelCache kernels, CudaStream downloads) : IDisposable
{
    private readonly CudaEvent _reached = new(kernels.Context, timed: false);
    private CudaHostMemory<byte>? _staging;
    private CudaDeviceVariable<byte>? _device;
    private CudaLaunch? _launch;
    private Form _form;

    private readonly record struct Form(DeviceMap Logits, int Width, int Height, bool HasConfidence);

    /// <summary>Writes Height x Width bytes to each span, an empty <paramref name="confidence"/> left out, and returns when they are there.</summary>
    /// <exception cref="ArgumentException">A span is too short, or there are more classes than bytes can tell.</exception>
    public void Read(in DeviceMap logits, int height, int width, Span<byte> classes, Span<byte> confidence, CudaStream compute)
    {
        long size = (long)height * width;
        if (classes.Length < size) throw new ArgumentException($"{height}x{width} classes need {size} bytes, not {classes.Length}.");
        if (!confidence.IsEmpty && confidence.Length < size)
            throw new ArgumentException($"{height}x{width} confidences need {size} bytes, not {confidence.Length}.");
        Begin(logits, height, width, !confidence.IsEmpty, compute);
        End(classes, confidence);
    }

    /// <summary>Puts the class map and its way to pinned memory on the streams. The last one begun has been ended.</summary>
    /// <exception cref="ArgumentException">There are more classes than bytes can tell.</exception>
    public void Begin(in DeviceMap logits, int height, int width, bool withConfidence, CudaStream compute)
    {
        Compute(logits, height, width, withConfidence, compute);
        Download(compute);
    }

    /// <summary>Puts the class map on the stream; it stays on the device until <see cref="Download"/>.</summary>
    /// <exception cref="ArgumentException">There are more classes than bytes can tell.</exception>
    public void Compute(in DeviceMap logits, int height, int width, bool withConfidence, CudaStream compute)
    {
        var form = new Form(logits, width, height, withConfidence);
        if (_launch is null || form != _form) Rebuild(form);
        _launch!.Launch(compute);
    }

    /// <summary>Puts the way to pinned memory of what <see cref="Compute"/> made on the streams.</summary>
    public void Download(CudaStream compute)
    {
        if (compute != downloads)
        {
            _reached.Record(compute);
            downloads.WaitFor(_reached);
        }
        _device!.CopyToHostAsync(_staging!, downloads);
        _reached.Record(downloads);
    }

    /// <summary>Waits for what was begun and copies it to the caller; confidences where it was begun with them.</summary>
    public void End(Span<byte> classes, Span<byte> confidence)
    {
        _reached.Synchronize();
        int size = _form.Width * _form.Height;
        _staging!.Span[..size].CopyTo(classes);
        if (_form.HasConfidence) _staging.Span[size..].CopyTo(confidence);
    }

    public void Dispose()
    {
        Free();
        _reached.Dispose();
    }

    private void Rebuild(in Form form)
    {
        _launch = null;
        int size = checked(form.Width * form.Height), bytes = checked(size * (form.HasConfidence ? 2 : 1));
        if (_staging?.Size != bytes)
        {
            Free();
            _staging = new CudaHostMemory<byte>(downloads.Context, bytes);
        }
        _device ??= new CudaDeviceVariable<byte>(downloads.Context, bytes);
        var classes = new ByteMap(_device.DevicePointer, form.Width);
        ByteMap confidence = form.HasConfidence ? new ByteMap(_device.DevicePointer + (ulong)size, form.Width) : default;
        _launch = ArgMaxHeadCuda.Prepare(kernels, form.Logits, form.Height, form.Width, classes, confidence);
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
