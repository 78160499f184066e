using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>
/// Traces a street: four rays a pixel for its colour, one through its centre for its label. Solids are looked up by the image columns and
/// the stretches of street that they touch, so that a ray meets few of them.
/// </summary>
internal sealed class SceneRenderer
{
    private const int Strip = 4;
    private const float Near = 0.3f;
    private const float Contact = 0.5f;

    // A rotated grid: no two samples share a row or a column.
    private static readonly Vector2[] Samples = [new(0.375f, 0.125f), new(0.875f, 0.375f), new(0.125f, 0.625f), new(0.625f, 0.875f)];

    private readonly Street _street;
    private readonly int _width, _height;
    private readonly float _focal, _centreX, _centreY;
    private readonly Seen[][] _strips;
    private readonly Solid[][] _casters, _footprints;

    private readonly record struct Seen(Solid Solid, float Top, float Bottom);

    public SceneRenderer(Street street, int width, int height)
    {
        (_street, _width, _height) = (street, width, height);
        _focal = street.Focal * MathF.Max(width, height * (4f / 3));
        (_centreX, _centreY) = (street.Vanishing.X * width, street.Vanishing.Y * height);
        _strips = Strips();
        _casters = street.Weather.Sunny ? Stretches(ShadowRange) : [];
        _footprints = Stretches(solid => solid.Low.Y < Contact ? (solid.Low.Z - Contact, solid.High.Z + Contact) : (1, 0));
    }

    public void Render(Span<byte> rgb, Span<byte> labels)
    {
        for (int y = 0, i = 0; y < _height; y++)
        {
            for (int x = 0; x < _width; x++, i++)
            {
                labels[i] = Bonnet(x + 0.5f, y + 0.5f, out _) ? Labels.None : LabelAt(x + 0.5f, y + 0.5f);
                Vector3 sum = default;
                foreach (Vector2 sample in Samples) sum += ColourAt(x + sample.X, y + sample.Y);
                Develop(sum / Samples.Length, x, y, rgb.Slice(3 * i, 3));
            }
        }
    }

    private byte LabelAt(float x, float y)
    {
        Ray ray = CameraRay(x, y);
        Solid? solid = Nearest(ray, x, y, true, out Hit hit, out bool ground);
        return solid?.Label ?? (ground ? _street.Road.Label(hit.Point.X, hit.Point.Z) : Labels.Sky);
    }

    private Vector3 ColourAt(float x, float y)
    {
        if (Bonnet(x, y, out Vector3 bonnet)) return bonnet;
        Ray ray = CameraRay(x, y);
        Weather weather = _street.Weather;
        Solid? solid = Nearest(ray, x, y, false, out Hit hit, out bool ground);
        if (solid is null && !ground) return weather.Sky(ray.Direction);
        Vector3 albedo = solid?.Paint(solid, hit) ?? _street.Road.Colour(hit.Point.X, hit.Point.Z, hit.Pixel) * GroundContact(hit.Point);
        bool shadowed = weather.Sunny && Solid.Dot(hit.Normal, weather.ToSun) > 0 && Shadowed(hit);
        return weather.Air(weather.Light(albedo, hit.Normal, shadowed), hit.Point.Z);
    }

    private Ray CameraRay(float x, float y) => new(_street.Eye, new((x - _centreX) / _focal, (_centreY - y) / _focal, 1));

    private Solid? Nearest(in Ray ray, float x, float y, bool label, out Hit hit, out bool ground)
    {
        float nearest = float.PositiveInfinity;
        ground = ray.Direction.Y < 0;
        if (ground) nearest = _street.Eye.Y / -ray.Direction.Y;
        hit = new Hit(ray.Origin + ray.Direction * (ground ? nearest : 0), Vector3.UnitY, ground ? nearest / _focal : 0);
        Solid? found = null;
        foreach (Seen seen in _strips[Math.Min((int)x / Strip, _strips.Length - 1)])
        {
            Solid solid = seen.Solid;
            if (solid.Low.Z >= nearest) break;
            if (y < seen.Top || y > seen.Bottom || !solid.Meets(ray, nearest, out float t, out Vector3 normal)) continue;
            Hit candidate = new(ray.Origin + ray.Direction * t, normal, t / _focal);
            if (solid.Gap is { } gap && gap(solid, candidate, label)) continue;
            (found, hit, nearest) = (solid, candidate, t);
        }
        ground &= found is null;
        return found;
    }

    private bool Shadowed(in Hit hit)
    {
        Ray ray = new(hit.Point + hit.Normal * 0.02f, _street.Weather.ToSun);
        foreach (Solid solid in At(_casters, hit.Point.Z))
        {
            if (!solid.Meets(ray, float.PositiveInfinity, out float t, out Vector3 normal)) continue;
            if (solid.Gap is { } gap && gap(solid, new Hit(ray.Origin + ray.Direction * t, normal, 0.05f), false)) continue;
            return true;
        }
        return false;
    }

    // Little light reaches the ground under a car or beside a wall, whatever the weather.
    private float GroundContact(Vector3 point)
    {
        float light = 1;
        foreach (Solid solid in At(_footprints, point.Z))
        {
            float dx = MathF.Max(MathF.Max(solid.Low.X - point.X, point.X - solid.High.X), 0);
            if (dx >= Contact) continue;
            float dz = MathF.Max(MathF.Max(solid.Low.Z - point.Z, point.Z - solid.High.Z), 0);
            float away = MathF.Min(1, (dx + dz) / Contact), width = solid.High.X - solid.Low.X, length = solid.High.Z - solid.Low.Z;
            float size = MathF.Min(1, MathF.Min(width, length));
            light = MathF.Min(light, 1 - (0.65f * size + 0.05f) * (1 - away) * (1 - away));
        }
        return light;
    }

    private bool Bonnet(float x, float y, out Vector3 colour)
    {
        colour = default;
        if (_street.Bonnet == 0) return false;
        float across = 2 * x / _width - 1, top = 1 - _street.Bonnet * (1.3f - 0.8f * across * across), depth = y / _height - top;
        if (depth < 0) return false;
        Vector3 sky = _street.Weather.Sky(new(across, 0.5f, 1));
        colour = Noise.Mix(new(0.05f, 0.05f, 0.06f), sky, Math.Clamp(0.35f - depth * 4, 0.02f, 0.35f));
        return true;
    }

    private void Develop(Vector3 colour, int x, int y, Span<byte> rgb)
    {
        Weather weather = _street.Weather;
        float u = 2f * x / _width - 1, v = 2f * y / _height - 1;
        colour *= weather.Exposure * (1 - weather.Vignette * 0.5f * (u * u + v * v));
        for (int c = 0; c < 3; c++)
        {
            float value = c switch { 0 => colour.X, 1 => colour.Y, _ => colour.Z };
            if (value > 0.75f) value = 0.75f + 0.25f * (value - 0.75f) / (value - 0.5f);
            float grain = Noise.Cell(x, y, c, _street.GrainSeed) + Noise.Cell(x, y, c + 3, _street.GrainSeed) - 1;
            rgb[c] = (byte)Math.Clamp((value + grain * weather.Grain) * 255 + 0.5f, 0, 255);
        }
    }

    private Seen[][] Strips()
    {
        List<Seen>[] strips = [.. Enumerable.Range(0, (_width + Strip - 1) / Strip).Select(_ => new List<Seen>())];
        foreach (Solid solid in _street.Solids.OrderBy(solid => solid.Low.Z))
        {
            if (solid.High.Z <= Near) continue;
            Vector2 low = new(float.PositiveInfinity), high = new(float.NegativeInfinity);
            for (int corner = 0; corner < 8; corner++)
            {
                Vector3 p = new(
                    (corner & 1) == 0 ? solid.Low.X : solid.High.X,
                    (corner & 2) == 0 ? solid.Low.Y : solid.High.Y,
                    MathF.Max(Near, (corner & 4) == 0 ? solid.Low.Z : solid.High.Z));
                Vector2 seen = new(_centreX + _focal * (p.X - _street.Eye.X) / p.Z, _centreY - _focal * (p.Y - _street.Eye.Y) / p.Z);
                low = Vector2.Min(low, seen);
                high = Vector2.Max(high, seen);
            }
            if (high.X < 0 || low.X >= _width || high.Y < 0 || low.Y >= _height) continue;
            int first = (int)MathF.Max(low.X - 1, 0) / Strip;
            int last = Math.Min((int)MathF.Min(high.X + 1, _width) / Strip, strips.Length - 1);
            for (int i = first; i <= last; i++) strips[i].Add(new Seen(solid, low.Y - 1, high.Y + 1));
        }
        return [.. strips.Select(strip => strip.ToArray())];
    }

    // The stretch of street that a solid may throw its shadow on, down to the ground.
    private (float Near, float Far) ShadowRange(Solid solid)
    {
        Vector3 sun = _street.Weather.ToSun;
        float thrown = -solid.High.Y * sun.Z / sun.Y;
        return (solid.Low.Z + MathF.Min(0, thrown), solid.High.Z + MathF.Max(0, thrown));
    }

    private Solid[][] Stretches(Func<Solid, (float Near, float Far)> range)
    {
        List<Solid>[] stretches = [.. Enumerable.Range(0, (int)Street.End + 20).Select(_ => new List<Solid>())];
        foreach (Solid solid in _street.Solids)
        {
            (float near, float far) = range(solid);
            int first = Math.Max((int)MathF.Floor(near), 0), last = Math.Min((int)MathF.Floor(far), stretches.Length - 1);
            for (int i = first; i <= last; i++) stretches[i].Add(solid);
        }
        return [.. stretches.Select(stretch => stretch.ToArray())];
    }

    private static ReadOnlySpan<Solid> At(Solid[][] stretches, float z)
    {
        int i = (int)z;
        return i >= 0 && i < stretches.Length ? stretches[i] : [];
    }
}
