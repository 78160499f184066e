using System.Reflection;
using System.Reflection.Emit;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>
/// A driver before another one, that counts calls and lets chosen ones fail without their reaching it. Its methods are generated from the
/// interface, so that none can be forwarded wrongly.
/// </summary>
internal abstract class FaultInjectingDriver(ICudaDriver inner)
{
    /// <summary>Generated code lives in an assembly of this name, which sees the interface's internals.</summary>
    private const string GeneratedAssembly = "DwrSeg.FaultInjection";

    private static readonly Lazy<Type> Generated = new(Generate);

    private readonly Lock _gate = new();
    private readonly List<string> _calls = [];
    private readonly Dictionary<string, int> _counts = [];
    private readonly Dictionary<(string Method, int Number), CUresult> _byNumber = [];
    private readonly Dictionary<string, CUresult> _byMethod = [];

    /// <summary>The driver that does the work.</summary>
    public ICudaDriver Inner { get; } = inner;

    /// <summary>This driver.</summary>
    public ICudaDriver Driver => (ICudaDriver)this;

    /// <summary>The methods called so far, in order, failed ones included; those that return no status are not counted.</summary>
    public IReadOnlyList<string> Calls
    {
        get
        {
            lock (_gate) return [.. _calls];
        }
    }

    /// <summary>
    /// Lets calls succeed without their reaching the driver behind, with outputs of zero, uncounted: what is left is what the caller does.
    /// </summary>
    public bool Swallows { get; set; }

    public static FaultInjectingDriver Wrap(ICudaDriver inner) => (FaultInjectingDriver)Activator.CreateInstance(Generated.Value, inner)!;

    /// <summary>
    /// Lets call <paramref name="number"/> of a method fail, counted from 0 among the calls of that method: a number
    /// among all calls may be another method's where threads call side by side.
    /// </summary>
    public void FailCall(string method, int number, CUresult status)
    {
        Check(method);
        lock (_gate) _byNumber[(method, number)] = status;
    }

    /// <summary>Lets every call of a method fail.</summary>
    public void FailEvery(string method, CUresult status)
    {
        Check(method);
        lock (_gate) _byMethod[method] = status;
    }

    /// <summary>Lets no further call fail, and counts anew.</summary>
    public void Reset()
    {
        lock (_gate)
        {
            _calls.Clear();
            _counts.Clear();
            _byNumber.Clear();
            _byMethod.Clear();
        }
    }

    /// <summary>Counts a call and says how it fails, −1 where it is swallowed; the generated methods ask this first.</summary>
    public int Before(string method)
    {
        if (Swallows) return -1;
        lock (_gate)
        {
            _calls.Add(method);
            int number = _counts.GetValueOrDefault(method);
            _counts[method] = number + 1;
            return (int)(_byNumber.TryGetValue((method, number), out CUresult status) ? status : _byMethod.GetValueOrDefault(method));
        }
    }

    private static void Check(string method)
    {
        if (typeof(ICudaDriver).GetMethod(method) is null)
            throw new ArgumentException($"the driver has no method {method}", nameof(method));
    }

    private static Type Generate()
    {
        TypeBuilder type = AssemblyBuilder.DefineDynamicAssembly(new AssemblyName(GeneratedAssembly), AssemblyBuilderAccess.Run)
            .DefineDynamicModule(GeneratedAssembly)
            .DefineType(
                "GeneratedDriver", TypeAttributes.Public | TypeAttributes.Sealed, typeof(FaultInjectingDriver), [typeof(ICudaDriver)]);
        ConstructorInfo parent = typeof(FaultInjectingDriver)
            .GetConstructor(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic, [typeof(ICudaDriver)])!;
        ILGenerator constructor = type
            .DefineConstructor(MethodAttributes.Public, CallingConventions.HasThis, [typeof(ICudaDriver)]).GetILGenerator();
        constructor.Emit(OpCodes.Ldarg_0);
        constructor.Emit(OpCodes.Ldarg_1);
        constructor.Emit(OpCodes.Call, parent);
        constructor.Emit(OpCodes.Ret);
        foreach (MethodInfo method in typeof(ICudaDriver).GetMethods()) Forward(type, method);
        return type.CreateType();
    }

    // if (Before(name) is status and not 0) { every out parameter = default; return status + (status == -1); } return Inner.method(…);
    private static void Forward(TypeBuilder type, MethodInfo method)
    {
        ParameterInfo[] parameters = method.GetParameters();
        MethodBuilder forward = type.DefineMethod(
            method.Name, MethodAttributes.Public | MethodAttributes.Virtual | MethodAttributes.HideBySig | MethodAttributes.Final,
            CallingConventions.HasThis, method.ReturnType, null, null, [.. parameters.Select(p => p.ParameterType)],
            [.. parameters.Select(p => p.GetRequiredCustomModifiers())], [.. parameters.Select(p => p.GetOptionalCustomModifiers())]);
        ILGenerator code = forward.GetILGenerator();
        if (method.ReturnType == typeof(CUresult))
        {
            LocalBuilder status = code.DeclareLocal(typeof(int));
            Label succeeds = code.DefineLabel();
            code.Emit(OpCodes.Ldarg_0);
            code.Emit(OpCodes.Ldstr, method.Name);
            code.Emit(OpCodes.Call, typeof(FaultInjectingDriver).GetMethod(nameof(Before))!);
            code.Emit(OpCodes.Stloc, status);
            code.Emit(OpCodes.Ldloc, status);
            code.Emit(OpCodes.Brfalse, succeeds);
            foreach (ParameterInfo output in parameters.Where(p => p.IsOut))
            {
                Type value = output.ParameterType.GetElementType()!;
                code.Emit(OpCodes.Ldarg, (short)(output.Position + 1));
                if (value == typeof(string))
                {
                    code.Emit(OpCodes.Ldstr, "");
                    code.Emit(OpCodes.Stind_Ref);
                }
                else
                {
                    code.Emit(OpCodes.Initobj, value.IsPointer ? typeof(nint) : value);
                }
            }
            code.Emit(OpCodes.Ldloc, status);
            code.Emit(OpCodes.Ldloc, status);
            code.Emit(OpCodes.Ldc_I4_M1);
            code.Emit(OpCodes.Ceq);
            code.Emit(OpCodes.Add);
            code.Emit(OpCodes.Ret);
            code.MarkLabel(succeeds);
        }
        code.Emit(OpCodes.Ldarg_0);
        code.Emit(OpCodes.Call, typeof(FaultInjectingDriver).GetProperty(nameof(Inner))!.GetMethod!);
        for (short i = 1; i <= parameters.Length; i++) code.Emit(OpCodes.Ldarg, i);
        code.Emit(OpCodes.Callvirt, method);
        code.Emit(OpCodes.Ret);
        type.DefineMethodOverride(forward, method);
    }
}
