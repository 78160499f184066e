using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Bench;

/// <summary>A network at a size; its flops are those of the network as the paper counts them, before any folding.</summary>
public sealed class NetworkCase : IWork, IComparable<NetworkCase>, IComparable
{
    private readonly string _name;

    private NetworkCase(string name, DwrSegConfig config, int height, int width)
    {
        (_name, Config, Height, Width) = (name, config, height, width);
        Flops = 2 * DwrSegModel.Inference(config, 1, height, width).Multiplies;
    }

    public static IEnumerable<NetworkCase> All
    {
        get
        {
            foreach ((int height, int width) in ((int, int)[])[(512, 1024), (768, 1536)])
            {
                yield return new NetworkCase("DWRSeg-B", DwrSegConfig.Base(), height, width);
                yield return new NetworkCase("DWRSeg-L", DwrSegConfig.Large(), height, width);
            }
        }
    }

    /// <summary>What a CUDA device is timed with.</summary>
    public static IEnumerable<NetworkCase> ForCuda => CudaBench.IsEmulated ? [new NetworkCase("DWRSeg-B", DwrSegConfig.Base(), 64, 128)] : All;

    public long Flops { get; }

    public long Bytes => 0;

    internal DwrSegConfig Config { get; }

    internal int Height { get; }

    internal int Width { get; }

    internal LayerGraph Graph() => Network.Inference(Config, Height, Width);

    /// <summary>Smaller work first.</summary>
    public int CompareTo(NetworkCase? other) => Flops.CompareTo(other?.Flops);

    public int CompareTo(object? obj) => CompareTo(obj as NetworkCase);

    public override string ToString() => $"{_name} {Height}x{Width}";
}
