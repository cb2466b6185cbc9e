"""Running a configuration while the page watches: pipeline events become workspaces and progress bars."""

import logging
import time
from collections.abc import Iterator

from components.session import Workspace, bundled_runs, find_run
from components.text import escape, seconds
from eggs_core.calibration import Text
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.masks import pack_bits
from eggs_core.pipeline import Finished, LayerDone, Progress, execute, fingerprint
from eggs_core.runs import Run
from eggs_core.store import STORE
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


def known_run(config: PruneConfig) -> Iterator[Progress | Run]:
    """The finished run of a configuration, shipped or stored, if the model still has the weights that it was made with.

    Yields progress while the model is opened, and the run last, if there is one. Raises EggsError as `load` does.
    """
    run = find_run(config.key())
    if run is not None:
        yield Progress(f"Opening {config.model}", 0.0)
        if any(run is shipped for shipped in bundled_runs()) or fingerprint(config.model) == run.report.get(
            "fingerprint"
        ):
            yield run


def run_job(
    workspace: Workspace, config: PruneConfig, texts: dict[str, Text], anew: bool = False
) -> Iterator[tuple[str, bool]]:
    """Run a configuration, or show it if it is known and not wanted `anew`, and keep the workspace up to date.

    Yields the progress bar's HTML and whether the figures should be drawn anew; closing the generator stops the work,
    and the layers finished so far stay in the workspace. Raises EggsError for what cannot run.
    """
    for event in () if anew else known_run(config):
        if isinstance(event, Progress):
            yield progress_bar(event.share, event.text), False
        else:
            workspace.show(event)
            taken = f"Done in {seconds(event.report['seconds']['total'])} on {event.report['created'][:10]}"
            yield message(f"{taken}, kept since then; “Compute again” under Advanced runs it anew."), True
            return
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
                said = f"Done in {seconds(event.run.report['seconds']['total'])}."
                if place := event.run.report.get("checkpoint"):
                    said += f" The pruned model lies in {place}."
                try:
                    STORE.put(event.run)
                except EggsError as error:  # the result is shown all the same
                    said += f" {error}"
                yield message(said), True
    finally:
        events.close()
