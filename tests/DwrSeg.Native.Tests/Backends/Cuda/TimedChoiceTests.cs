using System.Diagnostics;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Cuda.Libraries;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>What wins where events tell a time, which the emulated device's planted clock does.</summary>
public sealed class TimedChoiceTests : IDisposable
{
    // Shared memory of conv_mma's 128x128 tile on sm_80, which no model takes for a handful of pixels.
    private const uint LargestTile = 98304;

    // Of an algorithm's 64 bytes.
    private const string SixtyThree =
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        + "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e";

    private readonly TemporaryFolder _folder = new();

    /// <summary>A device whose kernels and libraries take planted times, in milliseconds.</summary>
    private sealed class Machine : IDisposable
    {
        private readonly EmulatedDriver _driver;
        private readonly FaultInjectingDriver _counted;
        private readonly TimedChoices _choices;

        public Machine(Func<LaunchStatistics, double> launch, string? folder = null, int repetitions = 1)
        {
            TestNvrtc.Require();
            // Fewer tiles than sm_90 has.
            _driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(80)], LaunchMilliseconds = launch });
            _counted = FaultInjectingDriver.Wrap(_driver);
            _choices = new TimedChoices(folder) { Repetitions = repetitions, Rounds = 3 };
        }

        public CudaElement Element { get; init; } = CudaElement.Float16;

        public double CudnnMilliseconds { get; init; } = 10;

        public double CublasLtMilliseconds { get; init; } = 10;

        public SliceSupport Slices { get; init; }

        /// <summary>A call of cuDNN's that fails, and one of cuBLASLt's.</summary>
        public string? Broken { get; set; }

        /// <summary>How cuDNN's calls fail that do.</summary>
        public int BrokenStatus { get; init; } = 5000;

        /// <summary>Why there are no libraries; null where there are.</summary>
        public string? Missing { get; init; }

        public string? BrokenProduct { get; init; }

        /// <summary>The number of the call of cuDNN's that fails.</summary>
        public int? BreaksAt { get; init; }

        /// <summary>What cuDNN was called for in the last opening.</summary>
        public IReadOnlyList<string> CudnnCalls { get; private set; } = [];

        /// <summary>Whether cuBLASLt takes no algorithm that another opening offered.</summary>
        public bool IsUpdated { get; init; }

        /// <summary>The libraries' file, for messages.</summary>
        public string Location { get; } = $"{Guid.NewGuid()}";

        /// <summary>What cuBLASLt was called for in the last opening.</summary>
        public IReadOnlyList<string> ProductCalls { get; private set; } = [];

        /// <summary>Who computed convolutions in the last plan.</summary>
        public string Counts { get; private set; } = "";

        /// <summary>The device in words after the last plan.</summary>
        public string Description { get; private set; } = "";

        /// <summary>How cuDNN behaves in a capture: well, by refusing it or by breaking it.</summary>
        public (bool Refuses, bool Breaks) Capture { get; init; }

        /// <summary>cuDNN's first call would break a capture.</summary>
        public bool LoadsAtFirst { get; init; }

        public uint LeastAlignment { get; init; } = 16;

        /// <summary>Times that were asked for.</summary>
        public int Timings => _counted.Calls.Count(c => c == nameof(ICudaDriver.EventElapsedTime));

        public LiveObjects Live => _driver.Live;

        /// <summary>Lets every call of the driver of a name fail.</summary>
        public void FailEvery(string method, CUresult status) => _counted.FailEvery(method, status);

        public CudaBackend Open(ConvolutionChoice choice = ConvolutionChoice.Auto)
        {
            var cudnn = new CudnnDouble(_driver, Slices)
            {
                Milliseconds = CudnnMilliseconds, RefusesCapture = Capture.Refuses, BreaksCapture = Capture.Breaks, LoadsAtFirst = LoadsAtFirst,
                Location = Location,
            };
            if (BreaksAt is { } number) cudnn.Objects.FailCall(number, BrokenStatus);
            CudnnCalls = cudnn.Objects.Calls;
            if (Broken is not null) cudnn.Objects.FailEvery(Broken, BrokenStatus);
            var cublasLt = new CublasLtDouble(_driver, LeastAlignment)
            {
                Milliseconds = rank => CublasLtMilliseconds / (rank + 1), Location = Location, KnowsOwnAlone = IsUpdated,
            };
            if (BrokenProduct is not null) cublasLt.Objects.FailEvery(BrokenProduct, 14);
            ProductCalls = cublasLt.Objects.Calls;
            var found = Missing is null ? new ConvolutionLibraries.Found(cudnn, "", cublasLt, "") : ConvolutionLibraries.Found.None(Missing);
            return new CudaBackend("emulated", _counted.Driver, 0, Element, wantsPtx: true, choice, found, _choices);
        }

        /// <summary>The work of all steps of a graph.</summary>
        public CudaWork[] Works(LayerGraph graph, ConvolutionChoice choice = ConvolutionChoice.Auto, Fusion fuse = Fusion.Auto)
        {
            using CudaBackend backend = Open(choice);
            using ITensorStore store = backend.CreateStore();
            using var plan = (CudaPlan)backend.Compile(graph, store, new PlanOptions { Fuse = fuse });
            (Counts, Description) = (plan.Convolutions.ToString(), backend.Description);
            Assert.Equal(0, backend.Kernels.Unasked);
            return [.. plan.Covers.SelectMany(c => c.Launches)];
        }

        public void Dispose() => _driver.Dispose();
    }

    /// <summary>Does something at each warning with a text, and keeps what it gave.</summary>
    private sealed class Listener(string text, Func<bool> act) : TraceListener
    {
        public List<bool> Answers { get; } = [];

        public override void Write(string? message)
        {
        }

        public override void WriteLine(string? message)
        {
        }

        public override void TraceEvent(TraceEventCache? eventCache, string source, TraceEventType eventType, int id, string? message)
        {
            if (message?.Contains(text, StringComparison.Ordinal) == true) Answers.Add(act());
        }
    }

    public TimedChoiceTests() => Warnings.Listen();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void WhatIsCompiledAheadIsAskedFor_AlsoWhereAPartIsChosenAlready()
    {
        using var machine = new Machine(_ => 2);
        // Each looks for kernels that were begun in vain.
        machine.Works(Module(firstHalfAlone: true));
        machine.Works(Module());
        machine.Works(Module());
    }

    [Fact]
    public void FastestTileWins()
    {
        using var slow = new Machine(l => l.Shape.DynamicSharedBytes == LargestTile ? 3 : 2);
        using var fast = new Machine(l => l.Shape.DynamicSharedBytes == LargestTile ? 1 : 2);
        Assert.DoesNotContain("TILE_M=128 TILE_N=128", Assert.Single(slow.Works(Convolution(3))).Name, StringComparison.Ordinal);
        Assert.Contains("TILE_M=128 TILE_N=128", Assert.Single(fast.Works(Convolution(3))).Name, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("TILE_N=64", "conv_winograd TILE_N=64")]
    [InlineData("TILE_N=32", "conv_winograd TILE_N=32")]
    [InlineData(null, "conv_ffma")]
    public void Fp32TakesWinogradsTilesWhereTheyAreFastest_AndRemembersThem(string? fastest, string winner)
    {
        // Two stages of each point's eight inputs, of 32 tiles and so many outputs.
        int bytes = fastest == "TILE_N=64" ? 2 * 512 * 96 : 2 * 512 * 64;
        for (int opening = 0; opening < 2; opening++)
        {
            using var machine = new Machine(
                l => l.Kernel != "conv_winograd" ? 2 : fastest is not null && l.Shape.DynamicSharedBytes == bytes ? 1 : 3, _folder.Path)
            {
                Element = CudaElement.Float32,
            };
            Assert.StartsWith(winner, Assert.Single(machine.Works(Convolution(3))).Name, StringComparison.Ordinal);
            Assert.Equal(opening == 0, machine.Timings > 0);
        }
    }

    [Theory]
    [InlineData(3, 1, 10, "cudnnConvolutionBiasActivationForward")]
    [InlineData(1, 1, 10, "cudnnConvolutionBiasActivationForward")]
    [InlineData(1, 3, 3, "cublasLtMatmul 1")] // the second algorithm takes half of the first one's time
    [InlineData(1, 3, 6, "conv_mma")]
    public void FastestLibraryWins(int kernel, double cudnn, double cublasLt, string winner)
    {
        using var machine = new Machine(_ => 2, repetitions: 3) { CudnnMilliseconds = cudnn, CublasLtMilliseconds = cublasLt };
        Assert.StartsWith(winner, Assert.Single(machine.Works(Convolution(kernel))).Name, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Create", false, false)]
    [InlineData("SetFilter4dDescriptor", false, false)]
    [InlineData("GetConvolutionForwardAlgorithm", false, false)]
    [InlineData("ConvolutionBiasActivationForward", false, false)]
    [InlineData(null, true, false)]
    [InlineData(null, false, true)]
    public void LibraryThatIsBrokenIsPassedOver(string? call, bool refusesCapture, bool breaksCapture)
    {
        using var machine = new Machine(_ => 2) { CudnnMilliseconds = 1, Broken = call, Capture = (refusesCapture, breaksCapture) };
        Assert.IsType<CudaLaunch>(Assert.Single(machine.Works(Convolution(3))), exactMatch: false);
        Assert.Equal(default, machine.Live);
        Assert.DoesNotContain("cuDNN", machine.Description, StringComparison.Ordinal);
        Assert.Contains("cuBLASLt", machine.Description, StringComparison.Ordinal);
        machine.Works(Convolution(3, height: 5));
        string warning = Assert.Single(Warnings.With(machine.Location));
        Assert.StartsWith("convolutions are computed without cuDNN 9.1.0", warning, StringComparison.Ordinal);
        Assert.Contains(call is not null ? $"cudnn{call}" : breaksCapture ? "cuStream" : "cudnnConvolution", warning, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Create")]
    [InlineData("GetConvolutionForwardAlgorithm")]
    [InlineData("ConvolutionBiasActivationForward")]
    public void MemoryThatIsShortForAWayCostsThatWayNow(string call)
    {
        using var machine = new Machine(_ => 2, _folder.Path) { CudnnMilliseconds = 1, Broken = call, BrokenStatus = 4004 };
        Assert.Equal(ConvMaker.Native, Assert.Single(machine.Works(Convolution(3))).Maker);
        Assert.Contains("cuDNN", machine.Description, StringComparison.Ordinal);
        Assert.Empty(Warnings.With(machine.Location));
        // Neither the library is to blame nor is the choice the best.
        machine.Broken = null;
        Assert.IsType<CudnnConvolution>(Assert.Single(machine.Works(Convolution(3))));
        machine.Broken = call;
        machine.Works(Convolution(3));
        machine.Broken = null;
        int timings = machine.Timings;
        Assert.IsType<CudnnConvolution>(Assert.Single(machine.Works(Convolution(3))));
        Assert.Equal(timings, machine.Timings);
    }

    [Theory]
    [InlineData("GetConvolutionForwardAlgorithm")]
    [InlineData("ConvolutionBiasActivationForward")]
    public void ACallThatIsOursToMendIsToldOnceAndCostsThatWay(string call)
    {
        using var machine = new Machine(_ => 2) { CudnnMilliseconds = 1, Broken = call, BrokenStatus = 2000 };
        Assert.Equal(ConvMaker.Native, Assert.Single(machine.Works(Convolution(3))).Maker);
        machine.Works(Convolution(3, height: 5));
        Assert.Contains("cuDNN", machine.Description, StringComparison.Ordinal);
        string warning = Assert.Single(Warnings.With(machine.Location));
        Assert.StartsWith($"a convolution is computed without cuDNN 9.1.0: cudnn{call}", warning, StringComparison.Ordinal);
        Assert.Contains("please report it", warning, StringComparison.Ordinal);
    }

    [Fact]
    public void WhoHearsAWarningMayUseTheBackendOnAnotherThread()
    {
        using var machine = new Machine(_ => 2) { Broken = "Create" };
        using CudaBackend backend = machine.Open();
        using var listener = new Listener(machine.Location, () => Task.Run(() => backend.Description).Wait(TimeSpan.FromMinutes(2)));
        Trace.Listeners.Add(listener);
        try
        {
            using ITensorStore store = backend.CreateStore();
            backend.Compile(Convolution(3), store).Dispose();
        }
        finally
        {
            Trace.Listeners.Remove(listener);
        }
        Assert.Equal([true], listener.Answers);
    }

    [Fact]
    public void CudnnThatIsAskedForReportsThatACaptureBreaks()
    {
        using var machine = new Machine(_ => 2) { Capture = (false, true) };
        var error = Assert.Throws<CudaException>(() => machine.Works(Convolution(3), ConvolutionChoice.Cudnn));
        Assert.Contains("captured into a graph", error.Message, StringComparison.Ordinal);
        Assert.Empty(Warnings.With(machine.Location));
        Assert.Equal(default, machine.Live);
    }

    [Fact]
    public void ACaptureThatNoLibraryTakesPartInIsNoLibrarysFault()
    {
        using var machine = new Machine(_ => 2);
        using CudaBackend backend = machine.Open();
        using ITensorStore store = backend.CreateStore();
        // Both libraries are open and offered something, and this project's kernels were taken.
        backend.Compile(Convolution(1), store).Dispose();
        machine.FailEvery(nameof(ICudaDriver.StreamEndCapture), CUresult.StreamCaptureInvalidated);
        Assert.Throws<CudaException>(() => backend.Compile(Convolution(1), store));
        Assert.Contains("cuDNN 9.1.0, cuBLASLt 12.4.5", backend.Description, StringComparison.Ordinal);
        Assert.Empty(Warnings.With(machine.Location));
    }

    [Fact]
    public void WhatIsRefusedInThePlanIsChosenAgain()
    {
        Machine New(int? breaksAt) => new(_ => 2, _folder.Path) { CudnnMilliseconds = 1, BreaksAt = breaksAt, BrokenStatus = 3000 };
        using (Machine first = New(null)) first.Works(Convolution(3));
        using Machine sound = New(null);
        string name = Assert.Single(sound.Works(Convolution(3))).Name;
        int[] runs = [.. sound.CudnnCalls.Index().Where(c => c.Item == "ConvolutionBiasActivationForward").Select(c => c.Index)];
        // To see whether what is remembered works, in the plan, and in its capture.
        Assert.Equal(3, runs.Length);
        foreach (int run in runs[1..])
        {
            using Machine refusing = New(run);
            CudaWork work = Assert.Single(refusing.Works(Convolution(3)));
            Assert.Equal(ConvMaker.Cudnn, work.Maker);
            Assert.NotEqual(name, work.Name);
            Assert.Contains("cuDNN 9.1.0, cuBLASLt 12.4.5", refusing.Description, StringComparison.Ordinal);
            Assert.Empty(Warnings.With(refusing.Location));
            Assert.Equal(default, refusing.Live);
            // As it was.
            foreach (string file in Directory.GetFiles(_folder.Path)) File.Delete(file);
            using Machine again = New(null);
            again.Works(Convolution(3));
        }
    }

    [Fact]
    public void LibrariesThatAreMissingAreToldOnceWhereConvolutionsAreTimed()
    {
        string problem = $"nothing in {Guid.NewGuid()}";
        using var machine = new Machine(_ => 2, _folder.Path) { Missing = problem };
        machine.Works(Convolution(3), ConvolutionChoice.Native);
        Assert.Empty(Warnings.With(problem));
        machine.Works(Convolution(3));
        machine.Works(Convolution(1));
        string warning = Assert.Single(Warnings.With(problem));
        Assert.StartsWith("convolutions are chosen among this project's kernels: ", warning, StringComparison.Ordinal);
        // Who finds all choices made needs no library.
        string other = $"nothing in {Guid.NewGuid()}";
        using var second = new Machine(_ => 2, _folder.Path) { Missing = other };
        second.Works(Convolution(3));
        Assert.Empty(Warnings.With(other));
    }

    [Theory]
    [InlineData("Taken")]
    [InlineData("RefusedLate")]
    public void RefusedCallsAreNotWarnedOf(string slices)
    {
        using var machine = new Machine(_ => 2)
        {
            CudnnMilliseconds = 1, CublasLtMilliseconds = 1, LeastAlignment = 512, Slices = Enum.Parse<SliceSupport>(slices),
        };
        machine.Works(Sliced());
        machine.Works(Convolution(1));
        Assert.Contains("cuDNN 9.1.0, cuBLASLt 12.4.5", machine.Description, StringComparison.Ordinal);
        Assert.Empty(Warnings.With(machine.Location));
    }

    [Fact]
    public void NativeTakesNoLibraryHoweverFast()
    {
        using var machine = new Machine(_ => 2) { CudnnMilliseconds = 1, CublasLtMilliseconds = 1 };
        Assert.IsType<CudaLaunch>(Assert.Single(machine.Works(Convolution(1), ConvolutionChoice.Native)), exactMatch: false);
        Assert.True(machine.Timings > 0, "tiles are timed all the same");
    }

    [Fact]
    public void CudnnIsTakenHoweverSlow()
    {
        using var machine = new Machine(_ => 2);
        Assert.IsType<CudnnConvolution>(Assert.Single(machine.Works(Convolution(3), ConvolutionChoice.Cudnn)));
        Assert.IsType<CublasLtProduct>(Assert.Single(machine.Works(Convolution(1), ConvolutionChoice.Cudnn)));
    }

    [Fact]
    public void CudnnTakesOverWhereCublasLtCannot()
    {
        using var machine = new Machine(_ => 2) { LeastAlignment = 512 };
        Assert.IsType<CudnnConvolution>(Assert.Single(machine.Works(Convolution(1), ConvolutionChoice.Cudnn)));
    }

    [Theory]
    [InlineData("Taken", 0.1, 1)]
    [InlineData("Refused", 0.1, 3)]
    [InlineData("RefusedLate", 0.1, 3)]
    [InlineData("Refused", 0.6, 0)] // the copies cost more than cuDNN saves
    public void CopiesOfSlicesCount(string slices, double copy, int works)
    {
        using var machine = new Machine(l => l.Kernel == "scaled_copy" ? copy : 2) { CudnnMilliseconds = 1, Slices = Enum.Parse<SliceSupport>(slices) };
        // One launch fills the rest of y.
        CudaWork[] chosen = machine.Works(Sliced());
        Assert.Equal(works, chosen.Any(w => w is CudnnConvolution) ? chosen.Length - 1 : 0);
    }

    [Theory]
    [InlineData(1.5, true)]
    [InlineData(2.5, false)]
    public void ModuleAndItsPartsCompete(double fused, bool isFused)
    {
        using var machine = new Machine(l => l.Kernel == "sir_mma" ? fused : 1);
        CudaWork[] works = machine.Works(Module());
        Assert.Equal(isFused ? 1 : 2, works.Length);
        Assert.Equal(isFused, works[0].Name.StartsWith("sir_mma", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("All", "sir_mma")]
    [InlineData("None", "conv_mma")]
    public void WhatIsAskedForIsFusedHoweverSlow(string fuse, string kernel)
    {
        using var machine = new Machine(l => l.Kernel == kernel ? 9 : 1);
        CudaWork[] works = machine.Works(Module(), ConvolutionChoice.Native, Enum.Parse<Fusion>(fuse));
        Assert.Equal(fuse == "All", works.Length == 1);
        Assert.Contains(works, w => w.Call == kernel);
    }

    [Fact]
    public void LibraryForOneHalfOfAModuleCounts()
    {
        // Fused 1.5; by this project's kernels 1 and 1, but the second half by cuBLASLt is 0.25.
        using var machine = new Machine(l => l.Kernel == "sir_mma" ? 1.5 : 1) { CublasLtMilliseconds = 0.5 };
        CudaWork[] works = machine.Works(Module());
        Assert.Equal(2, works.Length);
        Assert.IsType<CublasLtProduct>(works[1]);
    }

    [Fact]
    public void ChoiceIsRememberedInTheProcessAndOnTheDisk()
    {
        using var first = new Machine(l => l.Shape.DynamicSharedBytes == LargestTile ? 1 : 2, _folder.Path);
        string name = Assert.Single(first.Works(Convolution(3))).Name;
        int timings = first.Timings;
        Assert.True(timings > 0);
        Assert.Equal(name, Assert.Single(first.Works(Convolution(3))).Name);
        Assert.Equal(timings, first.Timings);
        // Another process, on a device where another tile would win now.
        using var second = new Machine(l => l.Shape.DynamicSharedBytes == LargestTile ? 3 : 2, _folder.Path);
        Assert.Equal(name, Assert.Single(second.Works(Convolution(3))).Name);
        Assert.Equal(0, second.Timings);
        // Whose code was asked for belongs to the question.
        second.Works(Convolution(3), ConvolutionChoice.Native);
        Assert.True(second.Timings > 0);
        Assert.IsType<CudnnConvolution>(Assert.Single(second.Works(Convolution(3), ConvolutionChoice.Cudnn)));
    }

    [Fact]
    public void ARememberedLibraryIsCalledBeforeTheCapture()
    {
        using var first = new Machine(_ => 2, _folder.Path) { CudnnMilliseconds = 1 };
        Assert.IsType<CudnnConvolution>(Assert.Single(first.Works(Convolution(3))));
        using var second = new Machine(_ => 2, _folder.Path) { CudnnMilliseconds = 1, LoadsAtFirst = true };
        Assert.IsType<CudnnConvolution>(Assert.Single(second.Works(Convolution(3))));
        Assert.Equal(0, second.Timings);
    }

    [Theory]
    [InlineData("Create", false, false)]
    [InlineData("SetFilter4dDescriptor", false, false)]
    [InlineData("GetConvolutionForwardWorkspaceSize", false, false)]
    [InlineData("ConvolutionBiasActivationForward", false, false)]
    [InlineData(null, true, false)]
    [InlineData(null, false, true)]
    public void ARememberedLibraryThatFailsIsDoneWithoutAndNotForgotten(string? call, bool refusesCapture, bool breaksCapture)
    {
        using (var first = new Machine(_ => 2, _folder.Path) { CudnnMilliseconds = 1 }) first.Works(Convolution(3));
        using var broken = new Machine(_ => 2, _folder.Path) { CudnnMilliseconds = 1, Broken = call, Capture = (refusesCapture, breaksCapture) };
        Assert.IsType<CudaLaunch>(Assert.Single(broken.Works(Convolution(3))), exactMatch: false);
        Assert.Equal(default, broken.Live);
        Assert.DoesNotContain("cuDNN", broken.Description, StringComparison.Ordinal);
        Assert.Single(Warnings.With(broken.Location));
        // What is best without it is remembered too.
        int timings = broken.Timings;
        Assert.True(timings > 0);
        Assert.IsType<CudaLaunch>(Assert.Single(broken.Works(Convolution(3))), exactMatch: false);
        Assert.Equal(timings, broken.Timings);
        Assert.Single(Warnings.With(broken.Location));
        using var mended = new Machine(_ => 2, _folder.Path) { CudnnMilliseconds = 1 };
        Assert.IsType<CudnnConvolution>(Assert.Single(mended.Works(Convolution(3))));
        Assert.Equal(0, mended.Timings);
    }

    [Theory]
    [InlineData("Matmul")]
    [InlineData("MatmulAlgoCheck")]
    [InlineData("MatrixLayoutCreate")]
    public void ARememberedHalfOfAModuleThatFailsIsDoneWithout(string call)
    {
        using (var first = new Machine(l => l.Kernel == "sir_mma" ? 1.5 : 1, _folder.Path) { CublasLtMilliseconds = 0.5 })
        {
            Assert.IsType<CublasLtProduct>(first.Works(Module())[1]);
            Assert.Equal("1 native, 1 cuBLASLt", first.Counts);
        }
        // By this project's kernels alone the module is faster as one.
        using var broken = new Machine(l => l.Kernel == "sir_mma" ? 1.5 : 1, _folder.Path) { CublasLtMilliseconds = 0.5, BrokenProduct = call };
        Assert.StartsWith("sir_mma", Assert.Single(broken.Works(Module())).Name, StringComparison.Ordinal);
        Assert.Equal("2 native", broken.Counts);
        Assert.DoesNotContain("cuBLASLt", broken.Description, StringComparison.Ordinal);
        Assert.Equal(default, broken.Live);
        Assert.Single(Warnings.With(broken.Location));
    }

    [Fact]
    public void ARememberedHalfOfAModuleMayFailInTheCapture()
    {
        Machine New(bool refuses) => new(l => l.Kernel == "sir_mma" ? 5 : 2, _folder.Path) { CudnnMilliseconds = 0.5, Capture = (refuses, false) };
        using (Machine first = New(refuses: false)) Assert.IsType<CudnnConvolution>(first.Works(Module())[0]);
        using Machine broken = New(refuses: true);
        Assert.All(broken.Works(Module()), w => Assert.Equal(ConvMaker.Native, w.Maker));
        Assert.Equal(default, broken.Live);
    }

    [Fact]
    public void BothLibrariesMayFail()
    {
        using var broken = new Machine(_ => 2)
        {
            CudnnMilliseconds = 1, CublasLtMilliseconds = 1, Broken = "ConvolutionBiasActivationForward", BrokenProduct = "Matmul",
        };
        Assert.Equal(ConvMaker.Native, Assert.Single(broken.Works(Convolution(1))).Maker);
        Assert.Equal(2, Warnings.With(broken.Location).Count);
        Assert.EndsWith("f16", broken.Description, StringComparison.Ordinal);
    }

    [Fact]
    public void ALibraryThatFailsLateIsTakenFromThePiecesBeforeToo()
    {
        Machine New(int? breaksAt) => new(l => l.Shape.DynamicSharedBytes == LargestTile ? 1 : 2) { CudnnMilliseconds = 0.5, BreaksAt = breaksAt };
        var builder = new GraphBuilder();
        Tensor x = builder.Input("x", new Shape(1, 4, 4, 16));
        Tensor y = builder.Add("first", new Conv2d(3), x, builder.Parameter("w1", new Shape(16, 3, 3, 16), ParameterLayout.Dense));
        LayerGraph graph = builder.Build(
            builder.Add("second", new Conv2d(3), y, builder.Parameter("w2", new Shape(24, 3, 3, 16), ParameterLayout.Dense)));
        using Machine sound = New(null);
        Assert.All(sound.Works(graph), w => Assert.Equal(ConvMaker.Cudnn, w.Maker));
        int last = sound.CudnnCalls.Index().Last(c => c.Item == "GetConvolutionForwardAlgorithm").Index;
        using Machine broken = New(last);
        // Not what the model takes.
        Assert.All(broken.Works(graph), w => Assert.Contains("TILE_M=128 TILE_N=128", w.Name, StringComparison.Ordinal));
        Assert.Equal("2 native", broken.Counts);
    }

    [Fact]
    public void ARememberedAlgorithmIsTakenAsItIsAndNotAskedForAgain()
    {
        using var first = new Machine(_ => 4, _folder.Path) { CublasLtMilliseconds = 3 };
        string name = Assert.Single(first.Works(Convolution(1))).Name;
        Assert.StartsWith("cublasLtMatmul 1,", name, StringComparison.Ordinal);
        using var second = new Machine(_ => 4, _folder.Path) { CublasLtMilliseconds = 3 };
        Assert.Equal(name, Assert.Single(second.Works(Convolution(1))).Name);
        Assert.Contains("MatmulAlgoCheck", second.ProductCalls);
        Assert.DoesNotContain("MatmulAlgoGetHeuristic", second.ProductCalls);
        Assert.Equal(0, second.Timings);
    }

    [Fact]
    public void ARememberedAlgorithmThatIsRefusedIsReplaced()
    {
        using (var first = new Machine(_ => 4, _folder.Path) { CublasLtMilliseconds = 3 }) first.Works(Convolution(1));
        string before = Assert.Single(Directory.GetFiles(_folder.Path));
        byte[] old = File.ReadAllBytes(before);
        using var updated = new Machine(_ => 4, _folder.Path) { CublasLtMilliseconds = 3, IsUpdated = true };
        Assert.IsType<CublasLtProduct>(Assert.Single(updated.Works(Convolution(1))));
        Assert.True(updated.Timings > 0);
        Assert.NotEqual(old, File.ReadAllBytes(Assert.Single(Directory.GetFiles(_folder.Path))));
        Assert.Empty(Warnings.With(updated.Location));
    }

    [Fact]
    public async Task LoadsSideBySideMeasureByTurnsAndEachPieceOnce()
    {
        using var alone = new Machine(_ => 2);
        alone.Works(Chain());
        using var machine = new Machine(_ => 2);
        using CudaBackend first = machine.Open(), second = machine.Open();
        using var start = new Barrier(2);
        await Task.WhenAll(Task.Run(() => Load(first)), Task.Run(() => Load(second)));
        Assert.Equal(alone.Timings, machine.Timings);

        void Load(CudaBackend backend)
        {
            using ITensorStore store = backend.CreateStore();
            start.SignalAndWait();
            backend.Compile(Chain(), store).Dispose();
        }
    }

    [Fact]
    public void WhatAFaultLeftOverIsNotRemembered()
    {
        using (var faulty = new Machine(_ => 2, _folder.Path) { CudnnMilliseconds = 1, Broken = "ConvolutionBiasActivationForward" })
        {
            Assert.IsType<CudaLaunch>(Assert.Single(faulty.Works(Convolution(3))), exactMatch: false);
        }
        using var healthy = new Machine(_ => 2, _folder.Path) { CudnnMilliseconds = 1 };
        Assert.IsType<CudnnConvolution>(Assert.Single(healthy.Works(Convolution(3))));
    }

    [Fact]
    public void DamagedChoiceIsMadeAnew()
    {
        using var first = new Machine(l => l.Shape.DynamicSharedBytes == LargestTile ? 1 : 2, _folder.Path);
        first.Works(Convolution(3));
        foreach (string file in Directory.GetFiles(_folder.Path, "*.dwrt"))
        {
            byte[] bytes = File.ReadAllBytes(file);
            bytes[^1] ^= 1;
            File.WriteAllBytes(file, bytes);
        }
        using var second = new Machine(l => l.Shape.DynamicSharedBytes == LargestTile ? 3 : 2, _folder.Path);
        Assert.DoesNotContain("TILE_M=128 TILE_N=128", Assert.Single(second.Works(Convolution(3))).Name, StringComparison.Ordinal);
        Assert.True(second.Timings > 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void WhateverIsChosenGivesTheSameLogits(bool guarded)
    {
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config with { BaseChannels = 16 }, 1, 16, 32));
        TestNvrtc.Require();
        using var driver = new EmulatedDriver(90);
        using var byModel = new CudaBackend("emulated", driver, 0, CudaElement.Float16, wantsPtx: true, choices: new TimedChoices(null));
        float[] expected = Logits(byModel, graph, new PlanOptions { Guarded = guarded });
        // Times that say nothing, so that every maker wins somewhere.
        int calls = 0;
        using var machine = new Machine(l => 1 + (l.Kernel.Length * 7 + ++calls / 60) % 5)
        {
            CudnnMilliseconds = 2, CublasLtMilliseconds = 3, Slices = SliceSupport.Refused,
        };
        using CudaBackend byTime = machine.Open();
        float[] found = Logits(byTime, graph, new PlanOptions { Guarded = guarded });
        double error = Math.Sqrt(found.Zip(expected).Sum(p => Math.Pow(p.First - p.Second, 2)) / expected.Sum(e => (double)e * e));
        // A dozen layers, each rounded to fp16 in another order of sums.
        Assert.InRange(error, 0, 1e-2);
        Assert.True(machine.Timings > 0);
    }

    [Theory]
    [InlineData(2, 3)]
    [InlineData(1, 5)]
    public void MedianOfTheRoundsIsTheTime(int repetitions, int rounds)
    {
        // Each kernel's runs: once untimed, then in rounds by turns; one round of the first is disturbed.
        int runs = 0, disturbed = 2 * repetitions;
        using var driver = new EmulatedDriver(new EmulatedDriverOptions
        {
            LaunchMilliseconds = l => l.Kernel == "elementwise" ? 2 : runs++ == disturbed ? 1000 : 1,
        });
        using var context = new CudaContext(driver);
        using var stream = new CudaStream(context);
        using var kernels = new KernelCache(context, TestNvrtc.Instance, wantsPtx: true);
        using var memory = new CudaDeviceVariable<float>(context, 64);
        memory.MemsetAsync(0, stream);
        var map = new DeviceMap(memory.DevicePointer, CudaElement.Float32, 1, 1, 1, 64, 64);
        using var timer = new WorkTimer(stream, repetitions, rounds);
        timer.Add([ScaledCopyCuda.Prepare(kernels, map, map)]);
        timer.Add([ElementwiseCuda.Relu(kernels, map, map), ElementwiseCuda.Relu(kernels, map, map)]);
        Assert.Equal([1.0, 4.0], timer.Milliseconds().Select(t => Math.Round(t, 3)));
        Assert.Equal(repetitions * (rounds + 1), runs);
    }

    [Fact]
    public void TimingLeavesNothing()
    {
        using var machine = new Machine(_ => 2) { Slices = SliceSupport.Refused };
        machine.Works(Sliced());
        machine.Works(Module());
        Assert.Equal(default, machine.Live);
    }

    [Fact]
    public void PiecesAreTheSameByShapeAndNotByName()
    {
        static string Text(LayerGraph graph) => PieceText.Of(graph, graph.Nodes, []);
        Assert.Equal(Text(Convolution(3, "a")), Text(Convolution(3, "b")));
        Assert.NotEqual(Text(Convolution(3)), Text(Convolution(1)));
        Assert.NotEqual(Text(Convolution(3)), Text(Sliced()));
        Assert.NotEqual(Text(Convolution(3)), Text(Convolution(3, height: 5)));
    }

    [Theory]
    [InlineData("native")]
    [InlineData("native 64x128")]
    [InlineData("cudnn ImplicitPrecompGemm")]
    [InlineData("cudnn ImplicitGemm packed")]
    [InlineData($"cublasLt {SixtyThree}ff")]
    public void WayComesBackFromItsText(string text) => Assert.Equal(text, ConvWay.Parse(text)!.ToString());

    [Theory]
    [InlineData("")]
    [InlineData("cudnn")]
    [InlineData("cudnn 99")]
    [InlineData("cudnn ImplicitGemm folded")]
    [InlineData("cublasLt 4")]
    [InlineData($"cublasLt {SixtyThree}")]
    [InlineData($"cublasLt {SixtyThree}3f40")]
    [InlineData($"cublasLt {SixtyThree}xx")]
    [InlineData("native 64x64 packed")]
    public void OtherTextsAreNoWay(string text) => Assert.Null(ConvWay.Parse(text));

    [Fact]
    public void ChoicesAreBoundedAndWhole()
    {
        var choices = new TimedChoices(_folder.Path, maxBytes: 1000);
        for (int i = 0; i < 50; i++) choices.Remember($"key {i}", $"cudnn {nameof(CudnnAlgorithm.ImplicitGemm)}");
        Assert.InRange(Directory.GetFiles(_folder.Path, "*.dwrt").Sum(f => new FileInfo(f).Length), 100, 1000);
        Assert.Equal("cudnn ImplicitGemm", choices.Find("key 0"));
        Assert.Null(new TimedChoices(_folder.Path).Find("another key"));
    }

    [Fact]
    public void ChoiceCutShortOrOfAnotherKeyIsNone()
    {
        new TimedChoices(_folder.Path).Remember("a", "native");
        string file = Assert.Single(Directory.GetFiles(_folder.Path));
        byte[] whole = File.ReadAllBytes(file);
        new TimedChoices(_folder.Path).Remember("b", "cublasLt 1");
        byte[] other = File.ReadAllBytes(Directory.GetFiles(_folder.Path).Single(f => f != file));
        foreach (byte[] content in Enumerable.Range(0, whole.Length).Select(n => whole[..n]).Append(other).Append([.. whole, 0]))
        {
            File.WriteAllBytes(file, content);
            Assert.Null(new TimedChoices(_folder.Path).Find("a"));
        }
        File.WriteAllBytes(file, whole);
        Assert.Equal("native", new TimedChoices(_folder.Path).Find("a"));
    }

    private static LayerGraph Convolution(int kernel, string name = "conv", int height = 4)
    {
        var builder = new GraphBuilder();
        Tensor x = builder.Input("x", new Shape(1, height, 4, 16));
        Tensor w = builder.Parameter($"{name}.weight", new Shape(16, kernel, kernel, 16), ParameterLayout.Dense);
        Tensor y = builder.Add(name, new Conv2d(kernel), x, w, builder.Parameter($"{name}.bias", Shape.Vector(16)));
        return builder.Build(builder.Add($"{name}.relu", new Relu(), y));
    }

    // Convolutions of four shapes.
    private static LayerGraph Chain()
    {
        var builder = new GraphBuilder();
        Tensor x = builder.Input("x", new Shape(1, 4, 4, 16));
        for (int i = 1; i <= 4; i++)
        {
            Tensor w = builder.Parameter($"weight{i}", new Shape(16 + 8 * i, 1, 1, x.Shape.C), ParameterLayout.Dense);
            x = builder.Add($"conv{i}", new Conv2d(1), x, w);
        }
        return builder.Build(x);
    }

    // A slice of the input to a slice of the output.
    private static LayerGraph Sliced()
    {
        var builder = new GraphBuilder();
        Tensor x = builder.Input("x", new Shape(1, 4, 4, 32)), y = builder.Activation("y", new Shape(1, 4, 4, 32));
        Tensor w = builder.Parameter("w", new Shape(16, 3, 3, 16), ParameterLayout.Dense);
        builder.AddInto("conv", new Conv2d(3), [x.Slice(8, 16), w], new NodeOutput(y.Slice(16, 16), false));
        builder.AddInto("copy", new Copy(), [x.Slice(0, 16)], new NodeOutput(y.Slice(0, 16), false));
        return builder.Build(y);
    }

    /// <summary>A SIR module of 4x4 pixels and 64 channels.</summary>
    internal static LayerGraph Module(bool firstHalfAlone = false)
    {
        var builder = new GraphBuilder();
        Tensor x = builder.Input("x", new Shape(1, 4, 4, 64));
        Tensor expand = builder.Parameter("expand", new Shape(64, 3, 3, 64), ParameterLayout.Dense);
        Tensor middle = builder.Add("relu", new Relu(), builder.Add("conv3", new Conv2d(3), x, expand));
        if (firstHalfAlone) return builder.Build(middle);
        Tensor project = builder.Parameter("project", new Shape(64, 1, 1, 64), ParameterLayout.Dense);
        return builder.Build(builder.Add("sum", new Add(), builder.Add("conv1", new Conv2d(1), middle, project), x));
    }

    private static float[] Logits(CudaBackend backend, LayerGraph graph, PlanOptions options)
    {
        using ITensorStore store = backend.CreateStore();
        ModelWeights.Initialize(graph, store, 1);
        using IPlan plan = backend.Compile(graph, store, options);
        Tensor image = graph[DwrSegModel.Image];
        var random = new Random(9);
        plan.Write(image, [.. Enumerable.Range(0, (int)image.Shape.Elements).Select(_ => random.NextSingle() * 2 - 1)]);
        plan.Run();
        var logits = new float[graph[DwrSegModel.Logits].Shape.Elements];
        plan.Read(graph[DwrSegModel.Logits], logits);
        return logits;
    }
}
