using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>The ground: carriageway with its markings, kerbs, pavements, side street, and what lies beyond.</summary>
internal sealed class Road
{
    private readonly uint _seed;
    private readonly float _start, _slope, _bend, _dash, _gap, _slab;
    private readonly Vector3 _asphalt, _paving, _kerb, _verge, _paint;
    private readonly bool _yellow, _edge, _centre, _lane, _grass;
    private readonly float _zebra;

    public Road(SceneRandom random, bool grass)
    {
        _seed = random.Seed();
        HalfWidth = random.Between(2.9f, 5.6f);
        // Traffic keeps to the left: the road's middle lies to the camera's right.
        _start = HalfWidth * random.Between(0.2f, 0.55f);
        _slope = random.Between(-0.02f, 0.02f);
        _bend = random.Chance(0.55) ? random.Between(-0.0006f, 0.0006f) : random.Between(-0.003f, 0.003f);
        PavementLeft = random.Between(1.3f, 4.5f);
        PavementRight = random.Between(1.3f, 4.5f);
        CrossingNear = random.Chance(0.35) ? random.Between(9, 50) : float.PositiveInfinity;
        CrossingFar = CrossingNear + random.Between(6, 10);
        _zebra = random.Chance(0.12) ? random.Between(7, 30) : float.PositiveInfinity;
        (_dash, _gap) = random.Chance(0.5) ? (2f, 4f) : (4f, 2f);
        _slab = random.Between(0.45f, 0.9f);
        float grey = random.Between(0.33f, 0.51f);
        _asphalt = random.Near(new Vector3(grey, grey, grey * 1.02f), 0.06f);
        _paving = random.Near(random.Chance(0.25) ? new(0.56f, 0.50f, 0.46f) : new(0.54f, 0.53f, 0.51f), 0.15f);
        _kerb = random.Near(new(0.60f, 0.60f, 0.58f), 0.12f);
        _grass = grass;
        _verge = grass ? random.Near(new(0.32f, 0.38f, 0.20f), 0.2f) : random.Near(new(0.50f, 0.48f, 0.45f), 0.15f);
        _paint = random.Near(new(0.88f, 0.88f, 0.86f), 0.1f);
        (_centre, _edge, _yellow, _lane) = (random.Chance(0.85), random.Chance(0.4), random.Chance(0.45), random.Chance(0.12));
    }

    public float HalfWidth { get; }

    public float PavementLeft { get; }

    public float PavementRight { get; }

    /// <summary>A side street crosses from here …</summary>
    public float CrossingNear { get; }

    /// <summary>… to here.</summary>
    public float CrossingFar { get; }

    /// <summary>The middle of the road, ahead of the camera.</summary>
    public float Centre(float z) => _start + (_slope + _bend * z) * z;

    /// <summary>x of the outer edge of a pavement: side −1 is left, 1 right.</summary>
    public float Edge(float z, int side) => Centre(z) + side * (HalfWidth + (side < 0 ? PavementLeft : PavementRight));

    public byte Label(float x, float z)
    {
        float across = x - Centre(z), side = MathF.Abs(across) - HalfWidth;
        if (side < 0 || z >= CrossingNear && z < CrossingFar) return Labels.Road;
        return side < (across < 0 ? PavementLeft : PavementRight) || !_grass ? Labels.Pavement : Labels.Tree;
    }

    public Vector3 Colour(float x, float z, float pixel)
    {
        float across = x - Centre(z), side = MathF.Abs(across) - HalfWidth;
        bool crossing = z >= CrossingNear && z < CrossingFar;
        float near = 1 / (1 + pixel * 12);
        if (side < 0 || crossing) return Carriageway(x, across, side, z, crossing, near);
        float rough = 0.9f + 0.2f * Noise.Fractal(x * 1.5f, z * 0.8f, _seed + 1, 3);
        if (side < 0.14f) return _kerb * rough;
        if (side < (across < 0 ? PavementLeft : PavementRight))
        {
            float u = across / _slab, v = z / (_slab * 1.4f);
            float tone = 0.92f + 0.16f * Noise.Cell(Noise.Floor(u), Noise.Floor(v), 0, _seed + 2);
            bool joint = Noise.Fraction(u) < 0.05f || Noise.Fraction(v) < 0.04f;
            return _paving * rough * (1 + (tone - 1) * near) * (joint ? 1 - 0.22f * near : 1);
        }
        float blades = 0.75f + 0.5f * Noise.Fractal(x * 6, z * 3, _seed + 3, 3);
        return _verge * (_grass ? blades : rough);
    }

    private Vector3 Carriageway(float x, float across, float side, float z, bool crossing, float near)
    {
        float patches = Noise.Fractal(x * 0.35f, z * 0.12f, _seed + 4, 3);
        float grit = Noise.Cell(Noise.Floor(x * 40), Noise.Floor(z * 25), 0, _seed + 5) - 0.5f;
        Vector3 colour = _asphalt * (0.86f + 0.28f * patches + 0.16f * grit * near);
        // Tyres polish two tracks a lane; repairs leave straight-edged patches.
        float track = MathF.Abs(Noise.Fraction(MathF.Abs(across) / 1.75f) - 0.5f);
        colour *= 0.96f + 0.08f * track;
        if (Noise.Cell(Noise.Floor(across / 1.6f), Noise.Floor(z / 5.5f), 1, _seed) > 0.93f) colour *= 0.82f;
        if (crossing && side > -0.3f) return colour;
        if (_lane && side > -1.5f) colour = Noise.Mix(colour, new Vector3(0.46f, 0.27f, 0.24f), 0.6f);
        return Noise.Mix(colour, Marking(across, side, z, crossing, out float cover), cover);
    }

    private Vector3 Marking(float across, float side, float z, bool crossing, out float cover)
    {
        cover = 0.55f + 0.4f * Noise.Smooth(across * 7, z * 3, _seed + 6);
        if (z >= _zebra && z < _zebra + 3 && Noise.Fraction(across / 1.2f) < 0.5f) return _paint;
        if (!crossing)
        {
            if (_centre && MathF.Abs(across) < 0.07f && Noise.Fraction(z / (_dash + _gap)) * (_dash + _gap) < _dash) return _paint;
            if (_yellow && (side > -0.32f && side < -0.24f || side > -0.52f && side < -0.44f)) return new Vector3(0.80f, 0.68f, 0.30f);
            if (_edge && !_yellow && side > -0.45f && side < -0.33f) return _paint;
            // The line at which traffic waits, before the side street.
            if (across < 0 && z > CrossingNear - 0.6f && z < CrossingNear - 0.3f) return _paint;
        }
        cover = 0;
        return default;
    }
}
