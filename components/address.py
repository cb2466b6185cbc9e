"""The page's address: what is in view as a query string, and back; no gradio here."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from components.state.known_runs import find_run
from components.state.workspace import Workspace
from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError
from eggs_core.registry import DIMENSIONS, OPTIONS
from eggs_core.runs.run import Run

TABS = {  # what a tab is called on the page -> its name in an address
    "Overview": "overview",
    "Masks": "masks",
    "Expander graph": "graph",
    "Spectrum": "spectrum",
    "Accuracy": "accuracy",
    "Latency & size": "latency",
    "Compare": "compare",
    "Runs": "runs",
    "Learn": "learn",
}
CHOICES = (*DIMENSIONS, "calibration", "bos")
COUNTS = ("seed", "calibration_windows", "calibration_length")


def address(workspace: Workspace | None, asked: PruneConfig | None = None) -> str:
    """The query string that opens this view again: the run, its configuration, the tab, the layer and the window.

    `asked` is a configuration that will be in view as soon as its run begins.
    """
    if workspace is None or (workspace.run is None and asked is None):
        return ""
    config = asked or workspace.shown.config
    plain = make_config(config.model, config.pattern, config.method)
    values: dict[str, Any] = {
        "run": config.key(),
        "model": config.model,
        "pattern": str(config.pattern),
        "method": config.method,
    }
    for name in (*CHOICES, *COUNTS):
        if getattr(config, name) != getattr(plain, name):
            values[name] = getattr(config, name)
    values |= dict(config.options) | {"layers": ";".join(config.layers)}
    values |= {"tab": workspace.tab, "layer": workspace.layer}
    if workspace.row or workspace.column:
        values |= {"row": workspace.row, "column": workspace.column}
    return urlencode({name: value for name, value in values.items() if value not in ("", None)})


def asked_config(query: Mapping[str, str]) -> PruneConfig | None:
    """The configuration that an address describes, None if it names no model; raises EggsError if it cannot run."""
    if not query.get("model"):
        return None
    options: dict[str, Any] = {name: query[name] for name in CHOICES if query.get(name)}
    try:
        options |= {name: int(query[name]) for name in COUNTS if query.get(name)}
        options |= {n: (int if o.whole else float)(query[n]) for n, o in OPTIONS.items() if query.get(n)}
    except ValueError as error:
        raise EggsError("This link is damaged: a number in it is none. Ask for it again.") from error
    if query.get("layers"):
        options["layers"] = query["layers"].split(";")
    return make_config(query["model"], query.get("pattern", "2:4"), query.get("method", "custom"), **options)


def asked_run(query: Mapping[str, str]) -> Run | None:
    """The finished run that an address names, shipped or stored."""
    try:
        return find_run(query["run"]) if query.get("run") else None
    except EggsError:  # no key: the usual page opens
        return None


def restore(workspace: Workspace, query: Mapping[str, str]) -> None:
    """Open the tab, the layer and the window that an address names, as far as the run in view has them."""
    if query.get("tab") in TABS.values():
        workspace.tab = query["tab"]
    layers = workspace.run.report["layers"] if workspace.run else []
    if query.get("layer") in [layer["name"] for layer in layers]:
        workspace.open_layer(query["layer"])
        rows, columns = workspace.shown_layer["shape"]
        for name, most in (("row", rows), ("column", columns)):
            text = query.get(name, "0")
            setattr(workspace, name, min(int(text), most) if text.isdecimal() and len(text) < 9 else 0)
