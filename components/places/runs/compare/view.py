"""Which sweeps there are, and what the Compare tab says of one; no gradio here."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from components.places.runs.compare.figures import (
    MEASURES,
    clear,
    front_of,
    heat_figure,
    pareto_figure,
    significance_figure,
)
from components.state.reports import all_reports
from components.state.results import on_same_weights
from components.words.html import escape, reading, seconds, term
from components.words.phrases import plural
from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import Interval
from eggs_core.sweep.analysis import Group, against, groups, label_of
from eggs_core.sweep.results import EXAMPLES, FAILED, RESULTS, WAITING, Sweep, from_reports, load_sweep, sweeps_folder

RUNS = "runs"  # the source that is made of all finished runs
UNTIMED, LARGE = "not measured", "models larger than memory are not timed"
NOTHING = "No finished cell is left: choose other patterns, methods or seeds."


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
    return _read(str(file), file.stat().st_mtime_ns)


def _all_runs(reports: list[dict[str, Any]]) -> Sweep:
    """Finished runs, newest first, as a sweep; of each model those on the weights of its newest run."""
    newest: dict[str, dict[str, Any]] = {}
    for report in reports:
        newest.setdefault(report["model"], report)
    shown = [report for report in reports if on_same_weights(newest[report["model"]], report)]
    old = len(reports) - len(shown)
    but = f", without {plural(old, 'run')} not known to be on the same weights as newer ones" if old else ""
    return from_reports(shown, f"All finished runs{but}")


@lru_cache(maxsize=8)
def _read(path: str, _written: int) -> Sweep:
    return load_sweep(Path(path))


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


def pareto(sweep: Sweep, found: list[Group], choice: Choice) -> list:
    """Perplexity against bytes and against latency: two figures, each with its sentence."""
    dense = sweep.dense[choice.model]
    sizes = [group.packed_bytes / 1e6 for group in found]
    size = pareto_figure(found, sizes, (dense["bytes"] / 1e6, dense["perplexity"]), "packed size, MB", "MB")
    said = _front_reading(found, sizes, (dense["bytes"] / 1e6, dense["perplexity"]), "MB", "size")
    timed = [group for group in found if group.time_ratio]
    if not timed:
        return [size, said, None, reading(f"No speed was measured for these results; {LARGE}.")]
    without = len(found) - len(timed)
    left_out = f" Not in it: {plural(without, 'result')} without a measured speed; {LARGE}." if without else ""
    times, still = [group.time_ratio for group in timed], (1.0, dense["perplexity"])
    speed = pareto_figure(timed, times, still, "time per token ÷ dense, packed weights", "× dense")
    return [size, said, speed, _front_reading(timed, times, still, "× the time", "time per token", left_out)]


def _front_reading(
    found: list[Group], costs: list[float], dense: tuple[float, float], unit: str, what: str, left_out: str = ""
) -> str:
    points = [*zip(costs, (group.perplexity for group in found), strict=True), dense]
    front = [i for i in front_of(points) if i < len(found)]
    beaten = len(found) - len(front)
    said = ", ".join(
        f"<b>{escape(found[i].label)}</b> at {escape(found[i].pattern)} ({points[i][0]:.2f} {unit}, {points[i][1]:.1f})"
        for i in front[:4]
    )
    more = f" and {len(front) - 4} more" if len(front) > 4 else ""
    return reading(
        f"On the {term('Pareto front')} of {what} and perplexity: {said or 'the dense model alone'}{more}. Beaten in "
        f"both at once, by one of these or by the dense model: {beaten} of {plural(len(found), 'result')}.{left_out}",
        "costs",
    )


def heat(sweep: Sweep, found: list[Group], choice: Choice) -> list:
    """The map over pattern and method, with its sentence."""
    title, value_of, form, better = MEASURES[choice.measure]
    dense = sweep.dense[choice.model]["perplexity"]
    said = []
    for pattern in dict.fromkeys(group.pattern for group in found):
        own = [group for group in found if group.pattern == pattern]
        best = (max if better else min)(own, key=lambda group: value_of(group, dense))
        said.append(f"{escape(best.label)} at {escape(pattern)} ({value_of(best, dense):{form}})")
    word = "highest" if better else "lowest"
    text = f"{escape(title[0].upper() + title[1:])} is {word} for {'; '.join(said)}. Brighter is better."
    return [
        heat_figure(found, choice.measure, dense),
        reading(text, "orphans" if choice.measure == "orphans" else "n-m"),
    ]


def significance(found: list[Group], everything: list[Group], choice: Choice) -> list:
    """Each method's perplexity over the baseline's with its interval, and a sentence."""
    bases = {group.pattern: group for group in everything if group.label == choice.baseline}
    rows: list[tuple[Group, Interval, int]] = []
    for group in found:
        base = bases.get(group.pattern)
        if base is not None and group.label != choice.baseline and set(base.seeds) & set(group.seeds):
            rows.append((group, *against(group, base)))
    name = escape(choice.baseline)
    if not rows:
        return [None, reading(f"Nothing shares a pattern and a seed with {name}; choose another baseline.")]
    better = [group for group, ratio, _ in rows if clear(ratio) and ratio.value < 1]
    worse = sum(clear(ratio) and ratio.value > 1 for _, ratio, _ in rows)
    best = min(rows, key=lambda row: row[1].value)
    text = (
        f"Against {name}, perplexity is lower beyond chance in {len(better)} of {plural(len(rows), 'result')}, "
        f"higher in {worse}, and within chance in {len(rows) - len(better) - worse}. Farthest below: "
        f"<b>{escape(best[0].label)}</b> at {escape(best[0].pattern)}, × {best[1].value:.3f} "
        f"[{best[1].low:.3f}, {best[1].high:.3f}]. Paired over the windows of the text, mean of common seeds."
    )
    return [significance_figure(rows, choice.baseline), reading(text, "costs")]


def overview(sweep: Sweep, found: list[Group], choice: Choice) -> str:
    """What the sweep is and what of it is in view, in two sentences; failed cells are named."""
    total, left, failed = len(sweep.cells), sweep.count(WAITING), [c for c in sweep.cells if c.status == FAILED]
    took = f", computed in {seconds(sweep.seconds)}" if sweep.seconds else ""
    machine = f" on {plural(sweep.machine['nodes'], 'machine')}" if sweep.machine.get("nodes", 1) > 1 else ""
    open_cells = f"; {plural(left, 'cell')} not computed yet" if left else ""
    text = (
        f"<b>{escape(sweep.name)}</b>: {plural(total, 'cell')}{took}{machine}{open_cells}. In view: "
        f"{plural(len(found), 'result')} of {escape(choice.model)}, {plural(sum(len(g.cells) for g in found), 'run')}."
    )
    lost = "".join(
        f'<p class="hint bad">{escape(cell.config.model)} {escape(cell.config.pattern)} '
        f"{escape(label_of(cell.config))}, seed {cell.config.seed}: {escape(cell.error)}</p>"
        for cell in failed[:8]
    )
    more = f'<p class="hint bad">and {len(failed) - 8} more cells that failed</p>' if len(failed) > 8 else ""
    return reading(text, "costs") + lost + more


def facts(sweep: Sweep, choice: Choice) -> str:
    """The protocol of the figures, and where speed was measured."""
    e, rows = sweep.evaluation, [row for row in sweep.latency if row["model"] == choice.model]
    kernels = ", ".join(sorted({f"{row.get('kernel', '')}, {row.get('threads', '?')} threads" for row in rows}))
    timed = (
        f" · speed: decoding with packed weights in turn with the dense model, medians ({escape(kernels)})"
        if rows
        else ""
    )
    text = f"{e['windows']} × {e['window']} tokens of “{escape(e['text'])}” · SHA-256 {escape(e['sha256'][:12])}…"
    made = f" · {escape(sweep.created[:10])}" if sweep.created else ""
    return f'<p class="facts">{text}{timed}{made} · whiskers: lowest and highest seed</p>'


def group_table(sweep: Sweep, found: list[Group], choice: Choice) -> pd.DataFrame:
    """A row per group in view."""
    dense = sweep.dense[choice.model]["perplexity"]
    return pd.DataFrame(
        {
            "N:M": group.pattern,
            "Method": group.label,
            "Seeds": len(group.cells),
            "Perplexity": round(group.perplexity, 2),
            "± sd": f"{group.deviation:.2f}" if len(group.cells) > 1 else "",
            "× dense": round(group.perplexity / dense, 3),
            "Next token right": f"{group.mean('top1'):.1%}",
            "Packed, MB": round(group.packed_bytes / 1e6, 2),
            "ms per token": round(group.ms_per_token, 2) if group.ms_per_token else UNTIMED,
            "Time ÷ dense": round(group.time_ratio, 3) if group.time_ratio else UNTIMED,
            "Gap": round(group.mean("mean_gap"), 3),
            "Orphans": round(group.mean("orphans"), 1),
        }
        for group in sorted(found, key=lambda group: group.perplexity)
    )


def cell_table(sweep: Sweep) -> pd.DataFrame:
    """A row per cell of the whole sweep, for other programs."""
    rows = []
    for cell in sweep.cells:
        config, speed = cell.config, sweep.speed(cell)
        rows.append(
            {"key": config.key(), "model": config.model, "pattern": str(config.pattern), "method": label_of(config)}
            | {"beta": config.option("beta"), "seed": config.seed, "status": cell.status, "seconds": cell.seconds}
            | {"dense_perplexity": sweep.dense.get(config.model, {}).get("perplexity", math.nan)}
            | {name: value for name, value in cell.figures.items() if name != "window_nats"}
            | {f"{side}_ms_per_token": speed["ms_per_token"][side]["median"] for side in ("packed", "dense") if speed}
            | {"error": cell.error}
        )
    return pd.DataFrame(rows)
