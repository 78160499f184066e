using System.Globalization;

namespace DwrSeg.Cli.Profiling;

/// <summary>Numbers as text, the same in every culture.</summary>
internal static class Format
{
    public const string None = "-";

    public static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    public static string Number(double? value, string format) => value is { } number ? number.ToString(format, CultureInfo.InvariantCulture) : None;

    public static string Microseconds(double? seconds) => Number(1e6 * seconds, "F2");

    public static string Milliseconds(double? seconds) => Number(1e3 * seconds, "F3");

    public static string Percent(double? share) => share is null ? None : Number(100 * share, "F1") + " %";
}
