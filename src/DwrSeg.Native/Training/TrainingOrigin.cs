using System.Security.Cryptography;
using System.Text;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Data;

namespace DwrSeg.Native.Training;

/// <summary>What a training computes from, besides its options: with another data set, other arithmetic or other first weights the same
/// options give other bits.</summary>
/// <param name="Data">Names and counts of the data sets.</param>
/// <param name="Samples">Digest over names and file sizes of all samples: cheap, and other data of the same name and count rarely agrees in it.</param>
/// <param name="Arithmetic">What decides the last bits of a result, besides the number of threads.</param>
/// <param name="InitialWeights">Digest of the file that the weights start from; null where the options name none.</param>
internal sealed record TrainingOrigin(string Data, string Samples, string Arithmetic, string? InitialWeights)
{
    /// <exception cref="FileNotFoundException">There is no such file of initial weights.</exception>
    /// <exception cref="DatasetException">A sample's file is gone.</exception>
    public static TrainingOrigin Of(IBackend backend, TrainingOptions options, SegmentationDataset training, SegmentationDataset? validation) => new(
        Describe(training) + (validation is null ? "" : $", {Describe(validation)}"),
        DigestOf(training, validation),
        backend.Arithmetic,
        options.InitialWeights is { } file ? DigestOf(file) : null);

    private static string Describe(SegmentationDataset data) => $"{data.Name} ({data.Count})";

    private static string DigestOf(SegmentationDataset training, SegmentationDataset? validation)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (SegmentationDataset data in validation is null ? (ReadOnlySpan<SegmentationDataset>)[training] : [training, validation])
        {
            for (int i = 0; i < data.Count; i++) hash.AppendData(Encoding.UTF8.GetBytes($"{data.IdentityOf(i)}\n"));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static string DigestOf(string file)
    {
        if (!File.Exists(file)) throw new FileNotFoundException($"{file}: no such weights file (a run that is resumed needs none: leave out --init)", file);
        using FileStream stream = File.OpenRead(file);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }
}
