"""A sweep as tables; no gradio here."""

import math

import pandas as pd

from eggs_core.sweep.analysis import Group, label_of
from eggs_core.sweep.results import Sweep

UNTIMED = "not measured"


def group_table(found: list[Group], dense: float) -> pd.DataFrame:
    """A row per group in view, beside the dense model's perplexity."""
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
