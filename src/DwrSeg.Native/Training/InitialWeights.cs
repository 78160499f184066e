using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Native.Training;

/// <summary>Starts a network from another one's weights.</summary>
internal static class InitialWeights
{
    private const string Classifier = "decoder.classify.";

    /// <summary>
    /// Loads every parameter and running statistic of <paramref name="graph"/> from a weights file; the classifier only where the file's
    /// classes are <paramref name="classes"/>, else it starts fresh. Velocities start at zero.
    /// </summary>
    /// <returns>Whether the classifier was loaded.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="WeightsFormatException">It holds no sound model, or another network than <paramref name="config"/>.</exception>
    public static bool Load(string path, DwrSegConfig config, ClassList classes, LayerGraph graph, ITensorStore store, ulong seed)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        ModelMetadata metadata = ModelMetadata.Read(file);
        if (metadata.Config with { Classes = config.Classes } != config)
        {
            throw new WeightsFormatException(path, null, "holds another network than the one to train: its modules, widths or branches " +
                "differ; train with that file's configuration, or start without it");
        }
        bool sameClasses = metadata.Config.Classes == config.Classes
            && (metadata.Classes is null || metadata.Classes.Names.SequenceEqual(classes.Names, StringComparer.Ordinal));
        foreach (Tensor tensor in graph.Stored)
        {
            store.Add(tensor.Name, tensor.Shape);
            bool isFresh = tensor.Name.StartsWith(Sgd.VelocityPrefix, StringComparison.Ordinal)
                || (!sameClasses && tensor.Name.StartsWith(Classifier, StringComparison.Ordinal));
            if (isFresh) ModelWeights.InitializeOne(tensor, store, seed);
            else ModelWeights.LoadOne(file, tensor.Name, tensor, store);
        }
        return sameClasses;
    }
}
