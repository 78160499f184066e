using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Training;

/// <summary>What to do where the output folder holds a run already.</summary>
public enum ExistingRun
{
    /// <summary>Refuse to train.</summary>
    Refuse,

    /// <summary>Go on where it was interrupted; start where nothing was saved yet.</summary>
    Resume,

    /// <summary>Delete its files and start anew.</summary>
    Overwrite,
}

/// <summary>The files of a run.</summary>
internal sealed class RunFolder : IDisposable
{
    private RunFolder(string path)
    {
        Last = Path.Combine(path, "last.safetensors");
        Best = Path.Combine(path, "best.safetensors");
        Model = Path.Combine(path, "model.safetensors");
        Metrics = MetricsLog.Open(MetricsFile(path));
    }

    /// <summary>The state to resume from.</summary>
    public string Last { get; }

    /// <summary>The weights of the best validation.</summary>
    public string Best { get; }

    /// <summary>The trained model.</summary>
    public string Model { get; }

    public MetricsLog Metrics { get; }

    /// <summary>Whether there is a state to resume from.</summary>
    public bool HasCheckpoint => File.Exists(Last);

    /// <summary>Creates the folder where it is missing and takes it for one run.</summary>
    /// <exception cref="TrainingException">It holds a run, or another process trains in it.</exception>
    /// <exception cref="IOException">It can't be created or written.</exception>
    public static RunFolder Open(string path, ExistingRun existing)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        if (File.Exists(path)) throw new IOException($"{path} is a file; the output must be a folder");
        Directory.CreateDirectory(path);
        if (existing == ExistingRun.Refuse && File.Exists(MetricsFile(path)))
            throw new TrainingException($"{path} holds a run already; go on with it (--resume), replace it (--overwrite) or take another folder.");
        var folder = new RunFolder(path);
        try
        {
            foreach (string file in (ReadOnlySpan<string>)[folder.Last, folder.Best, folder.Model])
            {
                AtomicFile.RemoveLeftovers(file);
                if (existing != ExistingRun.Resume) File.Delete(file);
            }
            return folder;
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    public void Dispose() => Metrics.Dispose();

    private static string MetricsFile(string path) => Path.Combine(path, "metrics.jsonl");
}
