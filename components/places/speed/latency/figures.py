"""Size, speed and their limits drawn with plotly; no gradio here."""

import plotly.graph_objects as go

from components.charts.colors import COLORS
from components.charts.layout import base_layout
from components.charts.speeds import SIDES
from components.charts.whiskers import whiskers
from eggs_core.errors import EggsError
from eggs_core.report_types import Side
from eggs_core.runs.measurement import Measurement


def _sides(found: Measurement) -> list[tuple[str, Side, dict[str, int]]]:
    """Both sides by name, with their speed and the bytes that a token reads; raises EggsError before the end."""
    timed = found.generation
    if timed is None:
        raise EggsError("This measurement is not complete; measure again.")
    return [("dense", timed["dense"], found.dense_bytes), ("packed", timed["packed"], found.packed_bytes)]


def roofline(found: Measurement) -> go.Figure:
    """Weight bytes per token against tokens per second, below the line that memory bandwidth draws."""
    points = []
    for side, timed, read in _sides(found):
        rate = timed["decode_tokens_per_s"]
        points.append((side, read["total"] / 1e6, rate, 1e3 * found.bandwidth / (read["total"] / 1e6)))
    sizes = [p[1] for p in points]
    span = [min(sizes) / 2, max(sizes) * 2]
    figure = go.Figure()
    figure.add_scatter(
        x=span,
        y=[1e3 * found.bandwidth / s for s in span],
        mode="lines",
        line={"color": "#D55E00", "width": 2},
        name=f"limit of memory, {found.bandwidth:.0f} GB/s",
        hoverinfo="skip",
    )
    for side, megabytes, rate, limit in points:
        name, hue = SIDES[side]
        figure.add_scatter(
            x=[megabytes, megabytes],
            y=[rate["median"], limit],
            mode="lines",
            showlegend=False,
            hoverinfo="skip",
            line={"dash": "dot", "width": 1.5, "color": hue},
        )
        figure.add_scatter(
            x=[megabytes],
            y=[rate["median"]],
            mode="markers",
            name=f"{name}, measured",
            marker={"size": 13, "color": hue, "symbol": "circle" if side == "dense" else "square"},
            error_y=whiskers([rate["median"]], [rate["low"]], [rate["high"]]),
            hovertemplate=f"{name}: %{{x:.1f}} MB per token, %{{y:.0f}} tokens per second<br>"
            f"memory alone would allow {limit:,.0f}<extra></extra>",
        )
    figure.update_layout(
        base_layout(
            xaxis={"title": "weights read per token (MB)", "type": "log", "dtick": "D2"},
            yaxis={"title": "tokens per second", "type": "log", "dtick": 1},
        )
    )
    return figure


def token_time(found: Measurement) -> dict[str, dict[str, float]]:
    """Milliseconds of one decoded token per side: reading the layers and the head at full bandwidth, and the rest."""
    result = {}
    for side, timed, read in _sides(found):
        total = timed["ms_per_token"]["median"]
        layers, head = (read[part] / found.bandwidth / 1e6 for part in ("linear", "head"))
        result[side] = {"total": total, "layers": layers, "head": head, "rest": max(0.0, total - layers - head)}
    return result


def token_time_bars(found: Measurement) -> go.Figure:
    """Where one token's time goes: what reading the weights must take, and everything else."""
    parts = {
        "layers": ("reading the pruned layers", "#0072B2"),
        "head": ("reading the output head", "#56B4E9"),
        "rest": ("computing, Python, small operators", COLORS["Dense"]),
    }
    times = token_time(found)
    figure = go.Figure()
    for part, (name, hue) in parts.items():
        figure.add_bar(
            y=[SIDES[s][0] for s in times],
            x=[t[part] for t in times.values()],
            name=name,
            orientation="h",
            marker={"color": hue},
            hovertemplate=f"{name}: %{{x:.2f}} ms<extra></extra>",
        )
    figure.update_layout(
        base_layout(
            barmode="stack", xaxis={"title": "milliseconds per token"}, yaxis={"autorange": "reversed"}, bargap=0.35
        )
    )
    return figure
