"""Size, speed and their limits drawn with plotly; no gradio here."""

import plotly.graph_objects as go

from components.chart import base_layout as layout
from components.figures import COLORS
from eggs_core.measurement import Measurement
from eggs_core.runs import Run

PARTS = {  # part of a model's bytes -> (name, colour)
    "dense_pruned": ("pruned layers, zeros stored", "#8A8F98"),
    "values": ("kept values", "#0072B2"),
    "positions": ("positions of the kept", "#E69F00"),
    "permutations": ("channel orders", "#CC79A7"),
    "embeddings": ("embeddings", "#009E73"),
    "head": ("output head", "#56B4E9"),
    "rest": ("norms, biases, the rest", "#999999"),
    "header": ("file header", "#D55E00"),
}
DENSE_PARTS = ("dense_pruned", "embeddings", "head", "rest")
PACKED_PARTS = ("values", "positions", "permutations", "embeddings", "head", "rest")
SIDES = {"dense": ("dense", "#8A8F98"), "zeros": ("zeros stored", "#CFD4DC"), "packed": ("packed", "#0072B2"),
         "dense_bf16": ("dense bf16", "#8A8F98"), "packed_bf16": ("packed bf16", "#56B4E9"),
         "dense_fp32": ("dense fp32", "#8A8F98"), "packed_fp32": ("packed fp32", "#56B4E9")}  # fmt: skip
SPEEDS = {  # key in a side's timings -> the axis' title
    "decode_tokens_per_s": "tokens per second",
    "prefill_tokens_per_s": "tokens per second",
    "first_token_ms": "milliseconds",
}


def size_bars(run: Run, file_bytes: int | None = None) -> go.Figure:
    """The model's bytes, dense with zeros, packed, and (once written) as a file, split into what they are."""
    space = run.report["size"]
    rows = {"dense with zeros": DENSE_PARTS, "packed": PACKED_PARTS}
    if file_bytes is not None:
        space = space | {"header": file_bytes - space["packed_bytes"]}
        rows["packed file on disk"] = (*PACKED_PARTS, "header")
    figure = go.Figure()
    for part, (name, hue) in PARTS.items():
        amounts = [space[part] / 1e6 if part in parts else 0 for parts in rows.values()]
        if any(amounts):
            figure.add_bar(
                y=list(rows), x=amounts, name=name, orientation="h", marker={"color": hue},
                hovertemplate=f"{name}: %{{x:.2f}} MB<extra></extra>",
            )  # fmt: skip
    figure.update_layout(
        layout(barmode="stack", xaxis={"title": "megabytes (10⁶ bytes)"}, yaxis={"autorange": "reversed"}, bargap=0.35)
    )
    figure.update_layout(legend_traceorder="normal")
    return figure


def speed_bars(latency: dict, kind: str) -> go.Figure:
    """One speed of the dense model, the one with zeros (where it was timed) and the packed one: median, quartiles."""
    shown = [side for side in SIDES if side in latency]
    quartiles = [latency[side][kind] for side in shown]
    unit = SPEEDS[kind]
    figure = go.Figure()
    figure.add_bar(
        x=[q["median"] for q in quartiles], y=[SIDES[s][0] for s in shown], orientation="h", showlegend=False,
        marker={"color": [SIDES[s][1] for s in shown]},
        error_x={"type": "data", "symmetric": False, "array": [q["high"] - q["median"] for q in quartiles],
                 "arrayminus": [q["median"] - q["low"] for q in quartiles], "color": "#808895", "thickness": 1.5},
        text=[f"{q['median']:.3g}" if q["median"] < 100 else f"{q['median']:,.0f}" for q in quartiles],
        textposition="inside", insidetextanchor="start", textangle=0,
        customdata=[[q["low"], q["high"], q["count"]] for q in quartiles],
        hovertemplate=f"%{{y}}: %{{x:.4g}} {unit}<br>quartiles %{{customdata[0]:.4g}} to %{{customdata[1]:.4g}}, "
                      "%{customdata[2]} timings<extra></extra>",
    )  # fmt: skip
    figure.update_layout(layout(xaxis={"title": unit}, yaxis={"autorange": "reversed"}, bargap=0.35))
    return figure


def roofline(found: Measurement) -> go.Figure:
    """Weight bytes per token against tokens per second, below the line that memory bandwidth draws."""
    points = []
    for side, read in (("dense", found.dense_bytes), ("packed", found.packed_bytes)):
        rate = found.generation[side]["decode_tokens_per_s"]
        points.append((side, read["total"] / 1e6, rate, 1e3 * found.bandwidth / (read["total"] / 1e6)))
    sizes = [p[1] for p in points]
    span = [min(sizes) / 2, max(sizes) * 2]
    figure = go.Figure()
    figure.add_scatter(
        x=span, y=[1e3 * found.bandwidth / s for s in span], mode="lines", line={"color": "#D55E00", "width": 2},
        name=f"limit of memory, {found.bandwidth:.0f} GB/s", hoverinfo="skip",
    )  # fmt: skip
    for side, megabytes, rate, limit in points:
        name, hue = SIDES[side]
        figure.add_scatter(
            x=[megabytes, megabytes], y=[rate["median"], limit], mode="lines", showlegend=False, hoverinfo="skip",
            line={"dash": "dot", "width": 1.5, "color": hue},
        )  # fmt: skip
        figure.add_scatter(
            x=[megabytes], y=[rate["median"]], mode="markers", name=f"{name}, measured",
            marker={"size": 13, "color": hue, "symbol": "circle" if side == "dense" else "square"},
            error_y={"type": "data", "symmetric": False, "array": [rate["high"] - rate["median"]],
                     "arrayminus": [rate["median"] - rate["low"]], "thickness": 1.5},
            hovertemplate=f"{name}: %{{x:.1f}} MB per token, %{{y:.0f}} tokens per second<br>"
                          f"memory alone would allow {limit:,.0f}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        layout(xaxis={"title": "weights read per token (MB)", "type": "log", "dtick": "D2"},
               yaxis={"title": "tokens per second", "type": "log", "dtick": 1})
    )  # fmt: skip
    return figure


def token_time(found: Measurement) -> dict[str, dict[str, float]]:
    """Milliseconds of one decoded token per side: reading the layers and the head at full bandwidth, and the rest."""
    result = {}
    for side, read in (("dense", found.dense_bytes), ("packed", found.packed_bytes)):
        total = found.generation[side]["ms_per_token"]["median"]
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
            y=[SIDES[s][0] for s in times], x=[t[part] for t in times.values()], name=name, orientation="h",
            marker={"color": hue}, hovertemplate=f"{name}: %{{x:.2f}} ms<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        layout(barmode="stack", xaxis={"title": "milliseconds per token"}, yaxis={"autorange": "reversed"}, bargap=0.35)
    )
    figure.update_layout(legend_traceorder="normal")
    return figure
