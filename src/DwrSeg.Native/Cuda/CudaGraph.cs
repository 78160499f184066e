using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>Work recorded by <see cref="CudaStream.Capture"/>: what <see cref="CudaGraphExec"/> is made from.</summary>
internal sealed class CudaGraph : IDisposable
{
    private static readonly CudaHandle.Destroyer Destroy = (driver, value) => driver.GraphDestroy(new CUgraph(value));

    private readonly CudaHandle _handle;

    public CudaGraph(CudaContext context, CUgraph graph)
    {
        Context = context;
        _handle = new CudaHandle(context.Handle, graph.Value, Destroy);
    }

    public CudaContext Context { get; }

    public CUgraph Graph => new(_handle.Value);

    /// <summary>How many launches, copies and the like it holds.</summary>
    public int NodeCount
    {
        get
        {
            using ContextScope scope = Context.Enter();
            CudaStatus.Check(Context.Driver, Context.Driver.GraphGetNodeCount(Graph, out ulong count));
            return checked((int)count);
        }
    }

    /// <summary>Makes it launchable; the graph itself can be disposed after.</summary>
    public CudaGraphExec Instantiate() => new(this);

    public void Dispose() => _handle.Dispose();
}
