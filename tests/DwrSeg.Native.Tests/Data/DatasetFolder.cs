using DwrSeg.Native.Formats;
using DwrSeg.Native.Tests.Formats;

namespace DwrSeg.Native.Tests.Data;

/// <summary>Writes small data sets file by file.</summary>
internal sealed class DatasetFolder : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public string Root => _folder.Path;

    public string PathOf(string name) => Path.Combine(Root, name);

    /// <summary>A grey image with the given value in every channel.</summary>
    public string Image(string name, int width = 6, int height = 4, byte value = 100)
    {
        byte[] rgb = new byte[width * height * 3];
        rgb.AsSpan().Fill(value);
        ImageCodec.SaveRgb(Create(name), width, height, rgb);
        return PathOf(name);
    }

    /// <summary>A label image that repeats the given ids.</summary>
    public string SizedLabels(string name, int width, int height, params byte[] ids)
    {
        ImageCodec.SaveLabels(Create(name), width, height, [.. Enumerable.Range(0, width * height).Select(i => ids[i % ids.Length])]);
        return PathOf(name);
    }

    public string Labels(string name, params byte[] ids) => SizedLabels(name, 6, 4, ids);

    public string Text(string name, string text)
    {
        File.WriteAllText(Create(name), text);
        return PathOf(name);
    }

    public string Folder(string name)
    {
        Directory.CreateDirectory(PathOf(name));
        return PathOf(name);
    }

    private string Create(string name)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(PathOf(name))!);
        return PathOf(name);
    }

    public void Dispose() => _folder.Dispose();
}
