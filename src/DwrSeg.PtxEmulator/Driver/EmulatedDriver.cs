using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Text;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>
/// The CUDA driver without a GPU. Work put on a stream runs only when something waits for it, independent streams run in a seeded order,
/// and what a device would let pass (an address slightly out of bounds, a handle used after it was given back) fails with its whole story
/// in <see cref="GetErrorString"/>.
/// </summary>
/// <remarks>
/// Safe to call from several threads. Stricter than a real driver: freeing memory does not wait for work that uses it (which then fails),
/// and handles and addresses of one context are not taken in another.
/// </remarks>
internal sealed unsafe partial class EmulatedDriver : ICudaDriver, IDisposable
{
    // By thread, not by driver: handles that were forgotten are given back by finalizers, which may run after one of a driver's own table.
    [ThreadStatic]
    private static ConditionalWeakTable<EmulatedDriver, ThreadState>? _threadStates;

    // Of a driver that takes PTX of any version.
    private const int UnlimitedVersion = 99_990;

    private readonly Lock _gate = new();
    private readonly EmulatedDriverOptions _options;
    private readonly Scheduler _scheduler;
    private readonly HandleTable _handles = new();
    private readonly EmulatedContext?[] _contexts;
    private readonly nint[] _pools;
    private readonly LaunchLog _log;
    private readonly OrderLog? _order;
    private bool _initialised;

    public EmulatedDriver(EmulatedDriverOptions? options = null)
    {
        _options = options ?? new EmulatedDriverOptions();
        _scheduler = new Scheduler(_options.Seed, _options.Eagerness);
        _contexts = new EmulatedContext?[_options.Devices.Count];
        _pools = [.. _options.Devices.Select(d => _handles.Add(d))];
        _log = new LaunchLog(_options.MaxLaunches);
        _order = _options.LogsOrder ? new OrderLog() : null;
    }

    /// <summary>One emulated device of a compute capability (10 · major + minor).</summary>
    public EmulatedDriver(int architecture)
        : this(new EmulatedDriverOptions { Devices = [DeviceModel.Of(architecture)] })
    {
    }

    public string Description => $"PTX emulator ({string.Join(", ", _options.Devices.Select(d => d.Name))})";

    public bool HasClock => _options.LaunchMilliseconds is not null;

    /// <summary>The launches that have run since <see cref="ClearLaunches"/>, in the order in which they ran, with their counts.</summary>
    public IReadOnlyList<LaunchStatistics> Launches
    {
        get
        {
            lock (_gate) return _log.Launches;
        }
    }

    /// <summary>Launches that were dropped from <see cref="Launches"/> because there were too many.</summary>
    public long DroppedLaunches
    {
        get
        {
            lock (_gate) return _log.Dropped;
        }
    }

    /// <summary>What was put on streams since <see cref="ClearOrder"/>, where <see cref="EmulatedDriverOptions.LogsOrder"/> is set.</summary>
    public IReadOnlyList<LoggedOperation> Order
    {
        get
        {
            lock (_gate) return _order?.Operations ?? [];
        }
    }

    /// <summary>What has been made and not given back, on all devices.</summary>
    public LiveObjects Live
    {
        get
        {
            lock (_gate)
            {
                EmulatedContext[] contexts = [.. _contexts.OfType<EmulatedContext>()];
                ulong bytes = contexts.Aggregate(0ul, (sum, c) => sum + c.AllocatedBytes);
                return new LiveObjects(
                    contexts.Length, contexts.Sum(c => c.Allocations), bytes, _pinned.Count,
                    _handles.Count<DeviceStream>(), _handles.Count<DeviceEvent>(),
                    _handles.Count<DeviceModule>(), _handles.Count<WorkGraph>(), _handles.Count<ExecutableGraph>());
            }
        }
    }

    private ThreadState This => (_threadStates ??= []).GetValue(this, _ => new ThreadState());

    public void ClearLaunches()
    {
        lock (_gate) _log.Clear();
    }

    public void ClearOrder()
    {
        lock (_gate) _order?.Clear();
    }

    public CUresult Init(uint flags)
    {
        lock (_gate)
        {
            if (flags != 0) return Fail(CUresult.InvalidValue, "flags must be 0");
            _initialised = true;
            return CUresult.Success;
        }
    }

    public CUresult DriverGetVersion(out int version)
    {
        version = _options.DriverVersion ?? UnlimitedVersion;
        return CUresult.Success;
    }

    // The driver's names follow from the enumeration's: InvalidValue is CUDA_ERROR_INVALID_VALUE.
    public string? GetErrorName(CUresult status)
    {
        if (!Enum.IsDefined(status)) return null;
        if (status == CUresult.Success) return "CUDA_SUCCESS";
        var name = new StringBuilder("CUDA_ERROR");
        foreach (char c in status.ToString()) name.Append(char.IsUpper(c) ? "_" : "").Append(char.ToUpperInvariant(c));
        return name.ToString();
    }

    public string? GetErrorString(CUresult status)
    {
        if (!Enum.IsDefined(status)) return null;
        if (status == CUresult.Success) return "no error";
        var text = new StringBuilder();
        foreach (char c in status.ToString()) text.Append(char.IsUpper(c) && text.Length > 0 ? " " : "").Append(char.ToLowerInvariant(c));
        ThreadState thread = This;
        if (thread.FailedWith == status) text.Append(": ").Append(thread.Message);
        return text.ToString();
    }

    public CUresult DeviceGetCount(out int count)
    {
        lock (_gate)
        {
            count = 0;
            if (!_initialised) return NotInitialised();
            count = _contexts.Length;
            return CUresult.Success;
        }
    }

    public CUresult DeviceGet(out CUdevice device, int ordinal)
    {
        lock (_gate)
        {
            device = new CUdevice(ordinal);
            return CheckDevice(device, out _);
        }
    }

    public CUresult DeviceGetName(out string name, CUdevice device)
    {
        lock (_gate)
        {
            CUresult status = CheckDevice(device, out DeviceModel? model);
            name = model?.Name ?? "";
            return status;
        }
    }

    public CUresult DeviceGetAttribute(out int value, CUdeviceAttribute attribute, CUdevice device)
    {
        lock (_gate)
        {
            value = 0;
            CUresult status = CheckDevice(device, out DeviceModel? model);
            if (status != CUresult.Success) return status;
            if (model!.Attribute(attribute) is not int known)
                return Fail(CUresult.InvalidValue, $"the emulator knows no device attribute {attribute}");
            value = known;
            return CUresult.Success;
        }
    }

    public CUresult DeviceTotalMem(out ulong bytes, CUdevice device)
    {
        lock (_gate)
        {
            CUresult status = CheckDevice(device, out DeviceModel? model);
            bytes = model?.MemoryBytes ?? 0;
            return status;
        }
    }

    public CUresult DevicePrimaryCtxRetain(out CUcontext context, CUdevice device)
    {
        lock (_gate)
        {
            context = default;
            CUresult status = CheckDevice(device, out DeviceModel? model);
            if (status != CUresult.Success) return status;
            EmulatedContext retained = _contexts[device.Ordinal] ??= AddContext(device, model!);
            retained.References++;
            context = retained.Handle;
            return CUresult.Success;
        }
    }

    public CUresult DevicePrimaryCtxRelease(CUdevice device)
    {
        lock (_gate)
        {
            CUresult status = CheckDevice(device, out _);
            if (status != CUresult.Success) return status;
            if (_contexts[device.Ordinal] is not EmulatedContext context)
                return Fail(CUresult.InvalidContext, "the primary context is not retained");
            if (--context.References == 0) Destroy(context);
            return CUresult.Success;
        }
    }

    public CUresult CtxSetCurrent(CUcontext context)
    {
        lock (_gate)
        {
            if (!_initialised) return NotInitialised();
            EmulatedContext? found = null;
            if (context.Value != 0 && (found = _handles.Find<EmulatedContext>(context.Value)) is null)
                return Fail(CUresult.InvalidContext, _handles.Describe<EmulatedContext>(context.Value));
            This.Current = found;
            return CUresult.Success;
        }
    }

    public CUresult CtxGetCurrent(out CUcontext context)
    {
        lock (_gate)
        {
            context = This.Current?.Handle ?? default;
            return _initialised ? CUresult.Success : NotInitialised();
        }
    }

    public CUresult CtxSynchronize()
    {
        lock (_gate)
        {
            if (!Enter(out EmulatedContext? context, out CUresult status) || !MayWait(out status)) return status;
            // The context encloses the captured streams, so that no mode allows this and no thread is exempt.
            foreach (StreamCapture capture in _captures.Where(c => c.Origin.Context == context))
                status = Break(capture, "the context is waited for while one of its streams is being captured");
            return status == CUresult.Success ? Await(context, [.. context.Tails]) : status;
        }
    }

    /// <summary>Destroys what is left.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            foreach (EmulatedContext context in _contexts.OfType<EmulatedContext>().ToArray()) Destroy(context);
        }
        // Handles that others forgot are still given back to it, by their finalizers: calls must go on to answer.
    }

    private EmulatedContext AddContext(CUdevice device, DeviceModel model)
    {
        var context = new EmulatedContext(device, model, _options, _log) { Order = _order };
        context.Handle = new CUcontext(_handles.Add(context));
        return context;
    }

    private void Destroy(EmulatedContext context)
    {
        foreach (PinnedMemory memory in _pinned.Where(p => p.Context == context).ToArray())
        {
            memory.Free();
            _pinned.Remove(memory);
        }
        _captures.RemoveAll(c => c.Origin.Context == context);
        _handles.Remove(context.Handle.Value);
        _handles.RemoveWhere(o => o is IContextObject made && made.Context == context);
        _contexts[context.Device.Ordinal] = null;
        context.Dispose();
    }

    /// <summary>Notes why a call of this thread failed.</summary>
    private CUresult Fail(CUresult status, string message)
    {
        ThreadState thread = This;
        (thread.FailedWith, thread.Message) = (status, message);
        return status;
    }

    private CUresult NotInitialised() => Fail(CUresult.NotInitialized, "call Init first");

    private CUresult CheckDevice(CUdevice device, out DeviceModel? model)
    {
        model = null;
        if (!_initialised) return NotInitialised();
        if (_contexts.Length == 0) return Fail(CUresult.NoDevice, "the emulator has no device");
        if ((uint)device.Ordinal >= (uint)_contexts.Length)
            return Fail(CUresult.InvalidDevice, $"device {device.Ordinal} of {_contexts.Length}");
        model = _options.Devices[device.Ordinal];
        return CUresult.Success;
    }

    /// <summary>The current context, where it is usable.</summary>
    private bool Enter([NotNullWhen(true)] out EmulatedContext? context, out CUresult status)
    {
        context = This.Current;
        status = !_initialised ? NotInitialised()
            : context is null ? Fail(CUresult.InvalidContext, "this thread has no current context")
            : context.IsDestroyed ? Fail(CUresult.ContextIsDestroyed, "this thread's current context was destroyed")
            : context.HasFailed ? Fail(context.Failure, context.FailureMessage)
            : CUresult.Success;
        return status == CUresult.Success;
    }

    /// <summary>The current context, and something that was made in it.</summary>
    private bool Enter<T>(
        nint handle, [NotNullWhen(true)] out T? item, [NotNullWhen(true)] out EmulatedContext? context, out CUresult status)
        where T : class, IContextObject
    {
        item = null;
        if (!Enter(out context, out status)) return false;
        item = _handles.Find<T>(handle);
        if (item is null) status = Fail(CUresult.InvalidHandle, _handles.Describe<T>(handle));
        else if (item.Context != context)
            status = Fail(CUresult.InvalidHandle, $"this {typeof(T).Name} was made in another context than the current one");
        return status == CUresult.Success;
    }

    /// <summary>Waits, and reports what went wrong meanwhile.</summary>
    private CUresult Await(EmulatedContext context, IReadOnlyCollection<Operation> operations)
    {
        _scheduler.Finish(operations, Bystanders());
        return context.HasFailed ? Fail(context.Failure, context.FailureMessage) : CUresult.Success;
    }

    /// <summary>Answers whether an operation is done, and lets time pass.</summary>
    private CUresult Query(EmulatedContext context, Operation? operation)
    {
        if (operation is not { IsDone: false }) return CUresult.Success;
        _scheduler.Progress([operation], Bystanders());
        return context.HasFailed ? Fail(context.Failure, context.FailureMessage) : Fail(CUresult.NotReady, "work has not ended");
    }

    private IEnumerable<Operation> Bystanders() => _contexts.OfType<EmulatedContext>().SelectMany(c => c.Tails);

    private sealed class ThreadState
    {
        public EmulatedContext? Current;
        public CUresult FailedWith;
        public string Message = "";
    }
}
