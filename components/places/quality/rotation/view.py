"""How much importance the pattern keeps in each kind of layer, before the rotation and after it; no gradio here."""

from dataclasses import dataclass
from statistics import fmean

from eggs_core.runs.run import Run


@dataclass(frozen=True, slots=True)
class Kept:
    """The share of importance that the pattern keeps in layers of one projection, the mean over their blocks."""

    projection: str
    layers: int
    before: float
    after: float


def kept_shares(run: Run) -> list[Kept]:
    """In the order in which a block has its projections; none for a run that is not rotated."""
    found = run.report.get("rotation", {})
    before, after = found.get("before", {}), found.get("after", {})
    names: dict[str, list[str]] = {}
    for layer in run.report["layers"]:
        if layer["name"] in before:
            names.setdefault(layer["projection"].rpartition(".")[2], []).append(layer["name"])
    return [
        Kept(projection, len(own), 1 - fmean(before[n] for n in own), 1 - fmean(after[n] for n in own))
        for projection, own in names.items()
    ]
