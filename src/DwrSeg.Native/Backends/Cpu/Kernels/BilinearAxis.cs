namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// One axis of a bilinear resampling with half-pixel centres, in fp32 as PyTorch computes it: position = max(0, (i + ½)·from/to − ½),
/// output i = in[Low(i)]·(1 − Weight(i)) + in[High(i)]·Weight(i), High = min(Low + 1, from − 1).
/// </summary>
internal sealed unsafe class BilinearAxis : IDisposable
{
    private int _capacity;

    /// <summary>Size of the input and of the output; 0 before <see cref="Set"/>.</summary>
    public int From { get; private set; }

    public int To { get; private set; }

    public int* Low { get; private set; }

    public float* Weight { get; private set; }

    public int High(int i) => Math.Min(Low[i] + 1, From - 1);

    /// <summary>Prepares for these sizes; does nothing where they are already set, and allocates (natively) only when they grow.</summary>
    public void Set(int from, int to)
    {
        if (from == From && to == To) return;
        if (to > _capacity)
        {
            Dispose();
            Low = Simd.Allocate<int>(to);
            Weight = Simd.Allocate<float>(to);
            _capacity = to;
        }
        (From, To) = (from, to);
        Fill(from, to, Low, Weight);
    }

    /// <summary>The same for memory of the caller's: <paramref name="to"/> values each.</summary>
    public static void Fill(int from, int to, int* low, float* weight)
    {
        float scale = (float)from / to;
        for (int i = 0; i < to; i++)
        {
            float position = Math.Max(scale * (i + 0.5f) - 0.5f, 0);
            low[i] = Math.Min((int)position, from - 1);
            weight[i] = Math.Clamp(position - low[i], 0, 1);
        }
    }

    public void Dispose()
    {
        Simd.Free(Low);
        Simd.Free(Weight);
        Low = null;
        Weight = null;
        (From, To, _capacity) = (0, 0, 0);
    }
}
