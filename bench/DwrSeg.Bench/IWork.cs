namespace DwrSeg.Bench;

/// <summary>A benchmark's parameter that knows how much one operation does; <see cref="RateColumn"/> divides it by the time.</summary>
public interface IWork
{
    /// <summary>Floating-point operations, two a multiply-accumulate.</summary>
    long Flops { get; }

    /// <summary>Compulsory traffic in bytes; 0 where unknown.</summary>
    long Bytes { get; }
}
