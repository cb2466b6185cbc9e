"""What a run is and how it was made, in words, also where its report does not say; no gradio here."""

from typing import Literal

from components.words.html import escape, facts_line, hint
from eggs_core.bos import bos_words
from eggs_core.models.source import without_weights
from eggs_core.report_types import Report
from eggs_core.runs.patterns import pattern_words
from eggs_core.runs.run import Run
from eggs_core.sweep.results import seconds_of
from eggs_core.units import rate, seconds

NOT_RECORDED = "not recorded"
NOT_MEASURED = "not measured (larger than memory)"
UNKNOWN = "a machine that was not recorded"


def made_on(report: Report, characters: int = 10) -> str:
    """The day on which a run was made, with 16 characters the minute too."""
    created = report.get("created")
    return created[:characters].replace("T", " ") if created else NOT_RECORDED


def took(report: Report, part: Literal["total", "prune"] = "total") -> str:
    """How long a run took, or its pruning alone ("prune")."""
    spent = seconds_of(report, part)
    return NOT_RECORDED if spent is None else seconds(spent)


def weights_hint(run: Run | None, before: str = "") -> str:
    """A line of HTML: what is asked of a run needs weights that do not ship, or may need it pruned again.

    `before` stands in front of it.
    """
    if run and (missing := without_weights(run.config.model)):
        return hint(f"{before} {escape(missing)}".strip())
    if run is None or not run.config.refits or run.config.recovery_tokens:  # what recovery learned is stored
        return hint(before) if before else ""
    time = "" if seconds_of(run.report, "prune") is None else f" (it took {took(run.report, 'prune')})"
    again = (
        "This run’s re-fitted weights are not stored: unless they are still in memory, the model is pruned again first"
    )
    return hint(f"{before} {again}{time}.".strip())


def decode_speed(report: Report) -> str:
    """Tokens a second of the packed model, writing one after another."""
    latency = report.get("latency")
    return f"{rate(latency['packed']['decode_tokens_per_s']['median'])} tokens/s" if latency else NOT_MEASURED


def made_with(report: Report) -> str:
    """The libraries and the machine behind a run."""
    versions = ", ".join(f"{name} {version}" for name, version in (report.get("versions") or {}).items())
    return f"With {versions or 'versions that were not recorded'}, on {report.get('device') or UNKNOWN}."


def facts(run: Run) -> str:
    """One line of HTML that says what this result is and when it was made."""
    report = run.report
    evaluation, calibration = report["evaluation"], report.get("calibration")
    calibrated = "calibration not recorded"
    if calibration:
        calibrated = (
            f"calibrated on {calibration['windows']} × {calibration['window']} tokens of "
            f"“{escape(calibration['text'])}” (seed {report['seed']})"
        )
    time = "" if seconds_of(report) is None else f" in {took(report)}"
    computed = f"computed {escape(made_on(report))}" if report.get("created") else "date not recorded"
    return facts_line(
        f"{escape(report['model'])} · {pattern_words(report)} · {computed} "
        f"on {escape(report.get('device') or UNKNOWN)}{time} · {calibrated}, evaluated on "
        f"{evaluation['windows']} × {evaluation['window']} tokens of "
        f"“{escape(evaluation['text'])}”{bos_words(evaluation)} · SHA-256 {escape(evaluation['sha256'][:12])}… · "
        f"run {escape(report['key'])}"
    )
