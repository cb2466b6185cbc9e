"""All runs, shipped and stored, as tables; no gradio here."""

import json
from typing import Any

import pandas as pd

from components.state.reports import SHIPPED
from components.words.html import escape, size
from components.words.labels import label_of
from components.words.recorded import decode_speed, made_on, took
from eggs_core.evaluation.intervals import paired_ratio


def runs_table(reports: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per run."""

    def loss(report, side):
        return report["evaluation"][side]["perplexity"]

    rows = [
        {
            "Model": report["model"],
            "N:M": report["pattern"],
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


def title_of(report: dict[str, Any]) -> str:
    """A run in one line, for a list to choose from."""
    name = "" if report["label"] in ("", SHIPPED) else f"{report['label']}: "
    return f"{name}{report['model']} {report['pattern']} {label_of(report)}, seed {report['seed']}, {report['key'][:6]}"


def comparison(reports: list[dict[str, Any]]) -> str:
    """Runs beside each other: choices, figures, and the ratio of perplexities to the first where texts are the same."""
    if not reports:
        return ""

    def same(a, b):
        return all(a["evaluation"][n] == b["evaluation"][n] for n in ("sha256", "window", "windows"))

    first = reports[0]

    def ratio(report: dict[str, Any]) -> str:
        if report is first:
            return "1"
        if not same(first, report):
            return "another text"
        found = paired_ratio(*(r["evaluation"]["pruned"]["window_nats"] for r in (first, report)))
        return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"

    def mean(report, key):
        return sum(layer[key] for layer in report["layers"]) / len(report["layers"])

    lines = {
        "Model": lambda r: r["model"],
        "Pattern": lambda r: r["pattern"],
        "Method": label_of,
        "Seed": lambda r: r["seed"],
        "Perplexity, dense → pruned": lambda r: "{:.2f} → {:.2f}".format(
            *(r["evaluation"][side]["perplexity"] for side in ("dense", "pruned"))
        ),
        "Perplexity ÷ the first’s [95 %]": ratio,
        "Next token right": lambda r: f"{r['evaluation']['pruned']['top1']:.1%}",
        "Packed size": lambda r: size(r["size"]["packed_bytes"]),
        "Decode, packed": decode_speed,
        "Retained score, mean": lambda r: f"{mean(r, 'retained_score'):.2%}",
        "Spectral gap, mean": lambda r: f"{mean(r, 'spectral_gap'):.3f}",
        "Orphans": lambda r: sum(layer["orphans"] for layer in r["layers"]),
        "Pruned in": lambda r: took(r, "prune"),
    }
    head = "".join(f"<th>{escape(title_of(report))}</th>" for report in reports)
    rows = "".join(
        f"<tr><th>{name}</th>{''.join(f'<td>{escape(show(report))}</td>' for report in reports)}</tr>"
        for name, show in lines.items()
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Runs compared"><table class="timings">'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def as_json(reports: list[dict[str, Any]]) -> str:
    """The reports of runs, for other programs."""
    return json.dumps(reports, indent=1, allow_nan=False)
