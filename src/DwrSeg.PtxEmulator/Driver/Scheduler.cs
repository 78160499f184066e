namespace DwrSeg.PtxEmulator.Driver;

/// <summary>
/// Runs operations when somebody waits for them, and only as many as that needs. Among those that may run next, a seeded generator chooses.
/// </summary>
internal sealed class Scheduler(int seed, double eagerness)
{
    private readonly Random _random = new(seed);
    private readonly List<Operation> _collected = [];
    private readonly Stack<Operation> _open = [];
    private readonly List<Operation> _awaited = [];
    private readonly List<Operation> _others = [];
    private long _run;

    /// <summary>Runs until all of <paramref name="targets"/> are done.</summary>
    /// <param name="targets">What is waited for.</param>
    /// <param name="bystanders">The last operations of streams that nobody waits for; they may run too.</param>
    public void Finish(IEnumerable<Operation> targets, IEnumerable<Operation> bystanders)
    {
        int missing = Prepare(targets, bystanders);
        Advance(missing, missing);
    }

    /// <summary>
    /// Makes some progress, as time that passes between two questions does: an eighth of what is missing, at least one operation.
    /// </summary>
    public void Progress(IEnumerable<Operation> targets, IEnumerable<Operation> bystanders)
    {
        int missing = Prepare(targets, bystanders);
        Advance(missing, (missing + 7) / 8);
    }

    private void Advance(int missing, int steps)
    {
        for (int target = missing - steps; missing > target;)
        {
            bool other = _others.Count > 0 && _random.NextDouble() < eagerness;
            List<Operation> ready = other ? _others : _awaited;
            int chosen = _random.Next(ready.Count);
            Operation operation = ready[chosen];
            ready[chosen] = ready[^1];
            ready.RemoveAt(ready.Count - 1);
            List<Operation>? followers = operation.Followers;
            operation.Run();
            if (operation.IsAwaited) missing--;
            foreach (Operation follower in followers ?? [])
            {
                if (--follower.Missing == 0) (follower.IsAwaited ? _awaited : _others).Add(follower);
            }
        }
    }

    private int Prepare(IEnumerable<Operation> targets, IEnumerable<Operation> bystanders)
    {
        _run++;
        _collected.Clear();
        _awaited.Clear();
        _others.Clear();
        Collect(targets, isAwaited: true);
        int missing = _collected.Count;
        if (eagerness > 0 && missing > 0) Collect(bystanders, isAwaited: false);
        foreach (Operation operation in _collected)
        {
            foreach (Operation before in operation.Predecessors)
            {
                if (before.IsDone) continue;
                operation.Missing++;
                (before.Followers ??= []).Add(operation);
            }
            if (operation.Missing == 0) (operation.IsAwaited ? _awaited : _others).Add(operation);
        }
        return missing;
    }

    private void Collect(IEnumerable<Operation> ends, bool isAwaited)
    {
        foreach (Operation end in ends) _open.Push(end);
        while (_open.TryPop(out Operation? operation))
        {
            if (operation.IsDone || operation.SeenBy == _run) continue;
            operation.SeenBy = _run;
            operation.IsAwaited = isAwaited;
            operation.Missing = 0;
            operation.Followers?.Clear();
            _collected.Add(operation);
            foreach (Operation before in operation.Predecessors) _open.Push(before);
        }
    }
}
