"""Measured speeds, dense beside packed."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from components.charts.colors import ink
from components.charts.layout import base_layout
from components.charts.whiskers import GREY, whiskers

SIDES = {
    "dense": ("dense", "#8A8F98"),
    "zeros": ("zeros stored", "#E69F00"),
    "packed": ("packed", "#0072B2"),
    "dense_bf16": ("dense bf16", "#8A8F98"),
    "packed_bf16": ("packed bf16", "#56B4E9"),
    "dense_fp32": ("dense fp32", "#8A8F98"),
    "packed_fp32": ("packed fp32", "#56B4E9"),
}

SPEEDS = {  # key in a side's timings -> the axis' title
    "decode_tokens_per_s": "tokens per second",
    "prefill_tokens_per_s": "tokens per second",
    "first_token_ms": "milliseconds",
}


def speed_bars(latency: Mapping[str, Any], kind: str) -> go.Figure:
    """One speed of the dense model, the one with zeros (where it was timed) and the packed one: median, quartiles."""
    shown = [side for side in SIDES if side in latency]
    quartiles = [latency[side][kind] for side in shown]
    unit = SPEEDS[kind]
    figure = go.Figure()
    figure.add_bar(
        x=[q["median"] for q in quartiles],
        y=[SIDES[s][0] for s in shown],
        orientation="h",
        showlegend=False,
        marker={"color": [SIDES[s][1] for s in shown]},
        error_x=whiskers(*([q[name] for q in quartiles] for name in ("median", "low", "high")), color=GREY),
        text=[f"{q['median']:.3g}" if q["median"] < 100 else f"{q['median']:,.0f}" for q in quartiles],
        textposition="inside",
        insidetextfont={"color": [ink(SIDES[s][1]) for s in shown]},
        insidetextanchor="start",
        textangle=0,
        customdata=[[q["low"], q["high"], q["count"]] for q in quartiles],
        hovertemplate=f"%{{y}}: %{{x:.4g}} {unit}<br>quartiles %{{customdata[0]:.4g}} to %{{customdata[1]:.4g}}, "
        "%{customdata[2]} timings<extra></extra>",
    )
    figure.update_layout(base_layout(xaxis={"title": unit}, yaxis={"autorange": "reversed"}, bargap=0.35))
    return figure
