using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>Lamp posts, bollards, traffic lights, signs, fences, and bins, which CamVid's eleven classes leave out.</summary>
internal static class Furniture
{
    private static readonly Vector3 Grey = new(0.36f, 0.38f, 0.38f), Black = new(0.07f, 0.07f, 0.08f);

    private static readonly Vector3[] Boards =
    [
        new(0.10f, 0.22f, 0.55f), new(0.80f, 0.80f, 0.78f), new(0.08f, 0.34f, 0.22f), new(0.65f, 0.12f, 0.12f), new(0.62f, 0.54f, 0.20f),
    ];

    public static void AddLamp(List<Solid> street, SceneRandom random, Vector3 foot, int towards)
    {
        float height = random.Between(5, 8.5f), arm = random.Between(0.6f, 1.8f);
        Vector3 colour = random.Near(random.Chance(0.6) ? Grey * 1.2f : Black * 2, 0.2f);
        Post(street, foot, height, random.Between(0.06f, 0.10f), colour, Labels.Pole);
        Vector3 top = foot + new Vector3(0, height, 0), end = top + new Vector3(towards * arm, 0.15f, 0);
        Vector3 low = Vector3.Min(top, end) - new Vector3(0, 0.1f, 0.05f), high = Vector3.Max(top, end) + new Vector3(0, 0, 0.05f);
        Box(street, low, high, colour, Labels.Pole);
        Box(street, end - new Vector3(0.3f, 0.12f, 0.12f), end + new Vector3(0.3f, 0.06f, 0.12f), colour * 1.2f, Labels.Pole);
    }

    public static void AddBollard(List<Solid> street, SceneRandom random, Vector3 foot)
    {
        Vector3 colour = random.Near(random.Chance(0.7) ? Black * 2 : Grey, 0.2f);
        Post(street, foot, random.Between(0.85f, 1.1f), random.Between(0.06f, 0.1f), colour, Labels.Pole);
    }

    public static void AddTrafficLight(List<Solid> street, SceneRandom random, Vector3 foot)
    {
        Post(street, foot, 2.4f, 0.06f, Grey * 0.8f, Labels.Pole);
        Vector3 middle = foot + new Vector3(0, 2.9f, 0);
        street.Add(new Solid
        {
            Form = Form.Box,
            Low = middle - new Vector3(0.2f, 0.5f, 0.15f),
            High = middle + new Vector3(0.2f, 0.5f, 0.15f),
            Label = Labels.Sign,
            Paint = Lights,
            Pattern = new(middle, random.Below(3)),
        });
    }

    public static void AddSign(List<Solid> street, SceneRandom random, Vector3 foot)
    {
        float height = random.Between(2.0f, 2.8f), half = random.Between(0.25f, 0.45f);
        bool round = random.Chance(0.5);
        Post(street, foot, height, 0.04f, Grey, Labels.Pole);
        Vector3 middle = foot + new Vector3(0, height + half * 0.8f, -0.06f);
        Board(street, random, middle, new(half, round ? half : half * random.Between(0.5f, 1.4f), 0.02f), round);
    }

    /// <summary>A board that juts out from a front, over the pavement.</summary>
    public static void AddShopSign(List<Solid> street, SceneRandom random, Vector3 middle)
        => Board(street, random, middle, new(random.Between(0.3f, 0.5f), random.Between(0.3f, 0.6f), 0.05f), false);

    public static void AddFence(List<Solid> street, SceneRandom random, Vector3 low, Vector3 high) => street.Add(new Solid
    {
        Form = Form.Box,
        Low = low,
        High = high,
        Label = Labels.Fence,
        Paint = Buildings.Rough,
        Gap = random.Chance(0.75) ? BetweenBars : null,
        Colour = random.Near(random.Pick<Vector3>([new(0.14f, 0.15f, 0.15f), new(0.45f, 0.47f, 0.47f), new(0.42f, 0.33f, 0.24f)]), 0.25f),
        Seed = random.Seed(),
    });

    public static void AddBin(List<Solid> street, SceneRandom random, Vector3 foot)
    {
        Vector3 half = new(random.Between(0.25f, 0.5f), 0, random.Between(0.25f, 0.5f));
        Vector3 colour = random.Pick<Vector3>([new(0.15f, 0.25f, 0.18f), new(0.15f, 0.15f, 0.16f), new(0.4f, 0.2f, 0.15f)]);
        Vector3 high = foot + half + new Vector3(0, random.Between(0.8f, 1.5f), 0);
        Box(street, foot - half, high, random.Near(colour, 0.3f), Labels.None);
    }

    private static void Post(List<Solid> street, Vector3 foot, float height, float half, Vector3 colour, byte label)
        => Box(street, foot - new Vector3(half, 0, half), foot + new Vector3(half, height, half), colour, label);

    private static void Box(List<Solid> street, Vector3 low, Vector3 high, Vector3 colour, byte label) => street.Add(new Solid
    {
        Form = Form.Box,
        Low = low,
        High = high,
        Label = label,
        Paint = Buildings.Rough,
        Colour = colour,
    });

    private static void Board(List<Solid> street, SceneRandom random, Vector3 middle, Vector3 reach, bool round) => street.Add(new Solid
    {
        Form = Form.Box,
        Low = middle - reach,
        High = middle + reach,
        Label = Labels.Sign,
        Paint = round ? Disc : Text,
        Gap = round ? Corner : null,
        Colour = random.Near(random.Pick<Vector3>(Boards), 0.15f),
        Accent = random.Chance(0.5) ? new(0.85f, 0.85f, 0.84f) : new(0.12f, 0.24f, 0.58f),
        Pattern = new(middle, reach.X),
        Seed = random.Seed(),
    });

    private static float FromMiddle(Solid board, in Hit hit)
    {
        float x = hit.Point.X - board.Pattern.X, y = hit.Point.Y - board.Pattern.Y;
        return (x * x + y * y) / (board.Pattern.W * board.Pattern.W);
    }

    private static bool Corner(Solid solid, in Hit hit, bool label) => FromMiddle(solid, hit) > 1;

    private static Vector3 Disc(Solid solid, in Hit hit)
    {
        if (hit.Normal.Z >= 0) return Grey;
        return FromMiddle(solid, hit) > 0.62f ? new Vector3(0.68f, 0.10f, 0.10f) : solid.Accent;
    }

    private static Vector3 Text(Solid solid, in Hit hit)
    {
        if (hit.Normal.Z >= 0) return Grey;
        Vector3 ink = solid.Colour.X + solid.Colour.Y > 1.2f ? new(0.15f, 0.15f, 0.18f) : new(0.85f, 0.85f, 0.83f);
        float x = hit.Point.X - solid.Low.X, y = hit.Point.Y - solid.Low.Y;
        bool line = Noise.Fraction(y / 0.18f) is > 0.3f and < 0.75f;
        bool letter = Noise.Cell(Noise.Floor(x * 16), Noise.Floor(y / 0.18f), 0, solid.Seed) > 0.4f;
        return line && letter ? ink : solid.Colour;
    }

    private static Vector3 Lights(Solid solid, in Hit hit)
    {
        if (hit.Normal.Z >= 0) return Black;
        float x = hit.Point.X - solid.Pattern.X;
        for (int i = 0; i < 3; i++)
        {
            float y = hit.Point.Y - solid.Pattern.Y - (0.3f - 0.3f * i);
            if (x * x + y * y > 0.11f * 0.11f) continue;
            Vector3 colour = i switch { 0 => new(1.0f, 0.15f, 0.1f), 1 => new(1.0f, 0.7f, 0.1f), _ => new(0.2f, 0.95f, 0.5f) };
            return i == (int)solid.Pattern.W ? colour * 1.6f : colour * 0.15f;
        }
        return Black;
    }

    private static bool BetweenBars(Solid solid, in Hit hit, bool label)
    {
        if (label) return false;
        float top = solid.High.Y - hit.Point.Y, bottom = hit.Point.Y - solid.Low.Y;
        if (top < 0.07f || bottom is > 0.12f and < 0.18f) return false;
        return Noise.Fraction((hit.Normal.X != 0 ? hit.Point.Z : hit.Point.X) / 0.14f) > 0.32f;
    }
}
