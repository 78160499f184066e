using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

internal static class ConvolutionOracle
{
    public static Values[] Forward(Conv2d layer, Values[] inputs)
    {
        (Values x, Values w) = (inputs[0], inputs[1]);
        Values? bias = inputs.Length == 3 ? inputs[2] : null;
        int height = (x.H + layer.Stride - 1) / layer.Stride, width = (x.W + layer.Stride - 1) / layer.Stride, channels = w.N;
        var y = new Values(new Shape(x.N, height, width, channels));
        Parallel.For(0, x.N * height, row =>
        {
            (int n, int oy) = (row / height, row % height);
            for (int ox = 0; ox < width; ox++)
            {
                for (int o = 0; o < channels; o++)
                {
                    double sum = bias is null ? 0 : layer.BorderBias ? bias[BorderCase(oy, height) * 4 + BorderCase(ox, width), 0, 0, o] : bias[o];
                    for (int ky = 0; ky < layer.Kernel; ky++)
                    {
                        for (int kx = 0; kx < layer.Kernel; kx++)
                        {
                            int iy = oy * layer.Stride + ky - layer.Kernel / 2, ix = ox * layer.Stride + kx - layer.Kernel / 2;
                            if (iy < 0 || iy >= x.H || ix < 0 || ix >= x.W) continue;
                            ReadOnlySpan<double> pixel = x.Pixel(n, iy, ix), tap = w.Pixel(o, ky, kx);
                            for (int i = 0; i < tap.Length; i++) sum += pixel[i] * tap[i];
                        }
                    }
                    y[n, oy, ox, o] = sum;
                }
            }
        });
        return [y];
    }

    // The same loops as Forward's: what took x times w to y takes dy times w to dx.
    public static Values[] DataGradient(Conv2dDataGradient layer, Values[] inputs)
    {
        (Values w, Values dy) = (inputs[0], inputs[1]);
        var dx = new Values(new Shape(dy.N, layer.Height, layer.Width, w.C));
        Parallel.For(0, dy.N, n =>
        {
            for (int oy = 0; oy < dy.H; oy++)
            {
                for (int ox = 0; ox < dy.W; ox++)
                {
                    for (int o = 0; o < dy.C; o++)
                    {
                        for (int ky = 0; ky < layer.Kernel; ky++)
                        {
                            for (int kx = 0; kx < layer.Kernel; kx++)
                            {
                                int iy = oy * layer.Stride + ky - layer.Kernel / 2, ix = ox * layer.Stride + kx - layer.Kernel / 2;
                                if (iy < 0 || iy >= dx.H || ix < 0 || ix >= dx.W) continue;
                                double gradient = dy[n, oy, ox, o];
                                Span<double> pixel = dx.Pixel(n, iy, ix), tap = w.Pixel(o, ky, kx);
                                for (int i = 0; i < tap.Length; i++) pixel[i] += gradient * tap[i];
                            }
                        }
                    }
                }
            }
        });
        return [dx];
    }

    public static Values[] WeightGradient(Conv2dWeightGradient layer, Values[] inputs)
    {
        (Values x, Values dy) = (inputs[0], inputs[1]);
        var dw = new Values(new Shape(dy.C, layer.Kernel, layer.Kernel, x.C));
        Parallel.For(0, dy.C, o =>
        {
            for (int n = 0; n < dy.N; n++)
            {
                for (int oy = 0; oy < dy.H; oy++)
                {
                    for (int ox = 0; ox < dy.W; ox++)
                    {
                        for (int ky = 0; ky < layer.Kernel; ky++)
                        {
                            for (int kx = 0; kx < layer.Kernel; kx++)
                            {
                                int iy = oy * layer.Stride + ky - layer.Kernel / 2, ix = ox * layer.Stride + kx - layer.Kernel / 2;
                                if (iy < 0 || iy >= x.H || ix < 0 || ix >= x.W) continue;
                                double gradient = dy[n, oy, ox, o];
                                Span<double> pixel = x.Pixel(n, iy, ix), tap = dw.Pixel(o, ky, kx);
                                for (int i = 0; i < tap.Length; i++) tap[i] += gradient * pixel[i];
                            }
                        }
                    }
                }
            }
        });
        return [dw];
    }

    public static Values[] BiasGradient(BiasGradient layer, Values[] inputs)
    {
        Values dy = inputs[0], sum = new(Shape.Vector(dy.C));
        for (int p = 0; p < dy.Shape.Pixels; p++)
        {
            for (int c = 0; c < dy.C; c++) sum[c] += dy.Pixel(p)[c];
        }
        return [sum];
    }

    private static int BorderCase(int position, int extent) => (position == 0 ? 1 : 0) | (position == extent - 1 ? 2 : 0);
}
