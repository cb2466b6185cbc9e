"""A window of a mask as a graph to draw: its nodes, edges and places."""

from __future__ import annotations

import numpy as np

from eggs_core.heavy import networkx, torch

Places = dict[tuple[str, int], tuple[float, float]]
LAYOUTS = ("bipartite", "spectral", "circular")


def window_graph(mask: torch.Tensor, first_row: int = 0, first_column: int = 0) -> networkx.Graph:
    """The networkx graph of a window of a mask, bool (rows, columns).

    Nodes are ("in", column) and ("out", row) with whole-matrix numbers; orphans of the window are nodes without edges.
    """
    graph = networkx.Graph()
    rows, columns = mask.shape
    graph.add_nodes_from((("in", first_column + c) for c in range(columns)), bipartite=0)
    graph.add_nodes_from((("out", first_row + r) for r in range(rows)), bipartite=1)
    graph.add_edges_from((("in", first_column + c), ("out", first_row + r)) for r, c in mask.nonzero().tolist())
    return graph


def layout(graph: networkx.Graph, kind: str) -> Places:
    """Positions in the unit square, x to the right and y downwards; kind is one of LAYOUTS."""
    inputs = [n for n in graph if n[0] == "in"]
    if kind == "bipartite":
        places = networkx.bipartite_layout(graph, inputs, align="horizontal")
        positions: Places = {}
        for height, row in ((-1.0, inputs), (1.0, [n for n in graph if n[0] == "out"])):
            across = sorted(places[n][0] for n in row)  # networkx goes through a set, channels stay in order
            positions |= {n: (x, height) for n, x in zip(row, across, strict=True)}
    elif kind == "spectral":
        positions = networkx.spectral_layout(graph) if graph.number_of_edges() else networkx.circular_layout(graph)
        # Ranks keep the eigenvectors' order, and nodes that would lie in one heap move apart.
        ranks = np.array([positions[n] for n in graph]).argsort(0).argsort(0)
        positions = dict(zip(graph, ranks.astype(float), strict=True))
    else:
        outputs = [n for n in graph if n[0] == "out"]
        positions = networkx.shell_layout(graph, [outputs, inputs])
    points = np.array([positions[n] for n in graph], dtype=float)
    low, span = points.min(0), np.ptp(points, axis=0)
    points = np.where(span > 1e-9, (points - low) / np.where(span > 1e-9, span, 1), 0.5)
    return {n: (float(x), float(y)) for n, (x, y) in zip(graph, points, strict=True)}
