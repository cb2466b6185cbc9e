"""What the Spectrum tab computes for its figures; no gradio here."""

import dataclasses
from collections.abc import Iterator
from functools import cache

import plotly.graph_objects as go
import torch

from components.graph_figures import density_figure, sweep_figures
from components.queue import Work
from components.readings import density_reading, layer_extras, sweep_reading
from components.session import Workspace, remember, run_label
from eggs_core.betas import layer_scores
from eggs_core.calibration import Text
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.expansion import chains, paths_through
from eggs_core.hosting import check_config
from eggs_core.masks import topn
from eggs_core.pattern import NMPattern
from eggs_core.pipeline import Progress
from eggs_core.spectral import second_singular_value, singular_density
from eggs_core.sweep import SWEEPS, Sweep, beta_sweep, load_sweep, sweep_config


def density(workspace: Workspace) -> tuple[go.Figure, str]:
    """The singular values of the chosen layer beside those of one random mask, and a sentence."""
    run, layer = workspace.run, workspace.layer_report()
    mask, pattern, shape = run.mask(layer["name"]), run.report["pattern"], tuple(layer["shape"])
    own = remember(("density", run.key, layer["name"]), lambda: singular_density(mask))
    random = remember(("density", pattern, shape), lambda: singular_density(_random_mask(shape, pattern)))
    text = density_reading(layer, own.exact) + layer_extras(layer, _weighted(workspace, mask), reach(workspace))
    return density_figure(own, random, layer, run_label(run)), text


def _random_mask(shape: tuple[int, int], pattern: str) -> torch.Tensor:
    return topn(torch.rand(shape, generator=torch.Generator().manual_seed(0)), NMPattern.parse(pattern))


def _weighted(workspace: Workspace, mask: torch.Tensor) -> float | None:
    """σ₂ of the kept weights' magnitudes; None while the model is not at hand."""
    report, name = workspace.run.report, workspace.layer
    try:
        weight = layer_scores(report["model"], name, "magnitude").weight
    except EggsError:
        return None
    return remember(
        ("weighted", workspace.run.key, name), lambda: second_singular_value(weight.abs() * mask).item()
    )  # fmt: skip


def reach(workspace: Workspace) -> tuple[str, str, int, int] | None:
    """The two consecutive layers that the chosen one belongs to, the pairs with no path through both, and all pairs."""
    run, name = workspace.run, workspace.layer
    pair = next((pair for pair in chains(run.report["layers"]) if name in pair), None)
    if pair is None:
        return None

    def count() -> tuple[int, int]:
        paths = paths_through(*map(run.mask, pair))
        return int((paths == 0).sum()), paths.numel()

    return *pair, *remember(("reach", run.key, *pair), count)


@cache
def bundled_sweeps() -> tuple[Sweep, ...]:
    """The curves that ship with the app; a damaged one is left out."""
    found = []
    for path in sorted(SWEEPS.glob("*.json")):
        try:
            found.append(load_sweep(path))
        except EggsError:
            continue
    return tuple(found)


_known: dict[str, Sweep] = {}  # configuration's key -> a finished curve, whoever asked for it


def sweep_work(config: PruneConfig, texts: dict[str, Text]) -> Work:
    """The work of measuring a curve; its values are (Progress, the curve so far or None)."""
    check_config(config)
    key = sweep_config(config).key()
    return Work(
        ("sweep", key), sweep_steps, (config, texts), config.model, lambda last: _known.__setitem__(key, last[1])
    )


def sweep_steps(config: PruneConfig, texts: dict[str, Text]) -> Iterator[tuple[Progress, Sweep | None]]:
    """Progress and the curve so far, which is another object after each point."""
    progress, found = Progress("", 0.0), None
    for event in beta_sweep(config, texts):
        if isinstance(event, Sweep):
            found = dataclasses.replace(event, points=[*event.points])
        else:
            progress = Progress(event.text, event.share)
        yield progress, found


def sweep_of(workspace: Workspace) -> Sweep | None:
    """This visitor's own curve for the model and pattern in view, else the bundled one, else another visitor's."""
    report = workspace.run.report
    for sweep in [*reversed(workspace.sweeps), *bundled_sweeps(), *_known.values()]:
        if sweep.points and (sweep.config["model"], sweep.config["pattern"]) == (report["model"], report["pattern"]):
            return sweep
    return None


def tradeoff(sweep: Sweep | None) -> list[go.Figure | str | None]:
    """The three figures over β and a sentence; nothing while there is no point."""
    if sweep is None or not sweep.points:
        return [None, None, None, ""]
    return [*sweep_figures(sweep), sweep_reading(sweep)]
