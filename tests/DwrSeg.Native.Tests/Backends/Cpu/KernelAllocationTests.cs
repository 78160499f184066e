using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed unsafe class KernelAllocationTests
{
    [Fact]
    public void RunningAKernelAllocatesNothing()
    {
        // One worker: everything runs on this thread, whose allocations are counted apart from those of other tests.
        using WorkerPool pool = new(1);
        Random random = new(1);
        using Slice x = new Slice(1, 24, 32, 16).Randomise(random), y = new Slice(1, 24, 32, 16).Randomise(random), dx = new(1, 24, 32, 16);
        using Slice small = new(1, 12, 16, 16), image = new(1, 24, 32, 3);
        using Vector v = new Vector(16 * 16).Randomise(random, 0.1f, 1), weights = new(24 * 32);
        using BatchNorm norm = new(16);
        using DepthwiseWeightGradient depthwise = new(16);
        using Resize resize = new(12, 16, 24, 32, 16, 1);
        using OhemCrossEntropy loss = new(24 * 32);
        byte[] labels = new byte[24 * 32], map = new byte[24 * 32], confidence = new byte[24 * 32], pixels = new byte[20 * 20 * 3];
        float* p = v.Data;
        void RunAll()
        {
            Relu.Run(pool, x.Map, y.Map);
            Add.Run(pool, x.Map, y.Map, y.Map);
            norm.Train(pool, x.Map, p, p + 16, p + 32, p + 48, 1e-5f, 0.1f, y.Map, p + 64, p + 80, true);
            norm.Infer(pool, x.Map, p, p + 16, p + 32, p + 48, 1e-5f, y.Map, false);
            norm.Backward(pool, x.Map, p, p + 16, p + 64, p + 80, y.Map, y.Map, ReluMask.FromOutput, dx.Map, p + 96, p + 112, false);
            DepthwiseConv.Run(pool, [new DepthwiseBranch(x.Map, y.Map, p, null, 1, 3)], true);
            DepthwiseConv.DataGradient(pool, [new DepthwiseBranch(dx.Map, y.Map, p, null, 1, 3)]);
            depthwise.Run(pool, [new DepthwiseBranch(x.Map, y.Map, p, null, 1, 3)]);
            MaxPool.Run(pool, x.Map, small.Map);
            MaxPoolGradient.Run(pool, x.Map, small.Map, dx.Map, false);
            resize.Run(pool, small.Map, y.Map);
            resize.Gradient(pool, y.Map, small.Map, false);
            fixed (byte* l = labels)
            {
                loss.Run(pool, x.Map, l, 255, 0.9f, 0.99, p + 128, weights.Data);
                CrossEntropyGradient.Run(pool, x.Map, l, weights.Data, p + 128, dx.Map, false);
            }
            ArgMaxHead.Run(pool, small.Map, 24, 32, map, confidence);
            Preprocess.Run(pool, new ImageView(pixels, 20, 20, 60, PixelFormat.Bgr), image.Map, Normalization.ImageNet);
        }

        RunAll();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 20; i++) RunAll();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
