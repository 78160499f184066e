using System.Text;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Driver;

internal sealed unsafe partial class EmulatedDriver
{
    public CUresult ModuleLoadData(out CUmodule module, ReadOnlySpan<byte> image, out string log)
    {
        lock (_gate)
        {
            module = default;
            log = "";
            if (!Enter(out EmulatedContext? context, out CUresult status) || !MayWait(out status)) return status;
            if (image.Length >= 4 && image[..4].SequenceEqual("\u007fELF"u8))
                return Fail(CUresult.InvalidImage, "a cubin; the emulator runs PTX only");
            int end = image.IndexOf((byte)0);
            if (end < 0) return Fail(CUresult.InvalidImage, "PTX text ends with a zero byte, and this has none");
            if (end == 0) return Fail(CUresult.InvalidImage, "the image is empty");
            try
            {
                PtxModule parsed = PtxModule.Parse(Encoding.UTF8.GetString(image[..end]));
                if (TargetProblem(parsed, context.Model) is (CUresult problem, string text))
                {
                    log = text;
                    return Fail(problem, text);
                }
                ulong bytes = parsed.Variables.Aggregate(0ul, (sum, v) => sum + Math.Min(v.Bytes, long.MaxValue / 1024));
                if (bytes > context.Model.MemoryBytes - context.AllocatedBytes)
                    return Fail(CUresult.OutOfMemory, $"{bytes} bytes of variables are more than the device has free");
                var loaded = new DeviceModule(context, new LoadedModule(parsed, context.Memory, context.Model.Architecture));
                module = new CUmodule(_handles.Add(loaded));
                return CUresult.Success;
            }
            catch (Exception failure) when (failure is PtxLoadException or EmulatorException)
            {
                log = failure.Message;
                return Fail(CUresult.InvalidPtx, failure.Message);
            }
        }
    }

    public CUresult ModuleUnload(CUmodule module)
    {
        lock (_gate)
        {
            if (!Enter(module.Value, out DeviceModule? unloaded, out _, out CUresult status) || !MayWait(out status)) return status;
            foreach (nint function in unloaded.Functions.Values) _handles.Remove(function);
            _handles.Remove(module.Value);
            unloaded.Unload();
            return CUresult.Success;
        }
    }

    public CUresult ModuleGetFunction(out CUfunction function, CUmodule module, string name)
    {
        lock (_gate)
        {
            function = default;
            if (!Enter(module.Value, out DeviceModule? holder, out _, out CUresult status)) return status;
            if (!holder.Functions.TryGetValue(name, out nint handle))
            {
                PtxEntry? entry = holder.Code.Module.Entries.FirstOrDefault(e => e.Name == name);
                if (entry is null)
                {
                    string entries = string.Join(", ", holder.Code.Module.Entries.Select(e => e.Name));
                    return Fail(CUresult.NotFound, $"the module has no kernel {name}; it has: {entries}");
                }
                handle = _handles.Add(
                    new DeviceFunction(holder, entry, _options.Registers.TryGetValue(name, out int registers) ? registers : null));
                holder.Functions.Add(name, handle);
            }
            function = new CUfunction(handle);
            return CUresult.Success;
        }
    }

    public CUresult ModuleGetGlobal(out CUdeviceptr address, out ulong bytes, CUmodule module, string name)
    {
        lock (_gate)
        {
            (address, bytes) = (default, 0);
            if (!Enter(module.Value, out DeviceModule? holder, out _, out CUresult status)) return status;
            if (holder.Code.Variable(name) is not (ulong Address, ulong Bytes) variable)
                return Fail(CUresult.NotFound, $"the module has no variable {name}");
            (address, bytes) = (new CUdeviceptr(variable.Address), variable.Bytes);
            return CUresult.Success;
        }
    }

    public CUresult FuncGetAttribute(out int value, CUfunctionAttribute attribute, CUfunction function)
    {
        lock (_gate)
        {
            value = 0;
            if (!Enter(function.Value, out DeviceFunction? asked, out EmulatedContext? context, out CUresult status)) return status;
            PtxModule code = asked.Module.Code.Module;
            int? known = attribute switch
            {
                CUfunctionAttribute.MaxThreadsPerBlock => asked.MaxThreadsPerBlock,
                CUfunctionAttribute.SharedSizeBytes => (int)asked.Entry.StaticSharedBytes,
                CUfunctionAttribute.ConstSizeBytes =>
                    (int)code.Variables.Where(v => v.Space == StateSpace.Constant).Aggregate(0ul, (sum, v) => sum + v.Bytes),
                CUfunctionAttribute.LocalSizeBytes => (int)asked.Entry.LocalBytes,
                CUfunctionAttribute.NumRegs => asked.Registers,
                CUfunctionAttribute.PtxVersion => code.Architecture,
                CUfunctionAttribute.BinaryVersion => context.Model.Architecture,
                CUfunctionAttribute.MaxDynamicSharedSizeBytes => (int)asked.MaxDynamicSharedBytes,
                CUfunctionAttribute.PreferredSharedMemoryCarveout => asked.PreferredCarveout,
                _ => null,
            };
            if (known is null) return Fail(CUresult.InvalidValue, $"the emulator knows no function attribute {attribute}");
            value = known.Value;
            return CUresult.Success;
        }
    }

    public CUresult FuncSetAttribute(CUfunction function, CUfunctionAttribute attribute, int value)
    {
        lock (_gate)
        {
            if (!Enter(function.Value, out DeviceFunction? changed, out EmulatedContext? context, out CUresult status)) return status;
            switch (attribute)
            {
                case CUfunctionAttribute.MaxDynamicSharedSizeBytes when changed.TryAllowDynamicShared(value):
                case CUfunctionAttribute.PreferredSharedMemoryCarveout when changed.TryPreferCarveout(value):
                    return CUresult.Success;
                case CUfunctionAttribute.MaxDynamicSharedSizeBytes:
                    return Fail(
                        CUresult.InvalidValue,
                        $"{value} bytes of dynamic and {changed.Entry.StaticSharedBytes} of static shared memory, of " +
                        $"{context.Model.Limits.SharedBytesPerBlock} a block on {context.Model.Name}");
                default:
                    return Fail(CUresult.InvalidValue, $"function attribute {attribute} cannot be set to {value}");
            }
        }
    }

    public CUresult OccupancyMaxActiveBlocksPerMultiprocessor(
        out int blocks, CUfunction function, int blockThreads, ulong dynamicSharedBytes)
    {
        lock (_gate)
        {
            blocks = 0;
            if (!Enter(function.Value, out DeviceFunction? asked, out EmulatedContext? context, out CUresult status)) return status;
            if (blockThreads <= 0) return Fail(CUresult.InvalidValue, $"{blockThreads} threads a block");
            if (blockThreads > asked.MaxThreadsPerBlock || dynamicSharedBytes > asked.MaxDynamicSharedBytes) return CUresult.Success;
            ulong sharedBytes = dynamicSharedBytes + asked.Entry.StaticSharedBytes;
            blocks = context.Model.Limits.ResidentBlocks(blockThreads, asked.Registers, sharedBytes);
            return CUresult.Success;
        }
    }

    public CUresult LaunchKernelEx(in LaunchConfiguration configuration, CUfunction function, void** arguments)
    {
        lock (_gate)
        {
            if (!Enter(function.Value, out DeviceFunction? kernel, out EmulatedContext? context, out CUresult status)) return status;
            if (!EnterStream(configuration.Stream, out DeviceStream? on, out _, out status)) return status;
            (status, string? problem) = LaunchLimits.Check(configuration, kernel, context.Model);
            if (status != CUresult.Success) return Fail(status, $"{kernel.Entry.Name}: {problem}");
            var bytes = new byte[kernel.Entry.ParameterBytes];
            for (int i = 0; i < kernel.Entry.Parameters.Count; i++)
            {
                if (arguments is null || arguments[i] is null)
                    return Fail(CUresult.InvalidValue, $"{kernel.Entry.Name}: argument {i} is missing");
                PtxVariable parameter = kernel.Entry.Parameters[i];
                new ReadOnlySpan<byte>(arguments[i], (int)parameter.Bytes).CopyTo(bytes.AsSpan((int)parameter.Offset));
            }
            var shape = new LaunchShape(
                new Index3(configuration.GridX, configuration.GridY, configuration.GridZ),
                new Index3(configuration.BlockX, configuration.BlockY, configuration.BlockZ), configuration.DynamicSharedBytes,
                LaunchLimits.ClusterOf(configuration, kernel));
            Submit(on, new KernelWork(kernel, shape, bytes) { OverlapsPrevious = configuration.OverlapsPrevious });
            return CUresult.Success;
        }
    }

    private (CUresult Status, string Text)? TargetProblem(PtxModule module, DeviceModel model)
    {
        if (_options.DriverVersion is int driver && module.Version > NewestPtx(driver))
        {
            int newest = NewestPtx(driver);
            return (CUresult.UnsupportedPtxVersion,
                $"PTX version {module.Version / 10}.{module.Version % 10}, where a driver of CUDA " +
                $"{driver / 1000}.{driver % 1000 / 10} knows up to {newest / 10}.{newest % 10}");
        }
        bool matches = module.ArchitectureSpecific ? module.Architecture == model.Architecture : module.Architecture <= model.Architecture;
        string suffix = module.ArchitectureSpecific ? "a" : "";
        return matches
            ? null
            : (CUresult.InvalidPtx, $"the PTX is for sm_{module.Architecture}{suffix}, the device is an sm_{model.Architecture}");
    }

    // CUDA 11.x came with PTX 7.x and 12.x with 8.x, but for one minor version that 12.5 and 12.6 share; 13.0 has 9.0.
    private static int NewestPtx(int driverVersion)
    {
        int major = driverVersion / 1000, minor = driverVersion % 1000 / 10;
        return (major - 4) * 10 + (major == 12 && minor >= 6 ? minor - 1 : minor);
    }
}
