using System.Buffers.Binary;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Memory;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator;

/// <summary>A module on a device: its variables have addresses and its kernels are translated, ready to be launched.</summary>
internal sealed class LoadedModule : IDisposable
{
    private readonly Dictionary<string, (ulong Address, ulong Bytes)> _variables = [];
    private readonly Dictionary<PtxEntry, KernelCode> _kernels = [];

    /// <summary>Allocates and sets the module's variables and translates its kernels.</summary>
    /// <exception cref="PtxLoadException">An instruction or modifier that the emulator does not know.</exception>
    /// <exception cref="EmulatorException">The module is for a newer architecture.</exception>
    public LoadedModule(PtxModule module, DeviceMemory memory, int architecture)
    {
        if (module.Architecture > architecture)
            throw new EmulatorException(FailureKind.Architecture,
                $"the module is for sm_{module.Architecture}, the device is an sm_{architecture}");
        if (module.ArchitectureSpecific && module.Architecture != architecture)
            throw new EmulatorException(FailureKind.Architecture,
                $"the module is for sm_{module.Architecture}a and runs there only, the device is an sm_{architecture}");
        Module = module;
        Memory = memory;
        Architecture = architecture;
        foreach (PtxVariable variable in module.Variables)
        {
            ulong address = memory.Allocate(Math.Max(1, variable.Bytes), variable.Name);
            _variables.Add(variable.Name, (address, variable.Bytes));
        }
        try
        {
            foreach (PtxVariable variable in module.Variables) Initialise(variable);
            foreach (PtxEntry entry in module.Entries) _kernels.Add(entry,
                Translator.Translate(module, entry, name => Variable(name)?.Address));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public PtxModule Module { get; }

    public DeviceMemory Memory { get; }

    public int Architecture { get; }

    /// <summary>Address and size of a variable in global or constant memory; null where the module has none of this name.</summary>
    public (ulong Address, ulong Bytes)? Variable(string name) => _variables.TryGetValue(name, out (ulong, ulong) found) ? found : null;

    /// <summary>Runs a kernel to its end.</summary>
    /// <param name="entry">One of the module's entries.</param>
    /// <param name="shape">Grid, block and dynamic shared memory.</param>
    /// <param name="parameters">The parameters' bytes, each at its offset.</param>
    /// <param name="options">How to run it.</param>
    /// <exception cref="EmulatorException">The launch failed.</exception>
    public LaunchStatistics Launch(PtxEntry entry, LaunchShape shape, ReadOnlySpan<byte> parameters, EmulatorOptions options) =>
        GridRunner.Run(_kernels[entry], shape, parameters, Memory, Architecture, options);

    public void Dispose()
    {
        foreach ((ulong address, _) in _variables.Values) Memory.Free(address);
        _variables.Clear();
        foreach (KernelCode code in _kernels.Values) code.Dispose();
        _kernels.Clear();
    }

    private void Initialise(PtxVariable variable)
    {
        ulong address = _variables[variable.Name].Address;
        Memory.Fill(address, 0, Math.Max(1, variable.Bytes));
        if (variable.Initial is not null)
        {
            byte[] bytes = [.. variable.Initial];
            foreach ((int offset, string symbol, long added) in variable.Addresses)
            {
                if (!_variables.TryGetValue(symbol, out (ulong Address, ulong) named) || offset > bytes.Length - sizeof(ulong))
                    throw new PtxLoadException(1, variable.Name,
                        $"its initial value names {symbol}, which is no 64-bit address of a variable");
                BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(offset), named.Address + (ulong)added);
            }
            Memory.CopyIn<byte>(address, bytes);
        }
        if (variable.Space == StateSpace.Constant) Memory.SetReadOnly(address);
    }
}
