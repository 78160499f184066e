using System.Globalization;

namespace DwrSeg.PtxEmulator.Ptx;

/// <summary>Reads a kernel's body: declarations, labels and instructions, with the scopes that braces open.</summary>
internal sealed class PtxBodyParser(PtxParser parser, IReadOnlyList<PtxVariable> parameters)
{
    private readonly List<Scope> _scopes = [];
    private readonly List<PtxInstruction> _instructions = [];
    private readonly Dictionary<string, int> _labels = [];
    private readonly Dictionary<string, IReadOnlyList<string>> _branchTargets = [];
    private readonly List<PtxRegister> _registers = [];
    private readonly List<PtxVariable> _shared = [];
    private readonly HashSet<string> _mentioned = [];
    private int _scopeCount;
    private string? _source;

    public IReadOnlyList<PtxInstruction> Instructions => _instructions;

    public IReadOnlyDictionary<string, int> Labels => _labels;

    public IReadOnlyDictionary<string, IReadOnlyList<string>> BranchTargets => _branchTargets;

    public IReadOnlyList<PtxRegister> Registers => _registers;

    public IReadOnlyList<PtxVariable> SharedVariables { get; private set; } = [];

    public uint LocalBytes { get; private set; }

    public void Read()
    {
        do
        {
            Token token = parser.Token;
            if (parser.Accept("{")) _scopes.Add(new Scope(_scopeCount++));
            else if (parser.Accept("}")) _scopes.RemoveAt(_scopes.Count - 1);
            else if (parser.Accept(";")) continue;
            else if (token.Text.StartsWith('.')) Directive(token.Text);
            else Statement();
        }
        while (_scopes.Count > 0);
        ResolveLabels();
    }

    /// <summary>Lays out shared variables: the kernel's own and those of the module that it names, then the launch's.</summary>
    public (uint StaticBytes, uint DynamicOffset) PlaceShared(IEnumerable<PtxVariable> moduleShared)
    {
        PtxVariable[] all = [.. _shared, .. moduleShared.Where(v => _mentioned.Contains(v.Name))];
        SharedVariables = all;
        uint at = 0;
        foreach (PtxVariable variable in all.Where(v => !v.Extern))
        {
            variable.Offset = Align(at, variable.Align);
            at = variable.Offset + (uint)variable.Bytes;
        }
        uint start = Align(at, Math.Max(16, all.Where(v => v.Extern).Select(v => v.Align).DefaultIfEmpty(1u).Max()));
        foreach (PtxVariable variable in all.Where(v => v.Extern)) variable.Offset = start;
        return (at, start);
    }

    private static uint Align(uint value, uint align) => (value + align - 1) / align * align;

    private void Directive(string directive)
    {
        int line = parser.Token.Line;
        parser.Advance();
        switch (directive)
        {
            case ".reg":
                DeclareRegisters();
                parser.Expect(";");
                break;
            case ".local":
                foreach (PtxVariable variable in parser.Variables(StateSpace.Local, false))
                {
                    variable.Offset = Align(LocalBytes, variable.Align);
                    LocalBytes = variable.Offset + (uint)variable.Bytes;
                    _scopes[^1].Variables[variable.Name] = variable;
                }
                parser.Expect(";");
                break;
            case ".shared":
                foreach (PtxVariable variable in parser.Variables(StateSpace.Shared, false))
                {
                    _shared.Add(variable);
                    _scopes[^1].Variables[variable.Name] = variable;
                }
                parser.Expect(";");
                break;
            case ".loc":
                Location(line);
                break;
            case ".pragma":
                while (!parser.Accept(";")) parser.Advance();
                break;
            default:
                throw parser.Error(line, $"unknown directive {directive}");
        }
    }

    private void Location(int line)
    {
        // Three numbers, and where the code was inlined the place of the call; both end with the line.
        string[] words = parser.Line(line).Split((char[])[' ', '\t', ','], StringSplitOptions.RemoveEmptyEntries);
        int at = Array.IndexOf(words, ".loc");
        if (at < 0 || at + 2 >= words.Length) throw parser.Error(line, ".loc needs a file and a line");
        _source = $"{parser.FileName(int.Parse(words[at + 1], CultureInfo.InvariantCulture))}:{words[at + 2]}";
        while (parser.Token.Line == line && parser.Token.Kind != TokenKind.End) parser.Advance();
    }

    private void DeclareRegisters()
    {
        string typeName = parser.Take(TokenKind.Word);
        if (!PtxTypes.TryParse(typeName.TrimStart('.'), out PtxType type) || type == PtxType.B128)
            throw parser.Error($"unknown register type {typeName}");
        do
        {
            string name = parser.Take(TokenKind.Word);
            if (parser.Accept("<"))
            {
                int count = (int)parser.Number().Value;
                parser.Expect(">");
                _scopes[^1].Families[name] = (type, count);
            }
            else
            {
                AddRegister(_scopes[^1], name, type);
            }
        }
        while (parser.Accept(","));
    }

    private PtxRegister AddRegister(Scope scope, string name, PtxType type)
    {
        var register = new PtxRegister(name, type, _registers.Count);
        _registers.Add(register);
        scope.Registers[name] = register;
        return register;
    }

    private PtxRegister? FindRegister(string name)
    {
        int digits = name.Length;
        while (digits > 0 && char.IsAsciiDigit(name[digits - 1])) digits--;
        for (int i = _scopes.Count - 1; i >= 0; i--)
        {
            if (_scopes[i].Registers.TryGetValue(name, out PtxRegister? register)) return register;
            if (digits < name.Length && _scopes[i].Families.TryGetValue(name[..digits], out (PtxType Type, int Count) family)
                && int.TryParse(name.AsSpan(digits), CultureInfo.InvariantCulture, out int number) && number < family.Count)
                return AddRegister(_scopes[i], name, family.Type);
        }
        return null;
    }

    private PtxVariable? FindVariable(string name)
    {
        for (int i = _scopes.Count - 1; i >= 0; i--)
        {
            if (_scopes[i].Variables.TryGetValue(name, out PtxVariable? variable)) return variable;
        }
        return parameters.FirstOrDefault(p => p.Name == name) ?? parser.Variable(name);
    }

    private void Statement()
    {
        int line = parser.Token.Line;
        PtxOperand? guard = null;
        if (parser.Accept("@"))
        {
            bool negated = parser.Accept("!");
            string name = parser.Take(TokenKind.Word);
            PtxRegister register = FindRegister(name) ?? throw parser.Error(line, $"unknown register {name}");
            if (register.Type != PtxType.Pred) throw parser.Error(line, $"{name} guards an instruction but is no predicate");
            guard = new PtxOperand(OperandKind.Register) { Register = register, Negated = negated };
        }
        string word = parser.Take(TokenKind.Word);
        if (guard is null && parser.Accept(":"))
        {
            Label(word);
            return;
        }
        string[] parts = word.Split('.');
        var operands = new List<PtxOperand>();
        if (!parser.Accept(";"))
        {
            if (parts[0] == "call")
                throw parser.Error(line, "calls of functions are not emulated; have the function inlined (__forceinline__)");
            do operands.Add(Operand()); while (parser.Accept(","));
            if (!parser.Accept(";")) throw parser.Error($"expected \",\" or \";\", found \"{parser.Token.Text}\"");
        }
        _instructions.Add(new PtxInstruction(line, parser.Line(line), parts[0], parts[1..], operands) { Guard = guard, Source = _source });
    }

    private void Label(string name)
    {
        string own = _scopes[^1].Label(name);
        if (parser.Accept(".branchtargets"))
        {
            var targets = new List<string>();
            do targets.Add(Reference(parser.Take(TokenKind.Word))); while (parser.Accept(","));
            parser.Expect(";");
            _branchTargets[own] = targets;
            return;
        }
        if (!_labels.TryAdd(own, _instructions.Count)) throw parser.Error($"the label {name} is there twice");
    }

    /// <summary>A label's name with the scopes it could be found in, innermost first; resolved at the body's end.</summary>
    private string Reference(string name) =>
        string.Join('\n', Enumerable.Range(0, _scopes.Count).Reverse().Select(i => _scopes[i].Label(name)));

    private void ResolveLabels()
    {
        string Resolve(string reference, int line) =>
            reference.Split('\n').FirstOrDefault(r => _labels.ContainsKey(r) || _branchTargets.ContainsKey(r))
            ?? throw parser.Error(line, $"unknown name {reference.Split('\n')[^1]}");
        for (int i = 0; i < _instructions.Count; i++)
        {
            PtxInstruction instruction = _instructions[i];
            if (instruction.Operands.All(o => o.Kind != OperandKind.Label)) continue;
            _instructions[i] = instruction with
            {
                Operands = [.. instruction.Operands.Select(o => o.Kind == OperandKind.Label
                    ? o with { Name = Resolve(o.Name, instruction.Line) } : o)],
            };
        }
        foreach (string list in _branchTargets.Keys.ToArray()) _branchTargets[list] = [.. _branchTargets[list].Select(t => Resolve(t, 0))];
    }

    private PtxOperand Operand()
    {
        PtxOperand first = Single();
        if (!parser.Accept("|")) return first;
        return new PtxOperand(OperandKind.Pair) { Elements = [first, Single()] };
    }

    private PtxOperand Single()
    {
        if (parser.Accept("!")) return Name(parser.Take(TokenKind.Word)) with { Negated = true };
        if (parser.Accept("{"))
        {
            var elements = new List<PtxOperand>();
            do elements.Add(Single()); while (parser.Accept(","));
            parser.Expect("}");
            return new PtxOperand(OperandKind.Vector) { Elements = elements };
        }
        if (parser.Accept("["))
        {
            PtxOperand address;
            if (parser.Token.Kind == TokenKind.Word)
            {
                PtxOperand target = Name(parser.Take(TokenKind.Word));
                if (target.Kind is not (OperandKind.Register or OperandKind.Symbol)) throw parser.Error($"{target.Name} is no address");
                address = target with { Kind = OperandKind.Address, Offset = Added() };
            }
            else
            {
                address = new PtxOperand(OperandKind.Address) { Offset = parser.Number().Value };
            }
            if (parser.Accept(",")) address = address with { Elements = [Single()] };
            parser.Expect("]");
            return address;
        }
        if (parser.Token.Kind == TokenKind.Word)
        {
            PtxOperand operand = Name(parser.Take(TokenKind.Word));
            return operand.Kind == OperandKind.Symbol ? operand with { Offset = Added() } : operand;
        }
        (long value, PtxType? type) = parser.Number();
        return new PtxOperand(OperandKind.Immediate) { Value = value, FloatType = type };
    }

    private long Added()
    {
        if (parser.Accept("+")) return parser.Number().Value;
        return parser.Token.Text == "-" ? parser.Number().Value : 0;
    }

    private PtxOperand Name(string name)
    {
        if (name == "_") return new PtxOperand(OperandKind.Sink);
        if (FindRegister(name) is { } register) return new PtxOperand(OperandKind.Register) { Register = register, Name = name };
        if (FindVariable(name) is { } variable)
        {
            _mentioned.Add(name);
            return new PtxOperand(OperandKind.Symbol) { Name = name, Variable = variable };
        }
        if (name.StartsWith('%')) return new PtxOperand(OperandKind.Special) { Name = name };
        if (name == "WARP_SZ") return new PtxOperand(OperandKind.Immediate) { Value = 32 };
        return new PtxOperand(OperandKind.Label) { Name = Reference(name) };
    }

    private sealed class Scope(int number)
    {
        public readonly Dictionary<string, PtxRegister> Registers = [];
        public readonly Dictionary<string, (PtxType Type, int Count)> Families = [];
        public readonly Dictionary<string, PtxVariable> Variables = [];

        public string Label(string name) => number == 0 ? name : $"{name}#{number}";
    }
}
