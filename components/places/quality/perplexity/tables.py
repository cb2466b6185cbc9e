"""Results as pandas tables; no gradio here."""

import pandas as pd

from components.places.quality.tasks.view import task_pairs
from components.state.results import RESULTS, Results
from components.words.labels import run_label
from components.words.recorded import took
from eggs_core.evaluation.intervals import paired_ratio
from eggs_core.runs.run import Run

BEST = " ★"  # of the best, where the interval of its ratio to the runner-up excludes 1


def accuracy_table(runs: list[Run], results: Results = RESULTS) -> pd.DataFrame:
    """Methods as rows, dense on top; the change of perplexity carries its bootstrap 95 % interval."""
    if not runs:
        return pd.DataFrame()
    dense, best = runs[0].report["evaluation"]["dense"], clear_best(runs)
    rows = [
        {
            "Method": "Dense",
            "Perplexity": f"{dense['perplexity']:.2f}",
            "× dense [95 % interval]": "1",
            "Top-1": f"{dense['top1']:.1%}",
            "Top-5": f"{dense['top5']:.1%}",
            "Orphans": "0",
            "Pruned in": "",
        }
    ]
    for run in runs:
        evaluation = run.report["evaluation"]
        ratio = paired_ratio(evaluation["dense"]["window_nats"], evaluation["pruned"]["window_nats"])
        rows.append(
            {
                "Method": run_label(run),
                "Perplexity": f"{evaluation['pruned']['perplexity']:.2f}{BEST if run is best else ''}",
                "× dense [95 % interval]": f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
                "Top-1": f"{evaluation['pruned']['top1']:.1%}",
                "Top-5": f"{evaluation['pruned']['top5']:.1%}",
                "Orphans": str(sum(layer["orphans"] for layer in run.report["layers"])),
                "Pruned in": took(run.report, "prune"),
            }
        )
        for task, (before, after) in {f"{d.task} ({d.items})": (d, p) for d, p in task_pairs(run, results)}.items():
            rows[0][task], rows[-1][task] = f"{before.best_acc:.1%}", f"{after.best_acc:.1%}"
    return pd.DataFrame(rows).fillna("")


def clear_best(runs: list[Run]) -> Run | None:
    """The run of least perplexity, if the interval of its ratio to the runner-up excludes 1; else None."""

    def losses(run: Run) -> list[float]:
        return run.report["evaluation"]["pruned"]["window_nats"]

    ranked = sorted(runs, key=lambda run: run.report["evaluation"]["pruned"]["perplexity"])
    if len(ranked) < 2 or paired_ratio(losses(ranked[0]), losses(ranked[1])).low <= 1:
        return None
    return ranked[0]
