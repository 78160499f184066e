using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Memory;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>What a stream, or a node of a graph, does.</summary>
internal abstract record Work
{
    /// <summary>What the order's log calls it.</summary>
    public abstract string Label { get; }

    /// <summary>Whether a real driver would have a node for it.</summary>
    public virtual bool IsNode => true;

    /// <exception cref="EmulatorException">It did something wrong.</exception>
    public abstract void Run(EmulatedContext context);

    /// <summary>Whether a node of an executable graph may be updated from this one's values to the other's.</summary>
    public virtual bool HasShapeOf(Work other) => GetType() == other.GetType();
}

/// <summary>A copy to the device.</summary>
internal sealed unsafe record UploadWork(ulong Target, HostBytes Source, ulong Bytes) : Work
{
    public override string Label => "upload";

    public override void Run(EmulatedContext context)
    {
        Source.ThrowIfFreed("a copy to the device");
        fixed (byte* kept = Source.Kept) context.Memory.CopyIn(Target, kept is null ? Source.Pointer : kept, Bytes);
    }

    public override bool HasShapeOf(Work other) => other is UploadWork upload && upload.Source.IsPinned == Source.IsPinned;
}

/// <summary>A copy to the host.</summary>
internal sealed unsafe record DownloadWork(HostBytes Target, ulong Source, ulong Bytes) : Work
{
    public override string Label => "download";

    public override void Run(EmulatedContext context)
    {
        Target.ThrowIfFreed("a copy to the host");
        context.Memory.CopyOut(Target.Pointer, Source, Bytes);
    }

    public override bool HasShapeOf(Work other) => other is DownloadWork download && download.Target.IsPinned == Target.IsPinned;
}

/// <summary>A copy on the device.</summary>
internal sealed record CopyWork(ulong Target, ulong Source, ulong Bytes) : Work
{
    public override string Label => "copy";

    public override void Run(EmulatedContext context) => context.Memory.CopyWithin(Target, Source, Bytes);
}

/// <summary>Sets bytes.</summary>
internal sealed record FillWork(ulong Target, byte Value, ulong Count) : Work
{
    public override string Label => "fill";

    public override void Run(EmulatedContext context) => context.Memory.Fill(Target, Value, Count);
}

/// <summary>Sets 4-byte words.</summary>
internal sealed record FillWordsWork(ulong Target, uint Value, ulong Count) : Work
{
    public override string Label => "fill";

    public override void Run(EmulatedContext context) => context.Memory.Fill32(Target, Value, Count);
}

/// <summary>Says what a range holds from here on.</summary>
internal sealed record RegionWork(ulong Address, ulong Bytes, string? Name) : Work
{
    public override string Label => "region";

    public override bool IsNode => false;

    public override void Run(EmulatedContext context) => context.Memory.MarkRegion(Address, Bytes, Name);
}

/// <summary>Memory that a stream may use from here on. What another stream wrote there before is lost, as on a device.</summary>
internal sealed record AllocateWork(ulong Address, ulong Bytes) : Work
{
    public override string Label => "allocate";

    public override void Run(EmulatedContext context) => context.Memory.Forget(Address, Bytes);
}

/// <summary>Frees memory in the stream's order.</summary>
internal sealed record FreeWork(ulong Address) : Work
{
    public override string Label => "free";

    public override void Run(EmulatedContext context) => context.Free(Address);
}

/// <summary>A launch, with its own copy of the arguments.</summary>
internal sealed record KernelWork(DeviceFunction Function, LaunchShape Shape, byte[] Arguments) : Work
{
    public override string Label => Function.Entry.Name;

    /// <summary>It may start before the stream's previous kernel has ended, and awaits that itself.</summary>
    public bool OverlapsPrevious { get; init; }

    /// <summary>The chain that it runs in; null until it has its place in an order.</summary>
    public LaunchChain? Chain { get; init; }

    public override void Run(EmulatedContext context)
    {
        if (Function.Module.IsUnloaded)
            throw new EmulatorException(FailureKind.InvalidOperation,
                $"the module of kernel {Function.Entry.Name} was unloaded before the kernel ran");
        EmulatorOptions options = context.LaunchOptions with
        {
            MaxDynamicSharedBytes = Function.MaxDynamicSharedBytes, Seed = SeedOf(context),
            MayStillRun = OverlapsPrevious ? [.. Chain?.Launches ?? []] : null,
        };
        LaunchStatistics launch = Function.Module.Code.Launch(Function.Entry, Shape, Arguments, options);
        launch.OverlapsPrevious = OverlapsPrevious;
        Chain?.Add(new PreviousLaunch(context.Memory.Launches, Function.Entry.Name));
        context.Log.Add(launch);
        context.Spend(launch);
    }

    // Of the launch alone, whatever ran before it: every shape of every kernel has an order of its own, and always the same.
    private int SeedOf(EmulatedContext context)
    {
        var state = (ulong)(uint)context.LaunchOptions.Seed;
        foreach (char c in Function.Entry.Name) state = new Shuffle(state ^ c).Next();
        return (int)new Shuffle(state ^ (Shape.Grid.Count << 12) ^ Shape.Block.Count).Next();
    }

    public override bool HasShapeOf(Work other) => other is KernelWork kernel && ReferenceEquals(kernel.Function.Context, Function.Context);
}

/// <summary>Host code in a stream's order, in place of a library's kernels.</summary>
/// <param name="Name">What it stands for.</param>
/// <param name="Milliseconds">What it takes on a planted clock.</param>
/// <param name="Body">What it does to the device's memory; an <see cref="EmulatorException"/> ends the context.</param>
internal sealed record HostWork(string Name, double Milliseconds, Action<DeviceMemory> Body) : Work
{
    public override string Label => Name;

    public override void Run(EmulatedContext context)
    {
        Body(context.Memory);
        context.Spend(Milliseconds);
    }
}

/// <summary>A graph that was launched into a capture: one node.</summary>
internal sealed record ChildGraphWork(IReadOnlyList<GraphNode> Nodes) : Work
{
    public override string Label => "child graph";

    public override void Run(EmulatedContext context)
    {
        foreach (Work work in LaunchChain.Place(Nodes)) work.Run(context);
    }

    public override bool HasShapeOf(Work other) => other is ChildGraphWork child && GraphShape.AreEqual(Nodes, child.Nodes);
}
