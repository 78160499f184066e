using DwrSeg.Native.Backends.Cpu;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed unsafe class WorkerPoolTests
{
    // Only there so that a run that waits for ever fails instead of blocking.
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(1000)]
    public void WorkersThatDoNotComeAreNotWaitedFor(int tasks)
    {
        using ManualResetEventSlim gate = new();
        using WorkerPool pool = new(4, mostThreads: 4, started: _ => gate.Wait());
        try
        {
            Counts counts = new(tasks);
            Thread caller = new(() => counts.Run(pool)) { IsBackground = true };
            caller.Start();
            Assert.True(caller.Join(Limit), "The run waits for workers that do nothing.");
            counts.EachRan(1);
            Assert.Equal(1, counts.WorkersSeen);
        }
        finally
        {
            gate.Set();
        }
    }

    [Fact]
    public void WorkersThatComeLateFindNothingOfARunThatIsOver()
    {
        using ManualResetEventSlim gate = new();
        using WorkerPool pool = new(4, mostThreads: 4, started: _ => gate.Wait());
        Counts counts = new(50);
        for (int run = 1; run <= 200; run++)
        {
            if (run == 100) gate.Set();
            counts.Run(pool);
            counts.EachRan(run);
        }
    }

    [Fact]
    public void EachTaskRunsOnce_InManyRunsOfChangingLength()
    {
        using WorkerPool pool = new(4, mostThreads: 4);
        Counts[] all = [new(1), new(2), new(3), new(5), new(64)];
        for (int run = 0; run < 4000; run++) all[run % all.Length].Run(pool);
        foreach (Counts counts in all) counts.EachRan(4000 / all.Length);
    }

    [Fact]
    public void NoMoreThreadsThanProcessorsAreStarted()
    {
        using WorkerPool pool = new(64);
        Assert.Equal((64, Math.Min(64, Environment.ProcessorCount)), (pool.Workers, pool.Threads));
        Counts counts = new(500);
        counts.Run(pool);
        counts.EachRan(1);
        Assert.InRange(counts.WorkersSeen, 1, pool.Threads);
    }

    [Fact]
    public void AFailureEndsItsRunAlone()
    {
        using WorkerPool pool = new(3, mostThreads: 3);
        for (int i = 0; i < 100; i++)
        {
            int failing = i % 40;
            Assert.Equal($"task {failing}", Assert.Throws<InvalidOperationException>(() => Fail(pool, failing)).Message);
            Counts counts = new(40);
            counts.Run(pool);
            counts.EachRan(1);
        }
    }

    private static void Fail(WorkerPool pool, int task) => pool.Run(40, &FailAt, &task);

    private static void FailAt(void* context, int task, int worker)
    {
        if (task == *(int*)context) throw new InvalidOperationException($"task {task}");
    }

    /// <summary>How often each task ran, and on which workers.</summary>
    private sealed class Counts(int tasks)
    {
        private readonly int[] _runs = new int[tasks];
        private readonly int[] _workers = new int[1];

        public int WorkersSeen => int.PopCount(_workers[0]);

        public void Run(WorkerPool pool)
        {
            fixed (int* runs = _runs)
            fixed (int* workers = _workers)
            {
                Context context = new() { Runs = runs, Workers = workers };
                pool.Run(_runs.Length, &Count, &context);
            }
        }

        public void EachRan(int times) => Assert.All(_runs, runs => Assert.Equal(times, runs));

        private static void Count(void* context, int task, int worker)
        {
            Context* to = (Context*)context;
            Interlocked.Increment(ref to->Runs[task]);
            Interlocked.Or(ref *to->Workers, 1 << worker);
        }

        private struct Context
        {
            public int* Runs;
            public int* Workers;
        }
    }
}
