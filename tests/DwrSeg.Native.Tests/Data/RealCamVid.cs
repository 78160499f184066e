using Xunit;

namespace DwrSeg.Native.Tests.Data;

/// <summary>The CamVid folder that tests on real frames read; without one they are skipped.</summary>
internal static class RealCamVid
{
    private const string Variable = "DWRSEG_CAMVID";

    public static string Root
    {
        get
        {
            string? root = Environment.GetEnvironmentVariable(Variable);
            Assert.SkipWhen(string.IsNullOrEmpty(root), $"set {Variable} to a folder with CamVid's splits to run this on real frames");
            return root!;
        }
    }
}
