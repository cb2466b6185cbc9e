"""All runs, shipped and stored, as a table and for other programs; no gradio here."""

import json
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from components.words.labels import label_of
from components.words.recorded import made_on
from eggs_core.report_types import Listed
from eggs_core.runs.model_card import shown_name
from eggs_core.runs.patterns import pattern_label

OPEN = '<button type="button" class="row-open">Open</button>'


def runs_table(reports: Sequence[Listed]) -> pd.DataFrame:
    """One row per run."""

    def loss(report: Listed, side: Literal["dense", "pruned"]) -> float:
        return report["evaluation"][side]["perplexity"]

    rows = [
        {
            "Model": report["model"],
            "N:M": pattern_label(report),
            "Method": label_of(report),
            "Seed": report["seed"],
            "Perplexity": round(loss(report, "pruned"), 2),
            "× dense": round(loss(report, "pruned") / loss(report, "dense"), 3),
            "Packed ÷ dense": round(report["size"]["packed_bytes"] / report["size"]["dense_bytes"], 3),
            "Orphans": sum(layer["orphans"] for layer in report["layers"]),
            "Name": report["label"],
            "Computed": made_on(report, 16),
            "Key": report["key"],
        }
        for report in reports
    ]
    return pd.DataFrame(rows, columns=None if rows else ["Model", "N:M", "Method", "Name", "Key"])


def listed_table(reports: Sequence[Listed]) -> pd.DataFrame:
    """The same table with a button that opens each row's run, and paths by their ends."""
    table = runs_table(reports)
    table.insert(0, "Open", OPEN)
    table["Model"] = table["Model"].map(shown_name)
    return table


def as_json(reports: Sequence[Listed]) -> str:
    """The reports of runs, for other programs."""
    return json.dumps(reports, indent=1, allow_nan=False)
