using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>Trees in leaf, bare trees, and hedges.</summary>
internal static class Trees
{
    public static void Add(List<Solid> street, SceneRandom random, Vector3 foot, float height)
    {
        bool bare = random.Chance(0.4);
        float trunk = random.Between(0.12f, 0.3f), clear = height * random.Between(0.22f, 0.4f);
        float radius = height * random.Between(0.2f, 0.38f);
        Vector3 bark = random.Near(new(0.24f, 0.20f, 0.17f), 0.25f);
        street.Add(new Solid
        {
            Form = Form.Box,
            Low = foot - new Vector3(trunk, 0, trunk),
            High = foot + new Vector3(trunk, height * 0.6f, trunk),
            Label = Labels.Tree,
            Paint = Buildings.Rough,
            Colour = bark,
            Seed = random.Seed(),
        });
        Vector3 leaves = bare ? bark * 1.15f : random.Near(random.Pick<Vector3>(
            [new(0.26f, 0.33f, 0.15f), new(0.19f, 0.26f, 0.13f), new(0.34f, 0.38f, 0.19f), new(0.38f, 0.34f, 0.19f)]), 0.25f);
        int lobes = 3 + random.Below(4);
        for (int i = 0; i < lobes; i++)
        {
            float size = radius * random.Between(0.6f, 1f), spread = i == 0 ? 0 : radius * 0.75f;
            Vector3 middle = foot + new Vector3(random.Between(-spread, spread), clear + random.Between(0.3f, 0.8f) * (height - clear),
                random.Between(-spread, spread));
            Vector3 reach = new(size, size * random.Between(0.7f, 1.15f), size);
            street.Add(new Solid
            {
                Form = Form.Ellipsoid,
                Low = middle - reach,
                High = middle + reach,
                Label = Labels.Tree,
                Paint = bare ? Twigs : Leaves,
                Gap = bare ? BetweenTwigs : BetweenLeaves,
                Colour = leaves,
                Pattern = new(middle, 0),
                Seed = random.Seed(),
            });
        }
    }

    public static void AddHedge(List<Solid> street, SceneRandom random, Vector3 low, Vector3 high) => street.Add(new Solid
    {
        Form = Form.Box,
        Low = low,
        High = high,
        Label = Labels.Tree,
        Paint = Leaves,
        Colour = random.Near(new(0.24f, 0.31f, 0.15f), 0.3f),
        Pattern = new((low + high) / 2, 0),
        Seed = random.Seed(),
    });

    private static Vector3 Leaves(Solid solid, in Hit hit)
    {
        Vector3 p = hit.Point;
        float coarse = Noise.Smooth(p.X * 1.6f, p.Y * 1.6f, p.Z * 1.6f, solid.Seed), cell = 1 / MathF.Max(0.07f, hit.Pixel);
        float fine = Noise.Cell(Noise.Floor(p.X * cell), Noise.Floor(p.Y * cell), Noise.Floor(p.Z * cell), solid.Seed + 1);
        float depth = Math.Clamp(0.75f + (p.Y - solid.Pattern.Y) * 0.2f, 0.5f, 1.2f);
        return solid.Colour * ((0.5f + 0.9f * coarse + 0.7f * (fine - 0.3f)) * depth);
    }

    private static bool BetweenLeaves(Solid solid, in Hit hit, bool label)
    {
        // Ragged where the crown is seen from its rim; here and there a hole through to the sky.
        Vector3 p = hit.Point;
        float coarse = Noise.Smooth(p.X * 2, p.Y * 2, p.Z * 2, solid.Seed + 2), fine = Noise.Smooth(p.X * 7, p.Y * 7, p.Z * 7, solid.Seed);
        if (0.65f * coarse + 0.35f * fine > 0.64f) return true;
        return !label && Noise.Cell(Noise.Floor(p.X * 10), Noise.Floor(p.Y * 10), Noise.Floor(p.Z * 10), solid.Seed + 3) > 0.88f;
    }

    private static Vector3 Twigs(Solid solid, in Hit hit)
        => solid.Colour * (0.7f + 0.6f * Noise.Cell(Noise.Floor(hit.Point.X * 8), Noise.Floor(hit.Point.Y * 8), 0, solid.Seed));

    private static bool BetweenTwigs(Solid solid, in Hit hit, bool label)
    {
        Vector3 p = hit.Point;
        if (Noise.Smooth(p.X * 2, p.Y * 2, p.Z * 2, solid.Seed + 2) > 0.7f) return true;
        if (label) return false;
        // Branches are ridges of noise: thin lines where two fields cross their middle.
        float boughs = MathF.Abs(Noise.Smooth(p.X * 2.2f, p.Y * 1.3f, p.Z * 2.2f, solid.Seed + 4) - 0.5f);
        float twigs = MathF.Abs(Noise.Smooth(p.X * 6, p.Y * 4, p.Z * 6, solid.Seed + 5) - 0.5f);
        float sprays = MathF.Abs(Noise.Smooth(p.X * 15, p.Y * 9, p.Z * 15, solid.Seed + 6) - 0.5f);
        return boughs > 0.035f && twigs > 0.05f && sprays > 0.07f;
    }
}
