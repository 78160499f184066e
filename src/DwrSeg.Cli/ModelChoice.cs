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

    /// <param name="name">What the user gave.</param>
    /// <param name="classes">Number of classes; null: what the model has, 19 for a network by name.</param>
    /// <exception cref="UsageException">A file's classes can't be changed.</exception>
    public static ModelChoice Open(string name, int? classes = null)
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
}
