using System.Buffers.Binary;
using DwrSeg.PtxEmulator.Memory;
using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>Launches a kernel: checks the launch, runs its blocks on worker threads, and sums up what they counted.</summary>
/// <remarks>
/// Clusters, single blocks where the launch has none, start in an order that the seed decides. They run one after the other where their results
/// could depend on their order: when the kernel has atomics that return a value or add floating-point numbers, and once it has read and written
/// one region, in the first cluster or in an earlier launch. Otherwise several workers take the next cluster each, and everything that is counted
/// or reported is the same for any number of them: of several failures the one of the earliest cluster in the order counts, and a conflict
/// between blocks is looked for again with the clusters in order.
/// </remarks>
internal static class GridRunner
{
    public static LaunchStatistics Run(KernelCode code, LaunchShape shape, ReadOnlySpan<byte> parameters, DeviceMemory memory,
        int architecture, EmulatorOptions options)
    {
        Check(code.Entry, shape, parameters.Length, architecture, options);
        lock (memory.Gate)
        {
            byte[] bytes = new byte[code.Entry.ParameterBytes + 32];
            parameters[..(int)code.Entry.ParameterBytes].CopyTo(bytes);
            ulong[] order = Order(shape.Grid.Count / shape.ClusterX, options.Seed);
            LaunchContext context = Begin(code, shape, bytes, memory, architecture, options);
            var runners = new List<ClusterRunner>();
            try
            {
                try
                {
                    RunBlocks(code, context, order, runners);
                }
                catch (EmulatorException failure) when (failure.Kind == FailureKind.BlockConflict && runners.Count > 1)
                {
                    // Which block comes second depends on the workers' timing. In order, the conflict is the same every time.
                    runners.ForEach(r => r.Dispose());
                    runners.Clear();
                    code.ReadsWhatItWrites = true;
                    RunBlocks(code, Begin(code, shape, bytes, memory, architecture, options), order, runners);
                    throw;
                }
                return Sum(code, context, runners);
            }
            finally
            {
                foreach (ClusterRunner runner in runners)
                {
                    foreach (BlockRunner block in runner.Blocks) block.Global.EndLaunch();
                    runner.Dispose();
                }
            }
        }
    }

    private static LaunchContext Begin(KernelCode code, LaunchShape shape, byte[] parameters, DeviceMemory memory, int architecture,
        EmulatorOptions options)
    {
        uint tag = memory.BeginLaunch(out long launch);
        for (int offset = 0; offset + 8 <= code.Entry.ParameterBytes; offset += 8)
        {
            ulong pointer = BinaryPrimitives.ReadUInt64LittleEndian(parameters.AsSpan(offset));
            if (memory.Find(pointer) is not { Live: true } allocation || allocation.SpanAt(pointer) is not { } span) continue;
            allocation.PointedByLaunch = launch;
            span.PointedByLaunch = launch;
        }
        var tags = new bool[BlockOwners.MaxTag + 1];
        foreach (PreviousLaunch earlier in options.MayStillRun ?? [])
        {
            if (BlockOwners.Round(earlier.Number) == BlockOwners.Round(launch)) tags[BlockOwners.Tag(earlier.Number)] = true;
        }
        return new LaunchContext
        {
            Memory = memory, Shape = shape, Options = options, Architecture = architecture, Parameters = parameters, Launch = launch,
                Tag = tag,
            MayStillRun = options.Strict ? options.MayStillRun : null, TagsStillRunning = tags,
            Published = new bool[Math.Min(shape.Grid.Count, BlockOwners.MaxBlocks)],
            SharedBytes = shape.DynamicSharedBytes > 0 ? code.Entry.DynamicSharedOffset + shape.DynamicSharedBytes
                : code.Entry.StaticSharedBytes,
        };
    }

    private static void Check(PtxEntry entry, LaunchShape shape, int parameterBytes, int architecture, EmulatorOptions options)
    {
        DeviceLimits limits = DeviceLimits.Of(architecture);
        EmulatorException Limit(string problem) => new(FailureKind.LaunchLimit, $"{entry.Name}: {problem}");
        ulong threads = shape.Block.Count;
        if (threads == 0 || shape.Grid.Count == 0) throw Limit($"empty grid {shape.Grid} or block {shape.Block}");
        if (threads > DeviceLimits.ThreadsPerBlock || shape.Block.X > 1024 || shape.Block.Y > 1024 || shape.Block.Z > 64)
            throw Limit($"a block of {shape.Block} threads; the device allows {DeviceLimits.ThreadsPerBlock}, 64 in z");
        if (shape.Grid.X > int.MaxValue || shape.Grid.Y > 65535 || shape.Grid.Z > 65535)
            throw Limit($"a grid of {shape.Grid} blocks; the device allows 65535 in y and z");
        if (entry.MaxThreads > 0 && threads > entry.MaxThreads)
            throw Limit($"{threads} threads a block; the kernel was compiled for {entry.MaxThreads} (__launch_bounds__)");
        if (shape.ClusterX != 1 && architecture < 90) throw Limit($"sm_{architecture} has no clusters");
        if (shape.ClusterX is 0 or > DeviceLimits.BlocksPerCluster || shape.Grid.X % shape.ClusterX != 0)
            throw Limit($"clusters of {shape.ClusterX} in a grid of {shape.Grid} blocks; one has 1 to {DeviceLimits.BlocksPerCluster}, and they fill it");
        if (entry.ClusterProblem(shape.ClusterX) is { } problem) throw Limit(problem);
        if (entry.RequiredBlock is { } required && required != shape.Block)
            throw Limit($"block {shape.Block}; the kernel requires {required}");
        uint shared = shape.DynamicSharedBytes > 0 ? entry.DynamicSharedOffset + shape.DynamicSharedBytes : entry.StaticSharedBytes;
        if (entry.StaticSharedBytes > DeviceLimits.DefaultSharedBytesPerBlock)
            throw Limit($"{entry.StaticSharedBytes} bytes of static shared memory; 48 KiB are allowed, more only as dynamic shared memory");
        if (shared > limits.SharedBytesPerBlock)
            throw Limit($"{shared} bytes of shared memory; sm_{architecture} has {limits.SharedBytesPerBlock} for a block");
        if (shared > DeviceLimits.DefaultSharedBytesPerBlock && shape.DynamicSharedBytes > options.MaxDynamicSharedBytes)
            throw Limit($"{shape.DynamicSharedBytes} bytes of dynamic shared memory; the function allows {options.MaxDynamicSharedBytes} (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)");
        if (entry.LocalBytes > DeviceLimits.LocalBytesPerThread)
            throw new EmulatorException(FailureKind.StackLimit,
                $"{entry.Name}: {entry.LocalBytes} bytes of local memory a thread; {DeviceLimits.LocalBytesPerThread} are allowed");
        if (parameterBytes < entry.ParameterBytes)
            throw Limit($"{parameterBytes} bytes of parameters, the kernel has {entry.ParameterBytes}");
    }

    private static ulong[] Order(ulong blocks, int seed)
    {
        if (blocks > int.MaxValue / 2)
            throw new EmulatorException(FailureKind.LaunchLimit, $"{blocks} blocks are more than the emulator runs");
        var order = new ulong[blocks];
        for (int i = 0; i < order.Length; i++) order[i] = (ulong)i;
        var random = new Shuffle((ulong)(uint)seed);
        for (int i = order.Length - 1; i > 0; i--)
        {
            int j = (int)random.Below((ulong)i + 1);
            (order[i], order[j]) = (order[j], order[i]);
        }
        return order;
    }

    private static void RunBlocks(KernelCode code, LaunchContext context, ulong[] order, List<ClusterRunner> runners)
    {
        var first = new ClusterRunner(code, context, 0);
        runners.Add(first);
        first.Run(order[0]);
        if (!code.ReadsWhatItWrites && context.Memory.Allocations.Any(a => a.ReadAndWrittenIn(context.Launch)))
            code.ReadsWhatItWrites = true;
        int workers = Math.Min(Math.Min(context.Options.Threads, Allocation.MaxWorkers / (int)context.Shape.ClusterX), order.Length - 1);
        if (workers <= 1 || code.OrderedAtomics || code.ReadsWhatItWrites)
        {
            for (int i = 1; i < order.Length; i++) first.Run(order[i]);
            return;
        }

        for (int worker = 1; worker < workers; worker++) runners.Add(new ClusterRunner(code, context, worker));
        int next = 0, failedAt = int.MaxValue;
        var failures = new List<(int At, EmulatorException Failure)>();
        Parallel.ForEach(runners, new ParallelOptions { MaxDegreeOfParallelism = workers }, runner =>
        {
            while (true)
            {
                int at = Interlocked.Increment(ref next);
                if (at >= order.Length || at > Volatile.Read(ref failedAt)) return;
                try
                {
                    runner.Run(order[at]);
                }
                catch (EmulatorException failure)
                {
                    lock (failures)
                    {
                        failures.Add((at, failure));
                        failedAt = Math.Min(failedAt, at);
                    }
                    return;
                }
            }
        });
        if (failures.Count == 0)
        {
            code.ReadsWhatItWrites = context.Memory.Allocations.Any(x => x.ReadAndWrittenIn(context.Launch));
            return;
        }
        throw failures.Find(f => f.Failure.Kind == FailureKind.BlockConflict).Failure ?? failures.MinBy(f => f.At).Failure;
    }

    private static LaunchStatistics Sum(KernelCode code, LaunchContext context, List<ClusterRunner> clusters)
    {
        BlockRunner[] runners = [.. clusters.SelectMany(c => c.Blocks)];
        var lines = new List<LineStatistics>();
        var total = default(Counters);
        var byClass = new long[Enum.GetValues<InstructionClass>().Length];
        int block = -1;
        for (int i = 0; i < code.Count; i++)
        {
            if (Array.BinarySearch(code.BlockStarts, i) is >= 0 and int started) block = started;
            if (code.Instructions[i] is not { } instruction) continue;
            var sum = default(Counters);
            foreach (BlockRunner runner in runners)
            {
                sum.Add(runner.Counters[i]);
                bool guarded = code.IsGuardedPlain(i);
                long visits = guarded ? runner.GuardedVisits[i] : runner.BlockVisits[block], lanes = guarded ? runner.GuardedLanes[i]
                    : runner.BlockLanes[block];
                sum.WarpInstructions += visits;
                sum.ThreadInstructions += lanes;
                sum.Flops += code.Flops[i] < 0 ? -code.Flops[i] * visits : code.Flops[i] * lanes;
            }
            byClass[(int)code.Classes[i]] += sum.WarpInstructions;
            if (sum.WarpInstructions == 0) continue;
            total.Add(sum);
            lines.Add(new LineStatistics(instruction.Line, instruction.Text, instruction.Source, code.Classes[i], sum));
        }
        var statistics = new LaunchStatistics { Kernel = code.Entry.Name, Shape = context.Shape, Lines = lines,
            SharedBytes = context.SharedBytes, Total = total };
        byClass.CopyTo(statistics.ByClass, 0);
        foreach (BlockRunner runner in runners)
        {
            statistics.BlockLoadSectors += runner.Global.BlockLoadSectors;
            statistics.BlockStoreSectors += runner.Global.BlockStoreSectors;
            statistics.LaunchLoadSectors += runner.Global.LaunchLoadSectors;
            statistics.LaunchStoreSectors += runner.Global.LaunchStoreSectors;
            statistics.Barriers += runner.Barriers;
        }
        return statistics;
    }
}
