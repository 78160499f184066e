using System.Numerics;
using System.Runtime.CompilerServices;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>Moves data between lanes of registers and the memory that each lane points to.</summary>
internal static unsafe class LaneData
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Load(Warp warp, Op* op, MemoryAccess access, byte** pointers, uint mask)
    {
        for (int e = 0; e < access.Elements; e++)
        {
            int place = op->Extra[e];
            if (place < 0) continue;
            byte* target = warp.Frame + place;
            int skip = e * access.ElementBytes;
            switch (access.ElementBytes)
            {
                case 4 when access.DataBits == 32:
                    if (mask == uint.MaxValue)
                        for (int lane = 0; lane < 32; lane++) ((uint*)target)[lane] = *(uint*)(pointers[lane] + skip);
                    else for (uint left = mask; left != 0; left &= left - 1) ((uint*)target)[BitOperations.TrailingZeroCount(left)] = *(uint*)(pointers[BitOperations.TrailingZeroCount(left)] + skip);
                    break;
                case 8:
                    for (uint left = mask; left != 0; left &= left - 1)
                        ((ulong*)target)[BitOperations.TrailingZeroCount(left)] = *(ulong*)(pointers[BitOperations.TrailingZeroCount(left)] + skip);
                    break;
                case 2 when !access.Signed && access.DataBits <= 32:
                    for (uint left = mask; left != 0; left &= left - 1)
                        ((uint*)target)[BitOperations.TrailingZeroCount(left)] = *(ushort*)(pointers[BitOperations.TrailingZeroCount(left)] + skip);
                    break;
                default:
                    for (uint left = mask; left != 0; left &= left - 1)
                    {
                        int lane = BitOperations.TrailingZeroCount(left);
                        byte* from = pointers[lane] + skip;
                        long value = access.ElementBytes switch
                        {
                            1 => access.Signed ? (sbyte)*from : *from,
                            2 => access.Signed ? *(short*)from : *(ushort*)from,
                            _ => access.Signed ? *(int*)from : *(uint*)from,
                        };
                        if (access.DataBits == 64) ((long*)target)[lane] = value;
                        else ((uint*)target)[lane] = access.DataBits == 16 ? (ushort)value : (uint)value;
                    }
                    break;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Store(Warp warp, Op* op, MemoryAccess access, byte** pointers, uint mask)
    {
        for (int e = 0; e < access.Elements; e++)
        {
            byte* source = warp.Frame + op->Extra[e];
            int skip = e * access.ElementBytes;
            bool wide = access.DataBits == 64;
            for (uint left = mask; left != 0; left &= left - 1)
            {
                int lane = BitOperations.TrailingZeroCount(left);
                byte* to = pointers[lane] + skip;
                ulong value = wide ? ((ulong*)source)[lane] : ((uint*)source)[lane];
                switch (access.ElementBytes)
                {
                    case 1:
                        *to = (byte)value;
                        break;
                    case 2:
                        *(ushort*)to = (ushort)value;
                        break;
                    case 4:
                        *(uint*)to = (uint)value;
                        break;
                    default:
                        *(ulong*)to = value;
                        break;
                }
            }
        }
    }
}
