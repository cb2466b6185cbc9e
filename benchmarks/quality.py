"""What pruning costs in perplexity: every method on the same calibration windows, over seeds, in one process.

    python benchmarks/quality.py [--quick] [--json FILE] [--models NAME ...] [--patterns N:M ...] [--seeds S ...]
                                 [--rotation learned]

Models are the bundled ones, and smollm2 (SmolLM2-135M as a GGUF file, see --smollm2). The bundled models use 64 × 256
tokens of the bundled calibration text and the first 64 × 256 of the held-out one; smollm2 uses 64 × 512 tokens of
Wikipedia and the first 16 × 1,024 of WikiText-2's test split, from --data. Finished cells are kept under build/quality
and not computed again unless the code of eggs_core has changed, so an interrupted run goes on where it was. With
--rotation every method prunes the rotated model, of which there is one for each pattern and seed.
"""

import argparse
import contextlib
import copy
import hashlib
import itertools
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.outcome import check, conclude  # noqa: E402
from eggs_core.bos import EVERY  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.evaluation.intervals import paired_ratio  # noqa: E402
from eggs_core.evaluation.perplexity import evaluate, protocol  # noqa: E402
from eggs_core.models.loading import LoadedModel, load  # noqa: E402
from eggs_core.pruning.loop import prune  # noqa: E402
from eggs_core.pruning.plan import plan_for  # noqa: E402
from eggs_core.registry import METHODS, STAGES  # noqa: E402
from eggs_core.text.sources import Text, bundled_text  # noqa: E402
from eggs_core.text.windows import bos_of, calibration_windows, evaluation_windows  # noqa: E402

CACHE = ROOT / "build" / "quality"
RESULTS = ROOT / "benchmarks" / "results"
SMOLLM2 = Path.home() / ".cache" / "eggs" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
DATA = ROOT.parent / "shared" / "data"
SCORING = ("config.py", "evaluation", "masks", "models", "pattern.py", "pruning", "registry.py", "text")
WINDOWS = {"smollm2": ((64, 512), (16, 1024))}
BUNDLED_WINDOWS = ((64, 256), (64, 256))
PATTERNS = {"smollm2": ("2:4", "4:8")}
BUNDLED_PATTERNS = ("1:4", "2:4", "4:8")
_ROTATED: dict[tuple, Any] = {}  # the rotated model in use
PEERS = ("sparsegpt", "ria-cp")
# Against the better of them on smollm2, by method and pattern.
BARS = {("eggs-ptp-plus", "2:4"): 0.62, ("eggs-ptp-fit", "2:4"): 0.50, ("eggs-ptp-fit", "4:8"): 0.60}


def code_version(names: Sequence[str] = SCORING) -> str:
    """SHA-256 of the modules that decide a figure: a cell from other code is not used again."""
    digest = hashlib.sha256()
    for name in names:
        place = ROOT / "eggs_core" / name
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.suffix in (".py", ".c", ".h"):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def texts(model: str, data: Path) -> tuple[Text, Text]:
    """The calibration and the evaluation text of a model."""
    if model != "smollm2":
        return bundled_text("calibration"), bundled_text("heldout")
    files = data / "calibration-wikipedia.txt", data / "wikitext-2-raw-test.txt"
    return tuple(Text(file.name, file.read_text(encoding="utf-8")) for file in files)


def peak_megabytes() -> float:
    """Peak resident memory since the last reset, else since the start of the process."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1e3
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def reset_peak() -> None:
    """Start peak_megabytes anew, on Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def prune_and_score(
    dense: LoadedModel, config, calibration: Text, evaluation: torch.Tensor, more: Callable | None = None
) -> dict[str, Any]:
    """One cell: prune a copy and evaluate it; `more` gives further figures of the model and its pruned layers."""
    windows = calibration_windows(
        dense.tokenizer, calibration, config.calibration_windows, config.calibration_length, config.seed
    )
    base, rotation = rotated(dense, config, windows) if config.rotates else (dense.model, {})
    model = copy.deepcopy(base)
    reset_peak()
    wall, processor = time.perf_counter(), time.process_time()
    layers = list(prune(model, windows, config))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = peak_megabytes()
    return {
        **evaluate(model, evaluation).to_dict(),
        "retained_score": statistics.fmean(layer.retained_score for layer in layers),
        "output_error": statistics.fmean(layer.output_error for layer in layers),
        "min_in_degree": min(layer.graph.min_in_degree for layer in layers),
        "orphans": sum(layer.graph.orphans for layer in layers),
        "gap": statistics.fmean(layer.graph.spectral_gap for layer in layers),
        "certified": statistics.fmean(layer.graph.certified_expansion["inputs"] for layer in layers),
        "seconds": wall,
        "processor_seconds": processor,
        "peak_mb": peak,
        **rotation,
        **(more(model, layers) if more else {}),
    }


def rotated(dense: LoadedModel, config, windows: torch.Tensor) -> tuple[Any, dict[str, Any]]:
    """The rotated model, kept for the next method, and figures of its rotation."""
    asked = dense.fingerprint, str(config.pattern), config.layers, config.seed
    if asked not in _ROTATED:
        patterns = plan_for(dense.model, config.pattern, config.layers).patterns
        steps = config.entries()["rotation"].load()(dense.model, windows, patterns, config.seed)
        try:
            while True:
                print(f"\r  {next(steps).text:70}", end="", file=sys.stderr, flush=True)
        except StopIteration as end:
            found = end.value
        print(file=sys.stderr)
        if found.rotation is None:
            raise SystemExit(f"{dense.name} is not rotated, as {found.why}.")
        _ROTATED.clear()
        _ROTATED[asked] = found
    found = _ROTATED[asked]
    dropped = {name: statistics.fmean(getattr(found, name).values()) for name in ("before", "after")}
    return found.model, {"dropped": dropped, "rotation_seconds": found.seconds}


@dataclass(slots=True)
class Opened:
    """A dense model with what its figures are computed on."""

    dense: LoadedModel
    calibration: Text
    evaluation_text: Text
    evaluation: torch.Tensor
    windows: dict[str, int]  # of calibration, as a configuration names them


def open_model(name: str, smollm2: Path = SMOLLM2, data: Path = DATA) -> Opened:
    """Load a model and its texts."""
    dense = load(str(smollm2) if name == "smollm2" else name)
    calibration, evaluation_text = texts(name, data)
    (count, length), (windows, window) = WINDOWS.get(name, BUNDLED_WINDOWS)
    evaluation = evaluation_windows(dense.tokenizer, evaluation_text, windows, window)
    return Opened(
        dense,
        calibration,
        evaluation_text,
        evaluation,
        {"calibration_windows": count, "calibration_length": length},
    )


def known_cells(name: str, folder: Path = CACHE, code: Sequence[str] = SCORING) -> Callable[..., dict[str, Any]]:
    """A function (key, compute, anew=False) -> value that computes only what this code has not computed before.

    `code` are the modules that decide a figure; `anew` computes all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, version = folder / f"{name}.jsonl", code_version(code)
    known = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        entry = json.loads(line)
        if entry["code"] == version:
            known[entry["cell"]] = entry["value"]

    def cell(key: str, compute, anew: bool = False) -> dict[str, Any]:
        if anew or key not in known:
            known[key] = compute()
            with log.open("a") as file:
                file.write(json.dumps({"code": version, "cell": key, "value": known[key]}) + "\n")
        return known[key]

    return cell


def patterns_of(model: str, options) -> Sequence[str]:
    """The patterns to measure a model at."""
    return options.patterns or PATTERNS.get(model, BUNDLED_PATTERNS)


def run_model(name: str, options, cells: dict[str, Any]) -> dict[str, Any] | None:
    """Every cell of one model that is not known yet goes into `cells`; returns the protocol and the dense row."""
    if name == "smollm2" and not (options.smollm2.exists() and options.data.is_dir()):
        print(f"{name} is left out: {options.smollm2} or {options.data} is not there.", file=sys.stderr)
        return None
    opened, cell = open_model(name, options.smollm2, options.data), known_cells(name)
    dense, calibration, evaluation = opened.dense, opened.calibration, opened.evaluation
    row = cell("dense", lambda: evaluate(dense.model, evaluation).to_dict())
    print(f"{name}: dense perplexity {row['perplexity']:.2f}", flush=True)
    for pattern in patterns_of(name, options):
        for seed in options.seeds:
            for method in options.methods:
                config = make_config(
                    "tiny-llama" if name == "smollm2" else name,
                    pattern,
                    method,
                    seed=seed,
                    rotation=options.rotation,
                    **opened.windows,
                )
                # The seed draws calibration windows, nothing else.
                key = f"{pattern} {method} {seed if config.sees_inputs else options.seeds[0]}"
                key += " rotated" if config.rotates else ""
                value = cell(key, lambda config=config: prune_and_score(dense, config, calibration, evaluation))
                cells[f"{name} {pattern} {method} {seed}"] = value
                print(
                    f"  {pattern} seed {seed} {method:14} {value['perplexity']:9.2f}  "
                    f"{value['processor_seconds']:6.0f} s of processor time  {value['peak_mb']:6.0f} MB",
                    flush=True,
                )
    return {
        "dense": row,
        "evaluation": protocol(opened.evaluation_text, evaluation, bos_of(opened.dense.tokenizer, EVERY)),
        "calibration": {"text": calibration.name, "sha256": calibration.sha256, **opened.windows},
    }


def mean_nats(rows: list[dict[str, Any]], name: str = "window_nats") -> list[float]:
    """Each window's loss, or another measure's values, mean over seeds."""
    return [statistics.fmean(values) for values in zip(*(row[name] for row in rows), strict=True)]


def table(model: str, pattern: str, options, cells: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per method: mean and sd over seeds, and paired bootstrap intervals against the two baselines."""
    rows = {m: [cells[f"{model} {pattern} {m} {seed}"] for seed in options.seeds] for m in options.methods}
    found = []
    for method, values in rows.items():
        perplexities = [v["perplexity"] for v in values]
        entry = {"method": method, "perplexity": statistics.fmean(perplexities), "perplexities": perplexities}
        entry["sd"] = statistics.stdev(perplexities) if len(values) > 1 else None
        for baseline in ("ria", "ria-cp", "sparsegpt"):
            if baseline in rows and baseline != method:
                entry[f"against {baseline}"] = paired_ratio(mean_nats(rows[baseline]), mean_nats(values)).to_dict()
        for name in ("retained_score", "output_error", "seconds", "processor_seconds", "peak_mb", "orphans"):
            entry[name] = statistics.fmean(v[name] for v in values)
        entry["min_in_degree"] = min(v["min_in_degree"] for v in values)
        found.append(entry)
    return found


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """The table as text."""
    print(
        f"\n{title}\n{'method':14}  perplexity ± sd    against RIA+CP          against SparseGPT       "
        "retained  in-degree ≥  orphans  CPU s  peak MB"
    )
    for row in rows:
        cells = []
        for baseline in ("ria-cp", "sparsegpt"):
            ratio = row.get(f"against {baseline}")
            cells.append(f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]" if ratio else "–")
        spread = "" if row["sd"] is None else f"± {row['sd']:.2f}"
        print(
            f"{row['method']:14}  {row['perplexity']:8.2f} {spread:8}  {cells[0]:22}  {cells[1]:22}  "
            f"{row['retained_score']:8.4f}  {row['min_in_degree']:11}  {row['orphans']:7.0f}  "
            f"{row['processor_seconds']:5.0f}  {row['peak_mb']:7.0f}"
        )


def print_rotations(cells: dict[str, Any]) -> None:
    """What each rotation made of the share that the pattern drops, once for each model, pattern and seed."""
    found = {tuple(name.split()[i] for i in (0, 1, -1)): cell for name, cell in cells.items() if "dropped" in cell}
    for (model, pattern, seed), cell in found.items():
        print(
            f"{model} {pattern} seed {seed}: {cell['dropped']['after']:.4f} of w² h dropped after the rotation, "
            f"{cell['dropped']['before']:.4f} before; learned in {cell['rotation_seconds']:.0f} s"
        )


def draw(tables: dict[str, list[dict[str, Any]]], models: dict[str, Any], path: Path) -> None:
    """A dot for every seed, a row of panels for every model; the dense model is the dashed line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    patterns = sorted({title.split()[1] for title in tables})
    size = (4.4 * len(patterns), 2.9 * len(models))
    figure, axes = plt.subplots(len(models), len(patterns), figsize=size, squeeze=False, layout="constrained")
    for (model, pattern), axis in zip(itertools.product(models, patterns), axes.flat, strict=True):
        rows = tables.get(f"{model} {pattern}")
        if rows is None:
            axis.remove()
            continue
        dense = models[model]["dense"]["perplexity"]
        for i, row in enumerate(rows):
            color = "#d55e00" if row["method"].startswith("eggs") else "#0072b2"
            axis.plot(row["perplexities"], [i] * len(row["perplexities"]), "o", color=color, alpha=0.7)
        axis.axvline(dense, color="grey", linestyle="--", linewidth=1)
        names = [METHODS[row["method"]].label for row in rows]
        axis.set(yticks=range(len(rows)), yticklabels=names, xscale="log", title=f"{model} at {pattern}")
        worst = max(max(row["perplexities"]) for row in rows)
        ticks = [float(f"{dense * (worst / dense) ** (k / 4):.2g}") for k in range(5)]
        axis.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.set_xlabel("perplexity (log scale); dashed: dense")
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)


def checks_of(tables: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The bars, for what was measured."""
    checks = []
    for title, rows in tables.items():
        model, asked = title.split()
        if model != "smollm2":
            continue
        rows = {row["method"]: row for row in rows}
        for (method, pattern), bar in BARS.items():
            if pattern == asked and {*PEERS, method} <= set(rows):
                ratio = rows[method]["perplexity"] / min(rows[peer]["perplexity"] for peer in PEERS)
                checks.append(check(f"{title} {method} vs better baseline", ratio, bar))
        if asked == "2:4" and {"ria", "eggs-ptp"} <= set(rows):
            low = rows["eggs-ptp"]["against ria"]["low"]  # no worse within noise: the interval reaches 1 or below
            checks.append(check("smollm2_eggs_ptp_vs_ria_low", low, 1.0))
    return checks


def main() -> int:
    """Measure, print the tables, write JSON and picture, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama at 2:4, seed 0, three methods")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here, and a picture beside it")
    parser.add_argument("--models", nargs="+", default=["smollm2", "tiny-llama", "tiny-opt"])
    parser.add_argument("--patterns", nargs="+", help="at first 2:4 and 4:8 for smollm2, and 1:4 too for the others")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--rotation", default="none", choices=list(STAGES["rotation"].entries))
    parser.add_argument("--smollm2", type=Path, default=SMOLLM2, help="the GGUF file, or a folder of safetensors")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the two texts")
    options = parser.parse_args()
    if options.quick:
        options.models, options.patterns, options.seeds = ["tiny-llama"], ["2:4"], [0]
        options.methods = ["wanda", "sparsegpt", "eggs-ptp-plus"]
    cells: dict[str, Any] = {}
    models = {name: found for name in options.models if (found := run_model(name, options, cells))}
    tables = {f"{m} {p}": table(m, p, options, cells) for m in models for p in patterns_of(m, options)}
    for title, rows in tables.items():
        print_table(title, rows)
    print_rotations(cells)
    if options.json:
        draw(tables, models, options.json.with_suffix(".png"))
    return conclude(
        checks_of(tables) if options.rotation == "none" else [],
        options.json,
        quick=options.quick,
        tables=tables,
        models=models,
        seeds=options.seeds,
        rotation=options.rotation,
        code=code_version(),
    )


if __name__ == "__main__":
    raise SystemExit(main())
