using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>Pedestrians and bicyclists, built of ellipsoids.</summary>
internal static class People
{
    private static readonly Vector3[] Cloth =
    [
        new(0.10f, 0.10f, 0.12f), new(0.18f, 0.20f, 0.28f), new(0.30f, 0.28f, 0.26f), new(0.45f, 0.12f, 0.12f), new(0.55f, 0.55f, 0.52f),
        new(0.16f, 0.26f, 0.20f), new(0.25f, 0.30f, 0.45f), new(0.50f, 0.42f, 0.30f), new(0.08f, 0.08f, 0.09f), new(0.70f, 0.66f, 0.20f),
    ];

    private static readonly Vector3[] Skin = [new(0.72f, 0.55f, 0.46f), new(0.60f, 0.44f, 0.35f), new(0.38f, 0.26f, 0.20f)];

    private static readonly Vector3[] Hair =
        [new(0.10f, 0.08f, 0.07f), new(0.28f, 0.20f, 0.13f), new(0.50f, 0.42f, 0.28f), new(0.6f, 0.6f, 0.6f)];

    public static void AddPedestrian(List<Solid> street, SceneRandom random, Frame frame)
    {
        float size = random.Between(0.88f, 1.08f), step = random.Between(0, 0.22f);
        Vector3 coat = random.Near(random.Pick<Vector3>(Cloth), 0.2f), legs = random.Near(random.Pick<Vector3>(Cloth), 0.2f);
        Body body = new(street, random, frame, size, Labels.Pedestrian);
        foreach (int side in (ReadOnlySpan<int>)[-1, 1])
        {
            // Thigh and calf: one ellipsoid a leg would be a skittle.
            body.Part(new(side * 0.085f, 0.66f, side * -step * 0.5f), new(0.095f, 0.30f, 0.11f), legs);
            body.Part(new(side * 0.085f, 0.31f, side * -step), new(0.075f, 0.32f, 0.085f), legs);
        }
        body.Part(new(-0.09f, 0.05f, step + 0.06f), new(0.06f, 0.06f, 0.13f), Cloth[0]);
        body.Part(new(0.09f, 0.05f, 0.06f - step), new(0.06f, 0.06f, 0.13f), Cloth[0]);
        body.Part(new(0, 1.26f, 0), new(0.22f, 0.24f, 0.14f), coat);
        body.Part(new(0, 1.04f, 0), new(0.19f, 0.30f, 0.14f), coat);
        body.Part(new(0, 0.86f, 0), new(0.185f, 0.19f, 0.14f), random.Chance(0.5) ? coat : legs);
        body.Part(new(-0.215f, 1.12f, -step * 0.6f), new(0.065f, 0.32f, 0.085f), coat * 0.9f);
        body.Part(new(0.215f, 1.12f, step * 0.6f), new(0.065f, 0.32f, 0.085f), coat * 0.9f);
        body.Part(new(0, 1.48f, 0.01f), new(0.07f, 0.1f, 0.07f), coat);
        body.Head(new(0, 1.60f, 0.02f));
        if (random.Chance(0.35)) body.Part(new(0.33f, 0.75f, 0), new(0.07f, 0.2f, 0.16f), random.Pick<Vector3>(Cloth));
    }

    public static void AddBicyclist(List<Solid> street, SceneRandom random, Frame frame)
    {
        float size = random.Between(0.9f, 1.05f);
        Vector3 coat = random.Near(random.Pick<Vector3>(Cloth), 0.25f), legs = random.Near(random.Pick<Vector3>(Cloth), 0.2f);
        Body body = new(street, random, frame, size, Labels.Bicyclist);
        body.Wheel(-0.52f);
        body.Wheel(0.52f);
        Vector3 metal = random.Near(random.Pick<Vector3>(Cloth), 0.3f);
        body.Part(new(0, 0.62f, 0.05f), new(0.025f, 0.06f, 0.45f), metal);
        body.Part(new(0, 0.72f, 0.46f), new(0.025f, 0.34f, 0.05f), metal);
        body.Part(new(0, 0.98f, 0.46f), new(0.28f, 0.03f, 0.05f), metal * 0.6f);
        body.Part(new(-0.1f, 0.62f, 0.12f), new(0.09f, 0.33f, 0.17f), legs);
        body.Part(new(0.1f, 0.72f, 0.12f), new(0.09f, 0.28f, 0.18f), legs);
        body.Part(new(0, 1.22f, 0.05f), new(0.21f, 0.34f, 0.21f), coat);
        body.Part(new(-0.24f, 1.15f, 0.27f), new(0.06f, 0.22f, 0.22f), coat * 0.9f);
        body.Part(new(0.24f, 1.15f, 0.27f), new(0.06f, 0.22f, 0.22f), coat * 0.9f);
        body.Head(new(0, 1.66f, 0.2f));
    }

    private readonly struct Body(List<Solid> street, SceneRandom random, Frame frame, float size, byte label)
    {
        public void Part(Vector3 middle, Vector3 reach, Vector3 colour, Paint? paint = null, Gap? gap = null)
        {
            (Vector3 low, Vector3 high) = frame.Box((middle - reach) * size, (middle + reach) * size);
            street.Add(new Solid
            {
                Form = Form.Ellipsoid,
                Low = low,
                High = high,
                Label = label,
                Paint = paint ?? Folds,
                Gap = gap,
                Colour = colour,
                Frame = frame,
                Pattern = new(middle * size, size),
                Seed = random.Seed(),
            });
        }

        public void Head(Vector3 middle)
        {
            Vector3 hair = random.Pick<Vector3>(Hair);
            Part(middle, new(0.095f, 0.125f, 0.11f), random.Near(random.Pick<Vector3>(Skin), 0.1f));
            Part(middle + new Vector3(0, 0.04f, -0.025f), new(0.10f, 0.10f, 0.11f), hair);
        }

        public void Wheel(float along) => Part(new(0, 0.34f, along), new(0.03f, 0.34f, 0.34f), new(0.07f, 0.07f, 0.07f), gap: Spokes);
    }

    private static Vector3 Folds(Solid solid, in Hit hit)
        => solid.Colour * (0.8f + 0.4f * Noise.Smooth(hit.Point.X * 9, hit.Point.Y * 6, hit.Point.Z * 9, solid.Seed));

    private static bool Spokes(Solid solid, in Hit hit, bool label)
    {
        if (label) return false;
        Vector3 p = solid.Frame.In(hit.Point) - new Vector3(solid.Pattern.X, solid.Pattern.Y, solid.Pattern.Z);
        float inner = 0.28f * solid.Pattern.W;
        return p.Z * p.Z + p.Y * p.Y < inner * inner;
    }
}
