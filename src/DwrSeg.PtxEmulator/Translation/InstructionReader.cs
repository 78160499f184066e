using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Instructions;
using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Translation;

/// <summary>
/// What a decoder sees of an instruction: modifiers, of which each has to be taken, and operands, which become tokens of registers. One
/// instruction becomes one operation, which <see cref="Emit"/> adds.
/// </summary>
internal sealed unsafe class InstructionReader
{
    private readonly Translator _translator;
    private readonly List<string> _modifiers;
    private readonly OpBuilder _operation = new();

    public InstructionReader(Translator translator, PtxInstruction instruction)
    {
        _translator = translator;
        Instruction = instruction;
        _modifiers = [.. instruction.Modifiers];
        _operation.Instruction = instruction;
        if (instruction.Guard is not { } guard) return;
        _operation.Guard = guard.Register!.Index;
        _operation.GuardNegated = guard.Negated;
        _operation.Reads.Add(_operation.Guard);
    }

    public PtxInstruction Instruction { get; }

    public Translator Translator => _translator;

    public OpBuilder Operation => _operation;

    public int Operands => Instruction.Operands.Count;

    public PtxOperand Operand(int index) =>
        index < Instruction.Operands.Count ? Instruction.Operands[index] : throw Error($"operand {index + 1} is missing");

    public PtxLoadException Error(string problem) => new(Instruction.Line, Instruction.Text, problem);

    /// <summary>Takes a modifier if it is there.</summary>
    public bool Flag(string name) => _modifiers.Remove(name);

    /// <summary>Takes the first of these modifiers that is there; null if none is.</summary>
    public string? OneOf(params ReadOnlySpan<string> names)
    {
        foreach (string modifier in _modifiers)
        {
            if (!names.Contains(modifier)) continue;
            _modifiers.Remove(modifier);
            return modifier;
        }
        return null;
    }

    /// <summary>Takes the next modifier that names a type.</summary>
    public PtxType Type()
    {
        for (int i = 0; i < _modifiers.Count; i++)
        {
            if (!PtxTypes.TryParse(_modifiers[i], out PtxType type)) continue;
            _modifiers.RemoveAt(i);
            return type;
        }
        throw Error("the instruction has no type");
    }

    public IReadOnlyList<string> Left => _modifiers;

    /// <summary>The instruction needs this architecture as the module's target.</summary>
    public void Requires(int architecture)
    {
        if (_translator.Architecture < architecture)
            throw Error($"needs sm_{architecture} or newer, the module's target is sm_{_translator.Architecture}");
    }

    /// <summary>The instruction needs the instructions of this one architecture, as <c>sm_90a</c> has them.</summary>
    public void RequiresExactly(int architecture)
    {
        if (!_translator.IsSpecific || _translator.Architecture != architecture)
            throw Error($"needs the target sm_{architecture}a, the module's is sm_{_translator.Architecture}{(_translator.IsSpecific ? "a" : "")}");
    }

    public void End()
    {
        if (_modifiers.Count > 0) throw Error($"the modifier .{_modifiers[0]} of {Instruction.Opcode} is not known to the emulator");
    }

    /// <summary>A source operand: a register, a constant, a special register or a variable's address.</summary>
    /// <param name="index">Which operand.</param>
    /// <param name="bits">Its width; a wider register is allowed where <paramref name="widerAllowed"/> says so.</param>
    /// <param name="widerAllowed">As for stores and conversions.</param>
    public int Source(int index, int bits, bool widerAllowed = false) => SourceOf(Operand(index), bits, widerAllowed);

    public int SourceOf(PtxOperand operand, int bits, bool widerAllowed = false)
    {
        switch (operand.Kind)
        {
            case OperandKind.Register:
                PtxRegister register = operand.Register!;
                int width = register.Type == PtxType.Pred ? 1 : register.Type.Bytes() * 8;
                if (width != bits && !(widerAllowed && width > bits))
                    throw Error($"{register.Name} has {width} bits, {bits} are asked for");
                return Read(register.Index);
            case OperandKind.Immediate when bits == 1:
                throw Error("a constant where a predicate is asked for");
            case OperandKind.Immediate:
                return Read(_translator.Constant(Bits(operand, bits), bits == 64));
            case OperandKind.Special:
                return Read(SpecialOps.Read(this, operand.Name, bits));
            case OperandKind.Symbol:
                ulong address = _translator.AddressOf(operand.Variable!, this) + (ulong)operand.Offset;
                return Read(_translator.Constant(address, bits == 64));
            default:
                throw Error($"operand {operand.Kind} is not allowed here");
        }
    }

    /// <summary>A source predicate, possibly negated.</summary>
    public int Predicate(PtxOperand operand, out bool negated)
    {
        negated = operand.Negated;
        if (operand.Kind == OperandKind.Immediate) return Read(_translator.Constant(operand.Value == 0 ? 0 : uint.MaxValue, false));
        if (operand.Kind == OperandKind.Special) return Read(SpecialOps.Read(this, operand.Name, 1));
        if (operand.Kind != OperandKind.Register || operand.Register!.Type != PtxType.Pred) throw Error("a predicate is asked for");
        return Read(operand.Register.Index);
    }

    /// <summary>A register to write; −1 where the instruction throws the result away.</summary>
    public int Destination(int index, int bits, bool widerAllowed = false) => DestinationOf(Operand(index), bits, widerAllowed);

    public int DestinationOf(PtxOperand operand, int bits, bool widerAllowed = false)
    {
        if (operand.Kind == OperandKind.Sink) return -1;
        if (operand.Kind != OperandKind.Register) throw Error("the result does not go to a register");
        PtxRegister register = operand.Register!;
        int width = register.Type == PtxType.Pred ? 1 : register.Type.Bytes() * 8;
        if (width != bits && !(widerAllowed && width > bits)) throw Error($"{register.Name} has {width} bits, {bits} are asked for");
        return Write(register.Index);
    }

    /// <summary>A place that an operation writes without need: where a result is thrown away.</summary>
    public int DestinationOrScratch(int index, int bits)
    {
        int token = Destination(index, bits);
        return token >= 0 ? token : Write(_translator.Temporary(bits == 1 ? 0 : bits == 64 ? 2 : 1));
    }

    public int Read(int token)
    {
        _operation.Reads.Add(token);
        return token;
    }

    public int Write(int token)
    {
        _operation.Writes.Add(token);
        // Lanes that the guard keeps out keep the old value.
        if (_operation.Guard >= 0) _operation.Reads.Add(token);
        return token;
    }

    /// <summary>A constant operand's value.</summary>
    public long Constant(int index)
    {
        PtxOperand operand = Operand(index);
        return operand.Kind == OperandKind.Immediate ? operand.Value : throw Error($"operand {index + 1} has to be a constant");
    }

    public bool IsConstant(int index) => index < Operands && Operand(index).Kind == OperandKind.Immediate;

    /// <summary>Elements of a vector operand; the operand itself where it is none.</summary>
    public IReadOnlyList<PtxOperand> Elements(int index) =>
        Operand(index).Kind == OperandKind.Vector ? Operand(index).Elements : [Operand(index)];

    /// <summary>Adds the operation.</summary>
    public OpBuilder Emit(delegate*<Warp, Op*, void> run, InstructionClass kind, int d = -1, int a = -1, int b = -1, int c = -1,
        int flops = 0, int small = 0)
    {
        _operation.Run = run;
        _operation.Class = kind;
        (_operation.D, _operation.A, _operation.B, _operation.C) = (d, a, b, c);
        _operation.Flops = flops;
        _operation.Small |= small;
        _translator.Add(_operation);
        return _operation;
    }

    private ulong Bits(PtxOperand operand, int bits)
    {
        if (operand.FloatType == PtxType.F64 && bits == 32)
            return BitConverter.SingleToUInt32Bits((float)BitConverter.Int64BitsToDouble(operand.Value));
        if (operand.FloatType == PtxType.F32 && bits == 64) throw Error("a 32-bit floating-point constant where 64 bits are asked for");
        return bits == 64 ? (ulong)operand.Value : bits == 16 ? (ushort)operand.Value : (uint)operand.Value;
    }
}
