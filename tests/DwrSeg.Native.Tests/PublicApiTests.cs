using System.Reflection;
using System.Runtime.CompilerServices;
using System.Xml.Linq;
using Xunit;

namespace DwrSeg.Native.Tests;

/// <summary>What an application can see of the library is what was decided on, and all of it is documented.</summary>
public sealed class PublicApiTests
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly Assembly Library = typeof(Segmenter).Assembly;

    // The compiler's own types, such as those behind extension members, have names that no source can.
    private static readonly Type[] Types =
        [.. Library.GetExportedTypes().Where(t => !t.FullName!.Contains('<', StringComparison.Ordinal)).OrderBy(t => t.FullName, StringComparer.Ordinal)];

    [Fact]
    public void PublicSurfaceIsTheApprovedOne()
    {
        string[] found = [.. Types.SelectMany(Describe)];
        string actual = Path.Combine(AppContext.BaseDirectory, "PublicApi.txt.actual");
        File.WriteAllLines(actual, found);
        string[] approved = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "PublicApi.txt"));
        string[] difference = [.. found.Except(approved).Select(l => $"+ {l.Trim()}"), .. approved.Except(found).Select(l => $"- {l.Trim()}")];
        Assert.True(found.SequenceEqual(approved),
            $"The public surface differs from PublicApi.txt. Where that is intended, replace it with {actual}:\n{string.Join('\n', difference)}");
    }

    [Fact]
    public void EveryPublicTypeIsDocumented()
    {
        XDocument documentation = XDocument.Load(Path.ChangeExtension(Library.Location, ".xml"));
        HashSet<string> documented =
        [
            .. documentation.Descendants("member").Where(m => m.Elements().Any(e => e.Name == "summary" || e.Name == "inheritdoc"))
                .Select(m => m.Attribute("name")!.Value),
        ];
        Assert.All(Types, type => Assert.Contains($"T:{type.FullName!.Replace('+', '.')}", documented));
    }

    [Fact]
    public void EveryExceptionThatTheLibraryDefinesIsSealed() =>
        Assert.All(Types.Where(t => t.IsAssignableTo(typeof(Exception))), t => Assert.True(t.IsSealed));

    private static IEnumerable<string> Describe(Type type)
    {
        string kind = type.IsEnum ? "enum" : type.IsInterface ? "interface" : type.IsAssignableTo(typeof(Delegate)) ? "delegate"
            : type.IsValueType ? "struct" : type is { IsAbstract: true, IsSealed: true } ? "static class" : type.IsSealed ? "sealed class"
            : type.IsAbstract ? "abstract class" : "class";
        yield return $"{kind} {type.FullName}";
        if (type.IsAssignableTo(typeof(Delegate))) yield break;
        if (type.IsEnum)
        {
            foreach (string name in Enum.GetNames(type)) yield return $"    {name} = {Convert.ToInt64(Enum.Parse(type, name))}";
            yield break;
        }
        foreach (string line in type.GetMembers(Declared).Where(m => !IsGenerated(m)).Select(Describe).OfType<string>().Order(StringComparer.Ordinal))
            yield return $"    {line}";
    }

    private static string? Describe(MemberInfo member) => member switch
    {
        ConstructorInfo c when IsVisible(c) && !c.IsStatic => $"new({Parameters(c)})",
        MethodInfo m when IsVisible(m) && !m.IsSpecialName => $"{Static(m)}{m.Name}({Parameters(m)}) : {Name(m.ReturnType)}",
        PropertyInfo p when p.GetMethod is { } get && IsVisible(get) =>
            $"{Static(get)}{p.Name}{(p.GetIndexParameters().Length > 0 ? $"[{Parameters(get)}]" : "")} : {Name(p.PropertyType)}{Setter(p)}",
        FieldInfo f when f.IsPublic => $"{(f.IsLiteral ? "const " : f.IsStatic ? "static " : "")}{f.Name} : {Name(f.FieldType)}",
        _ => null,
    };

    // What the compiler writes for a record says nothing that the word does not.
    private static bool IsGenerated(MemberInfo member) =>
        member.IsDefined(typeof(CompilerGeneratedAttribute)) && member is not PropertyInfo
        || member is MethodInfo { Name: "Equals" or "GetHashCode" or "ToString" or "Deconstruct" or "PrintMembers" }
        || member is PropertyInfo { Name: "EqualityContract" };

    private static bool IsVisible(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    private static string Static(MethodInfo method) => method.IsStatic ? "static " : "";

    private static string Setter(PropertyInfo property)
    {
        if (property.SetMethod is not { } set || !IsVisible(set)) return "";
        return set.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit)) ? " { init }" : " { set }";
    }

    private static string Parameters(MethodBase method) =>
        string.Join(", ", method.GetParameters().Select(p => $"{Name(p.ParameterType)} {p.Name}{(p.IsOptional ? "?" : "")}"));

    private static string Name(Type type)
    {
        if (type.IsByRef) return $"ref {Name(type.GetElementType()!)}";
        if (type.IsArray) return $"{Name(type.GetElementType()!)}[]";
        if (!type.IsGenericType) return type.Name;
        return $"{type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>";
    }
}
