"""Perplexity on other texts, as a table and in one sentence."""

from typing import Any

from components.words.html import escape, reading, table
from components.words.labels import run_label
from eggs_core.evaluation.intervals import paired_ratio
from eggs_core.runs.run import Run


def texts_table(run: Run, others: list[dict[str, Any]]) -> str:
    """The run's own text and all others, as `text_rows` gives them, with the protocol of each."""
    rows = ""
    for row in (run.report["evaluation"], *others):
        ratio = paired_ratio(row["dense"]["window_nats"], row["pruned"]["window_nats"])
        rows += (
            f'<tr data-sha="{escape(row["sha256"][:12])}" data-dense="{row["dense"]["perplexity"]:.6f}" '
            f'data-pruned="{row["pruned"]["perplexity"]:.6f}"><th>{escape(row["text"])}</th>'
            f"<td>{row['windows']} × {row['window']}</td><td>{row['dense']['perplexity']:.2f}</td>"
            f"<td>{row['pruned']['perplexity']:.2f}</td>"
            f"<td>{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]</td><td>{escape(row['sha256'][:12])}…</td></tr>"
        )
    head = "".join(
        f"<th>{name}</th>"
        for name in ("Text", "Windows × tokens", "Dense", escape(run_label(run)), "× dense [95 %]", "SHA-256")
    )
    return table("Perplexity on other texts", head, rows)


def texts_reading(run: Run, others: list[dict[str, Any]]) -> str:
    """What the newest of the others says, beside the run's own."""
    own, newest = run.report["evaluation"], others[-1]
    ratios = [row["pruned"]["perplexity"] / row["dense"]["perplexity"] for row in (newest, own)]
    return reading(
        f"On “{escape(newest['text'])}” perplexity goes from {newest['dense']['perplexity']:.2f} to "
        f"{newest['pruned']['perplexity']:.2f}, × {ratios[0]:.2f}; on the run’s own text it is × {ratios[1]:.2f}. "
        "Perplexities of different texts cannot be compared with each other, their ratios to dense can.",
        "costs",
    )
