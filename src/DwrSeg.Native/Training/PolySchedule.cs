namespace DwrSeg.Native.Training;

/// <summary>
/// The paper's "poly" learning rate (section 4.2): base · (1 − iteration / total)^power, drawn anew for every step. With a warm-up, which
/// the paper does not have, the first <paramref name="Warmup"/> steps are scaled by (iteration + 1) / (Warmup + 1) on top of it.
/// </summary>
/// <param name="Base">The rate of the first step.</param>
/// <param name="Power">The exponent.</param>
/// <param name="Total">Steps of the whole training.</param>
/// <param name="Warmup">Steps of linear rise; 0 for none.</param>
internal readonly record struct PolySchedule(double Base, double Power, long Total, long Warmup)
{
    /// <summary>The learning rate of a step, counted from 0.</summary>
    public float At(long iteration)
    {
        double rate = Base * Math.Pow(1 - (double)iteration / Total, Power);
        return (float)(iteration < Warmup ? rate * (iteration + 1) / (Warmup + 1) : rate);
    }
}
