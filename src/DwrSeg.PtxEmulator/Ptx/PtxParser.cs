using System.Buffers.Binary;
using System.Globalization;

namespace DwrSeg.PtxEmulator.Ptx;

/// <summary>Reads a module's directives; <see cref="PtxBodyParser"/> reads the kernels' bodies.</summary>
internal sealed class PtxParser
{
    private readonly PtxLexer _lexer;
    private readonly Dictionary<string, PtxVariable> _variables = [];
    private readonly List<PtxEntry> _entries = [];
    private readonly Dictionary<int, string> _files = [];
    private Token _token;

    public PtxParser(string text)
    {
        _lexer = new PtxLexer(text);
        _token = _lexer.Next();
    }

    public Token Token => _token;

    public PtxModule Module()
    {
        int version = 0, architecture = 0;
        bool specific = false;
        while (_token.Kind != TokenKind.End)
        {
            switch (_token.Text)
            {
                case ".version":
                    Advance();
                    string[] parts = Take(TokenKind.Number).Split('.');
                    if (parts.Length != 2) throw Error("a version has two numbers");
                    version = int.Parse(parts[0], CultureInfo.InvariantCulture) * 10 + int.Parse(parts[1], CultureInfo.InvariantCulture);
                    break;
                case ".target":
                    Advance();
                    (architecture, specific) = Target();
                    break;
                case ".address_size":
                    Advance();
                    if (Take(TokenKind.Number) != "64") throw Error("only 64-bit addresses are emulated");
                    break;
                case ".file":
                    File();
                    break;
                case ".section":
                    SkipSection();
                    break;
                case ".pragma":
                    while (!Accept(";")) Advance();
                    break;
                default:
                    Declaration();
                    break;
            }
        }
        if (version == 0 || architecture == 0) throw new PtxLoadException(1, _lexer.Line(1), "no .version and .target: this is not PTX");
        return new PtxModule
        {
            Version = version,
            Architecture = architecture,
            ArchitectureSpecific = specific,
            Entries = _entries,
            Variables = [.. _variables.Values.Where(v => v.Space is StateSpace.Global or StateSpace.Constant)],
        };
    }

    public void Advance()
    {
        if (_token.Kind == TokenKind.End) throw Error("the text ends here in the middle of a statement");
        _token = _lexer.Next();
    }

    public bool Accept(string text)
    {
        if (_token.Kind is TokenKind.Text or TokenKind.End || _token.Text != text) return false;
        _token = _lexer.Next();
        return true;
    }

    public void Expect(string text)
    {
        if (!Accept(text)) throw Error($"expected \"{text}\", found \"{_token.Text}\"");
    }

    public string Take(TokenKind kind)
    {
        if (_token.Kind != kind) throw Error($"expected a {kind.ToString().ToLowerInvariant()}, found \"{_token.Text}\"");
        string text = _token.Text;
        Advance();
        return text;
    }

    public PtxLoadException Error(string problem) => new(_token.Line, _lexer.Line(_token.Line), problem);

    public PtxLoadException Error(int line, string problem) => new(line, _lexer.Line(line), problem);

    public string Line(int number) => _lexer.Line(number);

    public string FileName(int number) => _files.GetValueOrDefault(number, $"file {number}");

    public PtxVariable? Variable(string name) => _variables.GetValueOrDefault(name);

    /// <summary>The rest of a directive that ends with its line.</summary>
    public string RestOfLine()
    {
        string rest = _lexer.RestOfLine();
        _token = _lexer.Next();
        return rest;
    }

    /// <summary>An integer or, as bits, a floating-point constant.</summary>
    public (long Value, PtxType? Float) Number()
    {
        bool negative = Accept("-");
        if (!negative) Accept("+");
        string text = Take(TokenKind.Number);
        if (text.StartsWith("0f", StringComparison.OrdinalIgnoreCase) && text.Length == 10)
        {
            uint bits = uint.Parse(text.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            return (negative ? bits ^ 0x80000000u : bits, PtxType.F32);
        }
        if (text.StartsWith("0d", StringComparison.OrdinalIgnoreCase) && text.Length == 18)
        {
            ulong bits = ulong.Parse(text.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            return ((long)(negative ? bits ^ 0x8000000000000000 : bits), PtxType.F64);
        }
        if (text.Contains('.', StringComparison.Ordinal))
        {
            double value = double.Parse(text, CultureInfo.InvariantCulture);
            return (BitConverter.DoubleToInt64Bits(negative ? -value : value), PtxType.F64);
        }
        text = text.TrimEnd('U');
        ulong magnitude = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ulong.Parse(text.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture)
            : text.StartsWith("0b", StringComparison.OrdinalIgnoreCase) ? Convert.ToUInt64(text[2..], 2)
            : text.Length > 1 && text[0] == '0' ? Convert.ToUInt64(text, 8)
            : ulong.Parse(text, CultureInfo.InvariantCulture);
        return (negative ? -(long)magnitude : (long)magnitude, null);
    }

    /// <summary>A variable's declaration after its space: alignment, type, name, extent and initial values, up to the semicolon.</summary>
    public IReadOnlyList<PtxVariable> Variables(StateSpace space, bool isExtern)
    {
        uint align = 0;
        uint vector = 1;
        PtxType? type = null;
        while (_token.Text.StartsWith('.'))
        {
            string word = _token.Text[1..];
            Advance();
            if (word == "align") align = uint.Parse(Take(TokenKind.Number), CultureInfo.InvariantCulture);
            else if (word is "v2" or "v4") vector = (uint)(word[1] - '0');
            else if (word is "ptr" or "global" or "const" or "shared" && space == StateSpace.Parameter) continue;
            else if (PtxTypes.TryParse(word, out PtxType found)) type = found;
            else if (word.StartsWith("attribute", StringComparison.Ordinal))
                throw Error("attributes of variables are not known to the emulator");
            else throw Error($"unknown directive .{word} in a declaration");
        }
        if (type is null) throw Error("a declaration without a type");
        uint element = (uint)type.Value.Bytes() * vector;
        var declared = new List<PtxVariable>();
        do
        {
            string name = Take(TokenKind.Word);
            ulong count = 1;
            bool array = false, open = false;
            while (Accept("["))
            {
                array = true;
                if (Accept("]"))
                {
                    open = true;
                    continue;
                }
                count *= (ulong)Number().Value;
                Expect("]");
            }
            byte[]? initial = null;
            var addresses = new List<(int, string, long)>();
            if (Accept("=")) initial = Initial(type.Value, addresses);
            ulong bytes = open && initial is not null ? (ulong)initial.Length : open ? 0 : count * element;
            declared.Add(new PtxVariable(name, space, Math.Max(align, element), bytes)
            {
                Extern = isExtern || (open && array && initial is null), Initial = initial, Addresses = addresses,
            });
        }
        while (space != StateSpace.Parameter && Accept(","));
        return declared;
    }

    private byte[] Initial(PtxType type, List<(int, string, long)> addresses)
    {
        var bytes = new List<byte>();
        void Value()
        {
            if (Accept("{"))
            {
                if (Accept("}")) return;
                do Value(); while (Accept(","));
                Expect("}");
                return;
            }
            Span<byte> value = stackalloc byte[8];
            value.Clear();
            if (_token.Kind == TokenKind.Word)
            {
                string symbol = Take(TokenKind.Word);
                if (symbol == "generic")
                {
                    Expect("(");
                    symbol = Take(TokenKind.Word);
                    Expect(")");
                }
                addresses.Add((bytes.Count, symbol, Accept("+") ? Number().Value : 0));
            }
            else
            {
                (long number, PtxType? kind) = Number();
                if (type == PtxType.F32 && kind == PtxType.F64)
                    number = BitConverter.SingleToInt32Bits((float)BitConverter.Int64BitsToDouble(number));
                BinaryPrimitives.WriteInt64LittleEndian(value, number);
            }
            bytes.AddRange(value[..type.Bytes()]);
        }
        Value();
        return [.. bytes];
    }

    private (int Architecture, bool Specific) Target()
    {
        string name = Take(TokenKind.Word);
        while (Accept(",")) Take(TokenKind.Word);
        string digits = name.StartsWith("sm_", StringComparison.Ordinal) ? name[3..] : "";
        bool specific = digits.EndsWith('a') || digits.EndsWith('f');
        if (!int.TryParse(specific ? digits[..^1] : digits, CultureInfo.InvariantCulture, out int number))
            throw Error($"unknown target {name}");
        return (number, specific);
    }

    private void File()
    {
        string[] words = RestOfLine().Split('"');
        if (words.Length > 1 && int.TryParse(words[0].Trim(), CultureInfo.InvariantCulture, out int number)) _files[number] = words[1];
    }

    private void SkipSection()
    {
        while (_token.Text != "{") Advance();
        SkipBraces();
    }

    private void SkipBraces()
    {
        int depth = 0;
        do
        {
            if (_token.Kind == TokenKind.Punctuation && _token.Text == "{") depth++;
            if (_token.Kind == TokenKind.Punctuation && _token.Text == "}") depth--;
            Advance();
        }
        while (depth > 0);
    }

    private void Declaration()
    {
        bool isExtern = false;
        while (_token.Text is ".visible" or ".extern" or ".weak" or ".common")
        {
            isExtern |= _token.Text == ".extern";
            Advance();
        }
        StateSpace space;
        switch (_token.Text)
        {
            case ".entry":
                Advance();
                Entry();
                return;
            case ".func":
                // Bodies of functions are passed over: a kernel that calls one is told so at its call.
                while (_token.Text is not ("{" or ";")) Advance();
                if (_token.Text == "{") SkipBraces();
                else Advance();
                return;
            case ".global":
                space = StateSpace.Global;
                break;
            case ".const":
                space = StateSpace.Constant;
                break;
            case ".shared":
                space = StateSpace.Shared;
                break;
            default:
                throw Error($"unknown directive {_token.Text}");
        }
        Advance();
        foreach (PtxVariable variable in Variables(space, isExtern)) _variables[variable.Name] = variable;
        Expect(";");
    }

    private void Entry()
    {
        int line = _token.Line;
        string name = Take(TokenKind.Word);
        var parameters = new List<PtxVariable>();
        uint offset = 0;
        if (Accept("("))
        {
            while (!Accept(")"))
            {
                Expect(".param");
                PtxVariable parameter = Variables(StateSpace.Parameter, false)[0];
                parameter.Offset = (offset + parameter.Align - 1) / parameter.Align * parameter.Align;
                offset = parameter.Offset + (uint)parameter.Bytes;
                parameters.Add(parameter);
                Accept(",");
            }
        }
        var body = new PtxBodyParser(this, parameters);
        uint maxThreads = 0, minBlocks = 0, requiredCluster = 0, maxCluster = 0;
        bool needsCluster = false;
        Index3? required = null;
        while (_token.Text != "{")
        {
            string directive = Take(TokenKind.Word);
            uint[] values = [.. Bounds()];
            if (values.Length == 0 && directive is (".maxntid" or ".reqntid" or ".minnctapersm" or ".reqnctapercluster" or ".maxclusterrank"))
                throw Error($"{directive} needs a number");
            switch (directive)
            {
                case ".maxntid":
                    maxThreads = values.Aggregate(1u, (a, b) => a * b);
                    break;
                case ".reqntid":
                    required = new Index3(values[0], values.ElementAtOrDefault(1) is 0 ? 1 : values[1], values.ElementAtOrDefault(2) is 0
                        ? 1 : values[2]);
                    maxThreads = (uint)required.Value.Count;
                    break;
                case ".minnctapersm":
                    minBlocks = values[0];
                    break;
                case ".explicitcluster":
                    needsCluster = true;
                    break;
                case ".reqnctapercluster":
                    if (values.Skip(1).Any(v => v > 1)) throw Error("clusters in y or z are not emulated");
                    requiredCluster = values[0];
                    break;
                case ".maxclusterrank":
                    maxCluster = values[0];
                    break;
                case ".maxnreg" or ".maxnctapersm" or ".noreturn":
                    break;
                case ".pragma":
                    while (!Accept(";")) Advance();
                    break;
                default:
                    throw Error($"unknown directive {directive}");
            }
        }
        body.Read();
        (uint staticBytes, uint dynamicOffset) = body.PlaceShared(_variables.Values.Where(v => v.Space == StateSpace.Shared));
        _entries.Add(new PtxEntry
        {
            Name = name, Line = line, Parameters = parameters, ParameterBytes = offset, MaxThreads = maxThreads, RequiredBlock = required,
            MinBlocksPerMultiprocessor = minBlocks, RequiredCluster = requiredCluster, MaxCluster = maxCluster, NeedsCluster = needsCluster,
            StaticSharedBytes = staticBytes, DynamicSharedOffset = dynamicOffset,
            LocalBytes = body.LocalBytes, SharedVariables = body.SharedVariables, Instructions = body.Instructions, Labels = body.Labels,
                BranchTargets = body.BranchTargets,
            Registers = body.Registers,
        });
    }

    private IEnumerable<uint> Bounds()
    {
        while (_token.Kind == TokenKind.Number)
        {
            yield return uint.Parse(Take(TokenKind.Number), CultureInfo.InvariantCulture);
            Accept(",");
        }
    }
}
