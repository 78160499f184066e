namespace DwrSeg.PtxEmulator.Driver;

/// <summary>One piece of work in a stream's order: runs once, after all that it comes after.</summary>
internal sealed class Operation(EmulatedContext context, Action? body)
{
    private Operation? _first;
    private List<Operation>? _others;
    private Action? _body = body;

    public EmulatedContext Context { get; } = context;

    public bool IsDone { get; private set; }

    /// <summary>The chain of launches that ends here; null where no kernel does.</summary>
    public LaunchChain? Chain { get; init; }

    /// <summary>What it comes after; some of them may be done.</summary>
    public IEnumerable<Operation> Predecessors
    {
        get
        {
            if (_first is not null) yield return _first;
            foreach (Operation other in _others ?? []) yield return other;
        }
    }

    /// <summary>For the scheduler: the run that last saw this operation, what that run has found out, and what comes after it.</summary>
    internal long SeenBy;
    internal bool IsAwaited;
    internal int Missing;
    internal List<Operation>? Followers;

    public void ComesAfter(Operation? other)
    {
        if (other is not { IsDone: false }) return;
        // Most have one predecessor, so a launch on a busy stream allocates as much as one on an idle stream.
        if (_first is null) _first = other;
        else (_others ??= []).Add(other);
    }

    /// <summary>Runs it; in a context that has failed it does nothing, as on a device.</summary>
    public void Run()
    {
        try
        {
            if (!Context.HasFailed && _body is not null) Context.Run(_body);
        }
        finally
        {
            IsDone = true;
            (_first, _others, _body, Followers) = (null, null, null, null);
        }
    }
}
