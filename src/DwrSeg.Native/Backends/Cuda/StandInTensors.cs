using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Memory of its own for each tensor that a piece of a graph touches, of the tensor's whole size, so that a step can be made and timed with the real
/// shapes and strides before the plan's memory exists.
/// </summary>
internal sealed class StandInTensors(CudaStream stream, CudaElement element) : ITensorPlaces, IDisposable
{
    // A small positive number in each type: denormals, infinities and zeros can take another time than values do.
    private const byte Pattern = 0x3c;

    private readonly Dictionary<Tensor, CudaDeviceVariable<byte>> _memory = [];
    private readonly List<CudaDeviceVariable<uint>> _sums = [];

    public SplitWorkspace Workspace { get; private set; }

    public LibraryWorkspace LibraryWorkspace { get; } = new(stream.Context);

    public CUdeviceptr AddressOf(Tensor tensor)
    {
        tensor = tensor.Alias ?? tensor;
        if (_memory.TryGetValue(tensor, out CudaDeviceVariable<byte>? memory)) return memory.DevicePointer;
        memory = new CudaDeviceVariable<byte>(stream.Context, PlacesOfTensors.BytesOf(tensor, element));
        _memory.Add(tensor, memory);
        memory.MemsetAsync(Pattern, stream);
        return memory.DevicePointer;
    }

    public DeviceMap MapOf(Tensor tensor) => PlacesOfTensors.MapOf(tensor, AddressOf(tensor), element);

    /// <summary>Makes sure that the memory for shared sums is as large; what steps were bound to before stays.</summary>
    public void AllocateWorkspace((long PartialBytes, int Tiles) need)
    {
        if (Workspace.Holds(need)) return;
        (CudaDeviceVariable<uint> sums, Workspace) = SplitWorkspace.Allocate(stream, need.PartialBytes, need.Tiles);
        _sums.Add(sums);
    }

    public void Dispose()
    {
        foreach (CudaDeviceVariable<byte> memory in _memory.Values) memory.Dispose();
        _memory.Clear();
        foreach (CudaDeviceVariable<uint> sums in _sums) sums.Dispose();
        LibraryWorkspace.Dispose();
    }
}

/// <summary>How tensors lie on a CUDA device, wherever they are.</summary>
internal static class PlacesOfTensors
{
    /// <summary>Whether it is fp32 whatever the maps are: parameters, folded weights, statistics.</summary>
    public static bool IsExact(Tensor tensor) => tensor.IsStored || tensor.Type == ElementType.Float32;

    public static long BytesOf(Tensor tensor, CudaElement element) =>
        tensor.Shape.Elements * (tensor.IsStored ? sizeof(float) : tensor.Type.Bytes(element.Bytes()));

    public static DeviceMap MapOf(Tensor tensor, CUdeviceptr address, CudaElement element)
    {
        Shape s = tensor.Shape;
        return new DeviceMap(address, IsExact(tensor) ? CudaElement.Float32 : element, s.N, s.H, s.W, s.C, s.C);
    }
}
