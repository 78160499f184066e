using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends;

/// <summary>Covers a graph with steps: fused ones where a rule matches, one a node elsewhere.</summary>
internal static class GraphCover
{
    /// <summary>Which nodes, that one included, a fused step would take; null where the rule does not match.</summary>
    public delegate StepCover<TBinder, TStep>? Rule<TBinder, TStep>(GraphIndex index, ImmutableArray<bool> constant, Node node);

    /// <param name="graph">The graph.</param>
    /// <param name="rules">Tried in order on the first node that is not covered yet.</param>
    /// <param name="single">The cover of a node by itself.</param>
    public static IReadOnlyList<StepCover<TBinder, TStep>> Of<TBinder, TStep>(
        LayerGraph graph, IReadOnlyList<Rule<TBinder, TStep>> rules, Func<Node, StepCover<TBinder, TStep>> single)
    {
        var index = new GraphIndex(graph);
        ImmutableArray<bool> constant = graph.ConstantNodes();
        var covered = new bool[graph.Nodes.Length];
        var covers = new List<(int Position, StepCover<TBinder, TStep> Cover)>();
        for (int i = 0; i < covered.Length; i++)
        {
            if (covered[i]) continue;
            Node node = graph.Nodes[i];
            StepCover<TBinder, TStep>? cover = null;
            if (!constant[i])
            {
                foreach (var rule in rules)
                {
                    cover = rule(index, constant, node);
                    if (cover is not null && cover.Nodes.Any(n => covered[index.PositionOf(n)])) cover = null;
                    if (cover is not null) break;
                }
            }
            cover ??= single(node) with { IsConstant = constant[i] };
            foreach (Node part in cover.Nodes) covered[index.PositionOf(part)] = true;
            covers.Add((cover.RunsEarly ? cover.Nodes.Min(index.PositionOf) : cover.Nodes.Max(index.PositionOf), cover));
        }
        return [.. covers.OrderBy(c => c.Position).Select(c => c.Cover)];
    }
}
