"""Bytes of a model by what they are."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from components.charts.layout import base_layout
from eggs_core.runs.run import Run

PARTS = {  # part of a model's bytes -> (name, colour)
    "dense_pruned": ("pruned layers, zeros stored", "#8A8F98"),
    "values": ("kept values", "#0072B2"),
    "positions": ("positions of the kept", "#E69F00"),
    "permutations": ("channel orders", "#CC79A7"),
    "scales": ("scales of rounded values", "#8F5BA6"),
    "embeddings": ("embeddings", "#009E73"),
    "head": ("output head", "#56B4E9"),
    "tables_saved": ("what embedding and head save in 8 bits", "#D6C9A0"),
    "rest": ("norms, biases, the rest", "#B79F00"),
    "header": ("file header", "#D55E00"),
}

DENSE_PARTS = ("dense_pruned", "embeddings", "head", "tables_saved", "rest")

PACKED_PARTS = ("values", "positions", "permutations", "scales", "embeddings", "head", "rest")


def size_bars(run: Run, file_bytes: int | None = None) -> go.Figure:
    """The model's bytes, dense with zeros, packed, and (once written) as a file, split into what they are."""
    space: Mapping[str, Any] = run.report["size"]
    rows = {"dense with zeros": DENSE_PARTS, "packed": PACKED_PARTS}
    if file_bytes is not None:
        space = {**space, "header": file_bytes - space["packed_bytes"]}
        rows["packed file on disk"] = (*PACKED_PARTS, "header")
    figure = go.Figure()
    for part, (name, hue) in PARTS.items():
        amounts = [space.get(part, 0) / 1e6 if part in parts else 0 for parts in rows.values()]
        if any(amounts):
            figure.add_bar(
                y=list(rows),
                x=amounts,
                name=name,
                orientation="h",
                marker={"color": hue},
                hovertemplate=f"{name}: %{{x:.2f}} MB<extra></extra>",
            )
    figure.update_layout(
        base_layout(
            barmode="stack", xaxis={"title": "megabytes (10⁶ bytes)"}, yaxis={"autorange": "reversed"}, bargap=0.35
        )
    )
    return figure
