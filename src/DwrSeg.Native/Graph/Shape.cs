using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Graph;

/// <summary>The size of an NHWC tensor: images, rows, columns, channels. Dense weights are (O, KH, KW, I), vectors (1, 1, 1, C).</summary>
internal readonly record struct Shape(int N, int H, int W, int C)
{
    /// <summary>A vector of <paramref name="channels"/> values.</summary>
    public static Shape Vector(int channels) => new(1, 1, 1, channels);

    /// <summary>A single value.</summary>
    public static Shape Scalar => new(1, 1, 1, 1);

    /// <summary>N·H·W.</summary>
    public long Pixels => (long)N * H * W;

    /// <summary>N·H·W·C.</summary>
    public long Elements => Pixels * C;

    /// <inheritdoc/>
    public override string ToString() => $"{N}x{H}x{W}x{C}";
}

/// <summary>A layer was given tensors whose shapes its shape rule does not allow.</summary>
internal sealed class ShapeException(string message) : Exception(message)
{
    internal static void Require(bool condition, [InterpolatedStringHandlerArgument("condition")] ref RequireMessage message)
    {
        if (!condition) throw new ShapeException(message.ToString());
    }

    /// <summary>Formats its text only where the requirement does not hold.</summary>
    [InterpolatedStringHandler]
    internal ref struct RequireMessage
    {
        private DefaultInterpolatedStringHandler _text;

        public RequireMessage(int literalLength, int formattedCount, bool condition, out bool enabled)
        {
            enabled = !condition;
            _text = enabled ? new DefaultInterpolatedStringHandler(literalLength, formattedCount) : default;
        }

        public void AppendLiteral(string text) => _text.AppendLiteral(text);

        public void AppendFormatted<T>(T value) => _text.AppendFormatted(value);

        public override string ToString() => _text.ToStringAndClear();
    }
}
