using System.Numerics;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>Light and sky.</summary>
internal sealed class Weather
{
    private readonly Vector3 _zenith, _horizon, _cloud;
    private readonly float _cover;
    private readonly uint _seed;

    public Weather(SceneRandom random)
    {
        _seed = random.Seed();
        float kind = random.Between(0, 1);
        float side = random.Between(-1, 1);
        ToSun = Solid.Unit(new Vector3(side * 1.6f, random.Between(0.35f, 1.3f), random.Between(-1.2f, 0.9f)));
        if (kind < 0.45f)
        {
            // Low sun, the camera exposing for the street: a pale sky.
            Sunny = true;
            (_zenith, _horizon) = (random.Near(new(0.62f, 0.80f, 0.97f), 0.12f), random.Near(new(0.93f, 0.96f, 0.99f), 0.04f));
            (_cloud, _cover) = (new(1.0f, 1.0f, 1.0f), random.Between(0.1f, 0.6f));
            (Sun, Ambient) = (random.Near(new(0.66f, 0.60f, 0.50f), 0.1f), random.Near(new(0.42f, 0.46f, 0.53f), 0.12f));
            Exposure = random.Between(0.85f, 1.15f);
        }
        else if (kind < 0.75f)
        {
            (_zenith, _horizon) = (random.Near(new(0.93f, 0.94f, 0.96f), 0.06f), random.Near(new(0.98f, 0.98f, 0.98f), 0.03f));
            (_cloud, _cover) = (random.Near(new(0.88f, 0.89f, 0.92f), 0.06f), random.Between(0.2f, 0.8f));
            (Sun, Ambient) = (new(0.12f, 0.11f, 0.10f), random.Near(new(0.74f, 0.76f, 0.78f), 0.1f));
            Exposure = random.Between(0.8f, 1.1f);
        }
        else
        {
            // Dusk: the street is much darker than the clouds.
            (_zenith, _horizon) = (random.Near(new(0.50f, 0.56f, 0.62f), 0.25f), random.Near(new(0.78f, 0.79f, 0.78f), 0.12f));
            (_cloud, _cover) = (random.Near(new(0.34f, 0.38f, 0.42f), 0.25f), random.Between(0.4f, 1.0f));
            (Sun, Ambient) = (new(0.05f, 0.05f, 0.05f), random.Near(new(0.30f, 0.32f, 0.34f), 0.25f));
            Exposure = random.Between(0.75f, 1.15f);
        }
        Haze = random.Between(250, 900);
        Grain = random.Between(0.006f, 0.022f);
        Vignette = random.Between(0.0f, 0.22f);
    }

    public bool Sunny { get; }

    public Vector3 ToSun { get; }

    public Vector3 Sun { get; }

    public Vector3 Ambient { get; }

    public float Exposure { get; }

    /// <summary>Distance at which half of what is seen is air.</summary>
    public float Haze { get; }

    public float Grain { get; }

    public float Vignette { get; }

    /// <summary>The sky in a direction whose z is 1.</summary>
    public Vector3 Sky(Vector3 direction)
    {
        float up = MathF.Max(direction.Y, 0), height = up / (up + 0.35f);
        Vector3 colour = Noise.Mix(_horizon, _zenith, MathF.Min(1, height * 1.5f));
        // A plane of clouds far above: structure shrinks towards the horizon.
        float far = 1.2f / (up + 0.18f);
        float density = Noise.Fractal(direction.X * far * 1.7f + 11, far * 2.3f, _seed, 5);
        float cloud = Math.Clamp((density - 0.62f + 0.35f * _cover) * 5, 0, 1);
        float shade = Noise.Fractal(direction.X * far * 3 + 40, far * 4, _seed + 9, 3);
        return Noise.Mix(colour, _cloud * (0.85f + 0.3f * shade), cloud * 0.85f);
    }

    public Vector3 Light(Vector3 albedo, Vector3 normal, bool shadowed)
    {
        float facing = shadowed ? 0 : MathF.Max(0, Solid.Dot(normal, ToSun));
        // Walls and undersides see less sky than the ground does.
        float open = 0.72f + 0.28f * normal.Y;
        return albedo * (Ambient * (0.35f + 0.9f * open) + Sun * (1.3f * facing));
    }

    public Vector3 Air(Vector3 colour, float distance)
    {
        float share = distance / (distance + Haze);
        return Noise.Mix(colour, _horizon * 0.9f, share * share);
    }
}
