using Xunit;

namespace DwrSeg.Native.Tests;

/// <summary>Tests that count what the whole process does (its memory, its threads, its allocations): no other test runs meanwhile.</summary>
[CollectionDefinition(nameof(RunsAlone), DisableParallelization = true)]
public sealed class RunsAlone;
