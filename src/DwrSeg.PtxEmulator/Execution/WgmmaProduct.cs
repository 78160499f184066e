using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Instructions;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>
/// A <c>wgmma</c> under way: its operands as they were when it was issued. The sums are made when it is waited for, in the accumulators.
/// </summary>
internal sealed unsafe class WgmmaProduct
{
    public const int Rows64 = 64, Depth = 16, MostColumns = 256;

    private readonly float[] _a = new float[Rows64 * Depth];
    private readonly float[] _b = new float[Depth * MostColumns];

    /// <summary>The instruction.</summary>
    public Op* Operation { get; private set; }

    /// <summary>Numbers of the accumulators and the fragment of A.</summary>
    public int[] Registers { get; private set; } = [];

    /// <summary>How many of them are accumulators.</summary>
    public int Accumulators { get; private set; }

    /// <summary>The group that it will be committed to, counted from the block's start.</summary>
    public int Group { get; private set; }

    /// <summary>Adds to what the accumulators hold; else replaces it.</summary>
    public bool Adds { get; set; }

    /// <summary>Rows of 16 bytes of shared memory that it reads.</summary>
    public List<uint> Rows { get; } = [];

    /// <summary>A, [64][16].</summary>
    public Span<float> A => _a;

    /// <summary>B, [16][columns]; of each eight columns the even ones first, which is the order in which accumulators hold them.</summary>
    public Span<float> B => _b;

    public void Begin(Op* op, int[] registers, int accumulators, int group)
    {
        Operation = op;
        (Registers, Accumulators, Group) = (registers, accumulators, group);
        Rows.Clear();
    }

    /// <summary>Adds a warp's sixteen rows. Products are exact and added k ascending, each sum rounded to nearest, as <c>mma</c> does here.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Add(Warp warp, int index)
    {
        int columns = (int)Operation->Immediate;
        int* places = Operation->Extra;
        fixed (float* firstA = _a, b = _b)
        {
            for (int block = 0; block < columns / 8; block++)
            {
                for (int row = 0; row < 16; row += 4)
                {
                    // Register 4 block + 2 half + odd holds, in lane 4 (row % 8) + t, column 8 block + 2 t + odd.
                    int pair = block * 4 + (row >> 3) * 2;
                    float* even = (float*)(warp.Frame + places[pair]) + (row & 7) * 4;
                    float* odd = (float*)(warp.Frame + places[pair + 1]) + (row & 7) * 4;
                    float* a = firstA + (index * 16 + row) * Depth;
                    Vector256<float> d0 = default, d1 = default, d2 = default, d3 = default;
                    if (Adds)
                    {
                        d0 = Vector256.Create(Vector128.Load(even), Vector128.Load(odd));
                        d1 = Vector256.Create(Vector128.Load(even + 4), Vector128.Load(odd + 4));
                        d2 = Vector256.Create(Vector128.Load(even + 8), Vector128.Load(odd + 8));
                        d3 = Vector256.Create(Vector128.Load(even + 12), Vector128.Load(odd + 12));
                    }
                    float* bi = b + block * 8;
                    for (int k = 0; k < Depth; k++, bi += columns)
                    {
                        Vector256<float> y = Vector256.Load(bi);
                        d0 = Vector256.FusedMultiplyAdd(Vector256.Create(a[k]), y, d0);
                        d1 = Vector256.FusedMultiplyAdd(Vector256.Create(a[Depth + k]), y, d1);
                        d2 = Vector256.FusedMultiplyAdd(Vector256.Create(a[2 * Depth + k]), y, d2);
                        d3 = Vector256.FusedMultiplyAdd(Vector256.Create(a[3 * Depth + k]), y, d3);
                    }
                    Vector512<float> evens = FloatOps.OneNaN(Vector512.Create(
                        Vector256.Create(d0.GetLower(), d1.GetLower()), Vector256.Create(d2.GetLower(), d3.GetLower())));
                    Vector512<float> odds = FloatOps.OneNaN(Vector512.Create(
                        Vector256.Create(d0.GetUpper(), d1.GetUpper()), Vector256.Create(d2.GetUpper(), d3.GetUpper())));
                    evens.Store(even);
                    odds.Store(odd);
                }
            }
        }
    }
}
