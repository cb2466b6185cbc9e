"""Zero-shot accuracy beside perplexity: dense and pruned models on five tasks through lm-eval.

    python benchmarks/accuracy.py [--quick] [--json FILE] [--methods NAME ...] [--seeds S ...] [--items COUNT]

SmolLM2-135M as in quality.py, on ARC-easy, PIQA, OpenBookQA and WinoGrande from --tasks, and on the last words of
passages of WikiText-2's test split, made as the bundled cloze task is; --quick is tiny-llama on that one. Methods are
compared on the mean of ARC-easy, PIQA and last words, as WinoGrande and OpenBookQA are near guessing from the start:
differences are paired over items, each task weighs the same, intervals are a bootstrap over the items of each task.
Pruned models answer with their layers packed, in two thirds of the time; perplexity is that of the unpacked model.
Finished cells are kept under build/quality and not computed again unless the code of eggs_core has changed.
"""

import argparse
import itertools
import json
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import build_cloze  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.outcome import check, conclude  # noqa: E402
from benchmarks.quality import DATA, PEERS, SMOLLM2, Opened, known_cells, open_model, prune_and_score  # noqa: E402
from eggs_core.bos import EVERY  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.evaluation.intervals import paired_difference, paired_ratio  # noqa: E402
from eggs_core.evaluation.perplexity import evaluate, protocol  # noqa: E402
from eggs_core.evaluation.task_file import CLOZE  # noqa: E402
from eggs_core.evaluation.zeroshot import TaskScore, zero_shot  # noqa: E402
from eggs_core.packed.model import packed_copy  # noqa: E402
from eggs_core.registry import METHODS  # noqa: E402
from eggs_core.text.windows import bos_of  # noqa: E402

TASKS = ("arc_easy", "piqa", "openbook_qa", "winogrande")
LAST_WORDS, PASSAGES = "last_words", 2000
COUNTED = ("arc_easy", "piqa", LAST_WORDS)  # a dense model of this size is above chance there
OURS = ("eggs-ptp-plus", "eggs-ptp-fit")
BAR = 0.02  # each of ours is to be so far ahead of both peers
SAMPLES = 4000


def task_scores(model, tokenizer, tasks: list[str], items: int) -> dict[str, Any]:
    """Every task's score as plain values, by the task's name."""
    found = (e for e in zero_shot(model, tokenizer, tasks, items) if isinstance(e, TaskScore))
    return {"tasks": {score.task: score.to_dict() for score in found}}


def packed(model, layers):
    """The same model with these layers, as pruning reported them, packed."""
    return packed_copy(
        model,
        {layer.name: layer.mask for layer in layers},
        {layer.name: layer.pattern for layer in layers},
        {layer.name: layer.permutation for layer in layers if layer.permutation is not None},
    )


def last_words(opened: Opened, folder: Path) -> str:
    """The file of a task made of the evaluation text: which word comes next where a passage breaks off?"""
    words = " ".join(re.findall(r"\b[a-z]+\b", opened.calibration.content))  # no ends of words with a capital
    items = build_cloze.build(opened.evaluation_text.content, words, PASSAGES)
    file = folder / f"{LAST_WORDS}.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return str(file)


def best(cell: dict[str, Any], task: str) -> list[int]:
    """A task's items: 1 where the model was right, by normalised accuracy where the task has it."""
    return cell["tasks"][task]["right_norm"] or cell["tasks"][task]["right"]


def counted_difference(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, float]:
    """By how much the mean of the counted tasks is higher, means over seeds, with a bootstrap 95 % interval."""
    draws, total = np.random.default_rng(0), np.zeros(SAMPLES)
    value = 0.0
    for task in COUNTED:
        sides = [np.mean([best(cell, task) for cell in cells], 0) for cells in (ours, theirs)]
        difference = sides[0] - sides[1]
        value += float(difference.mean()) / len(COUNTED)
        for sample in range(SAMPLES):
            total[sample] += difference[draws.integers(0, len(difference), len(difference))].mean() / len(COUNTED)
    low, high = np.quantile(total, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}


def rights(cell: dict[str, Any]) -> list[int]:
    """All items of all tasks: 1 where the model was right, by normalised accuracy where the task has it."""
    return [x for task in cell["tasks"] for x in best(cell, task)]


def summary(cells: list[dict[str, Any]], dense: dict[str, Any]) -> dict[str, Any]:
    """One method: means over seeds, standard errors over items, paired differences from dense with intervals."""

    def mean(values):
        return [statistics.fmean(column) for column in zip(*values, strict=True)]

    row: dict[str, Any] = {"perplexity": statistics.fmean(c["perplexity"] for c in cells), "seeds": len(cells)}
    row["perplexities"] = [c["perplexity"] for c in cells]
    if cells[0] is not dense:
        nats = mean([c["window_nats"] for c in cells])
        row["perplexity_against_dense"] = paired_ratio(dense["window_nats"], nats).to_dict()
    for task in dense["tasks"]:
        errors = [c["tasks"][task]["acc_norm_stderr"] or c["tasks"][task]["acc_stderr"] for c in cells]
        right = mean([best(c, task) for c in cells])
        row[task] = {"accuracy": statistics.fmean(right), "stderr": statistics.fmean(errors), "items": len(right)}
        row[task]["difference"] = paired_difference(best(dense, task), right).to_dict()
    row["mean"] = statistics.fmean(row[task]["accuracy"] for task in dense["tasks"])
    row["mean_difference"] = paired_difference(rights(dense), mean([rights(c) for c in cells])).to_dict()
    return row


def main() -> int:
    """Measure, print the table, write JSON, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama, 100 items of the bundled cloze task")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--pattern", default="2:4")
    parser.add_argument("--methods", nargs="+", default=[*PEERS, *OURS], choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--items", type=int, help="of each task, the first so many; default: all")
    parser.add_argument("--smollm2", type=Path, default=SMOLLM2, help="the GGUF file, or a folder of safetensors")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the two texts")
    parser.add_argument("--tasks", type=Path, default=DATA / "tasks", help="the folder of the four tasks")
    options = parser.parse_args()
    folder = tempfile.TemporaryDirectory()
    name, tasks = "smollm2", [str(options.tasks / f"{task}.jsonl") for task in TASKS]
    if options.quick:
        name, tasks, options.items, options.methods = "tiny-llama", [CLOZE], 100, ["wanda", "sparsegpt"]
    opened, cell = open_model(name, options.smollm2, options.data), known_cells(name)
    if not options.quick:
        tasks.append(last_words(opened, Path(folder.name)))

    def answer(model, layers=()):
        model = packed(model, layers) if layers else model
        return task_scores(model, opened.dense.tokenizer, tasks, options.items)

    dense = cell(
        f"dense tasks {options.items}",
        lambda: evaluate(opened.dense.model, opened.evaluation).to_dict() | answer(opened.dense.model),
    )
    rows, seen = {"dense": summary([dense], dense)}, {}
    print_row("dense", rows["dense"])
    for method in options.methods:
        cells = seen[method] = []
        for seed in options.seeds:
            config = make_config(
                "tiny-llama" if name == "smollm2" else name, options.pattern, method, seed=seed, **opened.windows
            )
            key = f"{options.pattern} {method} {seed}"
            found = cell(
                f"{key} tasks {options.items}",
                lambda c=config: prune_and_score(opened.dense, c, opened.calibration, opened.evaluation, answer),
            )
            cell(key, lambda f=found: {k: v for k, v in f.items() if k != "tasks"})  # quality.py needs it too
            cells.append(found)
        rows[method] = summary(cells, dense)
        print_row(METHODS[method].label, rows[method])
    return conclude(
        compared(rows, seen),
        options.json,
        packages=("lm_eval",),
        model=name,
        pattern=options.pattern,
        seeds=options.seeds,
        table=rows,
        evaluation=protocol(opened.evaluation_text, opened.evaluation, bos_of(opened.dense.tokenizer, EVERY)),
        calibration={"text": opened.calibration.name, "sha256": opened.calibration.sha256, **opened.windows},
    )


def compared(rows: dict[str, Any], seen: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Checks of our methods against each peer that was measured, on the counted tasks; the rows get the differences."""
    checks = []
    for method, peer in itertools.product(OURS, PEERS):
        if not {method, peer} <= set(seen) or not set(COUNTED) <= set(seen[method][0]["tasks"]):
            continue
        found = rows[method][f"against {peer}"] = counted_difference(seen[method], seen[peer])
        checks += [
            check(f"{method} ahead of {peer}", found["value"], BAR, higher_is_better=True),
            check(f"{method} ahead of {peer}, low", found["low"], 0.0, higher_is_better=True),
        ]
    return checks


def print_row(label: str, row: dict[str, Any]) -> None:
    """One line of the table."""
    tasks = "  ".join(
        f"{task} {value['accuracy']:.1%} ± {value['stderr']:.1%}"
        for task, value in row.items()
        if isinstance(value, dict) and "accuracy" in value
    )
    change = row["mean_difference"]
    print(
        f"{label:14} perplexity {row['perplexity']:8.2f}  {tasks}  mean {row['mean']:.1%} "
        f"({100 * change['value']:+.1f} [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}] points)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
