using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.Native.Tests.Oracle;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>The class map is the arg max of the 1/8 logits upsampled to the image's own size, whatever the network's input size.</summary>
public sealed class ClassMapTests : IDisposable
{
    // fp32 against float64: sums of a few hundred terms leave about 1e-6 of the largest logit; where two classes are closer than this, either
    // may win.
    private const double RelativeTolerance = 1e-4;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static IEnumerable<TheoryDataRow<int, int, int, int>> Sizes()
    {
        yield return (64, 48, 48, 64);
        yield return (61, 37, 37, 61);
        yield return (97, 53, 32, 64);
        yield return (20, 120, 40, 56);
        yield return (1, 1, 1, 1);
        yield return (1, 1, 33, 47);
        yield return (50, 1, 8, 16);
        yield return (3, 200, 3, 200);
    }

    [Theory]
    [MemberData(nameof(Sizes))]
    public void IsTheArgMaxOfTheUpsampledLogits(int width, int height, int inputHeight, int inputWidth)
    {
        string model = SmallModel.Save(_folder.File("model.safetensors"));
        byte[] picture = SmallModel.Picture(width, height, seed: width + height), classes = new byte[width * height], confidence = new byte[classes.Length];
        using Segmenter segmenter = Segmenter.Load(model, new SegmenterOptions { Device = "cpu", InputSize = (inputHeight, inputWidth) });
        segmenter.Run(picture, width, height, width * 3, PixelFormat.Rgb, classes, confidence);

        Values logits = UpsampledLogits(model, new ImageView(picture, width, height, width * 3, PixelFormat.Rgb), inputHeight, inputWidth);
        double tolerance = RelativeTolerance * logits.Data.Max(Math.Abs);
        for (int p = 0; p < classes.Length; p++)
        {
            Span<double> pixel = logits.Pixel(p);
            double best = double.NegativeInfinity, sum = 0;
            foreach (double value in pixel) best = Math.Max(best, value);
            foreach (double value in pixel) sum += Math.Exp(value - best);
            Assert.True(pixel[classes[p]] >= best - tolerance, $"Pixel {p} is class {classes[p]} at {pixel[classes[p]]}, but the largest logit is {best}.");
            // In whole 1/255, so off by one half at most, and by what the logits' tolerance moves.
            Assert.InRange(confidence[p], 255 / sum * Math.Exp(-2 * tolerance) - 0.51, 255 / sum * Math.Exp(2 * tolerance) + 0.51);
        }
    }

    [Fact]
    public void ThePictureOfTheseTestsHasSeveralClasses()
    {
        using Segmenter segmenter = Segmenter.Load(SmallModel.Save(_folder.File("model.safetensors")));
        byte[] classes = new byte[64 * 48];
        segmenter.Run(SmallModel.Picture(64, 48, seed: 112), 64, 48, 64 * 3, PixelFormat.Rgb, classes);
        Assert.True(classes.Distinct().Count() >= 2);
    }

    [Fact]
    public void InputSizeIsTheOptionsElseTheModelsElseTheImages()
    {
        string trained = SmallModel.Save(_folder.File("trained.safetensors"), inputSize: (24, 40)), free = SmallModel.Save(_folder.File("free.safetensors"));
        Assert.Equal((24, 40), InputSizeOf(trained, new SegmenterOptions()));
        Assert.Equal((16, 8), InputSizeOf(trained, new SegmenterOptions { InputSize = (16, 8) }));
        Assert.Equal((16, 8), InputSizeOf(trained, new SegmenterOptions { InputSize = (16, 8), SizePolicy = SizePolicy.Native }));
        Assert.Null(InputSizeOf(trained, new SegmenterOptions { SizePolicy = SizePolicy.Native }));
        Assert.Null(InputSizeOf(free, new SegmenterOptions()));

        byte[] picture = SmallModel.Picture(57, 43);
        byte[] native = Run(trained, picture, new SegmenterOptions { SizePolicy = SizePolicy.Native });
        Assert.Equal(native, Run(free, picture, new SegmenterOptions()));
        Assert.Equal(native, Run(trained, picture, new SegmenterOptions { InputSize = (43, 57) }));
        Assert.NotEqual(native, Run(trained, picture, new SegmenterOptions()));

        static (int Height, int Width)? InputSizeOf(string model, SegmenterOptions options)
        {
            using Segmenter segmenter = Segmenter.Load(model, options);
            return segmenter.InputSize;
        }

        static byte[] Run(string model, byte[] picture, SegmenterOptions options)
        {
            using Segmenter segmenter = Segmenter.Load(model, options);
            byte[] classes = new byte[57 * 43];
            segmenter.Run(picture, 57, 43, 57 * 3, PixelFormat.Rgb, classes);
            return classes;
        }
    }

    [Fact]
    public void ClassesAreTheModelsOrNumbered()
    {
        using Segmenter named = Segmenter.Load(SmallModel.Save(_folder.File("named.safetensors")));
        Assert.Equal(SmallModel.Classes.Names, named.Classes.Names);
        using Segmenter numbered = Segmenter.Load(SmallModel.Save(_folder.File("numbered.safetensors"), withClasses: false));
        Assert.Equal(["class 0", "class 1", "class 2", "class 3"], numbered.Classes.Names);
    }

    // The model's graph without any pass, in float64.
    private static Values UpsampledLogits(string model, in ImageView image, int inputHeight, int inputWidth)
    {
        using SafetensorsFile file = SafetensorsFile.Open(model);
        LayerGraph graph = DwrSegModel.Inference(SmallModel.Config, 1, inputHeight, inputWidth);
        var store = new OracleStore();
        ModelWeights.Load(file, graph, store);
        using OraclePlan plan = new OracleBackend().Compile(graph, store);
        plan.Write(graph[DwrSegModel.Image], OracleImage.Resize(OracleImage.Normalise(image, Normalization.ImageNet), inputHeight, inputWidth).Data);
        plan.Run();
        return OracleImage.Resize(plan.Read(graph[DwrSegModel.Logits]), image.Height, image.Width);
    }
}
