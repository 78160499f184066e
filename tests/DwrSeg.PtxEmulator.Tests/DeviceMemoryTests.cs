using DwrSeg.PtxEmulator.Memory;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

public sealed class DeviceMemoryTests
{
    [Fact]
    public void AddressesAreAlignedApartAndNeverComeAgain()
    {
        using var memory = new DeviceMemory();
        var seen = new HashSet<ulong>();
        for (int i = 0; i < 100; i++)
        {
            ulong address = memory.Allocate((ulong)i * 1000, "a");
            Assert.Equal(0ul, address % 256);
            Assert.True(seen.Add(address));
            if (i % 2 == 0) memory.Free(address);
        }
        Assert.Equal(50, memory.LiveAllocations);
        Assert.Equal((ulong)Enumerable.Range(0, 100).Where(i => i % 2 == 1).Sum(i => i * 1000), memory.LiveBytes);
        ulong[] sorted = [.. seen.Order()];
        for (int i = 1; i < sorted.Length; i++) Assert.True(sorted[i] - sorted[i - 1] > 1 << 20);
    }

    [Fact]
    public void CopiesAreCheckedAndNameTheAllocation()
    {
        using var memory = new DeviceMemory();
        ulong address = memory.Allocate(100, "weights");
        Assert.Equal(FailureKind.OutOfBounds, Assert.Throws<EmulatorException>(() => memory.CopyIn<byte>(address + 1, new byte[100])).Kind);
        EmulatorException failure = Assert.Throws<EmulatorException>(() => memory.CopyOut<byte>(new byte[8], address + 96));
        Assert.Contains("weights", failure.Message, StringComparison.Ordinal);
        memory.Free(address);
        Assert.Equal(FailureKind.UseAfterFree, Assert.Throws<EmulatorException>(() => memory.Fill(address, 0, 4)).Kind);
        Assert.Equal(FailureKind.InvalidAddress, Assert.Throws<EmulatorException>(() => memory.Free(address)).Kind);
        Assert.Equal(FailureKind.InvalidAddress, Assert.Throws<EmulatorException>(() => memory.Free(12345)).Kind);
    }

    [Fact]
    public void CopiesOnTheDeviceCarryWhatIsWritten()
    {
        var random = new Random(2);
        using var memory = new DeviceMemory();
        for (int round = 0; round < 50; round++)
        {
            ulong a = memory.Allocate(300, "a"), b = memory.Allocate(300, "b");
            var written = new bool[300];
            for (int i = 0; i < 300; i++)
            {
                if (random.Next(3) == 0) continue;
                memory.Fill(a + (ulong)i, (byte)i, 1);
                written[i] = true;
            }
            memory.Fill(b, 0, 300);
            int from = random.Next(100), to = random.Next(100), count = random.Next(1, 200);
            memory.CopyWithin(b + (ulong)to, a + (ulong)from, (ulong)count);
            for (int i = 0; i < 300; i++)
                Assert.Equal(i < to || i >= to + count || written[i - to + from], memory.IsWritten(b + (ulong)i, 1));
        }
    }
}
