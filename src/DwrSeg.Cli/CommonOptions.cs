using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;

namespace DwrSeg.Cli;

/// <summary>Options that several commands share. Each call makes a new one: an option belongs to one command.</summary>
internal static class CommonOptions
{
    public static Option<string> Device() => new("--device")
    {
        Description = "Where to compute: auto, cpu, cuda, cuda:N or emulated (CUDA kernels on the CPU, slow and strict).",
        HelpName = "NAME",
        DefaultValueFactory = _ => "auto",
    };

    /// <summary>fp32, fp16, bf16 or auto.</summary>
    public static Option<Precision> Precision() => OneOf<Precision>(
        "--precision", "P", "Arithmetic: auto (fp16 on CUDA, else fp32), fp32, fp16 or bf16; default: auto.", NameOf, "auto, fp32, fp16 or bf16");

    /// <summary>What the command line calls it.</summary>
    public static string NameOf(Precision precision) => precision switch
    {
        Native.Precision.Automatic => "auto",
        Native.Precision.Float32 => "fp32",
        Native.Precision.Float16 => "fp16",
        _ => "bf16",
    };

    /// <summary>auto, native or cudnn.</summary>
    public static Option<ConvolutionChoice> Convolutions() => OneOf<ConvolutionChoice>(
        "--conv", "C",
        "Dense convolutions on CUDA: auto (the fastest there, by time), native (this project's kernels) or cudnn (cuDNN and cuBLASLt); default: auto.",
        choice => choice.ToString().ToLowerInvariant(), "auto, native or cudnn");

    /// <summary>auto, all or none.</summary>
    public static Option<Fusion> Fuse() => OneOf<Fusion>(
        "--fuse", "F",
        "Layers to join into one step: auto (where that is faster, by time or by model; on a CPU always), all that can be, or none; default: auto.",
        NameOf, "auto, all or none");

    /// <summary>What the command line calls it.</summary>
    public static string NameOf(Fusion fusion) => fusion switch
    {
        Fusion.Auto => "auto",
        Fusion.All => "all",
        _ => "none",
    };

    /// <summary>Refuses all fusions where a library computes the convolutions of which modules would be fused.</summary>
    public static void Exclude(this Command command, Option<Fusion> fuse, Option<ConvolutionChoice> convolutions) => command.Validators.Add(result =>
    {
        if (result.GetValue(fuse) == Fusion.All && result.GetValue(convolutions) == ConvolutionChoice.Cudnn)
            result.AddError("--fuse all and --conv cudnn exclude each other: cuDNN computes one convolution at a time.");
    });

    /// <summary>A card of <see cref="GpuLimits.All"/>; null where none is named.</summary>
    public static Option<GpuLimits?> Gpu() => new("--gpu")
    {
        Description = $"The card whose limits times are expected by: {string.Join(", ", GpuLimits.All.Select(g => g.Name))}; " +
            "default: h100, for fp32 gtx1080ti.",
        HelpName = "NAME",
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (GpuLimits.All.FirstOrDefault(g => g.Name == text) is { } gpu) return gpu;
            result.AddError($"--gpu '{text}' is not {string.Join(", ", GpuLimits.All.Select(g => g.Name))}.");
            return null;
        },
    };

    /// <summary>The card that was named, or the usual one for a precision.</summary>
    public static GpuLimits CardFor(GpuLimits? named, Precision precision) =>
        named ?? GpuLimits.Of(precision == Native.Precision.Float32 ? "gtx1080ti" : "h100");

    /// <summary>How maps lie in memory on an architecture.</summary>
    public static CudaElement ElementFor(Precision precision, ComputeCapability architecture) => precision switch
    {
        Native.Precision.Float32 => CudaElement.Float32,
        Native.Precision.Float16 => CudaElement.Float16,
        Native.Precision.BFloat16 => CudaElement.BFloat16,
        _ => architecture >= CudaElement.Float16.FirstArchitecture() ? CudaElement.Float16 : CudaElement.Float32,
    };

    public static Option<int> Threads()
    {
        Option<int> option = new("--threads") { Description = "Threads to use; 0 takes one per processor.", HelpName = "N" };
        return option.InRange(0, SegmenterOptions.MaxThreads);
    }

    /// <summary>HxW, such as 512x1024.</summary>
    public static Option<(int Height, int Width)?> Size(string description, string name = "--size") => new(name)
    {
        Description = description,
        HelpName = "HxW",
        CustomParser = result => ParseSize(result, name),
    };

    public static Option<string?> JsonFile(string description) => new("--json") { Description = description, HelpName = "FILE" };

    /// <summary>Refuses values outside [<paramref name="least"/>, <paramref name="most"/>].</summary>
    public static Option<int> InRange(this Option<int> option, int least, int most)
    {
        option.Validators.Add(result =>
        {
            int value = result.GetValueOrDefault<int>();
            if (value < least || value > most) result.AddError($"{option.Name} is {value}; {least} to {most} are possible.");
        });
        return option;
    }

    /// <summary>Refuses values outside [<paramref name="least"/>, <paramref name="most"/>] and what is no number; none at all is fine.</summary>
    public static Option<double?> InRange(this Option<double?> option, double least, double most)
    {
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<double?>() is { } value && !(value >= least && value <= most))
                result.AddError(FormattableString.Invariant($"{option.Name} is {value}; {least} to {most} are possible."));
        });
        return option;
    }

    /// <summary>Refuses values that are not positive numbers.</summary>
    public static Option<double> Positive(this Option<double> option)
    {
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<double>() is not (> 0 and < double.PositiveInfinity)) result.AddError($"{option.Name} must be a positive number.");
        });
        return option;
    }

    /// <summary>Refuses negative values and what is no number; none at all is fine.</summary>
    public static Option<double?> NotNegative(this Option<double?> option)
    {
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<double?>() is { } value and not (>= 0 and < double.PositiveInfinity))
                result.AddError($"{option.Name} must be a number, 0 or more.");
        });
        return option;
    }

    private static (int Height, int Width)? ParseSize(ArgumentResult result, string name)
    {
        string text = result.Tokens[0].Value;
        string[] parts = text.Split('x');
        if (parts.Length == 2 && TryParseSide(parts[0], out int height) && TryParseSide(parts[1], out int width)) return (height, width);
        result.AddError($"{name} '{text}' is not HEIGHTxWIDTH with 1 to {Segmenter.MaxSide} each, such as 512x1024.");
        return null;
    }

    private static bool TryParseSide(string text, out int side) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out side) && side is >= 1 and <= Segmenter.MaxSide;

    // A value by its exact name; the default is the type's own.
    private static Option<T> OneOf<T>(string name, string helpName, string description, Func<T, string> nameOf, string names)
        where T : struct, Enum => new(name)
    {
        Description = description,
        HelpName = helpName,
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            foreach (T value in Enum.GetValues<T>())
            {
                if (nameOf(value) == text) return value;
            }
            result.AddError($"{name} '{text}' is not {names}.");
            return default;
        },
    };
}
