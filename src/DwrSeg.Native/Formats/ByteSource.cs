using Microsoft.Win32.SafeHandles;

namespace DwrSeg.Native.Formats;

/// <summary>Random access to bytes that lie in a file, a stream or memory; 64-bit offsets, safe to read from several threads.</summary>
internal abstract class ByteSource : IDisposable
{
    public abstract long Length { get; }

    /// <summary>Fills the span from <paramref name="offset"/> on, or throws <see cref="EndOfStreamException"/>.</summary>
    public abstract void Read(long offset, Span<byte> destination);

    public abstract void Dispose();

    public sealed class OfFile(SafeFileHandle handle) : ByteSource
    {
        public override long Length { get; } = RandomAccess.GetLength(handle);

        public override void Read(long offset, Span<byte> destination)
        {
            while (destination.Length > 0)
            {
                int count = RandomAccess.Read(handle, destination, offset);
                if (count == 0) throw new EndOfStreamException();
                destination = destination[count..];
                offset += count;
            }
        }

        public override void Dispose() => handle.Dispose();
    }

    public sealed class OfMemory(ReadOnlyMemory<byte> memory) : ByteSource
    {
        public override long Length => memory.Length;

        public override void Read(long offset, Span<byte> destination) =>
            memory.Span.Slice((int)offset, destination.Length).CopyTo(destination);

        public override void Dispose()
        {
        }
    }

    public sealed class OfStream(Stream stream) : ByteSource
    {
        private readonly Lock _gate = new();

        public override long Length { get; } = stream.Length;

        public override void Read(long offset, Span<byte> destination)
        {
            lock (_gate)
            {
                stream.Position = offset;
                stream.ReadExactly(destination);
            }
        }

        public override void Dispose() => stream.Dispose();
    }
}
