using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace DwrSeg.Cli;

/// <summary>The parser's help with the command's examples and the exit codes below it.</summary>
internal sealed class ExampleHelp(SynchronousCommandLineAction inner) : SynchronousCommandLineAction
{
    private static readonly Dictionary<Command, string[]> Examples = [];

    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <summary>Gives a command examples, one command line each.</summary>
    public static Command WithExamples(Command command, params string[] examples)
    {
        Examples.Add(command, examples);
        return command;
    }

    /// <summary>Puts this help in the place of the parser's own.</summary>
    public static void Install(RootCommand root)
    {
        foreach (HelpOption option in root.Options.OfType<HelpOption>())
        {
            if (option.Action is SynchronousCommandLineAction action) option.Action = new ExampleHelp(action);
        }
    }

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        int code = inner.Invoke(parseResult);
        if (!Examples.TryGetValue(parseResult.CommandResult.Command, out string[]? examples)) return code;
        TextWriter output = parseResult.InvocationConfiguration.Output;
        output.WriteLine("Examples:");
        foreach (string example in examples) output.WriteLine($"  {example}");
        output.WriteLine();
        output.WriteLine(ExitCode.Documentation);
        return code;
    }
}
