using System.Collections.Immutable;

namespace DwrSeg.Native.Models;

/// <summary>Which module a stage is made of.</summary>
public enum StageModule
{
    /// <summary>Simple Inverted Residual (paper, section 3.2).</summary>
    Sir,

    /// <summary>Dilation-wise Residual (paper, section 3.1).</summary>
    Dwr,
}

/// <summary>One stage of the encoder. The first module has stride 2 and a projection shortcut.</summary>
public sealed record StageConfig
{
    /// <summary>SIR or DWR.</summary>
    public required StageModule Module { get; init; }

    /// <summary>Number of modules, at least 1.</summary>
    public required int Repeats { get; init; }

    /// <summary>DWR: one branch per dilation, such as 1, 3, 5.</summary>
    public ImmutableArray<int> Dilations { get; init; } = [];

    /// <summary>DWR: outputs of each branch per channel of its group (the paper's α, 2:1:1).</summary>
    public ImmutableArray<int> BranchRatio { get; init; } = [];

    /// <summary>DWR: every branch reads the same Region Residualization map (the paper's MS and Figure 7).</summary>
    public bool SharedBranches { get; init; }

    /// <inheritdoc/>
    public bool Equals(StageConfig? other) => other is not null && Module == other.Module && Repeats == other.Repeats
        && Dilations.SequenceEqual(other.Dilations) && BranchRatio.SequenceEqual(other.BranchRatio) && SharedBranches == other.SharedBranches;

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Module, Repeats, Dilations.Length, SharedBranches);
}

/// <summary>
/// Everything that shapes a DWRSeg network: the paper's two sizes, any other width and depth, and each ablation of its Table 2.
/// </summary>
public sealed record DwrSegConfig
{
    /// <summary>Classes that the network tells apart, 2 to 255 (255 is the label that is ignored).</summary>
    public int Classes { get; init; } = 19;

    /// <summary>The width c of the stem and stage 2, even; stages 3 and 4 have 2c.</summary>
    public int BaseChannels { get; init; } = 64;

    /// <summary>Modules in stages 2, 3 and 4.</summary>
    public ImmutableArray<int> Repeats { get; init; } = [7, 3, 3];

    /// <summary>λ: the middle width of a SIR module per input channel.</summary>
    public int SirExpansion { get; init; } = 3;

    /// <summary>Adds a depth-wise 3x3 convolution and BN inside SIR.</summary>
    public bool SirDepthwise { get; init; }

    /// <summary>α: outputs of each branch per channel of its group.</summary>
    public ImmutableArray<int> BranchRatio { get; init; } = [2, 1, 1];

    /// <summary>β: the width of Region Residualization with three branches, per channel of the module.</summary>
    public double RrExpansion { get; init; } = 1.5;

    /// <summary>Multi-scale (MS) instead of single-scale (SS): all branches read the same Region Residualization map.</summary>
    public bool SharedBranches { get; init; }

    /// <summary>ReLU after Region Residualization.</summary>
    public bool RrRelu { get; init; } = true;

    /// <summary>BN after Region Residualization.</summary>
    public bool RrBn { get; init; } = true;

    /// <summary>BN after the branches.</summary>
    public bool SrBn { get; init; } = true;

    /// <summary>ReLU after the branches.</summary>
    public bool SrRelu { get; init; }

    /// <summary>BN after a DWR module's last convolution.</summary>
    public bool ProjectBn { get; init; }

    /// <summary>Own modules, branches and dilations for stages 2, 3 and 4; empty: SIR, DWR with dilations 1, 3 and DWR with 1, 3, 5.</summary>
    public ImmutableArray<StageConfig> Stages { get; init; } = [];

    /// <summary>DWRSeg-B: 7, 3, 3 modules; 2.54 M parameters at 19 classes.</summary>
    public static DwrSegConfig Base(int classes = 19) => new() { Classes = classes };

    /// <summary>DWRSeg-L: 8, 8, 3 modules; 3.54 M parameters at 19 classes.</summary>
    public static DwrSegConfig Large(int classes = 19) => new() { Classes = classes, Repeats = [8, 8, 3] };

    /// <summary>The stages in effect, <see cref="Stages"/> or the paper's.</summary>
    public ImmutableArray<StageConfig> EffectiveStages => !Stages.IsEmpty ? Stages :
    [
        new() { Module = StageModule.Sir, Repeats = Repeats[0] },
        new() { Module = StageModule.Dwr, Repeats = Repeats[1], Dilations = [1, 3], BranchRatio = BranchRatio, SharedBranches = SharedBranches },
        new() { Module = StageModule.Dwr, Repeats = Repeats[2], Dilations = [1, 3, 5], BranchRatio = BranchRatio, SharedBranches = SharedBranches },
    ];

    /// <summary>Checks every value.</summary>
    /// <exception cref="ArgumentException">A value is out of range; the message names it.</exception>
    public void Validate()
    {
        Require(Classes is >= 2 and <= 255, $"classes = {Classes}; 2 to 255 are possible.");
        Require(BaseChannels is >= 2 and <= 1024 && BaseChannels % 2 == 0, $"base_channels = {BaseChannels}; an even number from 2 to 1024 is possible.");
        Require(!Repeats.IsDefault && Repeats.Length == 3 && Repeats.All(r => r is >= 1 and <= 64), "repeats must be three numbers from 1 to 64.");
        Require(SirExpansion is >= 1 and <= 16, $"sir_expansion = {SirExpansion}; 1 to 16 are possible.");
        Require(RrExpansion is > 0 and <= 16, $"rr_expansion = {RrExpansion}; more than 0 and at most 16 are possible.");
        Require(!BranchRatio.IsDefault, "branch_ratio is missing.");
        Require(!Stages.IsDefault && Stages.Length is 0 or 3, $"stages has {(Stages.IsDefault ? 0 : Stages.Length)} entries; three (stages 2, 3 and 4) are needed.");
        foreach ((StageConfig stage, int number) in EffectiveStages.Select((s, i) => (s, i + 2)))
        {
            Require(stage.Repeats is >= 1 and <= 64, $"stage {number} repeats {stage.Repeats} times; 1 to 64 are possible.");
            if (stage.Module != StageModule.Dwr) continue;
            Require(stage.Dilations.Length is >= 1 and <= 8 && stage.Dilations.All(d => d is >= 1 and <= 64), $"stage {number} needs 1 to 8 dilations from 1 to 64.");
            Require(stage.BranchRatio.Length >= stage.Dilations.Length && stage.BranchRatio.All(r => r is >= 1 and <= 16),
                $"stage {number} has {stage.Dilations.Length} branches; branch_ratio must give each a number from 1 to 16.");
            Require(GroupWidth(number == 2 ? BaseChannels : 2 * BaseChannels) >= 1, $"rr_expansion = {RrExpansion} leaves a branch no channel at this width.");
        }
    }

    /// <summary>Channels of one Region Residualization group in a module of <paramref name="width"/> channels.</summary>
    internal int GroupWidth(int width) => (int)(width * RrExpansion) / 3;

    /// <inheritdoc/>
    public bool Equals(DwrSegConfig? other) => other is not null && Json == other.Json;

    /// <inheritdoc/>
    public override int GetHashCode() => Json.GetHashCode(StringComparison.Ordinal);

    private string Json
    {
        get
        {
            using var stream = new MemoryStream();
            using (var writer = new System.Text.Json.Utf8JsonWriter(stream))
            {
                writer.WriteStartObject();
                DwrSegConfigJson.Write(writer, this);
                writer.WriteEndObject();
            }
            return System.Text.Encoding.UTF8.GetString(stream.ToArray());
        }
    }

    private static void Require(bool condition, string message)
    {
        if (!condition) throw new ArgumentException(message);
    }
}
