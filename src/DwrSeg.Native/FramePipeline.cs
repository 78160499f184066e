using System.Runtime.CompilerServices;
using System.Threading.Channels;
using DwrSeg.Native.Backends;

namespace DwrSeg.Native;

/// <summary>
/// Moves frames from an asynchronous source through a queue to whoever enumerates: one task takes frames from the source and begins them,
/// another ends them, so that neither a slow source nor a slow reader holds up what the device has. Tasks hand frames over in channels of
/// bounded size that are never waited for with a token, which would allocate; they are ended by being completed. Waiting for the device holds a
/// thread of the pool for as long as a frame takes.
/// </summary>
/// <param name="queue">The device's queue; owned.</param>
/// <param name="begin">Checks a frame and begins it on the queue.</param>
/// <param name="capacity">Frames between source and reader, the one that the reader holds included.</param>
internal sealed class FramePipeline(IFrameQueue queue, Action<IFrameQueue, Frame> begin, int capacity)
{
    private readonly Channel<bool> _free = Pipe<bool>(capacity);
    private readonly Channel<Frame> _begun = Pipe<Frame>(capacity), _ended = Pipe<Frame>(capacity);

    /// <summary>Runs until the source ends, something fails, or the enumeration is disposed; once.</summary>
    public async IAsyncEnumerable<Frame> Run(IAsyncEnumerable<Frame> source, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        for (int i = 0; i < capacity; i++) _free.Writer.TryWrite(true);
        CancellationToken stopped = stop.Token;
        Task beginning = Task.Run(() => BeginAll(source, stopped, cancellation), CancellationToken.None), ending = Task.Run(EndAll, CancellationToken.None);
        try
        {
            // Throws what ended the pipe, after the frames before it.
            while (await _ended.Reader.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false))
            {
                while (_ended.Reader.TryRead(out Frame frame))
                {
                    cancellation.ThrowIfCancellationRequested();
                    yield return frame;
                    _free.Writer.TryWrite(true);
                }
            }
        }
        finally
        {
            try
            {
                // Runs what the source registered with its token, which may throw.
                await stop.CancelAsync().ConfigureAwait(false);
            }
            finally
            {
                _free.Writer.TryComplete();
                await beginning.ConfigureAwait(false);
                await ending.ConfigureAwait(false);
                queue.Dispose();
            }
        }
    }

    private async Task BeginAll(IAsyncEnumerable<Frame> source, CancellationToken stopped, CancellationToken cancellation)
    {
        Exception? problem = null;
        try
        {
            IAsyncEnumerator<Frame> frames = source.GetAsyncEnumerator(stopped);
            await using (frames.ConfigureAwait(false))
            {
                while (await _free.Reader.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false) && _free.Reader.TryRead(out _))
                {
                    if (!await frames.MoveNextAsync().ConfigureAwait(false)) break;
                    stopped.ThrowIfCancellationRequested();
                    begin(queue, frames.Current);
                    _begun.Writer.TryWrite(frames.Current);
                }
            }
        }
        catch (OperationCanceledException e) when (cancellation.IsCancellationRequested)
        {
            // The caller knows its own token, not the one that the source was given.
            problem = new OperationCanceledException(e.Message, e, cancellation);
        }
        catch (Exception e)
        {
            problem = e;
        }
        _begun.Writer.TryComplete(problem);
    }

    private async Task EndAll()
    {
        Exception? problem = null;
        try
        {
            while (await _begun.Reader.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false))
            {
                while (_begun.Reader.TryRead(out Frame frame))
                {
                    queue.End(frame.Classes.Span, frame.Confidence.Span);
                    _ended.Writer.TryWrite(frame);
                }
            }
        }
        catch (Exception e)
        {
            problem = e;
        }
        _ended.Writer.TryComplete(problem);
    }

    private static Channel<T> Pipe<T>(int capacity) =>
        Channel.CreateBounded<T>(new BoundedChannelOptions(capacity) { SingleReader = true, SingleWriter = true });
}
