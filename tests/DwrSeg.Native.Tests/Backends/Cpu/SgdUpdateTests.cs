using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed unsafe class SgdUpdateTests
{
    [Fact]
    public void UpdatesEveryParameterOfEverySize()
    {
        using WorkerPool pool = new(3);
        Random random = new(1);
        int[] sizes = [1, 7, 16, 33, 16384, 16385, 50000];
        Vector[] parameters = [.. sizes.Select(n => new Vector(n).Randomise(random))];
        Vector[] gradients = [.. sizes.Select(n => new Vector(n).Randomise(random))];
        Vector[] velocities = [.. sizes.Select(n => new Vector(n).Randomise(random))];
        using Vector rate = new(1);
        rate[0] = 0.02f;
        SgdUpdate[] updates = new SgdUpdate[sizes.Length];
        for (int i = 0; i < sizes.Length; i++)
        {
            updates[i] = new SgdUpdate
            {
                Parameter = parameters[i].Data, Gradient = gradients[i].Data, Velocity = velocities[i].Data, Rate = rate.Data,
                Count = sizes[i], Momentum = 0.9f, WeightDecay = 5e-4f,
            };
        }
        int tasks = SgdUpdate.Plan(updates);
        double[][] p = [.. parameters.Select(v => v.ToDoubles())], v = [.. velocities.Select(v => v.ToDoubles())];
        for (int step = 0; step < 2; step++)
        {
            SgdUpdate.Run(pool, updates, tasks);
            for (int i = 0; i < sizes.Length; i++)
            {
                double[] g = gradients[i].ToDoubles();
                for (int k = 0; k < sizes[i]; k++)
                {
                    v[i][k] = 0.9f * v[i][k] + g[k] + 5e-4f * p[i][k];
                    p[i][k] -= 0.02f * v[i][k];
                }
                // Two fused roundings a step in fp32 on values of order 1.
                parameters[i].AssertClose($"parameter of {sizes[i]}", p[i], 5e-7);
                velocities[i].AssertClose($"velocity of {sizes[i]}", v[i], 5e-7);
            }
        }
        foreach (Vector vector in (Vector[])[.. parameters, .. gradients, .. velocities]) vector.Dispose();
    }
}
