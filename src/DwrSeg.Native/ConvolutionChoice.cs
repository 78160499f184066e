namespace DwrSeg.Native;

/// <summary>Whose code computes dense convolutions on a CUDA device.</summary>
public enum ConvolutionChoice
{
    /// <summary>
    /// Whichever is fastest there: this project's kernels, or cuDNN and cuBLASLt where they are installed. A library that fails
    /// is left out, with a warning of <see cref="System.Diagnostics.Trace"/>.
    /// </summary>
    Auto,

    /// <summary>This project's kernels alone.</summary>
    Native,

    /// <summary>cuDNN, for 1x1 convolutions cuBLASLt; both must be there. What neither can express is left to this project's kernels.</summary>
    Cudnn,
}
