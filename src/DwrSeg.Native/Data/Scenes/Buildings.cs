using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>Terraces, shops and blocks along the street.</summary>
internal static class Buildings
{
    private static readonly Vector3[] Walls =
    [
        new(0.50f, 0.33f, 0.26f), new(0.42f, 0.27f, 0.22f), new(0.58f, 0.46f, 0.34f), new(0.66f, 0.58f, 0.45f), new(0.80f, 0.78f, 0.72f),
        new(0.72f, 0.70f, 0.66f), new(0.55f, 0.53f, 0.50f), new(0.44f, 0.40f, 0.36f), new(0.76f, 0.70f, 0.56f), new(0.38f, 0.37f, 0.37f),
    ];

    private static readonly Vector3[] Fronts =
    [
        new(0.14f, 0.16f, 0.22f), new(0.55f, 0.10f, 0.10f), new(0.10f, 0.30f, 0.16f), new(0.12f, 0.20f, 0.48f), new(0.75f, 0.60f, 0.15f),
        new(0.80f, 0.78f, 0.74f), new(0.20f, 0.18f, 0.17f), new(0.70f, 0.35f, 0.12f), new(0.35f, 0.45f, 0.52f),
    ];

    // What the pattern of a wall holds.
    private static float Floor(Solid wall) => wall.Pattern.X;

    private static float Bay(Solid wall) => wall.Pattern.Y;

    private static bool Shop(Solid wall) => wall.Pattern.Z > 0;

    private static float WindowWidth(Solid wall) => wall.Pattern.W;

    public static void Add(List<Solid> street, SceneRandom random, Vector3 low, Vector3 high, bool town)
    {
        Vector3 wall = random.Near(random.Pick<Vector3>(Walls), 0.18f);
        Solid house = new()
        {
            Form = Form.Box,
            Low = low,
            High = high,
            Label = Labels.Building,
            Paint = Facade,
            Colour = wall,
            Accent = random.Near(random.Pick<Vector3>(Fronts), 0.2f),
            Pattern = new(random.Between(2.7f, 3.5f), random.Between(1.8f, 3.6f), town && random.Chance(0.65) ? 1 : 0,
                random.Between(0.38f, 0.72f)),
            Frame = new Frame(low),
            Seed = random.Seed(),
        };
        street.Add(house);
        if (random.Chance(town ? 0.55 : 0.85)) AddRoof(street, random, low, high, wall);
    }

    private static void AddRoof(List<Solid> street, SceneRandom random, Vector3 low, Vector3 high, Vector3 wall)
    {
        float middle = (low.X + high.X) / 2, rise = random.Between(1.5f, 3.5f), half = (high.X - low.X) / 2;
        Frame frame = new(default);
        Vector3 ridge = new(middle, high.Y + rise, 0);
        street.Add(new Solid
        {
            Form = Form.Hull,
            Low = new(low.X - 0.3f, high.Y - 0.1f, low.Z),
            High = new(high.X + 0.3f, high.Y + rise, high.Z),
            Sides = [frame.Below(new(rise, half, 0), ridge), frame.Below(new(-rise, half, 0), ridge)],
            Label = Labels.Building,
            Paint = Tiles,
            Colour = random.Near(random.Chance(0.5) ? new(0.36f, 0.27f, 0.24f) : new(0.33f, 0.34f, 0.36f), 0.2f),
            Accent = wall,
            Seed = random.Seed(),
        });
        for (float z = low.Z + random.Between(0.3f, 2); z < high.Z - 1; z += random.Between(4, 9))
        {
            if (!random.Chance(0.6)) continue;
            Vector3 foot = new(middle + random.Between(-0.5f, 0.5f) * half, high.Y, z);
            street.Add(new Solid
            {
                Form = Form.Box,
                Low = foot,
                High = foot + new Vector3(0.8f, rise + random.Between(0.4f, 1.3f), 0.7f),
                Label = Labels.Building,
                Paint = Rough,
                Colour = wall * 0.85f,
                Seed = random.Seed(),
            });
        }
    }

    private static Vector3 Facade(Solid solid, in Hit hit)
    {
        bool side = hit.Normal.X == 0;
        float u = side ? hit.Point.X - solid.Low.X : hit.Point.Z - solid.Low.Z, v = hit.Point.Y;
        float length = side ? solid.High.X - solid.Low.X : solid.High.Z - solid.Low.Z, fine = 1 / (1 + hit.Pixel * 20);
        Vector3 wall = Masonry(solid, u, v, fine);
        if (hit.Normal.Y != 0) return wall * 0.6f;
        float floor = Floor(solid), top = solid.High.Y - v;
        if (top < 0.35f) return Noise.Mix(wall, new Vector3(0.75f, 0.73f, 0.70f), 0.35f) * (top < 0.08f ? 0.7f : 1);
        if (side && Noise.Cell(0, 0, 7, solid.Seed) < 0.6f) return wall;
        if (Shop(solid) && v < floor + 0.5f && !side) return ShopFront(solid, u, v, hit.Pixel);
        int bays = Math.Max(1, (int)(length / Bay(solid))), row = (int)(v / floor);
        float across = u / length * bays, cell = Noise.Fraction(across), up = v - row * floor;
        int column = (int)across;
        float bay = length / bays, x = MathF.Abs(cell - 0.5f) * bay, half = WindowWidth(solid) * bay / 2;
        if (row == 0 && Noise.Cell(column, 0, 3, solid.Seed) < 0.25f)
        {
            if (x < 0.48f && up < 2.1f) return x > 0.42f || up > 2.03f ? new Vector3(0.8f, 0.8f, 0.78f) : solid.Accent * 0.8f;
        }
        float sill = 0.28f * floor, head = 0.82f * floor;
        if (x > half + 0.1f || up < sill - 0.1f || up > head + 0.12f || solid.High.Y - (row * floor + head) < 0.3f) return wall;
        if (up < sill || up > head) return Noise.Mix(wall, new Vector3(0.80f, 0.79f, 0.75f), 0.55f);
        if (x > half) return wall * 0.85f;
        bool frame = x > half - 0.07f || x < 0.03f || up < sill + 0.07f || up > head - 0.06f || MathF.Abs(up - (sill + head) / 2) < 0.03f;
        if (frame) return new Vector3(0.82f, 0.82f, 0.80f);
        return Glass(solid, column, row, (up - sill) / (head - sill), u, v);
    }

    private static Vector3 Masonry(Solid solid, float u, float v, float fine)
    {
        float stain = Noise.Fractal(u * 0.5f, v * 0.35f, solid.Seed + 1, 3);
        Vector3 wall = solid.Colour * (0.85f + 0.3f * stain) * (0.82f + 0.18f * MathF.Min(1, v / 1.5f));
        bool brick = Noise.Cell(1, 1, 1, solid.Seed) < 0.6f;
        if (!brick) return wall * (1 + 0.08f * fine * (Noise.Smooth(u * 9, v * 9, solid.Seed + 2) - 0.5f));
        int course = Noise.Floor(v / 0.085f);
        float tone = Noise.Cell(Noise.Floor(u / 0.23f + (course & 1) * 0.5f), course, 2, solid.Seed) - 0.5f;
        return wall * (1 + 0.35f * fine * tone);
    }

    private static Vector3 ShopFront(Solid solid, float u, float v, float pixel)
    {
        float unit = 4.5f + 3 * Noise.Cell(0, 4, 0, solid.Seed), place = u / unit, x = Noise.Fraction(place) * unit;
        int shop = (int)place;
        float pick = Noise.Cell(shop, 5, 0, solid.Seed), floor = Floor(solid);
        Vector3 front = pick < 0.5f ? solid.Accent : Fronts[(int)(pick * 97) % Fronts.Length];
        if (v > floor + 0.35f || x < 0.25f) return solid.Colour * 0.9f;
        if (v > floor - 0.45f)
        {
            // Lettering: bright strokes on the board.
            bool letters = v > floor - 0.25f && v < floor + 0.1f && x > 0.8f && x < unit - 1 &&
                Noise.Cell(Noise.Floor(x * 7), Noise.Floor(v * 9), shop, solid.Seed) > 0.55f;
            return letters && pixel < 0.15f ? new Vector3(0.85f, 0.83f, 0.75f) : front;
        }
        if (v < 0.45f) return front * 0.7f;
        float pane = Noise.Fraction((x - 0.25f) / 1.4f) * 1.4f;
        if (pane < 0.08f) return front * 0.9f;
        Vector3 glass = Glass(solid, shop * 7 + (int)(x / 1.4f), 0, v / floor, u, v);
        float goods = Noise.Smooth(u * 3, v * 3, 2, solid.Seed + 3);
        return v < 1.7f && goods > 0.55f ? Noise.Mix(glass, new Vector3(goods, 1 - goods, 0.4f) * 0.6f, 0.5f) : glass;
    }

    private static Vector3 Glass(Solid solid, int column, int row, float up, float u, float v)
    {
        float own = Noise.Cell(column, row, 9, solid.Seed);
        Vector3 dark = new(0.10f, 0.12f, 0.15f), mirrored = new(0.55f, 0.62f, 0.70f);
        float mirror = 0.1f + 0.5f * own * up + 0.15f * Noise.Smooth(u * 1.3f, v * 1.3f, solid.Seed + 4);
        Vector3 glass = Noise.Mix(dark, mirrored, mirror);
        if (own > 0.75f && up > 0.4f) glass = Noise.Mix(glass, new Vector3(0.75f, 0.72f, 0.66f), 0.6f);
        return glass;
    }

    private static Vector3 Tiles(Solid solid, in Hit hit)
    {
        if (hit.Normal.Z != 0) return solid.Accent * 0.9f;
        float tone = Noise.Cell(Noise.Floor(hit.Point.Z / 0.3f), Noise.Floor(hit.Point.Y / 0.15f), 0, solid.Seed) - 0.5f;
        float moss = Noise.Fractal(hit.Point.Z * 0.4f, hit.Point.Y * 0.8f, solid.Seed + 1, 3);
        return solid.Colour * (0.85f + 0.3f * moss + 0.2f * tone / (1 + hit.Pixel * 12));
    }

    /// <summary>One colour with stains.</summary>
    public static Vector3 Rough(Solid solid, in Hit hit)
        => solid.Colour * (0.85f + 0.3f * Noise.Smooth(hit.Point.X * 3 + hit.Point.Z * 3, hit.Point.Y * 3, solid.Seed));
}
