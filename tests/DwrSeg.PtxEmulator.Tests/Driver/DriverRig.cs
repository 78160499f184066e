using System.Text;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

/// <summary>An emulated driver with a current context, and its calls in short form: each fails the test where the driver fails.</summary>
internal sealed unsafe class DriverRig : IDisposable
{
    public const uint NonBlocking = 1;

    public DriverRig(int architecture = 90, int seed = 1, double eagerness = 0, ulong memoryBytes = 64 << 20)
        : this(new EmulatedDriverOptions
        {
            Devices = [DeviceModel.Of(architecture) with { MemoryBytes = memoryBytes }], Seed = seed, Eagerness = eagerness, Threads = 1,
        })
    {
    }

    public DriverRig(EmulatedDriverOptions options)
    {
        Emulated = new EmulatedDriver(options);
        Ok(Driver.Init(0));
        Ok(Driver.DevicePrimaryCtxRetain(out CUcontext context, new CUdevice(0)));
        Ok(Driver.CtxSetCurrent(context));
        Context = context;
    }

    public EmulatedDriver Emulated { get; }

    public ICudaDriver Driver => Emulated;

    public CUcontext Context { get; }

    public void Ok(CUresult status) => Assert.True(status == CUresult.Success, $"{status}: {Driver.GetErrorString(status)}");

    /// <summary>Asserts a status and gives the driver's explanation.</summary>
    public string Fails(CUresult expected, CUresult status)
    {
        Assert.Equal(expected, status);
        return Driver.GetErrorString(status)!;
    }

    public CUdeviceptr Alloc(ulong bytes)
    {
        Ok(Driver.MemAlloc(out CUdeviceptr address, bytes));
        return address;
    }

    /// <summary>Memory that holds one value in every word.</summary>
    public CUdeviceptr Filled(int words, uint value)
    {
        CUdeviceptr address = Alloc((ulong)words * 4);
        Fill(address, value, words, default);
        Synchronize();
        return address;
    }

    public Pinned Pin(int words, uint value = 0)
    {
        Ok(Driver.MemHostAlloc(out void* memory, (ulong)words * 4, 0));
        var pinned = new Pinned((uint*)memory, words);
        pinned.Words.Fill(value);
        return pinned;
    }

    public CUstream Stream(uint flags = NonBlocking)
    {
        Ok(Driver.StreamCreateWithPriority(out CUstream stream, flags, 0));
        return stream;
    }

    public CUevent Event(uint flags = 0)
    {
        Ok(Driver.EventCreate(out CUevent @event, flags));
        return @event;
    }

    public CUevent Record(CUstream stream)
    {
        CUevent @event = Event();
        Ok(Driver.EventRecord(@event, stream));
        return @event;
    }

    public void Wait(CUstream stream, CUevent @event) => Ok(Driver.StreamWaitEvent(stream, @event, 0));

    public void Fill(CUdeviceptr target, uint value, int words, CUstream stream) =>
        Ok(Driver.MemsetD32Async(target, value, (ulong)words, stream));

    public void Copy(CUdeviceptr target, CUdeviceptr source, int words, CUstream stream) =>
        Ok(Driver.MemcpyDtoDAsync(target, source, (ulong)words * 4, stream));

    public void Download(Pinned target, CUdeviceptr source, CUstream stream) =>
        Ok(Driver.MemcpyDtoHAsync(target.Pointer, source, (ulong)target.Words.Length * 4, stream));

    public void Upload(CUdeviceptr target, Pinned source, CUstream stream) =>
        Ok(Driver.MemcpyHtoDAsync(target, source.Pointer, (ulong)source.Words.Length * 4, stream));

    public void Synchronize(CUstream? stream = null) =>
        Ok(stream is CUstream one ? Driver.StreamSynchronize(one) : Driver.CtxSynchronize());

    /// <summary>Reads words through a stream of its own, so that it waits for no other.</summary>
    public uint[] Read(CUdeviceptr source, int words)
    {
        var result = new uint[words];
        CUstream stream = Stream();
        fixed (uint* p = result) Ok(Driver.MemcpyDtoHAsync(p, source, (ulong)words * 4, stream));
        Ok(Driver.StreamDestroy(stream));
        return result;
    }

    public uint ReadWord(CUdeviceptr source) => Read(source, 1)[0];

    public CUgraphExec Capture(CUstream stream, Action work)
    {
        Ok(Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
        work();
        CUgraph graph = EndCapture(stream);
        CUgraphExec exec = Instantiate(graph);
        Ok(Driver.GraphDestroy(graph));
        return exec;
    }

    public CUgraph EndCapture(CUstream stream)
    {
        Ok(Driver.StreamEndCapture(stream, out CUgraph graph));
        return graph;
    }

    public CUgraphExec Instantiate(CUgraph graph)
    {
        Ok(Driver.GraphInstantiate(out CUgraphExec exec, graph, 0));
        return exec;
    }

    public CUmodule Load(string ptx)
    {
        CUresult status = Driver.ModuleLoadData(out CUmodule module, Text(ptx), out string log);
        Assert.True(status == CUresult.Success, $"{status}: {log}");
        return module;
    }

    public CUfunction Function(CUmodule module, string name)
    {
        Ok(Driver.ModuleGetFunction(out CUfunction function, module, name));
        return function;
    }

    public int Attribute(CUfunction function, CUfunctionAttribute attribute)
    {
        Ok(Driver.FuncGetAttribute(out int value, attribute, function));
        return value;
    }

    /// <summary>Launches a kernel whose parameters are 8 bytes each.</summary>
    public CUresult TryLaunch(CUfunction function, LaunchConfiguration configuration, params ulong[] arguments)
    {
        fixed (ulong* values = arguments)
        {
            void** pointers = stackalloc void*[arguments.Length + 1];
            for (int i = 0; i < arguments.Length; i++) pointers[i] = values + i;
            return Driver.LaunchKernelEx(configuration, function, pointers);
        }
    }

    public void Launch(CUfunction function, uint grid, uint block, CUstream stream, params ulong[] arguments) =>
        Ok(TryLaunch(function, new LaunchConfiguration(grid, 1, 1, block, 1, 1, 0, stream), arguments));

    /// <summary>PTX with the terminating zero that the driver wants.</summary>
    public static byte[] Text(string ptx) => Encoding.UTF8.GetBytes(ptx + "\0");

    public void Dispose() => Emulated.Dispose();

    /// <summary>Pinned words.</summary>
    internal readonly struct Pinned(uint* pointer, int words)
    {
        public uint* Pointer => pointer;

        public Span<uint> Words => new(pointer, words);
    }
}
