using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Instructions;
using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Translation;

/// <summary>Turns a parsed kernel into operations whose operands are places in a warp's frame.</summary>
internal sealed unsafe class Translator
{
    /// <summary>Tokens from here on are constants, below it registers.</summary>
    private const int FirstConstant = 1 << 28;

    private static readonly Dictionary<string, Action<InstructionReader>> Decoders = InstructionTable.Build();

    private readonly PtxModule _module;
    private readonly Func<string, ulong?> _address;
    private readonly List<OpBuilder> _operations = [];
    private readonly List<int> _kinds = [];
    private readonly List<(ulong Value, bool Wide)> _constants = [];
    private readonly Dictionary<(ulong, bool), int> _constantTokens = [];
    private readonly ControlFlow _flow;
    private int _carry = -1;

    private Translator(PtxModule module, PtxEntry entry, Func<string, ulong?> address)
    {
        _module = module;
        Entry = entry;
        _address = address;
        _kinds.AddRange(entry.Registers.Select(r => KindOf(r.Type)));
        _flow = ControlFlow.Of(entry);
    }

    public PtxEntry Entry { get; }

    public int Architecture => _module.Architecture;

    public bool IsSpecific => _module.ArchitectureSpecific;

    public int SharedGranule { get; set; } = 2;

    public bool OrderedAtomics { get; set; }

    public List<int[]> TargetLists { get; } = [];

    /// <param name="module">The module.</param>
    /// <param name="entry">One of its kernels.</param>
    /// <param name="address">Addresses of the module's variables.</param>
    public static KernelCode Translate(PtxModule module, PtxEntry entry, Func<string, ulong?> address) =>
        new Translator(module, entry, address).Run();

    /// <summary>Place of a value that does not change.</summary>
    public int Constant(ulong value, bool wide)
    {
        if (!wide) value = (uint)value;
        if (_constantTokens.TryGetValue((value, wide), out int token)) return token;
        token = FirstConstant + _constants.Count;
        _constants.Add((value, wide));
        _constantTokens.Add((value, wide), token);
        return token;
    }

    /// <summary>A register of the translator's own.</summary>
    public int Temporary(int kind)
    {
        _kinds.Add(kind);
        return _kinds.Count - 1;
    }

    /// <summary>The carry flag of extended-precision arithmetic, kept as a predicate.</summary>
    public int Carry() => _carry < 0 ? _carry = Temporary(0) : _carry;

    public int BlockOf(string label) => _flow.BlockOf[Entry.Labels[label]];

    public void Add(OpBuilder operation) => _operations.Add(operation);

    /// <summary>Address of a variable, in its own space.</summary>
    public ulong AddressOf(PtxVariable variable, InstructionReader reader)
    {
        if (variable.Space is StateSpace.Global or StateSpace.Constant)
            return _address(variable.Name) ?? throw reader.Error($"{variable.Name} has no address");
        return variable.Offset;
    }

    private static int KindOf(PtxType type) => type == PtxType.Pred ? 0 : type.Bytes() == 8 ? 2 : 1;

    private KernelCode Run()
    {
        var starts = new List<int>();
        var ranges = new List<(int Start, int End)>();
        for (int b = 0; b < _flow.Blocks.Count; b++)
        {
            int first = _operations.Count;
            starts.Add(first);
            Add(new OpBuilder { Kind = OpKind.Enter, Immediate = b });
            for (int i = _flow.Blocks[b].Start; i < _flow.Blocks[b].End; i++) Decode(Entry.Instructions[i]);
            if (b == _flow.Blocks.Count - 1) Add(new OpBuilder { Kind = OpKind.Exit });
            ranges.Add((first, _operations.Count));
        }

        int[]?[] productRegisters = WatchProducts(starts, ranges);

        int place = 0;
        var constantPlaces = new List<(int Place, ulong Value, bool Wide)>();
        foreach ((ulong value, bool wide) in _constants)
        {
            constantPlaces.Add((place, value, wide));
            place += wide ? 256 : 128;
        }
        (int[] places, int end) = RegisterPlaces.Assign(
            _kinds, ranges, _flow.Successors, [.. _operations.Select(o => (IReadOnlyList<int>)[.. o.Reads.Where(t => t < FirstConstant)])],
                [.. _operations.Select(o => o.Writes)], place);

        var code = new KernelCode(Entry, _operations.Count)
        {
            BlockStarts = [.. starts], Joins = _flow.Joins, FrameBytes = end, ConstantBytes = place, OrderedAtomics = OrderedAtomics,
                SharedGranule = SharedGranule, ProductRegisters = productRegisters,
                ProductRegisterCount = productRegisters.Max(r => r?.Length > 0 ? r.Max() + 1 : 0),
        };
        code.Constants.AddRange(constantPlaces);
        code.TargetLists.AddRange(TargetLists);
        int Place(int token) => token < 0 ? -1 : token >= FirstConstant ? constantPlaces[token - FirstConstant].Place : places[token];
        for (int i = 0; i < _operations.Count; i++)
        {
            OpBuilder from = _operations[i];
            Op* op = code.Operations + i;
            *op = new Op
            {
                Run = from.Run, Kind = from.Kind, D = Place(from.D), A = Place(from.A), B = Place(from.B), C = Place(from.C),
                    E = Place(from.E),
                F = Place(from.F), Guard = Place(from.Guard), GuardFlip = from.GuardNegated ? uint.MaxValue : 0, Index = i,
                    Immediate = from.Immediate,
                Small = from.Small, ExtraCount = from.Extra.Count, Extra = code.Extra(from.Extra.Count),
            };
            for (int e = 0; e < from.Extra.Count; e++) op->Extra[e] = Place(from.Extra[e]);
            code.Instructions[i] = from.Instruction;
            code.Classes[i] = from.Class;
            code.Flops[i] = from.Flops;
            code.Accesses[i] = from.Access;
        }
        return code;
    }

    /// <summary>
    /// Numbers the registers that <c>wgmma</c> uses, and puts before each other operation that touches one a look at whether it may. Waits
    /// read all accumulators, because they are written there: a place must not pass to another register before.
    /// </summary>
    /// <returns>For each operation the registers that it looks at or, for <c>wgmma</c>, uses.</returns>
    private int[]?[] WatchProducts(List<int> starts, List<(int Start, int End)> ranges)
    {
        var numbers = new Dictionary<int, int>();
        int[] accumulators = [.. _operations.Where(o => o.Product == ProductRole.Product).SelectMany(o => o.Writes).Distinct()];
        foreach (OpBuilder product in _operations.Where(o => o.Product == ProductRole.Product))
        {
            foreach (int token in product.Extra) numbers.TryAdd(token, numbers.Count);
        }
        if (numbers.Count == 0) return new int[]?[_operations.Count];
        OpBuilder[] before = [.. _operations];
        var registers = new List<int[]?>();
        _operations.Clear();
        for (int b = 0; b < ranges.Count; b++)
        {
            starts[b] = _operations.Count;
            for (int i = ranges[b].Start; i < ranges[b].End; i++)
            {
                OpBuilder operation = before[i];
                if (operation.Product == ProductRole.Wait) operation.Reads.AddRange(accumulators);
                int[] used = operation.Product switch
                {
                    ProductRole.Product => [.. operation.Extra.Select(t => numbers[t])],
                    ProductRole.None => [.. operation.Reads.Concat(operation.Writes).Where(numbers.ContainsKey).Select(t => numbers[t]).Distinct()],
                    _ => [],
                };
                if (operation.Product == ProductRole.None && used.Length > 0)
                {
                    var look = new OpBuilder { Run = &WgmmaOps.Touch, Guard = operation.Guard, GuardNegated = operation.GuardNegated };
                    if (look.Guard >= 0) look.Reads.Add(look.Guard);
                    _operations.Add(look);
                    registers.Add(used);
                }
                _operations.Add(operation);
                registers.Add(operation.Product == ProductRole.Product ? used : null);
            }
            ranges[b] = (starts[b], _operations.Count);
        }
        return [.. registers];
    }

    private void Decode(PtxInstruction instruction)
    {
        var reader = new InstructionReader(this, instruction);
        if (!Decoders.TryGetValue(instruction.Opcode, out Action<InstructionReader>? decode))
            throw reader.Error($"the instruction {instruction.Opcode} is not known to the emulator");
        decode(reader);
        reader.End();
    }
}
