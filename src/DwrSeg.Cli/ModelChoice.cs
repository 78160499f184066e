using System.CommandLine;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Models;

namespace DwrSeg.Cli;

/// <summary>What <c>--model base|large|FILE</c> names.</summary>
/// <param name="Name">For people.</param>
/// <param name="Config">The network.</param>
/// <param name="InputSize">The size that it was trained for, where a file gives one.</param>
/// <param name="File">The weights file; null for a network by name, which has none.</param>
internal sealed record ModelChoice(string Name, DwrSegConfig Config, (int Height, int Width)? InputSize, string? File)
{
    /// <summary>The paper's input size for Cityscapes, taken where nothing else is said.</summary>
    public static readonly (int Height, int Width) DefaultSize = (512, 1024);

    public static Option<string> Option() => new("--model")
    {
        Description = "base (DWRSeg-B), large (DWRSeg-L) or a weights file.",
        HelpName = "base|large|FILE",
        DefaultValueFactory = _ => "base",
    };

    /// <summary>What --config names: changes to the network of --model.</summary>
    public static Option<string?> ConfigOption() => new("--config")
    {
        Description = "Changes to the network, for any ablation: a JSON object, or a file that holds one, such as {\"beta\": 3} or " +
            "{\"rr_relu\": false}. Fields are those in a weights file's metadata; alpha, beta and lambda are the paper's.",
        HelpName = "JSON|FILE",
    };

    /// <param name="name">What the user gave.</param>
    /// <param name="classes">Number of classes; null: what the model has, 19 for a network by name.</param>
    /// <param name="changes">What the user gave for --config; null for none. With changes a file gives its network, but not its weights.</param>
    /// <exception cref="UsageException">A file's classes can't be changed, or the changes are none.</exception>
    public static ModelChoice Open(string name, int? classes = null, string? changes = null)
    {
        ModelChoice choice = Open(name, classes);
        if (changes is null) return choice;
        DwrSegConfig config = Change(choice.Config, changes);
        return config == choice.Config ? choice : choice with { Name = $"{choice.Name} with {changes}", Config = config, File = null };
    }

    private static ModelChoice Open(string name, int? classes)
    {
        if (name is "base" or "large")
        {
            DwrSegConfig config = name == "base" ? DwrSegConfig.Base(classes ?? 19) : DwrSegConfig.Large(classes ?? 19);
            return new ModelChoice(name == "base" ? "DWRSeg-B" : "DWRSeg-L", config, null, null);
        }
        using SafetensorsFile file = SafetensorsFile.Open(name);
        ModelMetadata metadata = ModelMetadata.Read(file);
        if (classes is { } wanted && wanted != metadata.Config.Classes)
            throw new UsageException($"--classes {wanted} does not fit {name}, which has {metadata.Config.Classes}; leave it out.");
        return new ModelChoice(name, metadata.Config, metadata.InputSize, name);
    }

    private static DwrSegConfig Change(DwrSegConfig config, string changes)
    {
        bool isText = changes.TrimStart().StartsWith('{');
        if (!isText && !System.IO.File.Exists(changes))
            throw new UsageException($"--config '{changes}' is neither a JSON object such as {{\"beta\": 3}} nor a file.");
        try
        {
            return DwrSegConfigJson.Override(config, isText ? changes : System.IO.File.ReadAllText(changes));
        }
        catch (Exception e) when (e is FormatException or ArgumentException)
        {
            throw new UsageException($"--config{(isText ? "" : $" {changes}")}: {e.Message}");
        }
    }
}
