using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>Cars, vans and buses, all of them CamVid's "car".</summary>
internal static class Vehicles
{
    private static readonly Vector3 Tyre = new(0.06f, 0.06f, 0.065f), Glass = new(0.09f, 0.10f, 0.12f);

    private static readonly Vector3[] Paints =
    [
        new(0.75f, 0.76f, 0.78f), new(0.85f, 0.85f, 0.84f), new(0.10f, 0.10f, 0.11f), new(0.30f, 0.32f, 0.34f), new(0.14f, 0.20f, 0.38f),
        new(0.50f, 0.10f, 0.10f), new(0.12f, 0.28f, 0.22f), new(0.45f, 0.50f, 0.55f), new(0.22f, 0.22f, 0.24f), new(0.60f, 0.55f, 0.40f),
    ];

    private static readonly Vector3[] BusPaints =
        [new(0.65f, 0.10f, 0.10f), new(0.85f, 0.85f, 0.83f), new(0.20f, 0.35f, 0.60f), new(0.15f, 0.40f, 0.35f), new(0.80f, 0.65f, 0.20f)];

    /// <summary>Half of a vehicle's width, for placing it.</summary>
    public const float HalfWidth = 0.9f;

    public static void Add(List<Solid> street, SceneRandom random, Frame frame)
    {
        if (random.Chance(0.13)) AddVan(street, random, frame);
        else AddCar(street, random, frame);
    }

    public static void AddCar(List<Solid> street, SceneRandom random, Frame frame)
    {
        float half = random.Between(1.85f, 2.3f), waist = random.Between(0.84f, 0.98f), roof = random.Between(1.40f, 1.62f);
        bool hatch = random.Chance(0.6);
        Vector3 paint = random.Near(random.Pick<Vector3>(Paints), 0.15f);
        uint seed = random.Seed();
        (Vector3 low, Vector3 high) = frame.Box(new(-HalfWidth + 0.04f, 0.24f, -half), new(HalfWidth - 0.04f, waist, half));
        street.Add(new Solid
        {
            Form = Form.Hull,
            Low = low,
            High = high,
            Sides =
            [
                frame.Below(new(0, 1, 0.16f), new(0, waist, half * 0.25f)),
                frame.Below(new(0, 0.3f, 1), new(0, 0.55f, half)),
                frame.Below(new(0, 0.2f, -1), new(0, 0.6f, -half)),
            ],
            Label = Labels.Car,
            Paint = Body,
            Colour = paint,
            Frame = frame,
            Pattern = new(half, waist, 0, 0),
            Seed = seed,
        });
        float back = hatch ? -half * 0.96f : -half * 0.62f, front = half * 0.42f;
        (low, high) = frame.Box(new(-0.8f, waist - 0.03f, back - 0.2f), new(0.8f, roof, front));
        street.Add(new Solid
        {
            Form = Form.Hull,
            Low = low,
            High = high,
            Sides =
            [
                frame.Below(new(1, 0.28f, 0), new(0.8f, waist, 0)),
                frame.Below(new(-1, 0.28f, 0), new(-0.8f, waist, 0)),
                frame.Below(new(0, 1.1f, 1), new(0, waist, front)),
                frame.Below(new(0, hatch ? 0.4f : 0.9f, -1), new(0, waist, back)),
            ],
            Label = Labels.Car,
            Paint = Cabin,
            Colour = paint,
            Frame = frame,
            Pattern = new(half, waist, roof, 0),
            Seed = seed,
        });
        AddWheels(street, frame, half * 0.62f, 0.31f, HalfWidth - 0.08f, Labels.Car);
    }

    private static void AddVan(List<Solid> street, SceneRandom random, Frame frame)
    {
        float half = random.Between(2.3f, 2.8f), roof = random.Between(1.9f, 2.5f), width = 0.98f;
        (Vector3 low, Vector3 high) = frame.Box(new(-width, 0.28f, -half), new(width, roof, half));
        street.Add(new Solid
        {
            Form = Form.Hull,
            Low = low,
            High = high,
            Sides = [frame.Below(new(0, 0.8f, 1), new(0, 1.1f, half))],
            Label = Labels.Car,
            Paint = Van,
            Colour = random.Near(random.Chance(0.6) ? Paints[1] : random.Pick<Vector3>(Paints), 0.12f),
            Frame = frame,
            Pattern = new(half, roof, width, 0),
            Seed = random.Seed(),
        });
        AddWheels(street, frame, half * 0.62f, 0.33f, width - 0.08f, Labels.Car);
    }

    public static void AddBus(List<Solid> street, SceneRandom random, Frame frame)
    {
        float half = random.Between(4, 5.5f), roof = random.Chance(0.4) ? 4.2f : 3f, width = 1.25f;
        (Vector3 low, Vector3 high) = frame.Box(new(-width, 0.3f, -half), new(width, roof, half));
        street.Add(new Solid
        {
            Form = Form.Box,
            Low = low,
            High = high,
            Label = Labels.Car,
            Paint = Bus,
            Colour = random.Near(random.Pick<Vector3>(BusPaints), 0.12f),
            Accent = random.Near(random.Pick<Vector3>(BusPaints), 0.12f),
            Frame = frame,
            Pattern = new(half, roof, width, 0),
            Seed = random.Seed(),
        });
        AddWheels(street, frame, half * 0.65f, 0.48f, width - 0.08f, Labels.Car);
    }

    private static void AddWheels(List<Solid> street, Frame frame, float along, float radius, float across, byte label)
    {
        foreach (float z in (ReadOnlySpan<float>)[-along, along])
        {
            foreach (float x in (ReadOnlySpan<float>)[-across, across])
            {
                (Vector3 low, Vector3 high) = frame.Box(new(x - 0.12f, 0, z - radius), new(x + 0.12f, 2 * radius, z + radius));
                street.Add(new Solid
                {
                    Form = Form.Ellipsoid,
                    Low = low,
                    High = high,
                    Label = label,
                    Paint = Wheel,
                    Frame = frame,
                    Pattern = new(z, radius, 0, 0),
                });
            }
        }
    }

    private static Vector3 Wheel(Solid solid, in Hit hit)
    {
        Vector3 p = solid.Frame.In(hit.Point);
        float z = p.Z - solid.Pattern.X, y = p.Y - solid.Pattern.Y, inner = 0.62f * solid.Pattern.Y;
        return z * z + y * y < inner * inner ? new Vector3(0.42f, 0.43f, 0.44f) : Tyre;
    }

    private static Vector3 Body(Solid solid, in Hit hit)
    {
        Vector3 p = solid.Frame.In(hit.Point), n = solid.Frame.Unrotate(hit.Normal);
        float x = MathF.Abs(p.X), half = solid.Pattern.X;
        Vector3 paint = solid.Colour * (0.9f + 0.15f * p.Y);
        if (n.Y > 0.8f) return paint * 1.12f;
        if (MathF.Abs(n.X) > 0.5f)
        {
            foreach (float axle in (ReadOnlySpan<float>)[-0.62f * half, 0.62f * half])
            {
                float dz = p.Z - axle, dy = p.Y - 0.31f;
                if (dz * dz + dy * dy < 0.38f * 0.38f) return Tyre;
            }
            if (p.Y < 0.33f) return paint * 0.35f;
            float door = MathF.Abs(MathF.Abs(p.Z + 0.1f) - 0.5f * half);
            return door < 0.012f || MathF.Abs(p.Z + 0.1f) < 0.012f ? paint * 0.4f : paint;
        }
        if (p.Y < 0.36f) return Tyre * 1.5f;
        bool rear = n.Z < 0;
        if (x < 0.26f && p.Y > 0.42f && p.Y < 0.54f) return rear ? new Vector3(0.78f, 0.66f, 0.18f) : new Vector3(0.85f, 0.85f, 0.83f);
        if (p.Y < 0.56f) return Noise.Cell(2, 0, 0, solid.Seed) < 0.5f ? new Vector3(0.16f, 0.16f, 0.17f) : paint * 0.9f;
        if (x > 0.52f && p.Y > 0.58f && p.Y < 0.76f) return rear ? new Vector3(0.60f, 0.08f, 0.07f) : new Vector3(0.88f, 0.88f, 0.86f);
        return !rear && x < 0.5f && p.Y < 0.72f ? new Vector3(0.12f, 0.12f, 0.13f) : paint;
    }

    private static Vector3 Cabin(Solid solid, in Hit hit)
    {
        Vector3 p = solid.Frame.In(hit.Point), n = solid.Frame.Unrotate(hit.Normal);
        float waist = solid.Pattern.Y, roof = solid.Pattern.Z, up = (p.Y - waist) / (roof - waist), x = MathF.Abs(p.X);
        if (n.Y > 0.95f) return solid.Colour * 1.15f;
        bool window;
        if (MathF.Abs(n.X) > 0.5f)
        {
            float pillar = MathF.Abs(Noise.Fraction((p.Z + 0.1f) / 0.95f) - 0.5f);
            window = up > 0.12f && up < 0.84f && pillar < 0.45f;
        }
        else
        {
            window = up > 0.1f && up < 0.88f && x < 0.72f - 0.16f * up;
        }
        if (!window) return solid.Colour;
        float sheen = 0.25f * up + 0.3f * Noise.Smooth(p.X * 2, p.Y * 3, p.Z, solid.Seed);
        return Noise.Mix(Glass, new Vector3(0.55f, 0.60f, 0.66f), sheen * (n.Z > 0 ? 1.3f : 0.7f));
    }

    private static Vector3 Van(Solid solid, in Hit hit)
    {
        Vector3 p = solid.Frame.In(hit.Point), n = solid.Frame.Unrotate(hit.Normal);
        float half = solid.Pattern.X, roof = solid.Pattern.Y, x = MathF.Abs(p.X);
        if (p.Y < 0.45f) return Tyre * 1.6f;
        if (MathF.Abs(n.X) > 0.5f)
        {
            bool window = p.Y > 1.15f && p.Y < roof - 0.25f && p.Z > half * 0.3f && p.Z < half * 0.85f;
            return window ? Glass : MathF.Abs(p.Z - 0.2f * half) < 0.02f ? solid.Colour * 0.6f : solid.Colour;
        }
        if (n.Z > 0) return p.Y > 1.15f && p.Y < roof - 0.15f && x < 0.85f ? Glass * 1.8f : solid.Colour;
        if (x > 0.82f && p.Y > 0.7f && p.Y < 1.1f) return new Vector3(0.60f, 0.08f, 0.07f);
        if (x < 0.26f && p.Y > 0.5f && p.Y < 0.62f) return new Vector3(0.78f, 0.66f, 0.18f);
        if (x < 0.015f) return solid.Colour * 0.4f;
        return p.Y > 1.2f && p.Y < roof - 0.3f && x > 0.1f && x < 0.8f && Noise.Cell(3, 0, 0, solid.Seed) < 0.6f ? Glass : solid.Colour;
    }

    private static Vector3 Bus(Solid solid, in Hit hit)
    {
        Vector3 p = solid.Frame.In(hit.Point), n = solid.Frame.Unrotate(hit.Normal);
        float roof = solid.Pattern.Y, x = MathF.Abs(p.X);
        if (p.Y < 0.5f) return Tyre * 1.7f;
        if (n.Y > 0.5f) return solid.Colour;
        bool sides = MathF.Abs(n.X) > 0.5f, upper = p.Y > 2.6f && p.Y < 3.7f && roof > 4;
        bool lower = p.Y > 1.2f && p.Y < 2.2f;
        if (sides && (lower || upper)) return MathF.Abs(Noise.Fraction(p.Z / 1.4f) - 0.5f) < 0.46f ? Glass * 1.3f : solid.Colour * 0.5f;
        if (!sides && (upper || p.Y > 1.3f && p.Y < 2.3f) && x < 1.05f) return Glass * 1.2f;
        if (!sides && x > 0.95f && p.Y > 0.7f && p.Y < 1.05f) return n.Z < 0 ? new(0.60f, 0.08f, 0.07f) : new(0.88f, 0.88f, 0.86f);
        return p.Y < 1.1f ? solid.Accent : solid.Colour;
    }
}
