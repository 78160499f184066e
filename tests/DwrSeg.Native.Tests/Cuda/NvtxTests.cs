using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Libraries;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

public sealed unsafe class NvtxTests
{
    [ThreadStatic]
    private static List<string>? _calls;

    [Fact]
    public void RangesNestAndEndInOrder()
    {
        _calls = [];
        var nvtx = new Nvtx(&Push, &Pop);
        using (nvtx.Begin("frame"u8))
        {
            using NvtxRange inner = nvtx.Begin("conv3x3 stage2.1 – größer");
        }
        Assert.Equal(["frame", "conv3x3 stage2.1 – größer", "end", "end"], _calls);
        Assert.True(nvtx.IsPresent);
    }

    [Fact]
    public void WithoutTheLibraryARangeIsNothing()
    {
        _calls = [];
        var nvtx = new Nvtx(null, null);
        Begin();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Begin();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        Assert.Empty(_calls);
        Assert.False(nvtx.IsPresent);

        void Begin()
        {
            using NvtxRange bytes = nvtx.Begin("frame"u8);
            using NvtxRange text = nvtx.Begin("frame");
        }
    }

    [UnmanagedCallersOnly]
    private static int Push(byte* name)
    {
        _calls!.Add(Marshal.PtrToStringUTF8((nint)name)!);
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int Pop()
    {
        _calls!.Add("end");
        return 0;
    }
}
