"""Runs in words: one in a line, several beside each other, and how many there are."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from components.jobs.messages import refusal
from components.state.reports import SHIPPED
from components.words.glossary import measure_of
from components.words.html import escape, facts_line, reading, table
from components.words.labels import label_of
from components.words.recorded import decode_speed, took
from eggs_core.bos import NONE
from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import paired_ratio
from eggs_core.report_types import Listed
from eggs_core.runs.model_card import shown_name
from eggs_core.runs.patterns import pattern_label, pattern_words
from eggs_core.units import size

# What says that two runs were evaluated on the same text.
PROTOCOL: tuple[Literal["sha256", "window", "windows"], ...] = ("sha256", "window", "windows")


def runs_reading(reports: Sequence[Listed], problems: Iterable[str], folder: str) -> str:
    """How many runs there are, what was damaged, and where they lie; nowhere if no folder is to be named."""
    own = [report for report in reports if report["label"] != SHIPPED]
    text = (
        f"{len(reports)} finished runs, {len(own)} of them computed here. A run that is asked for again, by anyone, is "
        "shown from here at once; the address of the page opens it again, tab and layer included."
    )
    damaged = "".join(refusal(EggsError(problem)) for problem in problems)
    return reading(text, "costs") + damaged + (facts_line(escape(folder)) if folder else "")


def title_of(report: Listed) -> str:
    """A run in one line, for a list to choose from."""
    name = "" if report["label"] in ("", SHIPPED) else f"{report['label']}: "
    made = f"{pattern_label(report)} {label_of(report)}, seed {report['seed']}"
    return f"{name}{shown_name(report['model'])} {made}, {report['key'][:6]}"


def comparison(reports: Sequence[Listed]) -> str:
    """Runs beside each other: choices, figures, and the ratio of perplexities to the first where texts are the same."""
    if not reports:
        return ""
    head = "".join(f"<th>{escape(title_of(report))}</th>" for report in reports)
    rows = "".join(
        f"<tr><th>{name}</th>{''.join(f'<td>{escape(show(report))}</td>' for report in reports)}</tr>"
        for name, show in _lines(reports[0]).items()
    )
    return table("Runs compared", f"<th></th>{head}", rows)


def _lines(first: Listed) -> dict[str, Callable[[Listed], Any]]:
    """The rows of the comparison: a name, and what a report has to say under it."""
    return {
        "Model": lambda r: r["model"],
        "Pattern": pattern_words,
        "Method": label_of,
        "Seed": lambda r: r["seed"],
        "Perplexity, dense → pruned": lambda r: (
            f"{r['evaluation']['dense']['perplexity']:.2f} → {r['evaluation']['pruned']['perplexity']:.2f}"
        ),
        "Perplexity ÷ the first’s [95 %]": lambda r: _ratio(first, r),
        "Next token right": lambda r: f"{r['evaluation']['pruned']['top1']:.1%}",
        "Packed size": lambda r: size(r["size"]["packed_bytes"]),
        "Decode, packed": decode_speed,
        "Retained score, mean": lambda r: f"{_mean(r, 'retained_score'):.2%}",
        "Spectral gap, mean": lambda r: f"{_mean(r, 'spectral_gap'):.3f}",
        "Orphans": lambda r: sum(layer["orphans"] for layer in r["layers"]),
        "Pruned in": lambda r: took(r, "prune"),
    }


def _ratio(first: Listed, report: Listed) -> str:
    if report is first:
        return "1"
    if any(first["evaluation"][name] != report["evaluation"][name] for name in PROTOCOL):
        return "another text"
    if _bos_differs(first, report):
        return "BOS elsewhere"
    before, after = first["evaluation"]["pruned"]["window_nats"], report["evaluation"]["pruned"]["window_nats"]
    found = paired_ratio(before, after)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _bos_differs(first: Listed, report: Listed) -> bool:
    """Did windows have BOS in different places? A model without one stands beside any other."""
    places = [r["evaluation"].get("bos", NONE) for r in (first, report)]
    return places[0] != places[1] and (first["model"] == report["model"] or NONE not in places)


def _mean(report: Listed, key: str) -> float:
    return sum(measure_of(layer, key) for layer in report["layers"]) / len(report["layers"])
