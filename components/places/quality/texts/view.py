"""Perplexity on other texts than the run's own, dense and pruned; no gradio here."""

from collections.abc import Iterator

from components.jobs.prune import Follow
from components.jobs.queue import Work
from components.state.results import RESULTS, Results, run_id
from components.words.html import escape, reading
from components.words.labels import run_label
from eggs_core.evaluation.intervals import paired_ratio
from eggs_core.evaluation.perplexity import protocol
from eggs_core.evaluation.steps import evaluate_steps
from eggs_core.limits import check_text
from eggs_core.progress import Progress, memory_errors
from eggs_core.runs.pruned_models import recover
from eggs_core.runs.run import Run
from eggs_core.text.sources import Text
from eggs_core.text.windows import evaluation_windows

MOST_WINDOWS = 64
KIND = "text"  # of result


def text_rows(run: Run, results: Results = RESULTS) -> list[dict]:
    """The rows that this process has measured for a run, newest last: protocol, dense and pruned scores."""
    return list(results.of(run_id(run), KIND).values())


def measure_text(follow: Follow, run: Run, text: Text, results: Results = RESULTS) -> Iterator:
    """Evaluate dense and pruned on a text, in windows as long as the run's own, and keep the row."""
    check_text(text.content)

    def keep(row: dict) -> None:
        results.keep(run_id(run), KIND, row["sha256"], row)

    yield from follow(Work((KIND, *run_id(run), text.sha256), text_steps, (run, text), run.report["model"], keep))


def text_steps(run: Run, text: Text) -> Iterator[Progress | dict]:
    """Progress, and at the end the row of a text."""
    models = yield from recover(run)
    window = run.report["evaluation"]["window"]
    windows = evaluation_windows(models.dense.tokenizer, text, MOST_WINDOWS, window)
    models.dense.check_tokens(windows)
    row = protocol(text, windows)
    with memory_errors("Evaluating the text"):
        for side, model, first in (("dense", models.dense.model, 0.0), ("pruned", models.zeros, 0.5)):
            scores = yield from evaluate_steps(model, windows, f"{text.name}, {side}", first, first + 0.5)
            row[side] = scores.to_dict()
    yield row


def texts_table(run: Run, results: Results = RESULTS) -> str:
    """The run's own text and every other one measured since, with the protocol of each."""
    own = {**run.report["evaluation"]}
    rows = ""
    for row in (own, *text_rows(run, results)):
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
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="Perplexity on other texts"><table class="timings">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def texts_reading(run: Run, results: Results = RESULTS) -> str:
    """What the newest text says, beside the run's own."""
    own, newest = run.report["evaluation"], text_rows(run, results)[-1]
    ratios = [row["pruned"]["perplexity"] / row["dense"]["perplexity"] for row in (newest, own)]
    return reading(
        f"On “{escape(newest['text'])}” perplexity goes from {newest['dense']['perplexity']:.2f} to "
        f"{newest['pruned']['perplexity']:.2f}, × {ratios[0]:.2f}; on the run’s own text it is × {ratios[1]:.2f}. "
        "Perplexities of different texts cannot be compared with each other, their ratios to dense can.",
        "costs",
    )
