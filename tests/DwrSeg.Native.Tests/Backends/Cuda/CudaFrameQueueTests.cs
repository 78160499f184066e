using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>What the order of streams and events lets happen at the same time, by the emulated driver's own log of it.</summary>
public sealed class CudaFrameQueueTests
{
    private const int Frames = 4, Height = 32, Width = 48;

    [Fact]
    public void CopiesAndComputationOfDifferentFramesAreUnordered_AndWithinAFrameOrdered()
    {
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(80)], LogsOrder = true });
        TestNvrtc.Require();
        using var backend = new CudaBackend("emulated", driver, 0, CudaElement.Float16, wantsPtx: true);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, Height, Width));
        ModelWeights.Initialize(graph, store, 1);
        using IPlan plan = backend.Compile(graph, store);
        using IFrameQueue queue = backend.CreateFrameQueue(Frames);
        driver.ClearOrder();

        // Nothing is waited for, so the log holds every edge that the device would see.
        for (int i = 0; i < Frames; i++)
        {
            var image = new ImageView(SmallModel.Picture(Width, Height, i), Width, Height, Width * 3, PixelFormat.Rgb);
            queue.Begin(plan, graph[DwrSegModel.Image], graph[DwrSegModel.Logits], image, Normalization.ImageNet, withConfidence: true);
        }
        var order = new Order(driver.Order);
        int[] uploads = order.Of("upload"), first = order.Of("preprocess"), graphs = order.Of("graph"), last = order.Of("argmax_head");
        int[] downloads = order.Of("download");
        foreach (int[] part in new[] { uploads, first, graphs, last, downloads }) Assert.Equal(Frames, part.Length);
        Assert.Single(uploads.Select(order.Stream).Distinct());
        Assert.Single(downloads.Select(order.Stream).Distinct());
        Assert.Single(first.Concat(graphs).Concat(last).Select(order.Stream).Distinct());
        Assert.Equal(3, uploads.Concat(graphs).Concat(downloads).Select(order.Stream).Distinct().Count());
        for (int i = 0; i < Frames; i++)
        {
            Assert.True(order.IsBefore(uploads[i], first[i]) && order.IsBefore(first[i], graphs[i]));
            Assert.True(order.IsBefore(graphs[i], last[i]) && order.IsBefore(last[i], downloads[i]));
            for (int j = 0; j < Frames; j++)
            {
                // An upload waits for no computation and no download, and no computation for a download.
                Assert.False(order.IsBefore(first[j], uploads[i]));
                Assert.False(order.IsBefore(downloads[j], uploads[i]));
                Assert.False(order.IsBefore(downloads[j], graphs[i]));
                // A computation waits for no upload of a later frame.
                if (j > i) Assert.False(order.IsBefore(uploads[j], last[i]));
                // The plan has one arena, so its frames are in order.
                if (j > i) Assert.True(order.IsBefore(last[i], first[j]));
            }
        }
        // One edge into the computation and one out of it, a frame.
        Assert.Equal(2 * Frames, order.Of("wait").Length);

        byte[] classes = new byte[Height * Width], confidence = new byte[classes.Length], expected = new byte[classes.Length];
        for (int i = 0; i < Frames; i++)
        {
            queue.End(classes, confidence);
            var image = new ImageView(SmallModel.Picture(Width, Height, i), Width, Height, Width * 3, PixelFormat.Rgb);
            plan.WriteImage(graph[DwrSegModel.Image], 0, image, Normalization.ImageNet);
            plan.Run();
            plan.ReadClasses(graph[DwrSegModel.Logits], 0, Height, Width, expected, []);
            Assert.Equal(expected, classes);
        }
    }

    [Fact]
    public void TheLogTellsOrderedFromUnordered()
    {
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { LogsOrder = true });
        using var context = new Native.Cuda.CudaContext(driver);
        using Native.Cuda.CudaStream one = new(context), two = new(context);
        using var memory = new Native.Cuda.CudaDeviceVariable<byte>(context, 16);
        using var host = new Native.Cuda.CudaHostMemory<byte>(context, 16);
        using var reached = new Native.Cuda.CudaEvent(context, timed: false);
        memory.CopyToDeviceAsync(host, one);
        reached.Record(one);
        memory.CopyToHostAsync(host, two);
        two.WaitFor(reached);
        memory.MemsetAsync(1, two);
        var order = new Order(driver.Order);
        Assert.False(order.IsBefore(order.Of("upload")[0], order.Of("download")[0]));
        Assert.True(order.IsBefore(order.Of("upload")[0], order.Of("fill")[0]));
        Assert.True(order.IsBefore(order.Of("download")[0], order.Of("fill")[0]));
    }

    /// <summary>The partial order of a log.</summary>
    private sealed class Order
    {
        private readonly IReadOnlyList<LoggedOperation> _operations;
        private readonly HashSet<int>[] _before;

        public Order(IReadOnlyList<LoggedOperation> operations)
        {
            _operations = operations;
            _before = new HashSet<int>[operations.Count];
            for (int i = 0; i < operations.Count; i++)
            {
                _before[i] = [.. operations[i].After];
                foreach (int direct in operations[i].After) _before[i].UnionWith(_before[direct]);
            }
        }

        public int[] Of(string what) => [.. _operations.Index().Where(o => o.Item.What == what).Select(o => o.Index)];

        public int Stream(int operation) => _operations[operation].Stream;

        public bool IsBefore(int first, int second) => _before[second].Contains(first);
    }
}
