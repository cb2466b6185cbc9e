"""What the Masks tab shows, as plain values; no gradio here."""

from __future__ import annotations

import plotly.graph_objects as go

from components.charts.colors import color
from components.jobs.processes import PROCESSES
from components.places.layers.mask.figures import degree_histogram
from components.places.layers.mask.words import comparison_reading, degree_reading
from components.state.workspace import Workspace, recorded_topn
from components.widgets.encoding import base64_bits, base64_counts, base64_floats, base64_values
from components.words.experts import mean_text, spread_text
from components.words.glossary import MEASURES, measure_of
from components.words.html import escape
from components.words.labels import run_label
from components.words.phrases import NO_TOPN
from eggs_core.heavy import torch
from eggs_core.pruning.one_layer import layer_window
from eggs_core.runs.layer_rows import Cell, cells_of
from eggs_core.runs.patterns import layer_pattern
from eggs_core.runs.rotated import check_own_basis
from eggs_core.runs.run import Run, layer_shape

TOPN = "top-N"
TOPN_COLOR, BOTH_COLOR = "#0072B2", "#9AA3B2"
FINEST = 6  # pixels a weight from which on weights and scores are sent for hovering
MOST_CELLS = 40_000


def map_value(run: Run, measure: str, selected: str) -> dict:
    """What the model map draws: one row per projection, one cell per block; a block's experts share a cell."""
    layers = run.report["layers"]
    name, form = MEASURES[measure]
    rows: dict[str, list[dict]] = {}
    for cell in cells_of(layers):
        rows.setdefault(cell.row, []).append(_map_cell(cell, measure))
    values = [measure_of(layer, measure) for layer in layers]
    low, high = (f(values, default=None) for f in (min, max))
    return {
        "rows": [{"projection": projection, "cells": cells} for projection, cells in rows.items()],
        "blocks": 1 + max((layer["block"] for layer in layers), default=-1),
        "measure": name,
        "form": form,
        "selected": selected,
        "low": low,
        "high": high,
    }


def _map_cell(cell: Cell, measure: str) -> dict:
    """One cell of the map; the values of experts go as base64, and their numbers too unless they are 0, 1, 2, …"""
    mean = cell.mean(lambda layer: measure_of(layer, measure))
    drawn = {"block": cell.block, "name": cell.name, "value": mean, "text": mean_text(cell, measure)}
    if not cell.numbers:
        return drawn
    plain = cell.numbers == list(range(len(cell.numbers)))
    return drawn | {
        "note": spread_text(cell, measure),
        "head": cell.head,
        "tail": cell.tail,
        "values": base64_floats([measure_of(layer, measure) for layer in cell.layers]),
        "numbers": None if plain else base64_counts(cell.numbers),
    }


def topn_of(workspace: Workspace) -> torch.Tensor | None:
    """What top-N keeps of the chosen layer; None where the run does not hold it."""
    return recorded_topn(workspace.shown, workspace.layer)


def compared(workspace: Workspace) -> tuple[str, torch.Tensor, torch.Tensor | None] | None:
    """The name, mask and top-N mask of the method to compare with; None if there is none for the chosen layer."""
    if workspace.compare == TOPN:
        topn = topn_of(workspace)
        return None if topn is None else (TOPN, topn, topn)
    for run in workspace.comparable():
        if run_label(run) == workspace.compare:
            return workspace.compare, run.mask(workspace.layer), recorded_topn(run, workspace.layer)
    return None


def compare_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """What the run in view can be compared with, as (label, value)."""
    own = run_label(workspace.run) if workspace.run else ""
    others = [run_label(run) for run in workspace.comparable() if run_label(run) != own]
    held = workspace.run is not None and topn_of(workspace) is not None
    return [("nothing", ""), *((name, name) for name in [*([TOPN] if held else []), *others])]


def mask_values(workspace: Workspace) -> tuple[dict | None, dict | None]:
    """What the two mask canvases draw: the chosen layer, and the method beside it or, for a difference, None."""
    if not workspace.run or not workspace.layer:
        return None, None
    label, mask = run_label(workspace.run), workspace.run.mask(workspace.layer)
    other = compared(workspace)
    if other is None:
        return _value(workspace, label, mask, topn_of(workspace)), None
    if workspace.difference:
        hues = [BOTH_COLOR, *(TOPN_COLOR if name == TOPN else color(name) for name in (label, other[0]))]
        value = _value(workspace, label, mask, other[1])
        return {**value, "difference": True, "colors": hues, "names": [label, other[0]]}, None
    return _value(workspace, label, mask, topn_of(workspace)), _value(workspace, *other)


def _value(workspace: Workspace, label: str, mask: torch.Tensor, topn: torch.Tensor | None) -> dict:
    pattern = layer_pattern(workspace.shown_layer, workspace.shown.report)
    return {
        "name": workspace.layer,
        "label": label,
        "rows": mask.shape[0],
        "cols": mask.shape[1],
        "keep": pattern.keep,
        "group": pattern.group,
        "bits": base64_bits(mask),
        "difference": False,
        "other": None if topn is None else base64_bits(topn),
        "colors": None,
        "names": None,
        "lock": "masks",
        "inDegrees": base64_values(mask.sum(0, dtype=torch.int32)),
        "outDegrees": base64_values(mask.sum(1, dtype=torch.int32)),
    }


def cell_values(workspace: Workspace, row: int, column: int, rows: int, columns: int) -> dict | None:
    """Dense weights and scores of a window of the chosen layer; raises EggsError if its model is not at hand."""
    check_own_basis(workspace.shown)
    report = workspace.shown.report
    kind, recorded = report["config"]["score"], report.get("fingerprint")
    height, width = layer_shape(workspace.shown_layer)
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    group = layer_pattern(workspace.shown_layer, report).group
    column -= column % group  # whole groups, so that ranks in a group are right
    rows, columns = min(rows, height - row), min(-(-columns // group) * group + group, width - column)
    if rows * columns > MOST_CELLS:
        return None
    part = (slice(row, row + rows), slice(column, column + columns))
    found = PROCESSES.ask(layer_window, report["model"], workspace.layer, kind, recorded, *part)
    return {
        "layer": workspace.layer,
        "row": row,
        "column": column,
        "rows": rows,
        "columns": columns,
        "weights": base64_values(found.weight),
        "scores": base64_values(found.scores),
    }


def legend(workspace: Workspace) -> str:
    """What the colours of the canvases mean."""
    other = compared(workspace) if workspace.run and workspace.layer else None
    orphan = '<span><i class="swatch orphan"></i>orphan input</span>'
    if other and workspace.difference:
        label = run_label(workspace.shown)
        hues = {"kept by both": BOTH_COLOR, f"only {label}": color(label)}
        hues[f"only {other[0]}"] = TOPN_COLOR if other[0] == TOPN else color(other[0])
        cells = [
            f'<span><i class="swatch" style="background:{h}"></i>{escape(name)}</span>' for name, h in hues.items()
        ]
    elif workspace.run and workspace.layer and topn_of(workspace) is None:
        cells = [
            f'<span><i class="swatch score"></i>kept; {NO_TOPN}</span>',
            '<span><i class="swatch empty"></i>pruned</span>',
        ]
    else:
        cells = [
            '<span><i class="swatch score"></i>importance: kept, as top-N would</span>',
            '<span><i class="swatch link"></i>connectivity: kept by degree bound, order or reconstruction</span>',
            '<span><i class="swatch empty"></i>pruned</span>',
        ]
    return f'<p class="legend">{"".join(cells)}{orphan}</p>'


def comparison(workspace: Workspace) -> str:
    """How far the two masks agree, in one sentence; empty when nothing is compared."""
    other = compared(workspace) if workspace.run and workspace.layer else None
    if other is None:
        return ""
    run = workspace.shown
    return comparison_reading(run_label(run), other[0], run.mask(workspace.layer), other[1])


def degree_chart(workspace: Workspace) -> tuple[go.Figure | None, str]:
    """How many weights each input of the chosen layer keeps, beside top-N by the same score, and a sentence."""
    if not workspace.run or not workspace.layer:
        return None, ""
    mask, topn = workspace.run.mask(workspace.layer), topn_of(workspace)
    label, degrees, best = run_label(workspace.run), mask.sum(0), None if topn is None else topn.sum(0)
    chart = degree_histogram(degrees.tolist(), None if best is None else best.tolist(), label)
    return chart, degree_reading(label, degrees, best)
