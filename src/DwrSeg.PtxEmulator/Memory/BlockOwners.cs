using System.Runtime.CompilerServices;

namespace DwrSeg.PtxEmulator.Memory;

/// <summary>
/// Who wrote a word in the present launch: the launch's tag in the top 8 bits, below it the block's number plus one; all ones below
/// where the bytes of the word have owners of their own (<see cref="Allocation.ByteOwners"/>).
/// </summary>
internal static unsafe class BlockOwners
{
    public const uint MaxTag = 255;

    private const uint BlockMask = 0xffffff;
    private const uint Mixed = BlockMask;

    /// <summary>Blocks beyond this are not told apart.</summary>
    public const ulong MaxBlocks = BlockMask - 1;

    /// <summary>A launch's tag, by its number from 1 on.</summary>
    public static uint Tag(long launch) => (uint)((launch - 1) % MaxTag) + 1;

    /// <summary>Which of the rounds through all tags a launch belongs to; at each round's start all owners are forgotten.</summary>
    public static long Round(long launch) => (launch - 1) / MaxTag;

    public static uint Owner(uint tag, ulong block) => (tag << 24) | (uint)(block + 1);

    public static ulong Block(uint owner) => (owner & BlockMask) - 1;

    /// <summary>Notes a write.</summary>
    /// <returns>0, or the other block's owner value where one has written these bytes in this launch.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static uint Write(Allocation allocation, ulong offset, uint bytes, uint owner)
    {
        uint conflict = 0;
        if (bytes >= 4)
        {
            for (ulong word = offset >> 2, end = (offset + bytes) >> 2; word < end; word++)
            {
                if (allocation.Owners[word] == owner) continue;
                uint old = Interlocked.Exchange(ref allocation.Owners[word], owner);
                if (old >> 24 != owner >> 24 || old == owner) continue;
                if ((old & BlockMask) != Mixed)
                {
                    conflict = old;
                    continue;
                }
                allocation.Owners[word] = old;
                uint found = WriteBytes(allocation, word * 4, 4, owner);
                if (found != 0) conflict = found;
            }
            return conflict;
        }
        uint mixed = (owner & ~BlockMask) | Mixed;
        uint* place = allocation.Owners + (offset >> 2);
        uint before = *place;
        if (before == owner) return 0;
        if (before != mixed)
        {
            allocation.EnsureByteOwners();
            before = Interlocked.Exchange(ref *place, mixed);
            // A block that owned the whole word keeps all of its bytes.
            if (before >> 24 == owner >> 24 && before != mixed)
            {
                for (ulong at = offset & ~3ul, end = at + 4; at < end; at++) allocation.ByteOwners[at] = before;
            }
        }
        return WriteBytes(allocation, offset, bytes, owner);
    }

    /// <returns>0, or the owner value of another block that has written some of these bytes in this launch.</returns>
    public static uint Other(Allocation allocation, ulong offset, uint bytes, uint owner)
    {
        for (ulong at = offset, end = offset + bytes; at < end; at++)
        {
            uint found = allocation.Owners[at >> 2];
            if (found >> 24 != owner >> 24 || found == owner)
            {
                at |= 3;
                continue;
            }
            if ((found & BlockMask) == Mixed)
            {
                found = allocation.ByteOwners[at];
                if (found >> 24 != owner >> 24 || found == owner) continue;
            }
            return found;
        }
        return 0;
    }

    /// <summary>Whether some of these bytes were written in the launch of <paramref name="owner"/>, by whichever block.</summary>
    public static bool WrittenInLaunch(Allocation allocation, ulong offset, uint bytes, uint owner)
    {
        for (ulong at = offset, end = offset + bytes; at < end; at++)
        {
            uint found = allocation.Owners[at >> 2];
            if (found >> 24 != owner >> 24) at |= 3;
            else if ((found & BlockMask) != Mixed || allocation.ByteOwners[at] >> 24 == owner >> 24) return true;
        }
        return false;
    }

    /// <summary>The tag of the launch that last wrote one of the words of an access, where it is among some; 0 where none is.</summary>
    public static uint TagAmong(bool[] tags, Allocation allocation, ulong offset, uint bytes)
    {
        for (ulong word = offset >> 2, last = (offset + bytes - 1) >> 2; word <= last; word++)
        {
            uint tag = allocation.Owners[word] >> 24;
            if (tags[tag]) return tag;
        }
        return 0;
    }

    private static uint WriteBytes(Allocation allocation, ulong offset, uint bytes, uint owner)
    {
        uint conflict = 0;
        for (ulong at = offset; at < offset + bytes; at++)
        {
            uint old = Interlocked.Exchange(ref allocation.ByteOwners[at], owner);
            if (old >> 24 == owner >> 24 && old != owner) conflict = old;
        }
        return conflict;
    }
}
