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
    private const string LastName = "last.safetensors", BestName = "best.safetensors", ModelName = "model.safetensors";
    private const string MetricsName = "metrics.jsonl";

    private readonly string _path;
    private readonly string[] _created;

    private RunFolder(string path, string[] created, bool resumes)
    {
        (_path, _created) = (path, created);
        Last = Path.Combine(path, LastName);
        Best = Path.Combine(path, BestName);
        Model = Path.Combine(path, ModelName);
        Metrics = MetricsLog.Open(Path.Combine(path, MetricsName));
        Resumes = resumes && File.Exists(Last);
        foreach (string file in (ReadOnlySpan<string>)[Last, Best, Model]) AtomicFile.RemoveLeftovers(file);
    }

    /// <summary>The state to resume from.</summary>
    public string Last { get; }

    /// <summary>The weights of the best validation.</summary>
    public string Best { get; }

    /// <summary>The trained model.</summary>
    public string Model { get; }

    public MetricsLog Metrics { get; }

    /// <summary>Whether this run goes on from <see cref="Last"/>.</summary>
    public bool Resumes { get; }

    /// <summary>Creates the folder where it is missing and takes it for one run. What lies in it stays until <see cref="Clear"/>.</summary>
    /// <exception cref="TrainingException">It holds a run, or another process trains in it.</exception>
    /// <exception cref="IOException">It can't be created or written.</exception>
    public static RunFolder Open(string path, ExistingRun existing)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        string? found = Existing(path);
        if (existing == ExistingRun.Refuse && found is not null)
        {
            throw new TrainingException(
                $"{path} holds a run already ({found}); go on with it (--resume), replace it (--overwrite) or take another folder.");
        }
        if (existing == ExistingRun.Resume && found is BestName or ModelName)
        {
            throw new TrainingException($"{path} holds {found} but no {LastName} to resume from; put that back or take another folder.");
        }
        try
        {
            string[] missing = [.. Missing(path)];
            OutputFolder.Create(path);
            return new RunFolder(path, missing, existing == ExistingRun.Resume);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException($"cannot write into {path}: no permission; choose another folder or change its owner", e);
        }
    }

    /// <summary>Deletes what an earlier run left. To be called when the new one is sure to start.</summary>
    public void Clear()
    {
        foreach (string file in (ReadOnlySpan<string>)[Last, Best, Model]) File.Delete(file);
    }

    /// <summary>Takes back what <see cref="Open"/> made, for a run that did not come to write anything.</summary>
    public void Abandon()
    {
        Metrics.Dispose();
        try
        {
            if (Existing(_path) is null) File.Delete(Path.Combine(_path, MetricsName));
            foreach (string folder in _created)
            {
                if (!Directory.EnumerateFileSystemEntries(folder).Any()) Directory.Delete(folder);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Why the run did not start is what matters.
        }
    }

    public void Dispose() => Metrics.Dispose();

    // The folder and those above it that are not there, the deepest first.
    private static IEnumerable<string> Missing(string path)
    {
        for (string? folder = Path.GetFullPath(path); folder is not null && !Directory.Exists(folder); folder = Path.GetDirectoryName(folder))
        {
            // A path that ends in a separator names its folder twice.
            if (folder.Length > 0 && !Path.EndsInDirectorySeparator(folder)) yield return folder;
        }
    }

    // Empty metrics are those of a run that could not start.
    private static string? Existing(string path)
    {
        string? model = Array.Find([LastName, BestName, ModelName], name => File.Exists(Path.Combine(path, name)));
        return model ?? (new FileInfo(Path.Combine(path, MetricsName)) is { Exists: true, Length: > 0 } ? MetricsName : null);
    }
}
