using System.Text;

namespace DwrSeg.PtxEmulator;

/// <summary>A failure that the emulator found; the message holds all that is known of it.</summary>
internal sealed class EmulatorException : Exception
{
    public EmulatorException(FailureKind kind, string detail)
        : this(kind, detail, null)
    {
    }

    public EmulatorException(FailureKind kind, string detail, FailureSite? site)
        : base(Describe(kind, detail, site))
    {
        Kind = kind;
        Detail = detail;
        Site = site;
    }

    public FailureKind Kind { get; }

    /// <summary>What happened, without the place.</summary>
    public string Detail { get; }

    /// <summary>Where in a kernel; null for copies, frees and launches that did not begin.</summary>
    public FailureSite? Site { get; }

    /// <summary>The address at fault, where there is one.</summary>
    public ulong? Address { get; init; }

    /// <summary>The name of the allocation or region that was touched, where there is one.</summary>
    public string? MemoryName { get; init; }

    private static string Describe(FailureKind kind, string detail, FailureSite? site)
    {
        var text = new StringBuilder();
        text.Append(kind).Append(": ").Append(detail);
        if (site is null) return text.ToString();
        text.Append($"\n  kernel {site.Kernel}, block {site.Block}, thread {site.Thread}");
        if (site.Line > 0) text.Append($"\n  PTX line {site.Line}: {site.Instruction}");
        if (site.Source is not null) text.Append($"\n  source {site.Source}");
        return text.ToString();
    }
}
