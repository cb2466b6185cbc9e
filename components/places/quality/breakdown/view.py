"""Where it breaks: the error that grows from block to block, and what each part costs alone; no gradio here."""

from collections.abc import Iterator
from itertools import pairwise

import plotly.graph_objects as go

from components.charts.colors import COLORS, color
from components.charts.layout import base_layout
from components.jobs.prune import Follow
from components.jobs.queue import Work
from components.state.results import RESULTS, Results, run_id
from components.words.html import escape, reading, term
from eggs_core.errors import EggsError
from eggs_core.evaluation.by_part import BlockDrift, PartCost, drift, leave_one_in
from eggs_core.progress import Progress, memory_errors
from eggs_core.runs.pruned_models import recover
from eggs_core.runs.run import Run
from eggs_core.text.sources import bundled_text
from eggs_core.text.windows import evaluation_windows

MOST_WINDOWS = 64
KIND = "breakdown"  # of result


def breakdown(run: Run, results: Results = RESULTS) -> tuple[int, list[BlockDrift], list[PartCost]] | None:
    """What this process has measured of a run, on the most windows so far, and their number."""
    found = [(windows, *value) for windows, value in results.of(run_id(run), KIND).items()]
    return max(found, default=None, key=lambda row: row[0])


def measure_breakdown(follow: Follow, run: Run, windows: int, results: Results = RESULTS) -> Iterator:
    """Measure drift and leave-one-in of a run on the first windows of the held-out speeches, unless that is known.

    Raises EggsError for a number of windows that is none.
    """
    if not 1 <= windows <= MOST_WINDOWS:
        raise EggsError(f"Choose 1 to {MOST_WINDOWS} windows.")
    if windows in results.of(run_id(run), KIND):
        return

    def keep(found: tuple[list[BlockDrift], list[PartCost]]) -> None:
        results.keep(run_id(run), KIND, windows, found)

    key = (KIND, *run_id(run), windows)
    yield from follow(Work(key, breakdown_steps, (run, windows), run.report["model"], keep))


def breakdown_steps(run: Run, windows: int) -> Iterator[Progress | tuple[list[BlockDrift], list[PartCost]]]:
    """Progress, and at the end the drift behind every block and what each part costs."""
    models = yield from recover(run)
    dense, pruned = models.dense.model, models.zeros
    length = run.report["evaluation"]["window"]
    text = evaluation_windows(models.dense.tokenizer, bundled_text("heldout"), windows, length)
    models.dense.check_tokens(text)
    parts = []
    with memory_errors("Looking for where it breaks"):
        yield Progress("Following hidden states through the blocks", 0.0)
        blocks = drift(dense, pruned, text)
        for event in leave_one_in(dense, pruned, text):
            if isinstance(event, Progress):
                yield event
            else:
                parts.append(event)
    yield blocks, parts


def drift_chart(drifts: list[BlockDrift], label: str) -> go.Figure:
    """Relative error and cosine of the hidden states behind each block."""
    figure = go.Figure()
    places = [d.block + 1 for d in drifts]
    for name, values, symbol, hue in (
        ("relative error", [d.error for d in drifts], "circle", color(label)),
        ("1 − cosine", [1 - d.cosine for d in drifts], "diamond", COLORS["RIA + CP"]),
    ):
        figure.add_scatter(
            x=places,
            y=values,
            name=name,
            mode="lines+markers",
            marker={"symbol": symbol, "size": 8, "color": hue},
            hovertemplate=f"behind block %{{x}}: {name} %{{y:.3f}}<extra></extra>",
        )
    figure.update_layout(
        base_layout(
            xaxis={"title": "decoder block", "dtick": 1 if len(drifts) <= 16 else 5},
            yaxis={"title": "difference from the dense model", "rangemode": "tozero"},
        )
    )
    return figure


def cost_chart(parts: list[PartCost], label: str) -> go.Figure:
    """Rise of perplexity when one part alone is pruned, with intervals."""

    def percent(ratio):
        return 100 * (ratio - 1)

    middle = [percent(p.ratio.value) for p in parts]
    figure = go.Figure()
    figure.add_bar(
        x=middle,
        y=[p.name for p in parts],
        orientation="h",
        marker={"color": color(label)},
        showlegend=False,
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [percent(p.ratio.high) - m for p, m in zip(parts, middle, strict=True)],
            "arrayminus": [m - percent(p.ratio.low) for p, m in zip(parts, middle, strict=True)],
            "thickness": 1.5,
            "color": "#808895",
        },
        customdata=[[p.layers, 100 * p.share] for p in parts],
        hovertemplate="%{y} alone: %{x:+.2f} %<br>%{customdata[0]} layers, %{customdata[1]:.0f} % of the weights"
        "<extra></extra>",
    )
    figure.update_layout(
        base_layout(
            xaxis={"title": "rise of perplexity (%)"},
            yaxis={"autorange": "reversed", "type": "category"},
        )
    )
    return figure


def breakdown_reading(run: Run, windows: int, drifts: list[BlockDrift], parts: list[PartCost]) -> str:
    """Where most harm is done, and how it adds up."""
    block, kind = (max((p for p in parts if p.kind == k), key=lambda p: p.ratio.value) for k in ("block", "projection"))
    steps = [b.error - a.error for a, b in pairwise(drifts)]
    jump = 1 + max(range(len(steps)), key=steps.__getitem__) if steps else 0
    evaluation = run.report["evaluation"]
    return reading(
        f"Block <b>{escape(block.name)}</b> alone costs most of all blocks ({100 * (block.ratio.value - 1):+.1f} %), "
        f"<b>{escape(kind.name)}</b> of all projections ({100 * (kind.ratio.value - 1):+.1f} % with {kind.share:.0%} "
        f"of the weights). Behind the last block hidden states are off by {drifts[-1].error:.0%} "
        f"({term('drift')}), their {term('cosine')} with the dense ones is {drifts[-1].cosine:.3f}; the largest step "
        f"is at block {jump + 1}. Measured on {windows} × {evaluation['window']} tokens of the held-out speeches.",
        "costs",
    )
