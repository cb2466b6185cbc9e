"""Running a configuration while the page watches: pipeline events become workspaces and progress bars."""

import logging
import time
from collections.abc import Iterator

from components.session import Workspace
from components.text import escape, seconds
from eggs_core.calibration import Text
from eggs_core.config import PruneConfig
from eggs_core.masks import pack_bits
from eggs_core.pipeline import Finished, LayerDone, Progress, execute
from eggs_core.runs import Run
from eggs_core.weights import keep

REDRAW_SECONDS = 0.6
log = logging.getLogger(__name__)


def progress_bar(share: float, text: str, left: float | None = None) -> str:
    """A progress bar with what is being done and the time left."""
    remaining = f" · about {seconds(left)} left" if left is not None and left >= 1 else ""
    return (
        f'<div class="progress" role="progressbar" aria-valuenow="{share:.0%}">'
        f'<div style="width:{share:.1%}"></div></div>'
        f'<p class="hint">{escape(text)}{remaining}</p>'
    )


def message(text: str, bad: bool = False) -> str:
    """A line where the progress bar was."""
    return f'<p class="hint{" bad" if bad else ""}">{escape(text)}</p>'


def partial_run(config: PruneConfig) -> Run:
    """A run that has no finished layer yet."""
    report = {"key": config.key(), "model": config.model, "pattern": str(config.pattern), "method": config.method}
    report |= {"seed": config.seed, "config": config.to_dict(), "layers": [], "evaluation": {}, "size": {}}
    return Run(report, {})


def run_job(workspace: Workspace, config: PruneConfig, texts: dict[str, Text]) -> Iterator[tuple[str, bool]]:
    """Run a configuration and keep the workspace up to date.

    Yields the progress bar's HTML and whether the figures should be drawn anew; closing the generator stops the work,
    and the layers finished so far stay in the workspace. Raises EggsError for what cannot run.
    """
    run, drawn, share = partial_run(config), 0.0, 0.0
    events = execute(config, texts)
    try:
        for event in events:
            if isinstance(event, Progress):
                share = event.share
                yield progress_bar(share, event.text, event.seconds_left), False
            elif isinstance(event, LayerDone):
                layer = event.report
                run.report["layers"].append(layer.to_dict())
                run.packed_masks[layer.name] = pack_bits(layer.mask)
                run.packed_topn[layer.name] = pack_bits(layer.topn_mask)
                workspace.show(run, finished=False)
                if time.monotonic() - drawn > REDRAW_SECONDS:
                    drawn = time.monotonic()
                    done = len(run.report["layers"])
                    yield progress_bar(share, f"{layer.name}: layer {done} of {event.total}"), True
            elif isinstance(event, Finished):
                keep(event)
                workspace.show(event.run)
                yield message(f"Done in {seconds(event.run.report['seconds']['total'])}."), True
    finally:
        events.close()
