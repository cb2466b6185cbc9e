"""Zero-shot accuracy beside perplexity: dense and pruned models on four tasks through lm-eval.

    python benchmarks/accuracy.py [--quick] [--json FILE] [--methods NAME ...] [--seeds S ...] [--items COUNT]

SmolLM2-135M as in quality.py, on the first items of ARC-easy, PIQA, OpenBookQA and WinoGrande from --tasks; --quick is
tiny-llama on the bundled cloze task. Finished cells are kept under build/quality and not computed again unless the code
of eggs_core has changed.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.outcome import conclude  # noqa: E402
from benchmarks.quality import DATA, SMOLLM2, known_cells, open_model, prune_and_score  # noqa: E402
from eggs_core.bos import EVERY  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.evaluation.intervals import paired_difference, paired_ratio  # noqa: E402
from eggs_core.evaluation.perplexity import evaluate, protocol  # noqa: E402
from eggs_core.evaluation.task_file import CLOZE  # noqa: E402
from eggs_core.evaluation.zeroshot import TaskScore, zero_shot  # noqa: E402
from eggs_core.registry import METHODS  # noqa: E402
from eggs_core.text.windows import bos_of  # noqa: E402

TASKS = ("arc_easy", "piqa", "openbook_qa", "winogrande")
SHOWN = ("wanda", "ria-cp", "sparsegpt", "eggs-ptp", "eggs-ptp-plus")


def task_scores(model, tokenizer, tasks: list[str], items: int) -> dict[str, Any]:
    """Every task's score as plain values, by the task's name."""
    found = (e for e in zero_shot(model, tokenizer, tasks, items) if isinstance(e, TaskScore))
    return {"tasks": {score.task: score.to_dict() for score in found}}


def rights(cell: dict[str, Any]) -> list[int]:
    """All items of all tasks: 1 where the model was right, by normalised accuracy where the task has it."""
    return [x for task in cell["tasks"].values() for x in (task["right_norm"] or task["right"])]


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

        def best(c, t=task):
            return c["tasks"][t]["right_norm"] or c["tasks"][t]["right"]

        errors = [c["tasks"][task]["acc_norm_stderr"] or c["tasks"][task]["acc_stderr"] for c in cells]
        right = mean([best(c) for c in cells])
        row[task] = {"accuracy": statistics.fmean(right), "stderr": statistics.fmean(errors), "items": len(right)}
        row[task]["difference"] = paired_difference(best(dense), right).to_dict()
    row["mean"] = statistics.fmean(row[task]["accuracy"] for task in dense["tasks"])
    row["mean_difference"] = paired_difference(rights(dense), mean([rights(c) for c in cells])).to_dict()
    return row


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama, 100 items of the bundled cloze task")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--pattern", default="2:4")
    parser.add_argument("--methods", nargs="+", default=list(SHOWN), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--items", type=int, default=500, help="of each task, the first so many")
    parser.add_argument("--smollm2", type=Path, default=SMOLLM2, help="the GGUF file, or a folder of safetensors")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the two texts")
    parser.add_argument("--tasks", type=Path, default=DATA / "tasks", help="the folder of the four tasks")
    options = parser.parse_args()
    name, tasks = "smollm2", [str(options.tasks / f"{task}.jsonl") for task in TASKS]
    if options.quick:
        name, tasks, options.items, options.methods = "tiny-llama", [CLOZE], 100, ["wanda", "sparsegpt"]
    opened, cell = open_model(name, options.smollm2, options.data), known_cells(name)

    def answer(model):
        return task_scores(model, opened.dense.tokenizer, tasks, options.items)

    dense = cell(
        f"dense tasks {options.items}",
        lambda: evaluate(opened.dense.model, opened.evaluation).to_dict() | answer(opened.dense.model),
    )
    rows = {"dense": summary([dense], dense)}
    print_row("dense", rows["dense"])
    for method in options.methods:
        cells = []
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
    conclude(
        [],
        options.json,
        packages=("lm_eval",),
        model=name,
        pattern=options.pattern,
        seeds=options.seeds,
        table=rows,
        evaluation=protocol(opened.evaluation_text, opened.evaluation, bos_of(opened.dense.tokenizer, EVERY)),
        calibration={"text": opened.calibration.name, "sha256": opened.calibration.sha256, **opened.windows},
    )


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
