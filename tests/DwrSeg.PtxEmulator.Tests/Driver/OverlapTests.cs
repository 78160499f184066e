using DwrSeg.Native.Cuda.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

/// <summary>Launches beside the one before, which they have to await themselves: what they may do until then.</summary>
public sealed class OverlapTests
{
    private const string Await = "griddepcontrol.wait;\n";

    /// <summary>Writes 5 to the word.</summary>
    private const string Write = "st.global.u32 [%p0], 5;";

    private const string Nothing = "";

    public static TheoryData<bool> Ways => [false, true];

    [Theory]
    [MemberData(nameof(Ways))]
    public void WhatNoneOfTheLaunchesWritesMayBeReadEarly(bool captured)
    {
        // The weights are made by a kernel that is over when the first one of the chain begins.
        using var rig = new Rig(captured);
        rig.Run(
            rig.Kernel(Write, rig.Weights),
            rig.Kernel("griddepcontrol.launch_dependents;\n" + Write, rig.Data),
            rig.Beside(
                $"ld.global.u32 %r0, [%p1];\ngriddepcontrol.launch_dependents;\n{Await}"
                + "ld.global.u32 %r1, [%p0];\nadd.u32 %r0, %r0, %r1;\nst.global.u32 [%p2], %r0;", rig.Data, rig.Weights, rig.Result));
        Assert.Equal(10u, rig.Word(rig.Result));
    }

    [Theory]
    [InlineData(false, "ld.global.u32 %r0, [%p0];")]
    [InlineData(true, "ld.global.u32 %r0, [%p0];")]
    [InlineData(true, "ld.global.nc.u32 %r0, [%p0];")]
    [InlineData(true, "ld.global.v2.u32 {%r0, %r1}, [%p0+-4];", 4)]
    [InlineData(true, "ld.global.u8 %r0, [%p0+3];")]
    [InlineData(true, "ld.volatile.global.u32 %r0, [%p0];")]
    [InlineData(true, "ld.u32 %r0, [%p0];")]
    [InlineData(true, ".shared .align 4 .b8 tile[4];\ncp.async.ca.shared.global [tile], [%p0], 4;\ncp.async.wait_all;")]
    [InlineData(true, "griddepcontrol.launch_dependents;\nld.global.u32 %r0, [%p0];")]
    public void WhatThePreviousLaunchWritesMustNotBeReadEarly(bool captured, string load, int offset = 0)
    {
        using (var rig = new Rig(captured))
            rig.Fails("kernel_0", rig.Kernel(Write, rig.Data + (ulong)offset), rig.Beside(load + "\n" + Await, rig.Data + (ulong)offset));
        using (var rig = new Rig(captured))
            rig.Run(rig.Kernel(Write, rig.Data + (ulong)offset), rig.Beside(Await + load, rig.Data + (ulong)offset));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void EveryLaunchBackToTheLastOrdinaryOneMayStillRun(bool captured)
    {
        const string Read = "ld.global.u32 %r0, [%p0];\n" + Await;
        using (var rig = new Rig(captured))
            rig.Fails("kernel_0", rig.Kernel(Write, rig.Data), rig.Beside(Await), rig.Beside(Await), rig.Beside(Read, rig.Data));
        using (var rig = new Rig(captured))
            rig.Fails("kernel_1", rig.Kernel(Nothing), rig.Beside(Await + Write, rig.Data), rig.Beside(Await), rig.Beside(Read, rig.Data));
        using (var rig = new Rig(captured)) rig.Run(rig.Kernel(Write, rig.Data), rig.Kernel(Nothing), rig.Beside(Read, rig.Data));
        using (var rig = new Rig(captured)) rig.Run(rig.Kernel(Write, rig.Data), rig.Beside(Await), rig.Kernel(Nothing), rig.Beside(Read, rig.Data));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void OtherWorkOfTheStreamEndsTheChain_AMarkOfARegionDoesNot(bool captured)
    {
        const string Read = "ld.global.u32 %r0, [%p0];\n" + Await;
        using (var rig = new Rig(captured))
            rig.Run(rig.Kernel(Write, rig.Data), () => rig.Driver.Fill(rig.Result, 1, 1, rig.Stream), rig.Beside(Read, rig.Data));
        using (var rig = new Rig(captured))
        {
            rig.Fails("kernel_0", rig.Kernel(Write, rig.Data),
                () => rig.Driver.Ok(rig.Driver.Driver.MarkRegion(rig.Result, 4, "a tensor", rig.Stream)), rig.Beside(Read, rig.Data));
        }
    }

    [Fact]
    public void AWaitOfTheHostEndsTheChain()
    {
        using var rig = new Rig(captured: false);
        rig.Run(rig.Kernel(Write, rig.Data));
        rig.Run(rig.Beside("ld.global.u32 %r0, [%p0];\n" + Await, rig.Data));
    }

    [Theory]
    [InlineData("st.global.u32 [%p0], 1;")]
    [InlineData("st.u32 [%p0], 1;")]
    [InlineData("st.release.gpu.global.u32 [%p0], 1;")]
    [InlineData("red.global.add.u32 [%p0], 1;")]
    [InlineData("atom.global.add.u32 %r0, [%p0], 1;")]
    public void NothingIsWrittenEarly(string store)
    {
        foreach (bool captured in (bool[])[false, true])
        {
            using (var rig = new Rig(captured))
                rig.Fails("is written before griddepcontrol.wait", rig.Kernel(Nothing), rig.Beside(store + "\n" + Await, rig.Data));
            using (var rig = new Rig(captured)) rig.Run(rig.Kernel(Nothing), rig.Beside(Await + store, rig.Data));
            // Launched behind the one before, it has nothing to wait for.
            using (var rig = new Rig(captured)) rig.Run(rig.Kernel(Nothing), rig.Kernel(store + "\n" + Await, rig.Data));
        }
    }

    [Theory]
    [InlineData("red.global.add.u32 [%p0], 1;")]
    [InlineData("st.relaxed.gpu.global.u32 [%p0], 1;")]
    public void WhatAtomicsChangeIsNotReadEarly(string change)
    {
        using (var rig = new Rig(captured: true))
            rig.Fails("atomics", rig.Kernel(change, rig.Data), rig.Beside("ld.global.u32 %r0, [%p0+4];\n" + Await, rig.Data));
        using (var rig = new Rig(captured: true))
            rig.Run(rig.Kernel(change, rig.Data), rig.Beside("ld.global.u32 %r0, [%p0];\n" + Await, rig.Weights));
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("setp.eq.u32 %q0, %tid, 99;\n@%q0 griddepcontrol.wait;", false)]
    [InlineData("setp.lt.u32 %q0, %tid, 32;\n@%q0 griddepcontrol.wait;", false)]
    [InlineData("setp.ge.u32 %q0, %tid, 32;\n@%q0 exit;\ngriddepcontrol.wait;", false)]
    [InlineData("setp.eq.u32 %q0, %lane, 3;\n@%q0 exit;\ngriddepcontrol.wait;", true)]
    [InlineData("griddepcontrol.wait;\ngriddepcontrol.wait;", true)]
    public void EveryWarpWaitsBeforeItExits(string body, bool waits)
    {
        foreach (bool captured in (bool[])[false, true])
        {
            using var rig = new Rig(captured);
            if (waits) rig.Run(rig.Kernel(Nothing), rig.Beside(body));
            else rig.Fails("exits without griddepcontrol.wait", rig.Kernel(Nothing), rig.Beside(body));
        }
    }

    [Fact]
    public void ThreadsWaitForThemselves()
    {
        const string OneWaits = "setp.eq.u32 %q0, %tid, 0;\n@%q0 griddepcontrol.wait;\n";
        using (var rig = new Rig(captured: false))
        {
            rig.Fails("thread (1, 0, 0)", rig.Kernel(Write, rig.Data),
                rig.Beside(OneWaits + "bar.sync 0;\nld.global.u32 %r0, [%p0];\n" + Await, rig.Data));
        }
        using (var rig = new Rig(captured: false))
            rig.Run(rig.Kernel(Write, rig.Data), rig.Beside(OneWaits + "@%q0 ld.global.u32 %r0, [%p0];\n" + Await, rig.Data));
    }

    [Fact]
    public void AGraphsFirstKernelAwaitsNothing()
    {
        using var rig = new Rig(captured: false);
        rig.Kernel(Write, rig.Data)();
        CUgraphExec graph = rig.Driver.Capture(rig.Stream, rig.Beside("ld.global.u32 %r0, [%p0];\n" + Await, rig.Data));
        rig.Driver.Ok(rig.Driver.Driver.GraphLaunch(graph, rig.Stream));
        rig.Driver.Synchronize(rig.Stream);
    }

    [Fact]
    public void ChainsOfBranchesThatMeetAreAllAwaited()
    {
        foreach (int writer in (int[])[0, 1])
        {
            using var rig = new Rig(captured: true);
            CUstream branch = rig.Driver.Stream();
            Action[] first = [rig.Kernel(Write, rig.Data), rig.Kernel(Write, rig.Data + 4)];
            Action read = rig.Beside("ld.global.u32 %r0, [%p0];\n" + Await, rig.Data + 4ul * (ulong)writer);
            CUgraphExec graph = rig.Driver.Capture(rig.Stream, () =>
            {
                rig.Driver.Wait(branch, rig.Driver.Record(rig.Stream));
                first[0]();
                CUstream own = rig.Stream;
                rig.Stream = branch;
                first[1]();
                rig.Stream = own;
                rig.Driver.Wait(own, rig.Driver.Record(branch));
                read();
            });
            rig.Driver.Ok(rig.Driver.Driver.GraphLaunch(graph, rig.Stream));
            string message = rig.Driver.Fails(CUresult.LaunchFailed, rig.Driver.Driver.StreamSynchronize(rig.Stream));
            Assert.Contains($"kernel_{writer}", message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void AGraphInAGraphKeepsItsChain()
    {
        using var rig = new Rig(captured: false);
        Action write = rig.Kernel(Write, rig.Data), read = rig.Beside("ld.global.u32 %r0, [%p0];\n" + Await, rig.Data);
        CUgraphExec inner = rig.Driver.Capture(rig.Stream, () =>
        {
            write();
            read();
        });
        CUgraphExec outer = rig.Driver.Capture(rig.Stream, () => rig.Driver.Ok(rig.Driver.Driver.GraphLaunch(inner, rig.Stream)));
        rig.Driver.Ok(rig.Driver.Driver.GraphLaunch(outer, rig.Stream));
        string message = rig.Driver.Fails(CUresult.LaunchFailed, rig.Driver.Driver.StreamSynchronize(rig.Stream));
        Assert.Contains("kernel_0", message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheOrderOfLaunchesIsKnownHoweverManyThereWere()
    {
        using var rig = new Rig(captured: false);
        Action write = rig.Kernel(Write, rig.Data), wait = rig.Beside(Await), other = rig.Beside("ld.global.u32 %r0, [%p0];\n" + Await, rig.Weights);
        for (int i = 0; i < 300; i++)
        {
            write();
            other();
            wait();
        }
        rig.Run();
        rig.Fails("kernel_0", write, wait, rig.Beside("ld.global.u32 %r0, [%p0];\n" + Await, rig.Data));
    }

    [Fact]
    public void WithoutStrictnessNothingIsChecked()
    {
        using var rig = new Rig(captured: false, strict: false);
        rig.Run(rig.Kernel(Write, rig.Data), rig.Beside("ld.global.u32 %r0, [%p0];\nst.global.u32 [%p1], %r0;", rig.Data, rig.Result));
        Assert.Equal(5u, rig.Word(rig.Result));
    }

    /// <summary>A stream, memory, and launches of small kernels, in a captured graph or not.</summary>
    private sealed class Rig : IDisposable
    {
        private readonly bool _captured;
        private int _kernels;

        public Rig(bool captured, bool strict = true)
        {
            _captured = captured;
            Driver = new DriverRig(new PtxEmulator.Driver.EmulatedDriverOptions { Strict = strict, Threads = 1 });
            (Stream, Data, Weights, Result) = (Driver.Stream(), Driver.Filled(4, 1), Driver.Filled(4, 1), Driver.Filled(1, 0));
        }

        public DriverRig Driver { get; }

        public CUstream Stream { get; set; }

        public CUdeviceptr Data { get; }

        public CUdeviceptr Weights { get; }

        public CUdeviceptr Result { get; }

        /// <summary>A launch of one thread; of two warps where the body tells threads apart or has no memory. Kernels are named by number.</summary>
        public Action Kernel(string body, params CUdeviceptr[] pointers) => Launch(body, false, pointers);

        /// <summary>The same, beside the launch before.</summary>
        public Action Beside(string body, params CUdeviceptr[] pointers) => Launch(body, true, pointers);

        /// <summary>Puts the work on the stream and waits for it.</summary>
        public void Run(params ReadOnlySpan<Action> work) => Driver.Ok(Finish(work));

        public void Fails(string part, params ReadOnlySpan<Action> work)
        {
            string message = Driver.Fails(CUresult.LaunchFailed, Finish(work));
            Assert.Contains(nameof(FailureKind.PreviousNotAwaited), message, StringComparison.Ordinal);
            Assert.Contains(part, message, StringComparison.Ordinal);
        }

        public uint Word(CUdeviceptr address) => Driver.ReadWord(address);

        public void Dispose() => Driver.Dispose();

        private CUresult Finish(ReadOnlySpan<Action> work)
        {
            Action[] all = work.ToArray();
            if (_captured) Driver.Ok(Driver.Driver.GraphLaunch(Driver.Capture(Stream, () => Array.ForEach(all, a => a())), Stream));
            else Array.ForEach(all, a => a());
            return Driver.Driver.StreamSynchronize(Stream);
        }

        private Action Launch(string body, bool beside, CUdeviceptr[] pointers)
        {
            string name = $"kernel_{_kernels++}";
            CUfunction function = Driver.Function(
                Driver.Load(PtxSnippet.Kernel(body, pointers.Length).Replace(".entry kernel(", $".entry {name}(", StringComparison.Ordinal)), name);
            uint threads = body.Contains("%tid", StringComparison.Ordinal) || pointers.Length == 0 ? 64u : 1;
            return () => Driver.Ok(Driver.TryLaunch(
                function, new LaunchConfiguration(1, 1, 1, threads, 1, 1, 0, Stream, OverlapsPrevious: beside), [.. pointers.Select(p => p.Value)]));
        }
    }
}
