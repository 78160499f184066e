namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>What a library's status says of a call that did not succeed, and so what is to be done about it.</summary>
internal enum LibraryAnswer
{
    /// <summary>Something went wrong: the library or the device does not work.</summary>
    Failure,

    /// <summary>It cannot compute this, sound as it is: another way must. Nobody need be told.</summary>
    Refusal,

    /// <summary>It takes the call to be wrong, which is this project's fault: another way must, and the fault is to be told.</summary>
    Objection,
}
