using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

internal static class ResamplingOracle
{
    public static Values[] MaxPool(MaxPool layer, Values[] inputs)
    {
        Values x = inputs[0], y = new(x.Shape with { H = (x.H + 1) / 2, W = (x.W + 1) / 2 });
        ForEach(y.Shape, (n, oy, ox, c) =>
        {
            (int iy, int ix) = FirstMaximum(x, n, oy, ox, c);
            y[n, oy, ox, c] = x[n, iy, ix, c];
        });
        return [y];
    }

    public static Values[] MaxPoolGradient(MaxPoolGradient layer, Values[] inputs)
    {
        Values x = inputs[0], dy = inputs[1], dx = new(x.Shape);
        ForEach(dy.Shape, (n, oy, ox, c) =>
        {
            (int iy, int ix) = FirstMaximum(x, n, oy, ox, c);
            dx[n, iy, ix, c] += dy[n, oy, ox, c];
        });
        return [dx];
    }

    public static Values[] Resize(Resize layer, Values[] inputs)
    {
        Values x = inputs[0], y = new(x.Shape with { H = layer.Height, W = layer.Width });
        ForEach(y.Shape, (n, oy, ox, c) =>
        {
            foreach ((int iy, double wy) in Taps(oy, y.H, x.H))
            {
                foreach ((int ix, double wx) in Taps(ox, y.W, x.W)) y[n, oy, ox, c] += wy * wx * x[n, iy, ix, c];
            }
        });
        return [y];
    }

    public static Values[] ResizeGradient(ResizeGradient layer, Values[] inputs)
    {
        Values dy = inputs[0], dx = new(dy.Shape with { H = layer.Height, W = layer.Width });
        ForEach(dy.Shape, (n, oy, ox, c) =>
        {
            foreach ((int iy, double wy) in Taps(oy, dy.H, dx.H))
            {
                foreach ((int ix, double wx) in Taps(ox, dy.W, dx.W)) dx[n, iy, ix, c] += wy * wx * dy[n, oy, ox, c];
            }
        });
        return [dx];
    }

    /// <summary>The two pixels that an output pixel is mixed from, and their weights: half-pixel centres, the border repeated.</summary>
    internal static (int Position, double Weight)[] Taps(int output, int outputExtent, int inputExtent)
    {
        double position = Math.Max((output + 0.5) * inputExtent / outputExtent - 0.5, 0);
        int first = Math.Min((int)position, inputExtent - 1), second = Math.Min(first + 1, inputExtent - 1);
        double weight = Math.Min(position - first, 1);
        return [(first, 1 - weight), (second, weight)];
    }

    private static (int Y, int X) FirstMaximum(Values x, int n, int oy, int ox, int c)
    {
        (int Y, int X) best = (-1, -1);
        for (int iy = Math.Max(2 * oy - 1, 0); iy <= Math.Min(2 * oy + 1, x.H - 1); iy++)
        {
            for (int ix = Math.Max(2 * ox - 1, 0); ix <= Math.Min(2 * ox + 1, x.W - 1); ix++)
            {
                if (best.Y < 0 || x[n, iy, ix, c] > x[n, best.Y, best.X, c]) best = (iy, ix);
            }
        }
        return best;
    }

    private static void ForEach(Shape shape, Action<int, int, int, int> body) => Parallel.For(0, shape.N, n =>
    {
        for (int y = 0; y < shape.H; y++)
        {
            for (int x = 0; x < shape.W; x++)
            {
                for (int c = 0; c < shape.C; c++) body(n, y, x, c);
            }
        }
    });
}
