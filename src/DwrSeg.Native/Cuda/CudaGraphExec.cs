using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>
/// A graph ready to launch. Kernels and memory that it uses are the maker's to keep until it is disposed and its last launch has ended.
/// </summary>
internal sealed class CudaGraphExec : IDisposable
{
    private static readonly CudaHandle.Destroyer Destroy = (driver, value) => driver.GraphExecDestroy(new CUgraphExec(value));

    private readonly CudaContext _context;
    private readonly CudaHandle _handle;

    public CudaGraphExec(CudaGraph graph)
    {
        _context = graph.Context;
        using ContextScope scope = _context.Enter();
        CudaStatus.Check(_context.Driver, _context.Driver.GraphInstantiate(out CUgraphExec exec, graph.Graph, 0));
        _handle = new CudaHandle(_context.Handle, exec.Value, Destroy);
    }

    public CUgraphExec Exec => new(_handle.Value);

    /// <summary>
    /// Takes over the values (addresses, arguments, launch shapes) of a graph with the same nodes and edges; launches that are under way
    /// keep the old ones. False where the graphs differ in more than that, and nothing has changed.
    /// </summary>
    public bool TryUpdate(CudaGraph graph)
    {
        using ContextScope scope = _context.Enter();
        CUresult status = _context.Driver.GraphExecUpdate(Exec, graph.Graph);
        if (status == CUresult.GraphExecUpdateFailure) return false;
        if (status != CUresult.Success) throw CudaStatus.Failure(_context.Driver, status, "cuGraphExecUpdate");
        return true;
    }

    /// <summary>Runs it once, in the stream's order.</summary>
    public void Launch(CudaStream stream)
    {
        using ContextScope scope = _context.Enter();
        CudaStatus.Check(_context.Driver, _context.Driver.GraphLaunch(Exec, stream.Stream));
        GC.KeepAlive(this);
    }

    /// <summary>Gives it back; a launch that is under way runs to its end.</summary>
    public void Dispose() => _handle.Dispose();
}
