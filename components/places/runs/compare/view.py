"""Which sweeps there are, and what of one is in view; no gradio here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go

from components.charts.colors import shades
from components.places.runs.compare.figures import heat_figure, pareto_figure, significance_figure
from components.places.runs.compare.words import NO_SPEED, front_reading, heat_reading, left_out, significance_reading
from components.state.reports import all_reports
from components.state.results import on_same_weights
from components.words.html import reading
from components.words.phrases import plural
from eggs_core.cache import Bounded
from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import Interval
from eggs_core.report_types import Report
from eggs_core.sweep.analysis import Group, against, groups, label_of
from eggs_core.sweep.results import EXAMPLES, RESULTS, Sweep, from_reports, load_sweep, sweeps_folder

MOST_SWEEP_BYTES = 32 << 20  # of the files whose sweeps are kept in memory
RUNS = "runs"  # the source that is made of all finished runs
FIRST_BASELINES = ("Wanda", "RIA", "Magnitude")  # what others are compared with until the visitor chooses
Figure = tuple[go.Figure | None, str]  # with the sentence that reads it


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a sweep is in view; an empty tuple stands for all."""

    model: str
    patterns: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    baseline: str = ""
    measure: str = "ratio"


def _files() -> dict[str, Path]:
    """The sweeps' files by their key, which holds no path: pages show it."""
    shipped = {f"shipped/{file.stem}": file for file in sorted(EXAMPLES.glob("*.json"))}
    return shipped | {f"own/{file.parent.name}": file for file in sorted(sweeps_folder().glob(f"*/{RESULTS}"))}


def sources() -> list[tuple[str, str]]:
    """What can be compared, (title, key): shipped sweeps, those in the sweeps' folder, and all finished runs."""
    where = {"shipped": "ships with the app", "own": "computed here"}
    files = [(f"{name}: {where[kind]}", f"{kind}/{name}") for kind, _, name in (key.partition("/") for key in _files())]
    return [*files, ("All finished runs, whatever started them", RUNS)]


def open_source(key: str) -> Sweep:
    """The sweep behind a source's key; raises EggsError for one that is gone, damaged or empty."""
    if key == RUNS:
        return _all_runs(all_reports())
    if (file := _files().get(key)) is None:
        raise EggsError("That sweep is no longer here; choose another.")
    seen = file.stat()
    state = str(file), seen.st_mtime_ns, seen.st_size
    return _SWEEPS.get_or_make(state, lambda: (load_sweep(file), seen.st_size))[0]


def _all_runs(reports: Sequence[Report]) -> Sweep:
    """Finished runs, newest first, as a sweep; of each model those on the weights of its newest run."""
    newest: dict[str, Report] = {}
    for report in reports:
        newest.setdefault(report["model"], report)
    shown = [report for report in reports if on_same_weights(newest[report["model"]], report)]
    old = len(reports) - len(shown)
    but = f", without {plural(old, 'run')} not known to be on the same weights as newer ones" if old else ""
    return from_reports(shown, f"All finished runs{but}")


def _bytes(kept: Collection[tuple[Sweep, int]]) -> int:
    """Bytes of the files that sweeps were read from."""
    return sum(count for _, count in kept)


# By path and state of the file.
_SWEEPS: Bounded[tuple[str, int, int], tuple[Sweep, int]] = Bounded(MOST_SWEEP_BYTES, _bytes, keep_newest=True)


def models_of(sweep: Sweep) -> list[str]:
    """Models with a finished cell, in the sweep's order."""
    return list(dict.fromkeys(cell.config.model for cell in sweep.cells if cell.finished))


def options_of(sweep: Sweep, model: str) -> tuple[list[str], list[str], list[int]]:
    """Patterns, methods and seeds among a model's finished cells."""
    configs = [cell.config for cell in sweep.cells if cell.finished and cell.config.model == model]
    patterns = list(dict.fromkeys(str(config.pattern) for config in configs))
    return patterns, list(dict.fromkeys(map(label_of, configs))), sorted({config.seed for config in configs})


def chosen(sweep: Sweep, choice: Choice) -> list[Group]:
    """The groups in view."""
    return groups(sweep, choice.model, pattern=choice.patterns, label=choice.methods, seed=choice.seeds)


def patterns_of(found: Sequence[Group]) -> list[str]:
    """The patterns in view, in the order in which the legend gives them symbols."""
    return list(dict.fromkeys(group.pattern for group in found))


def hues_of(sweep: Sweep, model: str) -> dict[str, str]:
    """The colours of a model's labels, whichever of them are in view."""
    return shades(options_of(sweep, model)[1])


def source_with(model: str, keys: Sequence[str]) -> str | None:
    """The first of these sources that holds a finished run of a model; None without one. What is damaged is skipped."""
    for key in keys:
        try:
            if model in models_of(open_source(key)):
                return key
        except EggsError:
            continue
    return None


def first_baseline(labels: list[str]) -> str | None:
    """What others are compared with at first."""
    return next((label for label in FIRST_BASELINES if label in labels), labels[0] if labels else None)


def size_front(sweep: Sweep, found: list[Group], choice: Choice) -> Figure:
    """Perplexity against bytes."""
    dense = sweep.dense[choice.model]
    sizes, still = [group.packed_bytes / 1e6 for group in found], (dense["bytes"] / 1e6, dense["perplexity"])
    hues = hues_of(sweep, choice.model)
    figure = pareto_figure(found, sizes, still, "packed size, MB", "MB", patterns_of(found), hues, named=True)
    return figure, front_reading(found, sizes, still, "MB", "size")


def speed_front(sweep: Sweep, found: list[Group], choice: Choice) -> Figure:
    """Perplexity against latency, of those groups that were timed."""
    ratios = [(group, ratio) for group in found if (ratio := group.time_ratio)]
    if not ratios:
        return None, reading(NO_SPEED)
    timed, times = [group for group, _ in ratios], [ratio for _, ratio in ratios]
    still = (1.0, sweep.dense[choice.model]["perplexity"])
    title = "time per token ÷ dense, packed weights"
    figure = pareto_figure(timed, times, still, title, "× dense", patterns_of(found), hues_of(sweep, choice.model))
    tail = left_out(len(found) - len(timed))
    return figure, front_reading(timed, times, still, "× the time", "time per token", tail)


def heat(sweep: Sweep, found: list[Group], choice: Choice) -> Figure:
    """The map over pattern and method."""
    dense = sweep.dense[choice.model]["perplexity"]
    return heat_figure(found, choice.measure, dense), heat_reading(found, choice.measure, dense)


def significance(found: list[Group], everything: list[Group], choice: Choice) -> Figure:
    """Each method's perplexity over the baseline's with its interval."""
    bases = {group.pattern: group for group in everything if group.label == choice.baseline}
    rows: list[tuple[Group, Interval, int]] = []
    for group in found:
        base = bases.get(group.pattern)
        if base is not None and group.label != choice.baseline and set(base.seeds) & set(group.seeds):
            rows.append((group, *against(group, base)))
    said, hues = significance_reading(rows, choice.baseline), shades(group.label for group in (*everything, *found))
    if not rows:
        return None, said
    return significance_figure(rows, choice.baseline, patterns_of(found), hues), said
