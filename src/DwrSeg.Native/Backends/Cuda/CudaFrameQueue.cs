using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Frames overlapped on a device. Uploads have a stream, downloads have one, the plans compute on theirs; each frame has its own memory for
/// the image and the class map, pinned and on the device. Two events order a frame's three parts. Between frames no event is needed: a
/// frame's memory is used again only after its end was waited for, and what plans compute is in one stream's order.
/// </summary>
internal sealed class CudaFrameQueue : IFrameQueue
{
    private readonly CudaStream? _uploads, _downloads;
    private readonly ImageInput?[] _inputs;
    private readonly ClassMapOutput?[] _outputs;
    private int _begun, _ended;

    /// <param name="kernels">Where kernels come from.</param>
    /// <param name="capacity">Frames that can be begun and not ended.</param>
    /// <exception cref="CudaException">The device has no more streams or events.</exception>
    public CudaFrameQueue(KernelCache kernels, int capacity)
    {
        (_inputs, _outputs) = (new ImageInput[capacity], new ClassMapOutput[capacity]);
        try
        {
            _uploads = new CudaStream(kernels.Context);
            _downloads = new CudaStream(kernels.Context);
            for (int i = 0; i < capacity; i++)
            {
                _inputs[i] = new ImageInput(kernels, _uploads);
                _outputs[i] = new ClassMapOutput(kernels, _downloads);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public void Begin(IPlan plan, Tensor input, Tensor logits, in ImageView image, in Normalization normalization, bool withConfidence)
    {
        ((CudaPlan)plan).Begin(_inputs[_begun]!, _outputs[_begun]!, input, logits, image, normalization, withConfidence);
        _begun = (_begun + 1) % _inputs.Length;
    }

    public void End(Span<byte> classes, Span<byte> confidence)
    {
        _outputs[_ended]!.End(classes, confidence);
        _ended = (_ended + 1) % _outputs.Length;
    }

    public void Dispose()
    {
        foreach (ImageInput? input in _inputs) input?.Dispose();
        foreach (ClassMapOutput? output in _outputs) output?.Dispose();
        _uploads?.Dispose();
        _downloads?.Dispose();
    }
}
