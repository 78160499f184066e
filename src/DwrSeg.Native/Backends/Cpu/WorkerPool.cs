using System.Runtime.ExceptionServices;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>
/// A fixed set of threads that run numbered tasks without allocating. Tasks are handed out dynamically, so a task's result must
/// not depend on which worker runs it; reductions therefore keep one partial result per task and combine them in task order.
/// </summary>
/// <remarks>
/// <para>
/// Results depend on <see cref="Workers"/>, never on the machine: kernels cut their work by that number. No more threads than processors
/// are started for it, because threads that take turns on a processor only wait for each other.
/// </para>
/// <para>
/// The caller's thread is worker 0. When the pool is busy with another caller's tasks, these run on the caller's thread alone, again
/// as worker 0: per-worker scratch belongs to the plan that runs, never to the pool.
/// </para>
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
    // Tasks that nobody has claimed, and tasks that are not done. Only a claim makes a worker part of a run: what the run reads stays
    // as it is until every claimed task is done, and a worker that comes late, or never, finds nothing to claim and is not waited for.
    private int _unclaimed;
    private int _unfinished;
    private int _generation;
    private int _sleeping;
    private Exception? _failure;
    private volatile bool _disposed;

    /// <param name="workers">Number of workers, the caller included; 0 takes the machine's processor count.</param>
    public WorkerPool(int workers = 0) : this(workers, Environment.ProcessorCount)
    {
    }

    /// <param name="workers">Number of workers, the caller included; 0 takes the machine's processor count.</param>
    /// <param name="mostThreads">Threads to run them on at most, the caller's included.</param>
    /// <param name="started">Called by each thread with its worker number before it looks for tasks, for tests.</param>
    internal WorkerPool(int workers, int mostThreads, Action<int>? started = null)
    {
        Workers = workers > 0 ? workers : Environment.ProcessorCount;
        _threads = new Thread[Math.Max(Math.Min(Workers, mostThreads) - 1, 0)];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _threads[i] = new Thread(() =>
            {
                started?.Invoke(worker);
                Loop(worker);
            })
            {
                IsBackground = true, Name = $"dwrseg worker {worker}",
            };
            _threads[i].Start();
        }
    }

    /// <summary>Number of workers that work is cut for, the caller included.</summary>
    public int Workers { get; }

    /// <summary>Threads that run tasks, the caller's included: at most one per processor.</summary>
    public int Threads => _threads.Length + 1;

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
            Volatile.Write(ref _unfinished, tasks);
            // The run is open from here on; all that its workers read is written before.
            Volatile.Write(ref _unclaimed, tasks);
            Interlocked.Increment(ref _generation);
            int sleeping = Volatile.Read(ref _sleeping);
            if (sleeping > 0) _wake.Release(sleeping);
            Drain(0);
            SpinWait wait = default;
            while (Volatile.Read(ref _unfinished) != 0) wait.SpinOnce(sleep1Threshold: -1);
            if (_failure is { } failure) ExceptionDispatchInfo.Throw(failure);
        }
        finally
        {
            _gate.Exit();
        }
    }

    private void Drain(int worker)
    {
        // Reported in one go: as long as a claimed task is not, the run stays.
        int done = 0;
        try
        {
            int left;
            while ((left = Interlocked.Decrement(ref _unclaimed)) >= 0)
            {
                done++;
                _body(_context, _tasks - 1 - left, worker);
            }
        }
        catch (Exception e)
        {
            Interlocked.CompareExchange(ref _failure, e, null);
            // Nobody will run what is not claimed yet.
            done += Math.Max(Interlocked.Exchange(ref _unclaimed, 0), 0);
        }
        if (done > 0) Interlocked.Add(ref _unfinished, -done);
    }

    private void Loop(int worker)
    {
        int seen = 0;
        while (true)
        {
            int spins = 0, generation;
            while ((generation = Volatile.Read(ref _generation)) == seen)
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
            seen = generation;
            Drain(worker);
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
