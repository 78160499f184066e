using System.Runtime.CompilerServices;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>
/// A kernel of a loaded module. This project's kernels take <em>one</em> parameter, a struct by value
/// (<c>__global__ void kernel(__grid_constant__ const Args args)</c>); its C# mirror is an unmanaged struct with the same fields in the same
/// order, so a launch copies it once and allocates nothing.
/// </summary>
internal sealed unsafe class CudaKernel
{
    private readonly CUfunction _function;
    private readonly int _parameterBytes;
    private readonly Lock _allowing = new();
    private int _allowedSharedBytes;

    public CudaKernel(CudaModule module, string name, int parameterBytes = 0)
    {
        (Module, Name, _parameterBytes) = (module, name, parameterBytes);
        using ContextScope scope = module.Context.Enter();
        CUresult status = module.Context.Driver.ModuleGetFunction(out _function, module.Module, name);
        if (status != CUresult.Success) throw CudaStatus.Failure(module.Context.Driver, status, "cuModuleGetFunction", name);
    }

    public CudaModule Module { get; }

    public CudaContext Context => Module.Context;

    /// <summary>The lowered name.</summary>
    public string Name { get; }

    public int Registers => this[CUfunctionAttribute.NumRegs];

    public int StaticSharedBytes => this[CUfunctionAttribute.SharedSizeBytes];

    /// <summary>Bytes of local memory a thread needs: spilled registers and arrays that are indexed.</summary>
    public int LocalBytes => this[CUfunctionAttribute.LocalSizeBytes];

    public int MaxThreadsPerBlock => this[CUfunctionAttribute.MaxThreadsPerBlock];

    public int MaxDynamicSharedBytes => this[CUfunctionAttribute.MaxDynamicSharedSizeBytes];

    /// <summary>A property by the driver's name for it.</summary>
    public int this[CUfunctionAttribute attribute]
    {
        get
        {
            using ContextScope scope = Context.Enter();
            CudaStatus.Check(Context.Driver, Context.Driver.FuncGetAttribute(out int value, attribute, _function));
            return value;
        }
    }

    /// <summary>
    /// Lets launches use so much dynamic shared memory, beyond the 48 KiB that every kernel may. It only grows: launches that were prepared
    /// with more stay possible.
    /// </summary>
    /// <exception cref="CudaException">The device has not so much.</exception>
    public void AllowDynamicShared(int bytes)
    {
        using ContextScope scope = Context.Enter();
        lock (_allowing)
        {
            if (bytes <= _allowedSharedBytes) return;
            CUresult status = Context.Driver.FuncSetAttribute(_function, CUfunctionAttribute.MaxDynamicSharedSizeBytes, bytes);
            if (status == CUresult.Success)
            {
                _allowedSharedBytes = bytes;
                return;
            }
            string about = $"{Name}: {bytes} bytes of dynamic and {StaticSharedBytes} of static shared memory, " +
                $"where a block on {Context.Device.Name} has {Context.Device.MaxSharedBytesPerBlock}";
            throw CudaStatus.Failure(Context.Driver, status, "cuFuncSetAttribute", about);
        }
    }

    /// <summary>Blocks of this shape that one multiprocessor runs at a time.</summary>
    public int BlocksPerMultiprocessor(int blockThreads, int dynamicSharedBytes)
    {
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.OccupancyMaxActiveBlocksPerMultiprocessor(
            out int blocks, _function, blockThreads, checked((ulong)dynamicSharedBytes)));
        return blocks;
    }

    /// <summary>Launches the kernel with its one argument struct.</summary>
    public void Launch<TArguments>(CudaStream stream, Dim3 grid, Dim3 block, int sharedBytes, in TArguments arguments)
        where TArguments : unmanaged =>
        Launch(Configuration(stream, grid, block, sharedBytes), arguments);

    /// <summary>Launches the kernel with its one argument struct, and with launch attributes.</summary>
    public void Launch<TArguments>(in LaunchConfiguration configuration, in TArguments arguments)
        where TArguments : unmanaged
    {
        if (_parameterBytes != 0 && _parameterBytes != sizeof(TArguments)) throw WrongSize(typeof(TArguments).Name, sizeof(TArguments));
        TArguments copy = arguments;
        void* argument = &copy;
        Launch(configuration, &argument);
    }

    /// <summary>Launches a kernel that takes plain arguments, one pointer to each.</summary>
    public void Launch(in LaunchConfiguration configuration, void** arguments)
    {
        using ContextScope scope = Context.Enter();
        CUresult status = Context.Driver.LaunchKernelEx(configuration, _function, arguments);
        if (status != CUresult.Success) throw Failed(status, configuration);
        GC.KeepAlive(this);
    }

    /// <summary>Launches a kernel of one plain argument after another.</summary>
    public void LaunchPlain<T1, T2>(CudaStream stream, Dim3 grid, Dim3 block, int sharedBytes, T1 a, T2 b)
        where T1 : unmanaged
        where T2 : unmanaged
    {
        void** pointers = stackalloc void*[] { &a, &b };
        Launch(Configuration(stream, grid, block, sharedBytes), pointers);
    }

    /// <summary>Launches a kernel of one plain argument after another.</summary>
    public void LaunchPlain<T1, T2, T3>(CudaStream stream, Dim3 grid, Dim3 block, int sharedBytes, T1 a, T2 b, T3 c)
        where T1 : unmanaged
        where T2 : unmanaged
        where T3 : unmanaged
    {
        void** pointers = stackalloc void*[] { &a, &b, &c };
        Launch(Configuration(stream, grid, block, sharedBytes), pointers);
    }

    /// <summary>Launches a kernel of one plain argument after another.</summary>
    public void LaunchPlain<T1, T2, T3, T4>(CudaStream stream, Dim3 grid, Dim3 block, int sharedBytes, T1 a, T2 b, T3 c, T4 d)
        where T1 : unmanaged
        where T2 : unmanaged
        where T3 : unmanaged
        where T4 : unmanaged
    {
        void** pointers = stackalloc void*[] { &a, &b, &c, &d };
        Launch(Configuration(stream, grid, block, sharedBytes), pointers);
    }

    /// <summary>A launch's shape without attributes.</summary>
    public static LaunchConfiguration Configuration(CudaStream stream, Dim3 grid, Dim3 block, int sharedBytes) =>
        new(grid.X, grid.Y, grid.Z, block.X, block.Y, block.Z, checked((uint)sharedBytes), stream.Stream);

    public override string ToString() => Name;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private CudaException Failed(CUresult status, in LaunchConfiguration c) => CudaStatus.Failure(
        Context.Driver, status, "cuLaunchKernelEx",
        $"{Name}, grid {c.GridX}x{c.GridY}x{c.GridZ}, block {c.BlockX}x{c.BlockY}x{c.BlockZ}, {c.DynamicSharedBytes} bytes of shared memory");

    [MethodImpl(MethodImplOptions.NoInlining)]
    private ArgumentException WrongSize(string type, int bytes) =>
        new($"kernel {Name} takes {_parameterBytes} bytes of arguments, but {type} has {bytes}: the C# struct must mirror the kernel's field by field");
}
