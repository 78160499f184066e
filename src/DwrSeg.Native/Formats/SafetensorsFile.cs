using System.Collections.Immutable;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace DwrSeg.Native.Formats;

/// <summary>
/// Reads safetensors files. The file is not trusted: opening checks every length, offset and shape, and memory is taken in
/// proportion to what is read, never to what a header claims. Reading is thread-safe.
/// </summary>
public sealed class SafetensorsFile : IDisposable
{
    private readonly ByteSource _source;
    private readonly SafetensorsHeader _header;

    private SafetensorsFile(ByteSource source, string name)
    {
        _source = source;
        Name = name;
        try
        {
            _header = SafetensorsHeader.Read(source, name);
        }
        catch (Exception e)
        {
            source.Dispose();
            if (e is EndOfStreamException) throw CutShort(null);
            throw;
        }
    }

    /// <summary>The file's path, or the name given for a stream or a block of memory.</summary>
    public string Name { get; }

    /// <summary>The strings under <c>__metadata__</c>, in the file's order.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _header.Metadata;

    /// <summary>Every tensor by name, in the header's order.</summary>
    public IReadOnlyDictionary<string, SafetensorsEntry> Tensors => _header.Tensors;

    /// <summary>The tensor of that name.</summary>
    /// <exception cref="WeightsFormatException">The file has no such tensor.</exception>
    public SafetensorsEntry this[string name] => _header.Tensors.TryGetValue(name, out SafetensorsEntry? entry)
        ? entry
        : throw new WeightsFormatException(Name, name, $"missing; the file has {Tensors.Count} others: is it another model's?");

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be read.</exception>
    /// <exception cref="WeightsFormatException">It is not a sound safetensors file.</exception>
    public static SafetensorsFile Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (Directory.Exists(path)) throw new WeightsFormatException(path, null, "is a folder; give a .safetensors file");
        if (!File.Exists(path)) throw new FileNotFoundException($"{path}: no such weights file", path);
        SafeFileHandle handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
        ByteSource source;
        try
        {
            source = new ByteSource.OfFile(handle);
        }
        catch (NotSupportedException e)
        {
            handle.Dispose();
            throw new WeightsFormatException(path, null, "is a device or a pipe; give a regular file", e);
        }
        return new SafetensorsFile(source, path);
    }

    /// <summary>Reads a file that lies in memory; the memory must not change while this object is in use.</summary>
    /// <param name="bytes">The whole file.</param>
    /// <param name="name">How errors call it.</param>
    /// <exception cref="WeightsFormatException">It is not a sound safetensors file.</exception>
    public static SafetensorsFile Open(ReadOnlyMemory<byte> bytes, string name) => new(new ByteSource.OfMemory(bytes), name);

    /// <summary>Reads a file through a seekable stream, which <see cref="Dispose"/> closes.</summary>
    /// <param name="stream">The whole file, from the stream's position 0 on.</param>
    /// <param name="name">How errors call it.</param>
    /// <exception cref="ArgumentException">The stream cannot seek.</exception>
    /// <exception cref="WeightsFormatException">It is not a sound safetensors file.</exception>
    public static SafetensorsFile Open(Stream stream, string name)
    {
        ArgumentNullException.ThrowIfNull(stream);
        if (!stream.CanSeek) throw new ArgumentException("the stream must be seekable; copy it into memory first", nameof(stream));
        return new SafetensorsFile(new ByteSource.OfStream(stream), name);
    }

    /// <summary>Reads a F32, F16, BF16 or F64 tensor as floats; F64 is rounded to nearest.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="destination">As long as the tensor has elements.</param>
    /// <exception cref="ArgumentException">The destination's length is not the tensor's.</exception>
    /// <exception cref="WeightsFormatException">No such tensor, not a floating-point type, or the file became shorter.</exception>
    public void ReadFloats(string name, Span<float> destination)
    {
        SafetensorsEntry entry = this[name];
        CheckLength(entry, destination.Length);
        Span<byte> bytes = MemoryMarshal.AsBytes(destination);
        switch (entry.DType)
        {
            case SafetensorsDType.F32:
                Read(entry, 0, bytes);
                break;
            case SafetensorsDType.F16 or SafetensorsDType.BF16:
                // The halves are read into the destination's second half and widened front to back: no write overtakes a read.
                Span<byte> tail = bytes[(bytes.Length / 2)..];
                Read(entry, 0, tail);
                if (entry.DType == SafetensorsDType.F16)
                {
                    ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(tail);
                    for (int i = 0; i < destination.Length; i++) destination[i] = (float)halves[i];
                }
                else
                {
                    ReadOnlySpan<ushort> upper = MemoryMarshal.Cast<byte, ushort>(tail);
                    for (int i = 0; i < destination.Length; i++) destination[i] = BitConverter.UInt32BitsToSingle((uint)upper[i] << 16);
                }
                break;
            case SafetensorsDType.F64:
                Convert(entry, destination, (ReadOnlySpan<double> from, Span<float> to) =>
                {
                    for (int i = 0; i < from.Length; i++) to[i] = (float)from[i];
                });
                break;
            default:
                throw WrongType(entry, "F32, F16, BF16 or F64");
        }
    }

    /// <summary>Reads an I64, I32, U8 or BOOL tensor as 64-bit integers.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="destination">As long as the tensor has elements.</param>
    /// <exception cref="ArgumentException">The destination's length is not the tensor's.</exception>
    /// <exception cref="WeightsFormatException">No such tensor, another type, or the file became shorter.</exception>
    public void ReadInt64(string name, Span<long> destination)
    {
        SafetensorsEntry entry = this[name];
        CheckLength(entry, destination.Length);
        switch (entry.DType)
        {
            case SafetensorsDType.I64:
                Read(entry, 0, MemoryMarshal.AsBytes(destination));
                break;
            case SafetensorsDType.I32:
                Convert(entry, destination, (ReadOnlySpan<int> from, Span<long> to) =>
                {
                    for (int i = 0; i < from.Length; i++) to[i] = from[i];
                });
                break;
            case SafetensorsDType.U8 or SafetensorsDType.Bool:
                Convert(entry, destination, (ReadOnlySpan<byte> from, Span<long> to) =>
                {
                    for (int i = 0; i < from.Length; i++) to[i] = from[i];
                });
                break;
            default:
                throw WrongType(entry, "I64, I32, U8 or BOOL");
        }
    }

    /// <summary>Reads a tensor's bytes as they lie in the file, from byte <paramref name="start"/> of the tensor on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range does not lie in the tensor.</exception>
    /// <exception cref="WeightsFormatException">No such tensor, or the file became shorter.</exception>
    public void ReadBytes(string name, Span<byte> destination, long start = 0)
    {
        SafetensorsEntry entry = this[name];
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start, entry.ByteLength - destination.Length);
        Read(entry, start, destination);
    }

    /// <summary>Checks that a tensor exists with this shape.</summary>
    /// <exception cref="WeightsFormatException">The tensor is missing or has another shape.</exception>
    public SafetensorsEntry Expect(string name, params ReadOnlySpan<long> shape)
    {
        SafetensorsEntry entry = this[name];
        if (entry.Shape.AsSpan().SequenceEqual(shape)) return entry;
        throw new WeightsFormatException(Name, name,
            $"expected shape {ErrorText.Shape(shape)}, found {ErrorText.Shape(entry.Shape.AsSpan())}: is it another model's?");
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => _source.Dispose();

    private delegate void Converter<TFrom, TTo>(ReadOnlySpan<TFrom> from, Span<TTo> to);

    private void Convert<TFrom, TTo>(SafetensorsEntry entry, Span<TTo> destination, Converter<TFrom, TTo> convert)
        where TFrom : unmanaged
    {
        Span<TFrom> chunk = stackalloc TFrom[512];
        for (int done = 0; done < destination.Length; done += chunk.Length)
        {
            Span<TTo> to = destination.Slice(done, Math.Min(chunk.Length, destination.Length - done));
            Read(entry, (long)done * entry.DType.Size, MemoryMarshal.AsBytes(chunk[..to.Length]));
            convert(chunk[..to.Length], to);
        }
    }

    private void Read(SafetensorsEntry entry, long start, Span<byte> destination)
    {
        try
        {
            _source.Read(entry.Offset + start, destination);
        }
        catch (EndOfStreamException)
        {
            throw CutShort(entry.Name);
        }
    }

    private void CheckLength(SafetensorsEntry entry, int length)
    {
        if (entry.ElementCount == length) return;
        throw new ArgumentException($"{Name}: tensor {ErrorText.Quote(entry.Name)} has {entry.ElementCount} elements " +
            $"({ErrorText.Shape(entry.Shape.AsSpan())}), the destination has {length}");
    }

    private WeightsFormatException WrongType(SafetensorsEntry entry, string expected) =>
        new(Name, entry.Name, $"expected {expected}, found {entry.DType.HeaderName}");

    private WeightsFormatException CutShort(string? tensor) =>
        new(Name, tensor, "the file became shorter while it was read: write it to its final name only when complete");
}
