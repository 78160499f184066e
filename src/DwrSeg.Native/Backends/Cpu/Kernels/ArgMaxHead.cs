using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// The class map: arg max over the channels of one image's logits, upsampled bilinearly as <see cref="Resize"/> does, without the
/// upsampled logits ever being in memory. The lowest class wins a tie.
/// </summary>
/// <remarks>
/// A task makes some rows. For each, two rows of logits, transposed so that a class's values lie side by side, are blended; a vector of
/// output pixels then picks its neighbours out of one vector of a class by permutation.
/// </remarks>
internal static unsafe class ArgMaxHead
{
    private const int RowsPerTask = 16, Padding = 32;

    private struct Arguments
    {
        public Map Logits;
        public byte* Classes, Confidence;
        public long ClassStride, ConfidenceStride;
        public int Height, Width, Pitch;
        public int* RowLow, ColumnLow;
        public float* RowWeight, ColumnWeight, Scratch;
    }

    /// <summary>Writes Height x Width bytes to each span; an empty <paramref name="confidence"/> is left out.</summary>
    public static void Run(WorkerPool pool, Map logits, int height, int width, Span<byte> classes, Span<byte> confidence)
    {
        long size = (long)height * width;
        if (classes.Length < size) throw new ArgumentException($"{height}x{width} classes need {size} bytes, not {classes.Length}.");
        if (!confidence.IsEmpty && confidence.Length < size)
            throw new ArgumentException($"{height}x{width} confidences need {size} bytes, not {confidence.Length}.");
        fixed (byte* c = classes, p = confidence) Run(pool, logits, height, width, c, width, p, width);
    }

    /// <summary>
    /// The same with rows of <paramref name="classStride"/> and <paramref name="confidenceStride"/> bytes. The confidence, where not null,
    /// is the winner's softmax probability in 1/255, rounded.
    /// </summary>
    public static void Run(
        WorkerPool pool, Map logits, int height, int width, byte* classes, long classStride, byte* confidence, long confidenceStride)
    {
        if (logits.N != 1) throw new ArgumentException($"The class map is made of one image, not {logits.N}.");
        if (logits.C > 256) throw new ArgumentException($"{logits.C} classes do not fit into bytes.");
        int pitch = (logits.W + 2 * Padding) & ~15;
        long plane = (long)logits.C * pitch, tables = (2L * height + 2L * (width + Padding) + 15) & ~15L;
        float* memory = Simd.Allocate<float>(tables + 4 * plane * pool.Workers);
        try
        {
            float* rowWeight = memory, columnWeight = rowWeight + height;
            int* rowLow = (int*)(columnWeight + width + Padding), columnLow = rowLow + height;
            BilinearAxis.Fill(logits.H, height, rowLow, rowWeight);
            BilinearAxis.Fill(logits.W, width, columnLow, columnWeight);
            for (int i = width; i < width + Padding; i++) columnLow[i] = columnLow[width - 1];
            Arguments a = new()
            {
                Logits = logits, Classes = classes, Confidence = confidence, ClassStride = classStride, ConfidenceStride = confidenceStride,
                Height = height, Width = width, Pitch = pitch, RowLow = rowLow, RowWeight = rowWeight,
                ColumnLow = columnLow, ColumnWeight = columnWeight, Scratch = memory + tables,
            };
            pool.Run((height + RowsPerTask - 1) / RowsPerTask, Simd.IsWide ? &Task<Lanes16> : &Task<Lanes8>, &a);
        }
        finally
        {
            Simd.Free(memory);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Task<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        Map logits = a.Logits;
        long plane = (long)logits.C * a.Pitch;
        float* low = a.Scratch + 4 * plane * worker, high = low + plane, blended = high + plane, steps = blended + plane;
        int lowRow = -1, highRow = -1, end = Math.Min((task + 1) * RowsPerTask, a.Height);
        for (int row = task * RowsPerTask; row < end; row++)
        {
            int wantedLow = a.RowLow[row], wantedHigh = Math.Min(wantedLow + 1, logits.H - 1);
            if (wantedLow == highRow)
            {
                float* swap = low;
                low = high;
                high = swap;
                (lowRow, highRow) = (highRow, lowRow);
            }
            if (wantedLow != lowRow) Transpose(logits, lowRow = wantedLow, a.Pitch, low);
            if (wantedHigh != highRow) Transpose(logits, highRow = wantedHigh, a.Pitch, high);
            Blend<V>(low, high, a.RowWeight[row], plane, blended, steps);
            Row<V>(a, row, blended, steps);
        }
    }

    /// <summary>One row of logits, class by class; the last column is repeated, as the border asks for.</summary>
    private static void Transpose(Map logits, int row, int pitch, float* plane)
    {
        float* p = logits.Row(0, row);
        for (int x = 0; x < logits.W; x++, p += logits.PixelStride)
        {
            float* to = plane + x;
            for (int c = 0; c < logits.C; c++, to += pitch) *to = p[c];
        }
        for (int c = 0; c < logits.C; c++)
        {
            float* last = plane + (long)c * pitch + logits.W;
            new Span<float>(last, pitch - logits.W).Fill(last[-1]);
        }
    }

    /// <summary>Blends two rows; and the differences to each next column, of which the pitch's last is never asked for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Blend<V>(float* low, float* high, float weight, long count, float* blended, float* steps)
        where V : struct, ILanes<V>
    {
        for (long i = 0; i < count; i += V.Count)
        {
            V a = V.Load(low + i);
            V.Fma(V.Load(high + i) - a, V.Splat(weight), a).Store(blended + i);
        }
        // Reads one element past the plane at its end: the first of the steps.
        for (long i = 0; i < count; i += V.Count) (V.Load(blended + i + 1) - V.Load(blended + i)).Store(steps + i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Row<V>(in Arguments a, int row, float* blended, float* steps)
        where V : struct, ILanes<V>
    {
        int classes = a.Logits.C, pitch = a.Pitch, width = a.Width;
        int* offsets = stackalloc int[V.Count];
        byte* bytes = stackalloc byte[V.Count];
        byte* classRow = a.Classes + row * a.ClassStride;
        byte* confidenceRow = a.Confidence + row * a.ConfidenceStride;
        for (int x = 0; x < width; x += V.Count)
        {
            int count = Math.Min(V.Count, width - x), first = a.ColumnLow[x];
            int* columns = a.ColumnLow + x;
            bool near = columns[V.Count - 1] - first < V.Count;
            for (int i = 0; i < V.Count; i++) offsets[i] = columns[i] - first;
            V index = V.Load((float*)offsets), weight = V.Load(a.ColumnWeight + x);
            float* value = blended + first, step = steps + first;

            V best = At<V>(value, step, offsets, index, weight, near), winner = default, number = default;
            for (int c = 1; c < classes; c++)
            {
                V v = At<V>(value + (long)c * pitch, step + (long)c * pitch, offsets, index, weight, near);
                number += V.Splat(1);
                V larger = V.Greater(v, best);
                best = V.Select(larger, v, best);
                winner = V.Select(larger, number, winner);
            }
            Write(winner, bytes, classRow + x, count);
            if (a.Confidence == null) continue;

            V sum = default;
            for (int c = 0; c < classes; c++)
                sum += V.ExpOfNegative(At<V>(value + (long)c * pitch, step + (long)c * pitch, offsets, index, weight, near) - best);
            Write(V.Splat(255) / sum + V.Splat(0.5f), bytes, confidenceRow + x, count);
        }
    }

    /// <summary>A class's values at a vector of output pixels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V At<V>(float* value, float* step, int* offsets, V index, V weight, bool near)
        where V : struct, ILanes<V>
    {
        if (near) return V.Fma(V.Permute(V.Load(step), index), weight, V.Permute(V.Load(value), index));
        return Gather<V>(value, step, offsets, weight);
    }

    // Pixels so far apart occur only where logits are made smaller.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static V Gather<V>(float* value, float* step, int* offsets, V weight)
        where V : struct, ILanes<V>
    {
        float* gathered = stackalloc float[2 * V.Count];
        for (int i = 0; i < V.Count; i++) (gathered[i], gathered[V.Count + i]) = (step[offsets[i]], value[offsets[i]]);
        return V.Fma(V.Load(gathered), weight, V.Load(gathered + V.Count));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Write<V>(V values, byte* bytes, byte* to, int count)
        where V : struct, ILanes<V>
    {
        if (count == V.Count)
        {
            values.StoreBytes(to);
            return;
        }
        values.StoreBytes(bytes);
        for (int i = 0; i < count; i++) to[i] = bytes[i];
    }
}
