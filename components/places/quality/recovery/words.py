"""Recovery as a table and in one sentence."""

from collections.abc import Sequence

from components.places.quality.recovery.view import Row
from components.words.html import escape, hint, reading, table
from eggs_core.pruning.recovery import RecoveryPoint

NOT_YET = (
    "Recover trains the kept weights and the norms to predict as the dense model does, on the text of calibration. "
    "Pruned weights stay zero."
)


def recovery_table(rows: Sequence[Row]) -> str:
    """Methods as rows: perplexity before pruning, after it, and, in a column of its own, after recovery."""
    body = ""
    for row in rows:
        after, words = (
            ("–", "not recovered") if row.recovered is None else (f"{row.recovered:.2f}", escape(row.recovery))
        )
        opened = f'<a href="?run={escape(row.key)}">{words}</a>' if row.key else words
        body += (
            f'<tr data-recovered="{row.key and "1"}"><th>{escape(row.label)}</th><td>{row.dense:.2f}</td>'
            f"<td>{row.pruned:.2f}</td><td>{after}</td><td>{opened}</td></tr>"
        )
    names = ("Method", "Dense", "After pruning", "After recovery", "Recovered on")
    return table("Perplexity before and after recovery", "".join(f"<th>{name}</th>" for name in names), body)


def recovery_reading(rows: Sequence[Row], curve: Sequence[RecoveryPoint]) -> str:
    """What the best recovery gave back of what pruning cost, and what the curve's best point is."""
    found = [row for row in rows if row.recovered is not None]
    if not found or not curve:
        return hint(NOT_YET)
    best, point = min(found, key=lambda row: row.recovered or 0.0), min(curve, key=lambda point: point.loss)
    return reading(
        f"After recovery {escape(best.label)} has the least {_perplexity(best)}. The model that is kept is that after "
        f"{point.tokens:,} tokens, {point.loss:.3f} nats a token from dense on held-out text; at first it was "
        f"{curve[0].loss:.3f}.",
        "costs",
    )


def _perplexity(row: Row) -> str:
    lost, back = row.pruned - row.dense, row.pruned - (row.recovered or 0.0)
    share = f", {back / lost:.0%} of the rise given back" if lost > 0 else ""
    return f"perplexity: {row.pruned:.2f} after pruning, {row.recovered:.2f} after recovery{share}"
