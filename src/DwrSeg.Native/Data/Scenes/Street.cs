using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>What stands where: a street composed for one seed and index, and the camera that looks along it.</summary>
internal sealed class Street
{
    /// <summary>Where the street ends in a row of far houses and trees.</summary>
    public const float End = 130;

    private const float Start = -6;

    private readonly SceneRandom _random;
    private readonly bool _town, _open;
    private readonly List<(Vector2 Place, float Reach)> _taken = [];

    public Street(ulong seed, int index)
    {
        _random = new SceneRandom(seed, index);
        float kind = _random.Between(0, 1);
        (_town, _open) = (kind < 0.5f, kind > 0.82f);
        Weather = new Weather(_random);
        Road = new Road(_random, !_town && _random.Chance(0.7));
        Eye = new Vector3(0, _random.Between(1.25f, 1.65f), 0);
        Focal = _random.Between(0.85f, 1.25f);
        Vanishing = new Vector2(_random.Between(0.38f, 0.62f), _random.Between(0.45f, 0.58f));
        Bonnet = _random.Chance(0.2) ? _random.Between(0.02f, 0.08f) : 0;
        GrainSeed = _random.Seed();
        foreach (int side in (ReadOnlySpan<int>)[-1, 1]) AddFronts(side);
        foreach (int side in (ReadOnlySpan<int>)[-1, 1]) AddKerbside(side);
        AddTraffic();
        AddPeople();
        AddBackdrop();
    }

    public List<Solid> Solids { get; } = [];

    public Road Road { get; }

    public Weather Weather { get; }

    public Vector3 Eye { get; }

    /// <summary>Focal length over the image's width (of a 4:3 image of the same height).</summary>
    public float Focal { get; }

    /// <summary>Where straight-ahead is, as a share of width and height.</summary>
    public Vector2 Vanishing { get; }

    /// <summary>Share of the height that the camera's own car covers at the bottom.</summary>
    public float Bonnet { get; }

    public uint GrainSeed { get; }

    private void AddFronts(int side)
    {
        float setBack = _town ? _random.Between(0, 0.5f) : _open ? _random.Between(8, 20) : _random.Between(2.5f, 8);
        float storeys = _town ? _random.Between(9, 20) : _random.Between(5.5f, 9), gaps = _town ? 0.08f : _open ? 0.6f : 0.25f;
        for (float z = Start; z < End;)
        {
            if (z >= Road.CrossingNear - 1 && z < Road.CrossingFar + 1)
            {
                z = Road.CrossingFar + 1;
                continue;
            }
            float far = z + (_town ? _random.Between(6, 18) : _random.Between(7, 13));
            if (z < Road.CrossingNear) far = MathF.Min(far, Road.CrossingNear - 1);
            float inner = InnerEdge(z, far, side) + side * (setBack + _random.Between(0, 0.6f));
            float outer = inner + side * _random.Between(9, 14), height = storeys * _random.Between(0.8f, 1.35f);
            Vector3 low = new(MathF.Min(inner, outer), 0, z), high = new(MathF.Max(inner, outer), height, far);
            if (_random.Chance(gaps)) AddGreenery(side, low, high);
            else Buildings.Add(Solids, _random, low, high, _town);
            if (!_town) AddBoundary(side, z, far, setBack);
            z = far + (_town || _random.Chance(0.5) ? 0 : _random.Between(1, 4));
        }
    }

    private void AddGreenery(int side, Vector3 low, Vector3 high)
    {
        float edge = side < 0 ? high.X : low.X;
        if (_random.Chance(0.5))
        {
            float height = _random.Between(1.2f, 2.6f);
            Trees.AddHedge(Solids, _random, new(edge - 0.5f, 0, low.Z), new(edge + 0.5f, height, high.Z));
        }
        int trees = 1 + _random.Below(3);
        for (int i = 0; i < trees; i++)
        {
            Vector3 foot = new(edge + side * _random.Between(0.5f, 7), 0, _random.Between(low.Z, high.Z));
            Trees.Add(Solids, _random, foot, _random.Between(5, 11));
        }
    }

    // Garden walls, hedges and fences at the pavement's outer edge.
    private void AddBoundary(int side, float near, float far, float setBack)
    {
        if (setBack < 1.5f) return;
        float x = InnerEdge(near, far, side) + side * 0.15f;
        Vector3 low = new(x - 0.12f, 0, near), high = new(x + 0.12f, 0, far - _random.Between(0, 1.5f));
        switch (_random.Below(4))
        {
            case 0:
                Trees.AddHedge(Solids, _random, low - new Vector3(0.25f, 0, 0), high + new Vector3(0.25f, _random.Between(1, 2), 0));
                break;
            case 1:
                Furniture.AddFence(Solids, _random, low, high + new Vector3(0, _random.Between(0.9f, 1.7f), 0));
                break;
            case 2:
                high.Y = _random.Between(0.7f, 1.6f);
                Solids.Add(new Solid
                {
                    Form = Form.Box,
                    Low = low,
                    High = high,
                    Label = Labels.Building,
                    Paint = Buildings.Rough,
                    Colour = _random.Near(new(0.46f, 0.34f, 0.28f), 0.25f),
                    Seed = _random.Seed(),
                });
                break;
        }
        if (_random.Chance(_open ? 0.9 : 0.35) && setBack > 2.5f)
        {
            Vector3 foot = new(x + side * _random.Between(0.8f, setBack - 1), 0, _random.Between(near, far));
            Trees.Add(Solids, _random, foot, _random.Between(4, 9));
        }
    }

    private void AddKerbside(int side)
    {
        bool left = side < 0;
        float pavement = left ? Road.PavementLeft : Road.PavementRight;
        float spacing = _random.Between(16, 34);
        if (_random.Chance(0.85))
        {
            for (float z = _random.Between(3, 20); z < End; z += spacing * _random.Between(0.8f, 1.2f))
            {
                if (Free(Pavement(z, side, 0.45f), z, 0.5f)) Furniture.AddLamp(Solids, _random, Ground(Pavement(z, side, 0.45f), z), -side);
            }
        }
        int signs = _random.Below(5);
        for (int i = 0; i < signs; i++)
        {
            float z = _random.Between(5, 55), x = Pavement(z, side, _random.Between(0.3f, 0.8f));
            if (Free(x, z, 0.5f)) Furniture.AddSign(Solids, _random, Ground(x, z));
        }
        int shopSigns = _town ? _random.Below(6) : 0;
        for (int i = 0; i < shopSigns; i++)
        {
            float z = _random.Between(6, 60);
            if (z > Road.CrossingNear - 2 && z < Road.CrossingFar + 2) continue;
            Furniture.AddShopSign(Solids, _random, new(Road.Edge(z, side) - side * 0.3f, _random.Between(2.7f, 4.2f), z));
        }
        bool lights = float.IsFinite(Road.CrossingNear) ? _random.Chance(0.7) : _random.Chance(0.12);
        if (lights)
        {
            float z = float.IsFinite(Road.CrossingNear) ? Road.CrossingNear - 1.2f : _random.Between(8, 40);
            if (Free(Pavement(z, side, 0.5f), z, 0.6f)) Furniture.AddTrafficLight(Solids, _random, Ground(Pavement(z, side, 0.5f), z));
        }
        if (_random.Chance(0.25))
        {
            float z = _random.Between(4, 25), pace = _random.Between(1.3f, 2.2f);
            for (int i = 4 + _random.Below(8); i > 0; i--, z += pace)
            {
                if (Free(Pavement(z, side, 0.35f), z, 0.3f)) Furniture.AddBollard(Solids, _random, Ground(Pavement(z, side, 0.35f), z));
            }
        }
        if (_random.Chance(0.25))
        {
            float z = _random.Between(4, 30), far = MathF.Min(z + _random.Between(5, 20), Road.CrossingNear - 1);
            for (; z < far; z += 2.5f)
            {
                float x = Pavement(z + 1.2f, side, 0.3f);
                if (z >= 3) Furniture.AddFence(Solids, _random, new(x - 0.03f, 0, z), new(x + 0.03f, 1.05f, MathF.Min(z + 2.5f, far)));
            }
        }
        if (pavement > 2 && _random.Chance(_town ? 0.3 : 0.5))
        {
            for (float z = _random.Between(5, 20); z < 100; z += _random.Between(9, 24))
            {
                float x = Pavement(z, side, 0.7f);
                if (Free(x, z, 0.7f)) Trees.Add(Solids, _random, Ground(x, z), _random.Between(4.5f, 9));
            }
        }
        if (_random.Chance(0.4))
        {
            float z = _random.Between(4, 30), x = Pavement(z, side, pavement - 0.5f);
            if (Free(x, z, 0.8f)) Furniture.AddBin(Solids, _random, Ground(x, z));
        }
    }

    private void AddTraffic()
    {
        foreach (int side in (ReadOnlySpan<int>)[-1, 1])
        {
            if (!_random.Chance(Road.HalfWidth > 4.0f ? 0.75 : 0.35)) continue;
            float fill = _random.Between(0.4f, 0.95f);
            for (float z = _random.Between(4, 12); z < 90; z += _random.Between(5, 6.5f))
            {
                float x = Road.Centre(z) + side * (Road.HalfWidth - Vehicles.HalfWidth - 0.1f);
                if (!_random.Chance(fill) || !Clear(x, z, 2.3f)) continue;
                Vehicles.Add(Solids, _random, new Frame(Ground(x, z), Reversed: side > 0 && _random.Chance(0.7)));
            }
        }
        AddLane(-1, 0.45f, 9, false);
        AddLane(1, 0.45f, 7, true);
        if (float.IsFinite(Road.CrossingNear) && _random.Chance(0.4))
        {
            float z = (Road.CrossingNear + Road.CrossingFar) / 2, x = Road.Centre(z) + _random.Between(-8, 8);
            if (Clear(x, z, 2.4f)) Vehicles.Add(Solids, _random, new Frame(Ground(x, z), Turned: true, Reversed: _random.Chance(0.5)));
        }
    }

    private void AddLane(int side, float share, float first, bool reversed)
    {
        int count = _random.Below(4);
        float z = first + _random.Between(0, 18);
        for (int i = 0; i < count && z < 100; i++, z += _random.Between(6, 30))
        {
            bool bus = _random.Chance(0.12);
            float x = Road.Centre(z) + side * Road.HalfWidth * share;
            if (!Clear(x, z, bus ? 6 : 2.4f)) continue;
            if (bus) Vehicles.AddBus(Solids, _random, new Frame(Ground(x, z), Reversed: reversed));
            else Vehicles.Add(Solids, _random, new Frame(Ground(x, z), Reversed: reversed));
        }
    }

    private void AddPeople()
    {
        int walkers = _town ? 2 + _random.Below(12) : _random.Below(6);
        for (int i = 0; i < walkers; i++)
        {
            int side = _random.Chance(0.5) ? -1 : 1;
            float z = 4 + 42 * _random.Between(0, 1) * _random.Between(0.2f, 1);
            float pavement = side < 0 ? Road.PavementLeft : Road.PavementRight;
            float x = Pavement(z, side, _random.Between(0.4f, pavement));
            if (_random.Chance(0.08)) x = Road.Centre(z) + _random.Between(-0.9f, 0.9f) * Road.HalfWidth;
            if (!Free(x, z, 0.35f)) continue;
            People.AddPedestrian(Solids, _random, new Frame(Ground(x, z), _random.Chance(0.3), _random.Chance(0.5)));
        }
        int riders = _random.Chance(0.6) ? 1 + _random.Below(4) : 0;
        for (int i = 0; i < riders; i++)
        {
            int side = _random.Chance(0.65) ? -1 : 1;
            float z = _random.Between(5, 28), x = Road.Centre(z) + side * (Road.HalfWidth - _random.Between(0.4f, 1.6f));
            if (Free(x, z, 0.9f)) People.AddBicyclist(Solids, _random, new Frame(Ground(x, z), _random.Chance(0.12), side > 0));
        }
    }

    private void AddBackdrop()
    {
        for (float x = -170; x < 170;)
        {
            float width = _random.Between(6, 22), height = _random.Between(4, 12), z = End + _random.Between(0, 12);
            if (_random.Chance(0.55)) Buildings.Add(Solids, _random, new(x, 0, z), new(x + width, height, z + 10), false);
            else Trees.AddHedge(Solids, _random, new(x, 0, z), new(x + width, height, z + 4));
            x += width * 0.95f;
        }
    }

    private static Vector3 Ground(float x, float z) => new(x, 0, z);

    private float Pavement(float z, int side, float fromKerb) => Road.Centre(z) + side * (Road.HalfWidth + fromKerb);

    private float InnerEdge(float near, float far, int side)
    {
        float a = Road.Edge(near, side), b = Road.Edge(far, side);
        return side < 0 ? MathF.Min(a, b) : MathF.Max(a, b);
    }

    // Off the carriageway's side street, too.
    private bool Free(float x, float z, float reach)
        => !(z > Road.CrossingNear - 0.4f && z < Road.CrossingFar + 0.4f) && Clear(x, z, reach);

    private bool Clear(float x, float z, float reach)
    {
        Vector2 place = new(x, z);
        // The camera's own car.
        if (z < 3.5f + reach && MathF.Abs(x) < 1.2f + reach) return false;
        foreach ((Vector2 other, float radius) in _taken)
        {
            Vector2 between = other - place;
            float least = radius + reach;
            if (between.X * between.X + between.Y * between.Y < least * least) return false;
        }
        _taken.Add((place, reach));
        return true;
    }
}
