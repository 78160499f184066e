using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

public class ModuleTests
{
    [Fact]
    public void ImagesThatCannotRunAreRefusedWithTheReason()
    {
        using var rig = new DriverRig(new EmulatedDriverOptions { Devices = [DeviceModel.Of(80)], DriverVersion = 13000 });
        void Refused(CUresult expected, byte[] image, string reason)
        {
            string text = rig.Fails(expected, rig.Driver.ModuleLoadData(out CUmodule module, image, out _));
            Assert.Contains(reason, text, StringComparison.Ordinal);
            Assert.Equal(default, module);
        }
        Refused(CUresult.InvalidImage, [0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1], "cubin");
        Refused(CUresult.InvalidImage, [], "zero byte");
        Refused(CUresult.InvalidImage, DriverRig.Text(TestKernels.Ptx())[..^1], "zero byte");
        Refused(CUresult.InvalidImage, [0], "empty");
        Refused(CUresult.InvalidPtx, DriverRig.Text("no PTX at all"), "line 1");
        Refused(CUresult.InvalidPtx, DriverRig.Text(TestKernels.Ptx(target: "sm_90")), "sm_90");
        Refused(CUresult.InvalidPtx, DriverRig.Text(TestKernels.Ptx().Replace("add.s32", "frobnicate.s32", StringComparison.Ordinal)),
            "frobnicate.s32 %r7");
        Refused(CUresult.UnsupportedPtxVersion, DriverRig.Text(TestKernels.Ptx(version: "9.1")), "9.0");
        Assert.Equal(0, rig.Emulated.Live.Modules);
    }

    [Fact]
    public void ALogSaysWhatPtxTheAssemblerDidNotLike()
    {
        using var rig = new DriverRig(80);
        rig.Driver.ModuleLoadData(out _, DriverRig.Text(TestKernels.Ptx(target: "sm_90")), out string log);
        Assert.Contains("sm_90", log, StringComparison.Ordinal);
        rig.Ok(rig.Driver.ModuleLoadData(out _, DriverRig.Text(TestKernels.Ptx()), out log));
        Assert.Empty(log);
    }

    [Fact]
    public void DamagedPtxIsRefusedOrRuns_ButNeverThrows()
    {
        using var rig = new DriverRig();
        var random = new Random(7);
        string whole = TestKernels.Ptx();
        string[] tokens =
            ["", " ", ";", "{", "}", "(", "[", ",", "%r1", "%rd999", "0x", "-1", "99999999999999999999", ".param", "@", "\"", "/*"];
        int refused = 0;
        for (int i = 0; i < 1500; i++)
        {
            string text = whole;
            for (int edit = random.Next(1, 4); edit > 0; edit--)
            {
                int at = random.Next(text.Length), length = Math.Min(random.Next(12), text.Length - at);
                bool copied = random.Next(3) == 0;
                string inserted = copied ? text.Substring(random.Next(text.Length - 20), 20) : tokens[random.Next(tokens.Length)];
                text = text.Remove(at, length).Insert(at, inserted);
            }
            CUresult status = rig.Driver.ModuleLoadData(out CUmodule module, DriverRig.Text(text), out string log);
            if (status == CUresult.Success)
            {
                rig.Ok(rig.Driver.ModuleUnload(module));
                continue;
            }
            refused++;
            Assert.True(status is CUresult.InvalidPtx or CUresult.UnsupportedPtxVersion or CUresult.OutOfMemory, $"{status}");
            Assert.True(log.Length > 0 || status == CUresult.OutOfMemory, $"{status} without a log");
        }
        Assert.InRange(refused, 500, 1500);
        Assert.Equal(0, rig.Emulated.Live.Modules);
    }

    [Theory]
    [InlineData(11020, "7.2", "7.3")]
    [InlineData(12040, "8.4", "8.5")]
    [InlineData(12060, "8.5", "8.6")]
    [InlineData(13000, "9.0", "9.1")]
    public void ADriverKnowsThePtxOfItsOwnVersion(int driverVersion, string known, string unknown)
    {
        using var rig = new DriverRig(new EmulatedDriverOptions { DriverVersion = driverVersion });
        rig.Load(TestKernels.Ptx(version: known));
        rig.Fails(CUresult.UnsupportedPtxVersion,
            rig.Driver.ModuleLoadData(out _, DriverRig.Text(TestKernels.Ptx(version: unknown)), out _));
    }

    [Fact]
    public void ADriverOfNoVersionKnowsAllPtx()
    {
        using var rig = new DriverRig();
        rig.Load(TestKernels.Ptx(version: "9.9"));
        rig.Ok(rig.Driver.DriverGetVersion(out int version));
        Assert.True(version > 13000);
    }

    [Fact]
    public void ArchitectureSpecificPtxRunsOnThatArchitectureAlone()
    {
        using var rig = new DriverRig(90);
        rig.Load(TestKernels.Ptx(target: "sm_90a", version: "8.0"));
        using var older = new DriverRig(89);
        older.Fails(CUresult.InvalidPtx,
            older.Driver.ModuleLoadData(out _, DriverRig.Text(TestKernels.Ptx(target: "sm_90a", version: "8.0")), out _));
    }

    [Fact]
    public void KernelsAndVariablesAreFoundByName()
    {
        using var rig = new DriverRig();
        CUmodule module = rig.Load(TestKernels.Ptx());
        CUfunction function = rig.Function(module, "add");
        Assert.Equal(function, rig.Function(module, "add"));
        Assert.Contains("add, store", rig.Fails(CUresult.NotFound, rig.Driver.ModuleGetFunction(out _, module, "none")),
            StringComparison.Ordinal);
        rig.Ok(rig.Driver.ModuleGetGlobal(out CUdeviceptr table, out ulong bytes, module, "table"));
        Assert.Equal(16ul, bytes);
        Assert.Equal([1u, 2u, 3u, 4u], rig.Read(table, 4));
        rig.Fails(CUresult.NotFound, rig.Driver.ModuleGetGlobal(out _, out _, module, "none"));
        rig.Ok(rig.Driver.ModuleUnload(module));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.ModuleUnload(module));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.ModuleGetFunction(out _, module, "add"));
        rig.Fails(CUresult.InvalidHandle, rig.TryLaunch(function, new LaunchConfiguration(1, 1, 1, 1, 1, 1, 0, default), 0, 0, 0));
    }

    [Fact]
    public void AttributesComeFromThePtxAndTheReport()
    {
        using var rig = new DriverRig(new EmulatedDriverOptions { Registers = new Dictionary<string, int> { ["add"] = 24 } });
        CUmodule module = rig.Load(TestKernels.Ptx());
        CUfunction add = rig.Function(module, "add"), store = rig.Function(module, "store"), bounded = rig.Function(module, "bounded");
        Assert.Equal(24, rig.Attribute(add, CUfunctionAttribute.NumRegs));
        Assert.Equal(64, rig.Attribute(store, CUfunctionAttribute.NumRegs));
        Assert.Equal(1024, rig.Attribute(store, CUfunctionAttribute.MaxThreadsPerBlock));
        Assert.Equal(128, rig.Attribute(bounded, CUfunctionAttribute.MaxThreadsPerBlock));
        Assert.Equal(1024, rig.Attribute(bounded, CUfunctionAttribute.SharedSizeBytes));
        Assert.Equal(48 * 1024 - 1024, rig.Attribute(bounded, CUfunctionAttribute.MaxDynamicSharedSizeBytes));
        Assert.Equal(8, rig.Attribute(add, CUfunctionAttribute.ConstSizeBytes));
        Assert.Equal(0, rig.Attribute(add, CUfunctionAttribute.LocalSizeBytes));
        Assert.Equal(61, rig.Attribute(add, CUfunctionAttribute.PtxVersion));
        Assert.Equal(90, rig.Attribute(add, CUfunctionAttribute.BinaryVersion));
        rig.Fails(CUresult.InvalidValue, rig.Driver.FuncGetAttribute(out _, (CUfunctionAttribute)77, add));
    }

    [Fact]
    public void DynamicSharedMemoryIsOptedIntoUpToTheArchitecturesLimit()
    {
        using var rig = new DriverRig(86);
        CUfunction function = rig.Function(rig.Load(TestKernels.Ptx()), "bounded");
        int most = 99 * 1024 - 1024;
        Assert.Contains("101376", rig.Fails(CUresult.InvalidValue,
            rig.Driver.FuncSetAttribute(function, CUfunctionAttribute.MaxDynamicSharedSizeBytes, most + 1)), StringComparison.Ordinal);
        rig.Ok(rig.Driver.FuncSetAttribute(function, CUfunctionAttribute.MaxDynamicSharedSizeBytes, most));
        Assert.Equal(most, rig.Attribute(function, CUfunctionAttribute.MaxDynamicSharedSizeBytes));
        rig.Ok(rig.Driver.OccupancyMaxActiveBlocksPerMultiprocessor(out int blocks, function, 128, (ulong)most));
        Assert.Equal(1, blocks);
        rig.Ok(rig.Driver.OccupancyMaxActiveBlocksPerMultiprocessor(out blocks, function, 256, 0));
        Assert.Equal(0, blocks);
        rig.Fails(CUresult.InvalidValue, rig.Driver.OccupancyMaxActiveBlocksPerMultiprocessor(out _, function, 0, 0));
        rig.Fails(CUresult.InvalidValue, rig.Driver.FuncSetAttribute(function, CUfunctionAttribute.MaxDynamicSharedSizeBytes, -1));
        rig.Fails(CUresult.InvalidValue, rig.Driver.FuncSetAttribute(function, CUfunctionAttribute.NumRegs, 32));
        rig.Ok(rig.Driver.FuncSetAttribute(function, CUfunctionAttribute.PreferredSharedMemoryCarveout, 100));
        Assert.Equal(100, rig.Attribute(function, CUfunctionAttribute.PreferredSharedMemoryCarveout));
        rig.Fails(CUresult.InvalidValue, rig.Driver.FuncSetAttribute(function, CUfunctionAttribute.PreferredSharedMemoryCarveout, 101));
    }

    [Fact]
    public void LaunchesBeyondTheLimitsAreRefusedAtTheCall()
    {
        using var rig = new DriverRig(80);
        CUmodule module = rig.Load(TestKernels.Ptx());
        CUfunction bounded = rig.Function(module, "bounded"), store = rig.Function(module, "store"),
            fixedBlock = rig.Function(module, "fixed_block");
        void Refused(CUresult status, CUfunction function, LaunchConfiguration c) => rig.Fails(status, rig.TryLaunch(function, c, 0));
        var fine = new LaunchConfiguration(1, 1, 1, 128, 1, 1, 0, default);
        rig.Ok(rig.TryLaunch(bounded, fine));
        Refused(CUresult.InvalidValue, bounded, fine with { GridY = 0 });
        Refused(CUresult.InvalidValue, bounded, fine with { BlockZ = 0 });
        Refused(CUresult.InvalidValue, bounded, fine with { GridX = 1u << 31 });
        Refused(CUresult.InvalidValue, bounded, fine with { GridY = 65536 });
        Refused(CUresult.InvalidValue, bounded, fine with { GridZ = 65536 });
        Refused(CUresult.InvalidValue, bounded, fine with { BlockX = 1, BlockZ = 65 });
        Refused(CUresult.InvalidValue, bounded, fine with { BlockX = 129 });
        Refused(CUresult.InvalidValue, bounded, fine with { DynamicSharedBytes = 47 * 1024 + 1 });
        Refused(CUresult.InvalidValue, store, fine with { BlockX = 1024, BlockY = 2 });
        Refused(CUresult.InvalidValue, fixedBlock, fine with { BlockX = 64 });
        Refused(CUresult.NotSupported, bounded, fine with { OverlapsPrevious = true });
        Refused(CUresult.NotSupported, bounded, fine with { ClusterX = 2 });
        Refused(CUresult.InvalidHandle, bounded, fine with { Stream = new CUstream(0x123450) });
        unsafe
        {
            Assert.Contains("argument 0", rig.Fails(CUresult.InvalidValue, rig.Driver.LaunchKernelEx(fine, store, null)),
                StringComparison.Ordinal);
        }
    }

    [Fact]
    public void ALaunchThatNeedsMoreRegistersThanThereAreIsRefused()
    {
        using var rig = new DriverRig(new EmulatedDriverOptions { Registers = new Dictionary<string, int> { ["store"] = 128 } });
        CUfunction store = rig.Function(rig.Load(TestKernels.Ptx()), "store");
        var launch = new LaunchConfiguration(1, 1, 1, 1024, 1, 1, 0, default);
        Assert.Contains("131072", rig.Fails(CUresult.LaunchOutOfResources, rig.TryLaunch(store, launch, 0)), StringComparison.Ordinal);
        rig.Ok(rig.TryLaunch(store, launch with { BlockX = 512 }, 0));
    }

    [Fact]
    public void ClustersAreCheckedAtTheCall()
    {
        using var rig = new DriverRig(90);
        CUfunction function = rig.Function(rig.Load(TestKernels.Ptx()), "bounded");
        var launch = new LaunchConfiguration(6, 1, 1, 32, 1, 1, 0, default);
        rig.Fails(CUresult.InvalidValue, rig.TryLaunch(function, launch with { ClusterX = 4 }));
        rig.Fails(CUresult.InvalidValue, rig.TryLaunch(function, launch with { ClusterX = 16 }));
        rig.Ok(rig.TryLaunch(function, launch with { ClusterX = 2 }));
        CUfunction bound = rig.Function(rig.Load(PtxSnippet.Kernel("", directives: ".reqnctapercluster 3, 1, 1")), "kernel");
        rig.Fails(CUresult.InvalidValue, rig.TryLaunch(bound, launch with { ClusterX = 2 }, 0));
        rig.Fails(CUresult.InvalidValue, rig.TryLaunch(bound, launch with { GridX = 4 }, 0));
        rig.Ok(rig.TryLaunch(bound, launch, 0));
        rig.Ok(rig.TryLaunch(function, launch with { ClusterX = 1, OverlapsPrevious = true }));
    }
}
