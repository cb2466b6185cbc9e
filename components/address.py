"""The page's address: what is in view as a query string, and back; no gradio here."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from components.state.known_runs import find_run
from components.state.workspace import Workspace
from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError
from eggs_core.registry import OPTIONS, everything
from eggs_core.rules import SEPARATOR
from eggs_core.runs.run import Run

PLACES = {  # a place -> its tabs, by their names in an address, in the order of the page
    "home": ("home",),
    "learn": ("learn",),
    "layers": ("overview", "plan", "masks", "graph", "spectrum"),
    "quality": ("accuracy",),
    "speed": ("latency",),
    "runs": ("runs", "compare"),
}
CALLED = {  # a place -> what it is called on the page
    "home": "Home",
    "learn": "Learn",
    "layers": "Layers",
    "quality": "Quality",
    "speed": "Speed",
    "runs": "Runs",
}
TABS = {  # what a tab of a place with several is called on the page -> its name in an address
    "Overview": "overview",
    "Plan": "plan",
    "Mask": "masks",
    "Graph": "graph",
    "Spectrum": "spectrum",
    "All runs": "runs",
    "Compare": "compare",
}
PLACE_OF = {tab: place for place, tabs in PLACES.items() for tab in tabs}
IN_VIEW = ("tab", "run", "model", "layer")  # an address with none of them opens Home
CHOICES = (*everything(), "calibration", "bos")
COMPRESSED = "~"  # begins rules that are compressed
MOST_PLAIN, MOST_PACKED, MOST_UNPACKED = 120, 4000, 1_000_000  # characters of a plan's rules
COUNTS = ("seed", "calibration_windows", "calibration_length")


def address(workspace: Workspace | None, asked: PruneConfig | None = None) -> str:
    """The query string that opens this view again: the run, its configuration, the tab, the layer and the window.

    `asked` is a configuration that will be in view as soon as its run begins.
    """
    if workspace is None or (workspace.run is None and asked is None):
        return ""
    config = asked or workspace.shown.config
    given, plain = config.to_dict(), make_config(config.model, config.pattern, config.method).to_dict()
    values: dict[str, Any] = {
        "run": config.key(),
        "model": config.model,
        "pattern": str(config.pattern),
        "method": config.method,
    }
    for name in (*CHOICES, *COUNTS):
        if given[name] != plain[name]:
            values[name] = given[name]
    values |= dict(config.options) | {"layers": _packed(config.layers)}
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
        options["layers"] = _unpacked(query["layers"]).split(SEPARATOR)
    return make_config(query["model"], query.get("pattern", "2:4"), query.get("method", "custom"), **options)


def _packed(rules: Sequence[str]) -> str:
    """A plan's rules as an address holds them: as they are, or if that is long, compressed; of too long ones a mark."""
    plain = SEPARATOR.join(rules)
    if len(plain) <= MOST_PLAIN:
        return plain
    packed = base64.urlsafe_b64encode(zlib.compress(plain.encode(), 9)).decode().rstrip("=")
    return COMPRESSED + (packed if len(packed) <= MOST_PACKED else "")


def _unpacked(text: str) -> str:
    """The inverse of _packed; raises EggsError for a plan that was too long, and for a damaged one."""
    if not text.startswith(COMPRESSED):
        return text
    packed = text.removeprefix(COMPRESSED)
    if not packed:
        raise EggsError("The plan of this link is too long for an address, and its run is not stored here.")
    try:
        held = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        return zlib.decompressobj().decompress(held, MOST_UNPACKED).decode()
    except (ValueError, zlib.error) as error:
        raise EggsError("The plan in this link is damaged. Ask for it again.") from error


def opened_tab(workspace: Workspace, called: str) -> str:
    """The tab in view once a place, or a tab of one, of this name is opened: of a place the one that was seen last."""
    workspace.seen[PLACE_OF[workspace.tab]] = workspace.tab
    places = {name: place for place, name in CALLED.items()}
    if called in places:
        return workspace.seen.get(places[called], PLACES[places[called]][0])
    return TABS.get(called, workspace.tab)


def asked_run(query: Mapping[str, str]) -> Run | None:
    """The finished run that an address names, shipped or stored."""
    try:
        return find_run(query["run"]) if query.get("run") else None
    except EggsError:  # no key: the usual page opens
        return None


def restore(workspace: Workspace, query: Mapping[str, str]) -> None:
    """Open the tab, the layer and the window that an address names, as far as the run in view has them."""
    if query.get("tab") in PLACE_OF:
        workspace.tab = query["tab"]
    elif query.get("step"):
        workspace.tab = "learn"
    elif not any(query.get(name) for name in IN_VIEW):
        workspace.tab = "home"
    layers = workspace.run.report["layers"] if workspace.run else []
    if query.get("layer") in [layer["name"] for layer in layers]:
        workspace.open_layer(query["layer"])
        rows, columns = workspace.shown_layer["shape"]
        asked = (query.get("row", "0"), rows), (query.get("column", "0"), columns)
        row, column = (min(int(text), most) if text.isdecimal() and len(text) < 9 else 0 for text, most in asked)
        if row or column:
            workspace.place(row, column)
