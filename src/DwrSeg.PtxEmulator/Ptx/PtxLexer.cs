namespace DwrSeg.PtxEmulator.Ptx;

internal enum TokenKind
{
    Word,
    Number,
    Text,
    Punctuation,
    End,
}

internal readonly record struct Token(TokenKind Kind, string Text, int Line);

/// <summary>Splits PTX text into words (with their dots), numbers, strings and punctuation.</summary>
internal sealed class PtxLexer
{
    private readonly string _text;
    private readonly string[] _lines;
    private int _at;
    private int _line = 1;

    public PtxLexer(string text)
    {
        int zero = text.IndexOf('\0', StringComparison.Ordinal);
        _text = zero >= 0 ? text[..zero] : text;
        _lines = _text.Split('\n');
    }

    public string Line(int number) => number >= 1 && number <= _lines.Length ? _lines[number - 1].Trim() : "";

    public Token Next()
    {
        SkipBlanks();
        if (_at >= _text.Length) return new Token(TokenKind.End, "", _line);
        char c = _text[_at];
        int start = _at;
        if (char.IsAsciiDigit(c))
        {
            _at++;
            while (_at < _text.Length
                && (char.IsAsciiLetterOrDigit(_text[_at]) || _text[_at] == '.' || (_text[_at] is '+' or '-' && IsExponent(start)))) _at++;
            return new Token(TokenKind.Number, _text[start.._at], _line);
        }
        if (IsWord(c) || c == '.')
        {
            _at++;
            while (_at < _text.Length && (IsWord(_text[_at]) || _text[_at] == '.' || char.IsAsciiDigit(_text[_at]) || IsDoubleColon()))
                _at += _text[_at] == ':' ? 2 : 1;
            return new Token(TokenKind.Word, _text[start.._at], _line);
        }
        if (c == '"')
        {
            int end = _text.IndexOf('"', _at + 1);
            if (end < 0) throw new PtxLoadException(_line, Line(_line), "a string without end");
            _at = end + 1;
            return new Token(TokenKind.Text, _text[(start + 1)..end], _line);
        }
        _at++;
        return new Token(TokenKind.Punctuation, c.ToString(), _line);
    }

    /// <summary>The rest of the present line, which directives such as <c>.loc</c> end with.</summary>
    public string RestOfLine()
    {
        int end = _text.IndexOf('\n', _at);
        if (end < 0) end = _text.Length;
        string rest = _text[_at..end];
        _at = end;
        return rest;
    }

    private static bool IsWord(char c) => char.IsAsciiLetter(c) || c is '_' or '$' or '%';

    private bool IsExponent(int start) =>
        _text[_at - 1] is 'e' or 'E' && !_text.AsSpan(start, Math.Min(2, _text.Length - start)).StartsWith("0x")
            && _text[start..(_at - 1)].All(c => char.IsAsciiDigit(c) || c == '.');

    private bool IsDoubleColon() =>
        _text[_at] == ':' && _at + 2 < _text.Length && _text[_at + 1] == ':' && char.IsAsciiLetterOrDigit(_text[_at + 2]);

    private void SkipBlanks()
    {
        while (_at < _text.Length)
        {
            char c = _text[_at];
            if (c == '\n') _line++;
            if (char.IsWhiteSpace(c))
            {
                _at++;
            }
            else if (c == '/' && _at + 1 < _text.Length && _text[_at + 1] == '/')
            {
                while (_at < _text.Length && _text[_at] != '\n') _at++;
            }
            else if (c == '/' && _at + 1 < _text.Length && _text[_at + 1] == '*')
            {
                int end = _text.IndexOf("*/", _at + 2, StringComparison.Ordinal);
                if (end < 0) throw new PtxLoadException(_line, Line(_line), "a comment without end");
                for (; _at < end + 2; _at++) if (_text[_at] == '\n') _line++;
            }
            else
            {
                return;
            }
        }
    }
}
