namespace DwrSeg.Native.Backends.Cpu;

/// <summary>
/// A fixed set of threads that run numbered tasks without allocating. Tasks are handed out dynamically, so a task's result must
/// not depend on which worker runs it; reductions therefore keep one partial result per task and combine them in task order.
/// </summary>
/// <remarks>
/// The caller's thread is worker 0. When the pool is busy with another caller's tasks, these run on the caller's thread alone, again
/// as worker 0: per-worker scratch belongs to the plan that runs, never to the pool.
/// </remarks>
internal sealed unsafe class WorkerPool : IDisposable
{
    // Long enough to bridge the gap between two steps of a plan, short enough not to burn a core between frames.
    private const int SpinIterations = 2000;

    private readonly Thread[] _threads;
    private readonly SemaphoreSlim _wake = new(0);
    private readonly Lock _gate = new();
    private delegate*<void*, int, int, void> _body;
    private void* _context;
    private int _tasks;
    private int _next;
    private int _running;
    private int _generation;
    private int _sleeping;
    private Exception? _failure;
    private volatile bool _disposed;

    /// <param name="workers">Number of workers, the caller included; 0 takes the machine's processor count.</param>
    public WorkerPool(int workers = 0)
    {
        Workers = workers > 0 ? workers : Environment.ProcessorCount;
        _threads = new Thread[Workers - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _threads[i] = new Thread(() => Loop(worker)) { IsBackground = true, Name = $"dwrseg worker {worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>Number of workers, the caller included.</summary>
    public int Workers { get; }

    /// <summary>Runs <paramref name="body"/>(context, task, worker) for every task in [0, tasks) and returns when all are done.</summary>
    /// <remarks>Worker numbers are in [0, <see cref="Workers"/>) and index per-worker scratch.</remarks>
    public void Run(int tasks, delegate*<void*, int, int, void> body, void* context)
    {
        if (tasks <= 0) return;
        if (tasks == 1 || _threads.Length == 0 || !_gate.TryEnter())
        {
            for (int task = 0; task < tasks; task++) body(context, task, 0);
            return;
        }
        try
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _body = body;
            _context = context;
            _tasks = tasks;
            _failure = null;
            Volatile.Write(ref _next, 0);
            Volatile.Write(ref _running, _threads.Length);
            Interlocked.Increment(ref _generation);
            int sleeping = Volatile.Read(ref _sleeping);
            if (sleeping > 0) _wake.Release(sleeping);
            Drain(0);
            SpinWait wait = default;
            while (Volatile.Read(ref _running) != 0) wait.SpinOnce(sleep1Threshold: -1);
            if (_failure is { } failure) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        }
        finally
        {
            _gate.Exit();
        }
    }

    private void Drain(int worker)
    {
        try
        {
            int task;
            while ((task = Interlocked.Increment(ref _next) - 1) < _tasks) _body(_context, task, worker);
        }
        catch (Exception e)
        {
            Interlocked.CompareExchange(ref _failure, e, null);
            Volatile.Write(ref _next, _tasks);
        }
    }

    private void Loop(int worker)
    {
        int seen = 0;
        while (true)
        {
            int spins = 0;
            while (Volatile.Read(ref _generation) == seen)
            {
                if (_disposed) return;
                if (spins++ < SpinIterations)
                {
                    Thread.SpinWait(20);
                    continue;
                }
                Interlocked.Increment(ref _sleeping);
                // A run that starts between the check and the wait is caught here: it either sees this sleeper or bumped the generation.
                if (Volatile.Read(ref _generation) == seen && !_disposed) _wake.Wait(50);
                Interlocked.Decrement(ref _sleeping);
                spins = SpinIterations - 50;
            }
            seen++;
            Drain(worker);
            Interlocked.Decrement(ref _running);
        }
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        if (_threads.Length > 0) _wake.Release(_threads.Length);
        foreach (Thread thread in _threads) thread.Join();
        _wake.Dispose();
    }
}
