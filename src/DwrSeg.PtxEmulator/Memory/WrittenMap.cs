using System.Runtime.CompilerServices;

namespace DwrSeg.PtxEmulator.Memory;

/// <summary>A bit for each byte of an allocation: set once something has written it.</summary>
internal static unsafe class WrittenMap
{
    public static ulong Words(ulong bytes) => (bytes + 31) / 32;

    /// <summary>Whether all bytes of a range are written; ranges of up to 16 bytes that do not cross 32 take one look.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static bool All(uint* map, ulong offset, ulong count)
    {
        while (count > 0)
        {
            int bit = (int)(offset & 31);
            ulong take = Math.Min(count, (ulong)(32 - bit));
            uint mask = Mask(bit, (int)take);
            if ((map[offset >> 5] & mask) != mask) return false;
            offset += take;
            count -= take;
        }
        return true;
    }

    /// <summary>The first byte of a range that is not written; the range's end where all are.</summary>
    public static ulong FirstUnwritten(uint* map, ulong offset, ulong count)
    {
        ulong end = offset + count;
        while (offset < end && ((map[offset >> 5] >> (int)(offset & 31)) & 1) != 0) offset++;
        return offset;
    }

    /// <summary>Marks a range; safe beside other threads that mark bytes of the same word.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Set(uint* map, ulong offset, ulong count)
    {
        while (count > 0)
        {
            int bit = (int)(offset & 31);
            ulong take = Math.Min(count, (ulong)(32 - bit));
            uint mask = Mask(bit, (int)take);
            uint* word = map + (offset >> 5);
            if ((*word & mask) != mask) Interlocked.Or(ref *word, mask);
            offset += take;
            count -= take;
        }
    }

    public static void Clear(uint* map, ulong offset, ulong count)
    {
        while (count > 0)
        {
            int bit = (int)(offset & 31);
            ulong take = Math.Min(count, (ulong)(32 - bit));
            map[offset >> 5] &= ~Mask(bit, (int)take);
            offset += take;
            count -= take;
        }
    }

    /// <summary>Gives a range the marks of another.</summary>
    public static void Copy(uint* target, ulong targetOffset, uint* source, ulong sourceOffset, ulong count)
    {
        if (((targetOffset | sourceOffset | count) & 7) == 0)
        {
            Buffer.MemoryCopy((byte*)source + sourceOffset / 8, (byte*)target + targetOffset / 8, count / 8, count / 8);
            return;
        }
        bool backwards = target == source && targetOffset > sourceOffset;
        for (ulong i = 0; i < count; i++)
        {
            ulong at = backwards ? count - 1 - i : i;
            ulong from = sourceOffset + at, to = targetOffset + at;
            uint bit = 1u << (int)(to & 31);
            if (((source[from >> 5] >> (int)(from & 31)) & 1) != 0) target[to >> 5] |= bit;
            else target[to >> 5] &= ~bit;
        }
    }

    private static uint Mask(int bit, int count) => count == 32 ? uint.MaxValue : ((1u << count) - 1) << bit;
}
