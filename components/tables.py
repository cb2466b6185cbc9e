"""Results as pandas tables; no gradio here."""

import pandas as pd

from components.session import run_label
from components.text import MEASURES
from eggs_core.evaluate import paired_ratio
from eggs_core.runs import Run


def accuracy_table(runs: list[Run]) -> pd.DataFrame:
    """Methods as rows, dense on top; the change of perplexity carries its bootstrap 95 % interval."""
    if not runs:
        return pd.DataFrame()
    dense = runs[0].report["evaluation"]["dense"]
    rows = [
        {
            "Method": "Dense", "Perplexity": f"{dense['perplexity']:.2f}", "× dense [95 % interval]": "1",
            "Top-1": f"{dense['top1']:.1%}", "Top-5": f"{dense['top5']:.1%}", "Orphans": "0", "Pruned in": "",
        }
    ]  # fmt: skip
    for run in runs:
        evaluation = run.report["evaluation"]
        ratio = paired_ratio(evaluation["dense"]["window_nats"], evaluation["pruned"]["window_nats"])
        rows.append(
            {
                "Method": run_label(run),
                "Perplexity": f"{evaluation['pruned']['perplexity']:.2f}",
                "× dense [95 % interval]": f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
                "Top-1": f"{evaluation['pruned']['top1']:.1%}",
                "Top-5": f"{evaluation['pruned']['top5']:.1%}",
                "Orphans": str(sum(layer["orphans"] for layer in run.report["layers"])),
                "Pruned in": f"{run.report['seconds']['prune']:.1f} s",
            }
        )
    return pd.DataFrame(rows)


def layer_table(run: Run) -> pd.DataFrame:
    """Layers as rows, every measure as a column."""
    return pd.DataFrame(
        {"Layer": layer["name"], "Shape": "{} × {}".format(*layer["shape"])}
        | {name.capitalize(): form.format(layer[key]) for key, (name, form) in MEASURES.items()}
        for layer in run.report["layers"]
    )
