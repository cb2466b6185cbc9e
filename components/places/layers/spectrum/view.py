"""What the Spectrum tab computes for its figures; no gradio here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache

import plotly.graph_objects as go

from components.jobs.processes import PROCESSES
from components.jobs.work import Work
from components.places.layers.spectrum.figures import density_end, density_figure
from components.places.layers.spectrum.words import density_reading, reach_reading
from components.state.results import FIGURES, RESULTS, Results, Weights, on_same_weights, remember, run_id
from components.state.workspace import Workspace
from components.words.labels import run_label
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.graph.expansion import chains, paths_through
from eggs_core.graph.spectrum import singular_density
from eggs_core.heavy import torch
from eggs_core.limits import check_config, hosted
from eggs_core.masks.selection import topn
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress
from eggs_core.pruning.beta_curve import CURVES, BetaCurve, beta_curve, curve_config, load_curve
from eggs_core.pruning.one_layer import weighted_sigma2
from eggs_core.report_types import LayerEntry
from eggs_core.runs.patterns import layer_pattern
from eggs_core.runs.rotated import check_own_basis
from eggs_core.runs.run import Run, layer_shape
from eggs_core.text.sources import Text

BINS_IN_VIEW = 50


def density(workspace: Workspace) -> tuple[go.Figure, str]:
    """The singular values of the chosen layer beside those of one random mask, and a sentence."""
    run, layer = workspace.shown, workspace.shown_layer
    mask, pattern, shape = run.mask(layer["name"]), layer_pattern(layer, run.report), layer_shape(layer)
    bins = bins_of(layer)
    own = remember(("density", *run_id(run), layer["name"]), lambda: singular_density(mask, bins))
    random = remember(("density", pattern, shape, bins), lambda: singular_density(_random_mask(shape, pattern), bins))
    text = density_reading(layer, own.exact) + reach_reading(reach(workspace))
    return density_figure(own, random, layer, run_label(run)), text


def bins_of(layer: LayerEntry) -> int:
    """How many bins from 0 to 1 leave some fifty to the part that is in view."""
    return round(BINS_IN_VIEW / density_end(layer))


def _random_mask(shape: tuple[int, int], pattern: NMPattern) -> torch.Tensor:
    return topn(torch.rand(shape, generator=torch.Generator().manual_seed(0)), pattern)


def weighted(workspace: Workspace, wait: bool) -> float | None:
    """σ₂ of the kept weights' magnitudes in the chosen layer; None while it, or the model, is not at hand.

    Unless it may `wait`, it tells only what is known: the process that computes it may still be starting.
    """
    run, name = workspace.shown, workspace.layer
    key = ("weighted", *run_id(run), name)
    if not wait:
        return FIGURES.get(key)
    try:
        check_own_basis(run)
        asked = run.report["model"], name, run.mask(name), run.report.get("fingerprint")
        return remember(key, lambda: PROCESSES.ask(weighted_sigma2, *asked))
    except EggsError:
        return None


def reach(workspace: Workspace) -> tuple[str, str, int, int] | None:
    """The two consecutive layers that the chosen one belongs to, the pairs with no path through both, and all pairs."""
    run, name = workspace.shown, workspace.layer
    pair = next((pair for pair in chains(run.report["layers"]) if name in pair), None)
    if pair is None:
        return None

    def count() -> tuple[int, int]:
        paths = paths_through(*map(run.mask, pair))
        return int((paths == 0).sum()), paths.numel()

    return *pair, *remember(("reach", *run_id(run), *pair), count)


@cache
def bundled_curves() -> tuple[BetaCurve, ...]:
    """The curves that ship with the app; a damaged one is left out."""
    found = []
    for path in sorted(CURVES.glob("*.json")):
        try:
            found.append(load_curve(path))
        except EggsError:
            continue
    return tuple(found)


KIND = "curve"  # of result, whoever asked for it


def curve_work(config: PruneConfig, texts: dict[str, Text], results: Results = RESULTS) -> Work:
    """The work of measuring a curve; its values are (Progress, the curve so far or None)."""
    check_config(config)
    key = curve_config(config).key()

    def keep(last: tuple[Progress, BetaCurve | None]) -> None:
        results.keep(config.model, KIND, key, last[1])

    shared = not (hosted() and texts)  # what was made of a visitor's own text stays with the visitor
    return Work((KIND, key), curve_steps, (config, texts), config.model, keep if shared else None)


def curve_steps(config: PruneConfig, texts: dict[str, Text]) -> Iterator[tuple[Progress, BetaCurve | None]]:
    """Progress and the curve so far, which is another object after each point."""
    progress, found = Progress("", 0.0), None
    for event in beta_curve(config, texts):
        if isinstance(event, BetaCurve):
            found = dataclasses.replace(event, points=[*event.points])
        else:
            progress = Progress(event.text, event.share)
        yield progress, found


def curve_of(workspace: Workspace, results: Results = RESULTS) -> BetaCurve | None:
    """This visitor's own curve for the weights and pattern in view, else the bundled one, else another visitor's."""
    report = workspace.shown.report
    others = results.of(report["model"], KIND).values()
    for curve in [*reversed(workspace.curves), *bundled_curves(), *reversed(others)]:
        made: Weights = {"model": curve.config["model"], "fingerprint": curve.fingerprint}
        alike = (curve.config["model"], curve.config["pattern"]) == (report["model"], report["pattern"])
        if curve.points and alike and on_same_weights(made, report):
            return curve
    return None


def mean_gaps(runs: list[Run]) -> dict[str, float]:
    """The mean spectral gap of each run's layers, by the run's label."""
    gaps = {run_label(run): [layer["spectral_gap"] for layer in run.report["layers"]] for run in runs}
    return {label: sum(values) / len(values) for label, values in gaps.items()}
