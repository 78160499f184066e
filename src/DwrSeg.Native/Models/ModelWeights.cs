using System.Collections.Immutable;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Models;

/// <summary>Moves a network's parameters and running statistics between a tensor store and files with PyTorch's names and shapes.</summary>
internal static class ModelWeights
{
    private const string BatchesTracked = "num_batches_tracked";
    private const string RunningMean = "running_mean";
    private const string RunningVariance = "running_var";

    /// <summary>Shape of a parameter in PyTorch's <c>state_dict</c>.</summary>
    public static ImmutableArray<long> TorchShape(Tensor tensor)
    {
        Shape s = tensor.Shape;
        return tensor.Layout switch
        {
            ParameterLayout.Dense => [s.N, s.C, s.H, s.W],
            ParameterLayout.Depthwise => [s.C, 1, s.H, s.W],
            _ => [s.C],
        };
    }

    /// <summary>Reorders values from PyTorch's layout to the tensor's own.</summary>
    public static void FromTorch(Tensor tensor, ReadOnlySpan<float> torch, Span<float> own) => Transpose(tensor, torch, own, toTorch: false);

    /// <summary>Reorders values from the tensor's own layout to PyTorch's.</summary>
    public static void ToTorch(Tensor tensor, ReadOnlySpan<float> own, Span<float> torch) => Transpose(tensor, own, torch, toTorch: true);

    /// <summary>
    /// Loads every parameter and running statistic of <paramref name="graph"/> from tensors named <paramref name="prefix"/> + its name.
    /// The file must hold each of them and, under that prefix, nothing else.
    /// </summary>
    /// <exception cref="WeightsFormatException">A tensor is missing, extra, misshapen or not finite.</exception>
    public static void Load(SafetensorsFile file, LayerGraph graph, ITensorStore store, string prefix = "", Func<string, bool>? isForeign = null)
    {
        Tensor[] stored = [.. graph.Stored.Where(t => !t.Name.StartsWith(Autograd.Sgd.VelocityPrefix, StringComparison.Ordinal))];
        HashSet<string> known = [.. stored.Select(t => t.Name)];
        foreach (string name in file.Tensors.Keys)
        {
            if (!name.StartsWith(prefix, StringComparison.Ordinal) || isForeign?.Invoke(name) == true) continue;
            string own = name[prefix.Length..];
            bool isCounter = own.EndsWith(BatchesTracked, StringComparison.Ordinal)
                && known.Contains(own[..^BatchesTracked.Length] + RunningMean);
            if (!isCounter && !known.Contains(own))
                throw new WeightsFormatException(file.Name, name, "the network described by the file's metadata has no such tensor");
        }
        foreach (Tensor tensor in stored) LoadOne(file, prefix + tensor.Name, tensor, store);
    }

    /// <summary>Loads one tensor.</summary>
    /// <exception cref="WeightsFormatException">It is missing, misshapen or not finite, or a negative variance.</exception>
    public static void LoadOne(SafetensorsFile file, string name, Tensor tensor, ITensorStore store)
    {
        file.Expect(name, TorchShape(tensor).AsSpan());
        float[] torch = new float[tensor.Shape.Elements], own = new float[torch.Length];
        file.ReadFloats(name, torch);
        bool isVariance = tensor.Name.EndsWith(RunningVariance, StringComparison.Ordinal);
        foreach (float value in torch)
        {
            if (!float.IsFinite(value)) throw new WeightsFormatException(file.Name, name, $"holds {value}: the training that wrote it diverged, or the file is damaged");
            if (isVariance && value < 0)
                throw new WeightsFormatException(file.Name, name, $"holds {value}, but a variance is not negative: the file is damaged");
        }
        FromTorch(tensor, torch, own);
        store.Add(tensor.Name, tensor.Shape);
        store.Write(tensor.Name, own);
    }

    /// <summary>Adds every parameter and running statistic of <paramref name="graph"/> to a file, and BN's counters as PyTorch has them.</summary>
    public static void Save(
        SafetensorsWriter writer, LayerGraph graph, ITensorStore store, long batchesTracked, SafetensorsDType dtype = SafetensorsDType.F32,
        string prefix = "")
    {
        foreach (Tensor tensor in graph.Stored.Where(t => !t.Name.StartsWith(Autograd.Sgd.VelocityPrefix, StringComparison.Ordinal)))
        {
            float[] own = new float[tensor.Shape.Elements], torch = new float[own.Length];
            store.Read(tensor.Name, own);
            ToTorch(tensor, own, torch);
            writer.Add(prefix + tensor.Name, dtype, TorchShape(tensor).AsSpan(), torch);
            if (tensor.Name.EndsWith(RunningMean, StringComparison.Ordinal))
                writer.Add(prefix + tensor.Name[..^RunningMean.Length] + BatchesTracked, [], [batchesTracked]);
        }
    }

    /// <summary>
    /// Fresh weights: Kaiming normal (fan-in) for convolutions as is usual for these networks, BN scale 1 and shift 0, running mean 0 and
    /// variance 1. The same seed gives the same weights.
    /// </summary>
    public static void Initialize(LayerGraph graph, ITensorStore store, ulong seed)
    {
        foreach (Tensor tensor in graph.Stored)
        {
            store.Add(tensor.Name, tensor.Shape);
            InitializeOne(tensor, store, seed);
        }
    }

    /// <summary>Fresh values for one parameter or state.</summary>
    public static void InitializeOne(Tensor tensor, ITensorStore store, ulong seed)
    {
        float[] values = new float[tensor.Shape.Elements];
        bool isVelocity = tensor.Name.StartsWith(Autograd.Sgd.VelocityPrefix, StringComparison.Ordinal);
        if (!isVelocity && tensor.Layout != ParameterLayout.Vector)
        {
            int fanIn = tensor.Shape.H * tensor.Shape.W * (tensor.Layout == ParameterLayout.Dense ? tensor.Shape.C : 1);
            FillNormal(values, MathF.Sqrt(2f / fanIn), seed, tensor.Name);
        }
        else if (!isVelocity && IsOne(tensor.Name))
        {
            values.AsSpan().Fill(1);
        }
        store.Write(tensor.Name, values);
    }

    private static bool IsOne(string name) =>
        name.EndsWith($".{RunningVariance}", StringComparison.Ordinal) || name.EndsWith(".weight", StringComparison.Ordinal);

    // A stream of its own per tensor name: adding or removing a layer leaves the others' values alone.
    private static void FillNormal(Span<float> values, float deviation, ulong seed, string name)
    {
        ulong state = seed;
        foreach (char c in name) state = (state ^ c) * 0x100000001b3;
        for (int i = 0; i < values.Length; i += 2)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - NextUnit(ref state))), angle = 2 * Math.PI * NextUnit(ref state);
            values[i] = (float)(deviation * radius * Math.Cos(angle));
            if (i + 1 < values.Length) values[i + 1] = (float)(deviation * radius * Math.Sin(angle));
        }
    }

    // SplitMix64.
    private static double NextUnit(ref ulong state)
    {
        ulong z = state += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return ((z ^ (z >> 31)) >> 11) * (1.0 / (1L << 53));
    }

    private static void Transpose(Tensor tensor, ReadOnlySpan<float> from, Span<float> to, bool toTorch)
    {
        Shape s = tensor.Shape;
        if (tensor.Layout == ParameterLayout.Vector)
        {
            from.CopyTo(to);
            return;
        }
        int taps = s.H * s.W;
        for (int o = 0; o < s.N; o++)
        {
            for (int tap = 0; tap < taps; tap++)
            {
                for (int i = 0; i < s.C; i++)
                {
                    int own = (o * taps + tap) * s.C + i, torch = (o * s.C + i) * taps + tap;
                    to[toTorch ? torch : own] = from[toTorch ? own : torch];
                }
            }
        }
    }
}
