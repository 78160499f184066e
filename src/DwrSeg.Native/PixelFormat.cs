namespace DwrSeg.Native;

/// <summary>The order of an image's bytes in a pixel.</summary>
public enum PixelFormat
{
    /// <summary>Three bytes: red, green, blue.</summary>
    Rgb,

    /// <summary>Three bytes: blue, green, red.</summary>
    Bgr,

    /// <summary>Four bytes: red, green, blue, and one that is ignored.</summary>
    Rgba,

    /// <summary>Four bytes: blue, green, red, and one that is ignored.</summary>
    Bgra,
}

internal static class PixelFormats
{
    /// <summary>Bytes from one pixel to the next.</summary>
    public static int BytesPerPixel(this PixelFormat format) => format switch
    {
        PixelFormat.Rgb or PixelFormat.Bgr => 3,
        PixelFormat.Rgba or PixelFormat.Bgra => 4,
        _ => throw new ArgumentOutOfRangeException(nameof(format), format, "Unknown pixel format."),
    };
}
