using System.Numerics;
using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Data.Scenes;

/// <summary>A ray of points Origin + t·Direction. Camera rays have Direction.Z = 1, so that t is the depth.</summary>
internal readonly struct Ray(Vector3 origin, Vector3 direction)
{
    public readonly Vector3 Origin = origin, Direction = direction, Inverse = Vector3.One / direction;
}

/// <summary>Where a ray meets a surface. <see cref="Pixel"/> is the width in metres that a pixel covers there.</summary>
internal readonly record struct Hit(Vector3 Point, Vector3 Normal, float Pixel);

/// <summary>The half space n·p ≤ Offset.</summary>
internal readonly record struct HalfSpace(Vector3 Normal, float Offset);

/// <summary>Colour of a solid where it is hit, in 0 … 1, unlit.</summary>
internal delegate Vector3 Paint(Solid solid, in Hit hit);

/// <summary>Whether a ray passes through where it meets the solid. Labels are given generously, as people draw them: a fence or a bare
/// crown is one region, though the picture shows what lies behind.</summary>
internal delegate bool Gap(Solid solid, in Hit hit, bool label);

internal enum Form
{
    Box,
    Hull,
    Ellipsoid,
}

/// <summary>
/// A convex thing in the street, in metres: x to the right, y up from the ground, z ahead. Dot products are written out because their
/// order of summation in <see cref="Vector3"/> depends on the machine.
/// </summary>
internal sealed class Solid
{
    public required Form Form { get; init; }

    public required Vector3 Low { get; init; }

    public required Vector3 High { get; init; }

    /// <summary>Bounds a <see cref="Form.Hull"/>, besides its box.</summary>
    public HalfSpace[] Sides { get; init; } = [];

    public required byte Label { get; init; }

    public required Paint Paint { get; init; }

    public Gap? Gap { get; init; }

    public Vector3 Colour { get; init; }

    public Vector3 Accent { get; init; }

    /// <summary>Where the thing's own coordinates begin and which way they go.</summary>
    public Frame Frame { get; init; }

    /// <summary>Sizes that the paint needs, its own matter.</summary>
    public Vector4 Pattern { get; init; }

    public uint Seed { get; init; }

    public static float Dot(Vector3 a, Vector3 b) => a.X * b.X + a.Y * b.Y + a.Z * b.Z;

    public static Vector3 Unit(Vector3 v) => v / MathF.Sqrt(Dot(v, v));

    /// <summary>Meets the ray from outside at 0 &lt; <paramref name="t"/> &lt; <paramref name="limit"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Meets(in Ray ray, float limit, out float t, out Vector3 normal) => Form switch
    {
        Form.Ellipsoid => MeetsEllipsoid(ray, limit, out t, out normal),
        _ => MeetsHull(ray, limit, out t, out normal),
    };

    private bool MeetsHull(in Ray ray, float limit, out float t, out Vector3 normal)
    {
        Vector3 a = (Low - ray.Origin) * ray.Inverse, b = (High - ray.Origin) * ray.Inverse;
        Vector3 first = Vector3.Min(a, b), last = Vector3.Max(a, b);
        t = first.X;
        normal = new Vector3(ray.Direction.X > 0 ? -1 : 1, 0, 0);
        if (first.Y > t) (t, normal) = (first.Y, new Vector3(0, ray.Direction.Y > 0 ? -1 : 1, 0));
        if (first.Z > t) (t, normal) = (first.Z, new Vector3(0, 0, ray.Direction.Z > 0 ? -1 : 1));
        float exit = MathF.Min(MathF.Min(last.X, last.Y), MathF.Min(last.Z, limit));
        if (!(t < exit && exit > 0)) return false;
        foreach (HalfSpace side in Sides)
        {
            float along = Dot(side.Normal, ray.Direction), room = side.Offset - Dot(side.Normal, ray.Origin);
            if (along < 0)
            {
                float entry = room / along;
                if (entry > t) (t, normal) = (entry, side.Normal);
            }
            else if (along > 0)
            {
                exit = MathF.Min(exit, room / along);
            }
            else if (room < 0)
            {
                return false;
            }
            if (t >= exit) return false;
        }
        return t > 0;
    }

    private bool MeetsEllipsoid(in Ray ray, float limit, out float t, out Vector3 normal)
    {
        Vector3 scale = new Vector3(2) / (High - Low), origin = (ray.Origin - (Low + High) * 0.5f) * scale, along = ray.Direction * scale;
        float a = Dot(along, along), b = Dot(along, origin), c = Dot(origin, origin) - 1, root = b * b - a * c;
        (t, normal) = (0, default);
        if (root < 0) return false;
        t = (-b - MathF.Sqrt(root)) / a;
        if (!(t > 0 && t < limit)) return false;
        normal = Unit((origin + along * t) * scale);
        return true;
    }
}

/// <summary>
/// A thing's own coordinates: across to its right, up, and along to its front, from the ground at its middle. A thing faces away from
/// the camera, towards it, or, turned, to one side.
/// </summary>
internal readonly record struct Frame(Vector3 Origin, bool Turned = false, bool Reversed = false)
{
    private float Sign => Reversed ? -1 : 1;

    public Vector3 Rotate(Vector3 own)
    {
        Vector3 v = new(own.X * Sign, own.Y, own.Z * Sign);
        return Turned ? new Vector3(v.Z, v.Y, -v.X) : v;
    }

    public Vector3 Unrotate(Vector3 world)
    {
        Vector3 v = Turned ? new Vector3(-world.Z, world.Y, world.X) : world;
        return new Vector3(v.X * Sign, v.Y, v.Z * Sign);
    }

    public Vector3 Out(Vector3 own) => Origin + Rotate(own);

    public Vector3 In(Vector3 world) => Unrotate(world - Origin);

    public (Vector3 Low, Vector3 High) Box(Vector3 low, Vector3 high)
    {
        Vector3 a = Out(low), b = Out(high);
        return (Vector3.Min(a, b), Vector3.Max(a, b));
    }

    /// <summary>The half space below a plane through a point, both in own coordinates.</summary>
    public HalfSpace Below(Vector3 normal, Vector3 point)
    {
        Vector3 n = Rotate(Solid.Unit(normal));
        return new HalfSpace(n, Solid.Dot(n, Out(point)));
    }
}
