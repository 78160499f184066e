using System.Numerics;
using System.Runtime.CompilerServices;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.PtxEmulator.Driver;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

/// <summary>
/// Stands in for cuBLASLt on an emulated device: executes its products in plain float64 on stream order, and is strict about layouts, attributes,
/// alignment, workspace, and that an algorithm is used for what it was offered for.
/// </summary>
/// <param name="driver">The device.</param>
/// <param name="leastAlignment">Bytes below which it has no algorithm for 16-bit matrices.</param>
internal sealed unsafe class CublasLtDouble(EmulatedDriver driver, uint leastAlignment = 16) : ICublasLt
{
    private const int InvalidValue = 7, NotSupported = 15, ExecutionFailed = 13, Offered = 2;
    private const nuint SecondsWorkspace = 8192;

    private sealed class Library
    {
        public CUcontext Context;
    }

    private sealed class Product
    {
        public CublasLtOperation A, B;
        public CublasLtEpilogue Epilogue = CublasLtEpilogue.Default;
        public CUdeviceptr Bias;
    }

    private sealed record Layout(CublasLtDataType Type, long Rows, long Columns, long LeadingDimension)
    {
        public CudaElement Element => Type switch
        {
            CublasLtDataType.Float => CudaElement.Float32,
            CublasLtDataType.Half => CudaElement.Float16,
            _ => CudaElement.BFloat16,
        };
    }

    private sealed class Preference
    {
        public ulong Workspace;
        public readonly uint[] Alignments = [256, 256, 256, 256];
    }

    public LibraryObjects Objects { get; } = new(driver);

    /// <summary>What a product takes on a planted clock, by the algorithm's rank.</summary>
    public Func<int, double> Milliseconds { get; init; } = _ => 0;

    /// <summary>Whether <see cref="MatmulAlgoCheck"/> takes no algorithm of another one of these, as after an update.</summary>
    public bool KnowsOwnAlone { get; init; }

    public Version Version { get; } = new(12, 4, 5);

    public string Location { get; init; } = "cublasLtDouble";

    public int Create(out nint handle)
    {
        handle = 0;
        if (Begin() is var status and not 0) return status;
        if (Objects.Current.Value == 0) return 1;
        handle = Objects.Add(new Library { Context = Objects.Current });
        return 0;
    }

    public int Destroy(nint handle) => Objects.Remove<Library>(handle) ? 0 : InvalidValue;

    public int MatmulDescCreate(out nint product, CublasLtCompute compute, CublasLtDataType scaleType)
    {
        product = 0;
        if (Begin() is var status and not 0) return status;
        if (compute != CublasLtCompute.Float32 || scaleType != CublasLtDataType.Float) return InvalidValue;
        product = Objects.Add(new Product());
        return 0;
    }

    public int MatmulDescDestroy(nint product) => Objects.Remove<Product>(product) ? 0 : InvalidValue;

    public int MatmulDescSetAttribute(nint product, CublasLtProductAttribute attribute, void* value, nuint bytes)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<Product>(product) is not { } p || bytes != (attribute == CublasLtProductAttribute.BiasPointer ? 8u : 4u)) return InvalidValue;
        switch (attribute)
        {
            case CublasLtProductAttribute.TransposeA:
                p.A = *(CublasLtOperation*)value;
                return 0;
            case CublasLtProductAttribute.TransposeB:
                p.B = *(CublasLtOperation*)value;
                return 0;
            case CublasLtProductAttribute.Epilogue:
                p.Epilogue = *(CublasLtEpilogue*)value;
                return Enum.IsDefined(p.Epilogue) ? 0 : InvalidValue;
            default:
                p.Bias = *(CUdeviceptr*)value;
                return attribute == CublasLtProductAttribute.BiasPointer ? 0 : InvalidValue;
        }
    }

    public int MatrixLayoutCreate(out nint layout, CublasLtDataType type, ulong rows, ulong columns, long leadingDimension)
    {
        layout = 0;
        if (Begin() is var status and not 0) return status;
        if (!Enum.IsDefined(type) || rows == 0 || columns == 0 || leadingDimension < (long)rows) return InvalidValue;
        layout = Objects.Add(new Layout(type, (long)rows, (long)columns, leadingDimension));
        return 0;
    }

    public int MatrixLayoutDestroy(nint layout) => Objects.Remove<Layout>(layout) ? 0 : InvalidValue;

    public int MatmulPreferenceCreate(out nint preference)
    {
        preference = 0;
        if (Begin() is var status and not 0) return status;
        preference = Objects.Add(new Preference());
        return 0;
    }

    public int MatmulPreferenceDestroy(nint preference) => Objects.Remove<Preference>(preference) ? 0 : InvalidValue;

    public int MatmulPreferenceSetAttribute(nint preference, CublasLtPreferenceAttribute attribute, void* value, nuint bytes)
    {
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<Preference>(preference) is not { } p) return InvalidValue;
        if (attribute == CublasLtPreferenceAttribute.MaxWorkspaceBytes)
        {
            p.Workspace = *(ulong*)value;
            return bytes == 8 ? 0 : InvalidValue;
        }
        int matrix = attribute - CublasLtPreferenceAttribute.MinAlignmentA;
        if (matrix is < 0 or > 3 || bytes != 4 || !BitOperations.IsPow2(*(uint*)value)) return InvalidValue;
        p.Alignments[matrix] = *(uint*)value;
        return 0;
    }

    public int MatmulAlgoGetHeuristic(
        nint handle, nint product, nint a, nint b, nint c, nint d, nint preference, int requested, CublasLtHeuristic* results, out int returned)
    {
        returned = 0;
        if (Begin() is var status and not 0) return status;
        if (Objects.Find<Preference>(preference) is not { } wanted) return InvalidValue;
        if (Check(handle, product, a, b, c, d) is var fault and not 0) return fault;
        bool isHalf = Objects.Find<Layout>(d)!.Type != CublasLtDataType.Float;
        if (isHalf && wanted.Alignments.Min() < leastAlignment) return NotSupported;
        for (int rank = 0; rank < Math.Min(requested, Offered); rank++)
        {
            nuint workspace = WorkspaceOf(rank);
            if (workspace > wanted.Workspace) continue;
            results[returned++] = new CublasLtHeuristic
            {
                Algorithm = new CublasLtAlgorithm { Data0 = (ulong)rank, Data1 = MarkOf(a, b, c, d), Data2 = wanted.Alignments.Min(), Data7 = Own },
                WorkspaceBytes = workspace,
            };
        }
        return 0;
    }

    public int MatmulAlgoCheck(nint handle, nint product, nint a, nint b, nint c, nint d, CublasLtAlgorithm* algorithm, CublasLtHeuristic* result)
    {
        if (Begin() is var status and not 0) return status;
        if (Check(handle, product, a, b, c, d) is var fault and not 0) return fault;
        if (!IsOffered(algorithm, MarkOf(a, b, c, d))) return NotSupported;
        *result = new CublasLtHeuristic { Algorithm = *algorithm, WorkspaceBytes = WorkspaceOf((int)algorithm->Data0) };
        return 0;
    }

    public int Matmul(
        nint handle, nint product, float* alpha, CUdeviceptr a, nint aLayout, CUdeviceptr b, nint bLayout, float* beta, CUdeviceptr c, nint cLayout,
        CUdeviceptr d, nint dLayout, CublasLtAlgorithm* algorithm, CUdeviceptr workspace, nuint workspaceBytes, CUstream stream)
    {
        if (Begin() is var status and not 0) return status;
        if (Check(handle, product, aLayout, bLayout, cLayout, dLayout) is var fault and not 0) return fault;
        if (!IsOffered(algorithm, MarkOf(aLayout, bLayout, cLayout, dLayout))) return InvalidValue;
        int rank = (int)algorithm->Data0;
        if (workspaceBytes < WorkspaceOf(rank) || (a.Value | b.Value | c.Value | d.Value) % algorithm->Data2 != 0) return InvalidValue;
        Product p = Objects.Find<Product>(product)!;
        Layout w = Objects.Find<Layout>(aLayout)!, x = Objects.Find<Layout>(bLayout)!, z = Objects.Find<Layout>(cLayout)!, y = Objects.Find<Layout>(dLayout)!;
        if (c == d && z != y) return InvalidValue;
        bool hasBias = p.Epilogue is CublasLtEpilogue.Bias or CublasLtEpilogue.ReluBias, hasRelu = p.Epilogue is CublasLtEpilogue.Relu or CublasLtEpilogue.ReluBias;
        if (hasBias && (p.Bias.Value == 0 || p.Bias.Value % 16 != 0)) return InvalidValue;
        (double scale, double added) = (*alpha, *beta);
        CUdeviceptr bias = p.Bias;
        CUresult submitted = driver.Submit(stream, $"cublasLtMatmul {rank}", Milliseconds(rank), memory =>
        {
            DeviceValues.Scribble(memory, workspace.Value, workspaceBytes);
            int outputs = (int)y.Rows, inputs = (int)x.Rows;
            double[] weights = DeviceValues.Read(memory, "cuBLASLt's A", w.Element, a.Value, outputs, inputs, w.LeadingDimension);
            double[] values = DeviceValues.Read(memory, "cuBLASLt's B", x.Element, b.Value, x.Columns, inputs, x.LeadingDimension);
            double[]? before = added == 0 ? null : DeviceValues.Read(memory, "cuBLASLt's C", z.Element, c.Value, z.Columns, outputs, z.LeadingDimension);
            double[]? biases = hasBias ? DeviceValues.Read(memory, "cuBLASLt's bias", y.Element, bias.Value, 1, outputs, outputs) : null;
            var sums = new double[y.Columns * outputs];
            for (long pixel = 0; pixel < y.Columns; pixel++)
            for (int o = 0; o < outputs; o++)
            {
                double sum = 0;
                for (int i = 0; i < inputs; i++) sum += weights[o * inputs + i] * values[pixel * inputs + i];
                sum = scale * sum + (before is null ? 0 : added * before[pixel * outputs + o]) + (biases is null ? 0 : biases[o]);
                sums[pixel * outputs + o] = hasRelu ? Math.Max(sum, 0) : sum;
            }
            DeviceValues.Write(memory, y.Element, d.Value, y.Columns, outputs, y.LeadingDimension, sums);
        });
        return submitted == CUresult.Success ? 0 : ExecutionFailed;
    }

    private static nuint WorkspaceOf(int rank) => rank == 0 ? 0 : SecondsWorkspace;

    private bool IsOffered(CublasLtAlgorithm* algorithm, ulong mark) =>
        algorithm is not null && algorithm->Data0 < Offered && algorithm->Data1 == mark && (!KnowsOwnAlone || algorithm->Data7 == Own);

    private ulong Own => (ulong)RuntimeHelpers.GetHashCode(this);

    // Layouts are compared by value: a problem asked about anew is the same problem.
    private ulong MarkOf(params ReadOnlySpan<nint> layouts)
    {
        var hash = default(HashCode);
        foreach (nint layout in layouts) hash.Add(Objects.Find<Layout>(layout));
        return (ulong)hash.ToHashCode() + 1;
    }

    private int Begin([CallerMemberName] string call = "") => Objects.Begin(call);

    // Of the products there are, only those that a 1x1 convolution is.
    private int Check(nint handle, nint product, nint a, nint b, nint c, nint d)
    {
        if (Objects.Find<Library>(handle) is not { } library || library.Context != Objects.Current) return InvalidValue;
        if (Objects.Find<Product>(product) is not { A: CublasLtOperation.Transpose, B: CublasLtOperation.None }) return InvalidValue;
        if (Objects.Find<Layout>(a) is not { } w || Objects.Find<Layout>(b) is not { } x || Objects.Find<Layout>(c) is not { } z
            || Objects.Find<Layout>(d) is not { } y) return InvalidValue;
        bool fits = w.Rows == x.Rows && w.Columns == y.Rows && x.Columns == y.Columns && (z.Rows, z.Columns) == (y.Rows, y.Columns);
        return fits && w.Type == x.Type && x.Type == y.Type && z.Type == y.Type ? 0 : InvalidValue;
    }
}
