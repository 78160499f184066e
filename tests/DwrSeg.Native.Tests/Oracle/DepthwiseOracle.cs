using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

internal static class DepthwiseOracle
{
    public static Values[] Forward(DepthwiseConv layer, Values[] inputs)
    {
        (Values x, Values w) = (inputs[0], inputs[1]);
        int multiplier = w.C / x.C;
        var y = new Values(x.Shape with { C = w.C });
        if (inputs.Length == 3)
        {
            for (int p = 0; p < y.Shape.Pixels; p++) inputs[2].Data.CopyTo(y.Pixel(p));
        }
        ForEachTap(y, layer.Dilation, (n, oy, ox, ky, kx, iy, ix) =>
        {
            for (int c = 0; c < y.C; c++) y[n, oy, ox, c] += x[n, iy, ix, c / multiplier] * w[0, ky, kx, c];
        });
        return [y];
    }

    public static Values[] DataGradient(DepthwiseDataGradient layer, Values[] inputs)
    {
        (Values w, Values dy) = (inputs[0], inputs[1]);
        var dx = new Values(dy.Shape with { C = dy.C / layer.Multiplier });
        ForEachTap(dy, layer.Dilation, (n, oy, ox, ky, kx, iy, ix) =>
        {
            for (int c = 0; c < dy.C; c++) dx[n, iy, ix, c / layer.Multiplier] += dy[n, oy, ox, c] * w[0, ky, kx, c];
        });
        return [dx];
    }

    public static Values[] WeightGradient(DepthwiseWeightGradient layer, Values[] inputs)
    {
        (Values x, Values dy) = (inputs[0], inputs[1]);
        var dw = new Values(new Shape(1, 3, 3, dy.C));
        ForEachTap(dy, layer.Dilation, (n, oy, ox, ky, kx, iy, ix) =>
        {
            for (int c = 0; c < dy.C; c++) dw[0, ky, kx, c] += dy[n, oy, ox, c] * x[n, iy, ix, c / layer.Multiplier];
        });
        return [dw];
    }

    /// <summary>Calls <paramref name="body"/>(n, oy, ox, ky, kx, iy, ix) for each output pixel and each of its taps inside the map.</summary>
    private static void ForEachTap(Values map, int dilation, Action<int, int, int, int, int, int, int> body)
    {
        for (int n = 0; n < map.N; n++)
        {
            for (int oy = 0; oy < map.H; oy++)
            {
                for (int ox = 0; ox < map.W; ox++)
                {
                    for (int ky = 0; ky < 3; ky++)
                    {
                        for (int kx = 0; kx < 3; kx++)
                        {
                            int iy = oy + (ky - 1) * dilation, ix = ox + (kx - 1) * dilation;
                            if (iy >= 0 && iy < map.H && ix >= 0 && ix < map.W) body(n, oy, ox, ky, kx, iy, ix);
                        }
                    }
                }
            }
        }
    }
}
