namespace DwrSeg.Native.Training;

/// <summary>A training that can't start or can't go on; the message says why and what to do.</summary>
public sealed class TrainingException : Exception
{
    internal TrainingException(string message, Exception? inner = null) : base(message, inner)
    {
    }
}
