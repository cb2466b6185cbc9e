"""What recovery gives back of the perplexity that pruning costs, by model, method and seed.

    python benchmarks/recovery.py [--quick] [--json FILE] [--models NAME ...] [--methods M ...] [--seeds S ...]

Models, texts and windows are those of quality.py; what is learned from is the calibration text, and the figures are of
the evaluation text. `--study connected` asks another question instead: does a connected start recover better? Masks by
RIA at 1:4 with the degree bound β at 0, automatic and 1, before and after recovery. Finished cells are kept under
build/recovery and not computed again unless the code of eggs_core has changed. A cell that was cut off goes on: the
pruned model and the state of its training are kept there too.
"""

import argparse
import copy
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from safetensors.torch import load_file  # noqa: E402

from benchmarks.outcome import check, conclude  # noqa: E402
from benchmarks.quality import (  # noqa: E402
    DATA,
    SMOLLM2,
    Opened,
    code_version,
    known_cells,
    open_model,
    peak_megabytes,
    reset_peak,
)
from eggs_core.config import PruneConfig, make_config  # noqa: E402
from eggs_core.evaluation.intervals import paired_ratio  # noqa: E402
from eggs_core.evaluation.perplexity import evaluate  # noqa: E402
from eggs_core.files import write_tensors  # noqa: E402
from eggs_core.progress import Progress  # noqa: E402
from eggs_core.pruning.loop import prune  # noqa: E402
from eggs_core.pruning.recovery import HELD_OUT, Lesson, automatic_rate, distil  # noqa: E402
from eggs_core.text.windows import calibration_windows, training_windows  # noqa: E402

KEPT = ROOT / "build" / "recovery"
OURS = ("eggs-ptp-fit", "eggs-ptp-plus")
METHODS = (*OURS, "sparsegpt", "ria-cp", "magnitude")
CONNECTED = {"β = 0": 0.0, "β automatic": None, "β = 1": 1.0}
BAR = 0.45  # each of ours, recovered, against one-shot SparseGPT, smollm2 at 2:4


def pruned(opened: Opened, config: PruneConfig, file: Path) -> tuple[Any, dict[str, Any]]:
    """A pruned copy of the model, from `file` if it is there, and its masks by layer name."""
    model = copy.deepcopy(opened.dense.model)
    names = dict(model.named_parameters())
    if not file.exists():
        windows = calibration_windows(
            opened.dense.tokenizer,
            opened.calibration,
            config.calibration_windows,
            config.calibration_length,
            config.seed,
        )
        tensors = {}
        for layer in prune(model, windows, config):
            tensors[f"mask {layer.name}"] = layer.mask
            tensors[layer.name] = names[f"{layer.name}.weight"]
        write_tensors(file, tensors)
    held = load_file(file)
    masks = {name.removeprefix("mask "): tensor for name, tensor in held.items() if name.startswith("mask ")}
    for name in masks:
        names[f"{name}.weight"].data.copy_(held[name])
    return model, masks


def recovered(opened: Opened, config: PruneConfig, tokens: int, name: str) -> dict[str, Any]:
    """One cell: prune, evaluate, recover, evaluate again."""
    model, masks = pruned(opened, config, KEPT / f"{name} {code_version()}.safetensors")
    before = evaluate(model, opened.evaluation)
    length, tokenizer = config.calibration_length, opened.dense.tokenizer
    training, held_out = training_windows(
        tokenizer, opened.calibration, -(-tokens // length), length, HELD_OUT, config.seed
    )
    state = KEPT / f"{name} {tokens} {code_version()}.state.safetensors"
    lesson = Lesson(training, held_out, automatic_rate(opened.dense.model), state, name)
    reset_peak()
    started, steps = time.perf_counter(), distil(model, opened.dense.model, masks, lesson)
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            learned = end.value
            break
        if not isinstance(event, Progress):
            print(f"    {event.tokens:>9,} tokens: {event.loss:.4f} nats from dense, held-out text", flush=True)
    seconds, peak = time.perf_counter() - started, peak_megabytes()
    after = evaluate(model, opened.evaluation)
    state.unlink(missing_ok=True)
    return {
        "before": before.to_dict(),
        "after": after.to_dict(),
        "curve": [asdict(point) for point in learned.curve],
        "tokens": training.numel(),
        "rate": lesson.rate,
        "seconds": seconds,
        "trained_seconds": learned.seconds,
        "peak_mb": peak,
    }


def configs(model: str, opened: Opened, options: argparse.Namespace, seed: int) -> dict[str, PruneConfig]:
    """The configurations to compare, by what they are called."""
    known = "tiny-llama" if model == "smollm2" else model
    shared = {"seed": seed, **opened.windows}
    if options.study == "connected":
        choices = {"score": "ria", "selection": "degree", "permutation": "none", "reconstruction": "none"}
        return {
            name: make_config(known, "1:4", "custom", **choices, beta=beta, **shared)
            for name, beta in CONNECTED.items()
        }
    return {method: make_config(known, options.pattern, method, **shared) for method in options.methods}


def run_model(model: str, options: argparse.Namespace, rows: dict[str, Any]) -> float | None:
    """Every cell of one model goes into `rows`; returns the dense perplexity, None without the model's files."""
    if model == "smollm2" and not (options.smollm2.exists() and options.data.is_dir()):
        print(f"{model} is left out: {options.smollm2} or {options.data} is not there.", file=sys.stderr)
        return None
    opened, cell = open_model(model, options.smollm2, options.data), known_cells(model, KEPT)
    dense = cell("dense", lambda: evaluate(opened.dense.model, opened.evaluation).to_dict())["perplexity"]
    print(f"{model}: dense perplexity {dense:.2f}", flush=True)
    for seed in options.seeds:
        for name, config in configs(model, opened, options, seed).items():
            key = f"{model} {config.pattern} {name} {seed}"
            print(f"  {key}", flush=True)
            called = f"{key.replace(':', 'of')}"
            row = cell(f"{key} {options.tokens}", lambda c=config, n=called: recovered(opened, c, options.tokens, n))
            rows[key] = row
            print(
                f"  {key}: {row['before']['perplexity']:.2f} → {row['after']['perplexity']:.2f}, "
                f"{row['trained_seconds']:.0f} s, {row['peak_mb']:.0f} MB",
                flush=True,
            )
    return dense


def table(rows: dict[str, Any], dense: dict[str, float]) -> list[dict[str, Any]]:
    """A row for each model, pattern and method: one-shot and recovered perplexity, means and spread over seeds."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for key, row in rows.items():
        cells.setdefault(key.rpartition(" ")[0], []).append(row)
    found = []
    for name, seeds in cells.items():
        entry: dict[str, Any] = {"name": name, "dense": dense[name.split()[0]], "seeds": len(seeds)}
        for side in ("before", "after"):
            values = [row[side]["perplexity"] for row in seeds]
            entry[side], entry[f"{side} each"] = statistics.fmean(values), values
            entry[f"{side} sd"] = statistics.stdev(values) if len(values) > 1 else None
        nats = [
            [statistics.fmean(w) for w in zip(*(row[side]["window_nats"] for row in seeds), strict=True)]
            for side in ("before", "after")
        ]
        entry["ratio"] = paired_ratio(*nats).to_dict()
        entry["seconds"] = statistics.fmean(row["trained_seconds"] for row in seeds)
        entry["peak_mb"] = max(row["peak_mb"] for row in seeds)
        found.append(entry)
    return found


def print_table(rows: list[dict[str, Any]]) -> None:
    """The table as text."""
    print(f"\n{'':32}   dense  after pruning   after recovery   ratio [95 %]            seconds  peak MB")
    for row in rows:
        ratio, sides = row["ratio"], []
        for side in ("before", "after"):
            spread = row[f"{side} sd"]
            sides.append(f"{row[side]:8.2f} {'' if spread is None else f'± {spread:.2f}':7}")
        print(
            f"{row['name']:32} {row['dense']:7.2f} {sides[0]} {sides[1]}  {ratio['value']:.3f} "
            f"[{ratio['low']:.3f}, {ratio['high']:.3f}]  {row['seconds']:7.0f}  {row['peak_mb']:7.0f}"
        )


def checks_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bars, for what was measured."""
    by_name = {row["name"]: row for row in rows}
    checks = [check(f"{name} recovered ÷ one-shot", row["ratio"]["value"], 1.0) for name, row in by_name.items()]
    peer = by_name.get("smollm2 2:4 sparsegpt")
    for method in OURS:
        ours = by_name.get(f"smollm2 2:4 {method}")
        if ours and peer:
            ratio = ours["after"] / peer["before"]
            checks.append(check(f"smollm2 recovered {method} vs one-shot SparseGPT", ratio, BAR))
        if ours:
            checks.append(check(f"smollm2 {method} peak MB", ours["peak_mb"], 6000))
    return checks


def main() -> int:
    """Measure, print the table, write JSON, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama, magnitude, seed 0, 12,288 tokens")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--study", choices=["methods", "connected"], default="methods")
    parser.add_argument("--models", nargs="+", default=["tiny-llama", "tiny-opt"])
    parser.add_argument("--pattern", default="2:4", help="of the study of methods")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tokens", type=int, default=131_072, help="that recovery reads")
    parser.add_argument("--smollm2", type=Path, default=SMOLLM2, help="the GGUF file, or a folder of safetensors")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the two texts")
    options = parser.parse_args()
    if options.quick:
        options.models, options.methods, options.seeds, options.tokens = ["tiny-llama"], ["magnitude"], [0], 12_288
    rows: dict[str, Any] = {}
    dense = {name: found for name in options.models if (found := run_model(name, options, rows)) is not None}
    found = table(rows, dense)
    print_table(found)
    return conclude(
        checks_of(found),
        options.json,
        quick=options.quick,
        study=options.study,
        tokens=options.tokens,
        table=found,
        rows=rows,
        seeds=options.seeds,
        code=code_version(),
    )


if __name__ == "__main__":
    raise SystemExit(main())
