"""All that a run can choose: scores, selections, channel orders, reconstructions, their options, and the named methods.

The command line, the API, the sidebar, the page's address, sweep grids and model cards read these tables and nothing
else. A new score costs a function and a row here, a new option a parameter and a row. Functions are named as
"module:object" and imported when they are called, so that this file needs no torch.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from eggs_core.errors import EggsError

CUSTOM = "custom"  # the method of a run that combines its choices itself
DEFAULT_METHOD = "eggs-ptp-plus"


@dataclass(frozen=True, slots=True)
class Option:
    """A number that one entry of the registry reads; None, always its default, lets the entry choose for itself."""

    label: str
    symbol: str  # in tables and in sentences
    help: str  # one line, which says what None means
    low: float
    high: float | None = None
    whole: bool = False
    step: float | None = None  # of a slider, which an option with bounds on both sides gets

    def check(self, name: str, value: object) -> None:
        """Raise EggsError for a value that the option cannot have."""
        kind = int if self.whole else int | float
        fits = isinstance(value, kind) and not isinstance(value, bool) and self.low <= value  # type: ignore[operator]
        if not fits or (self.high is not None and value > self.high):  # type: ignore[operator]
            what = "a whole number" if self.whole else "a number"
            upto = "" if self.high is None else f" to {self.high:g}"
            raise EggsError(f"{self.label} ({name}) must be {what} from {self.low:g}{upto}; got {str(value)[:40]}.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One way to choose in one dimension.

    `sees_inputs`: it needs statistics of calibration. `refits`: it gives kept weights new values. `stagewise`: it goes
    stage by stage through a block. `needs` names the entries of other dimensions without which it cannot run.
    """

    label: str
    help: str  # one line
    function: str  # "module:object"
    options: Mapping[str, Option] = field(default_factory=dict)
    sees_inputs: bool = False
    refits: bool = False
    stagewise: bool = False
    needs: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Callable[..., Any]:
        """The function behind this entry."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One of the independent choices of a run, with everything that it can be."""

    label: str
    help: str  # the question that it answers
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Method:
    """A named combination of entries, one for each dimension, with what a person should know of it.

    `revision` is raised when the same configuration gives other masks than before; runs of earlier revisions stay under
    their old keys.
    """

    label: str
    summary: str
    score: str
    selection: str
    permutation: str = "none"
    reconstruction: str = "none"
    revision: int = 1

    def choices(self) -> dict[str, str]:
        """The entry of each dimension."""
        return {name: getattr(self, name) for name in DIMENSIONS}


_SCORES = "eggs_core.pruning.scores"
_SELECTION = "eggs_core.masks.selection"
_ORDERS = "eggs_core.pruning.permutation"
_FITS = "eggs_core.pruning.reconstruction"

DIMENSIONS: Mapping[str, Dimension] = MappingProxyType(
    {
        "score": Dimension(
            "Score",
            "How important is a weight?",
            {
                "magnitude": Entry("magnitude", "The weight's size alone.", f"{_SCORES}:magnitude"),
                "wanda": Entry("Wanda", "Size times its input's norm.", f"{_SCORES}:wanda", sees_inputs=True),
                "ria": Entry(
                    "RIA",
                    "Size relative to its row and column, times the root of its input's norm.",
                    f"{_SCORES}:ria",
                    sees_inputs=True,
                ),
                "obs": Entry(
                    "SparseGPT’s own",
                    "Chosen during the sweep, by what each weight's loss costs then.",
                    f"{_SCORES}:wanda",  # what reports measure such a mask by
                    sees_inputs=True,
                    needs={"reconstruction": "obs"},
                ),
            },
        ),
        "selection": Dimension(
            "Selection",
            "Which N of M are kept?",
            {
                "topn": Entry("top-N", "The N best of every group.", f"{_SELECTION}:by_topn"),
                "diagonal": Entry(
                    "diagonals (B)",
                    "The best cyclic diagonals first, so that every input keeps at least B weights.",
                    f"{_SELECTION}:by_diagonals",
                    {
                        "diagonals": Option(
                            "Diagonals B",
                            "B",
                            "Diagonals kept in every strip; automatic: outputs ÷ 144.",
                            0,
                            whole=True,
                        )
                    },
                ),
                "degree": Entry(
                    "degree bound (β)",
                    "The best mask in which every input keeps at least the share β of the mean, exactly.",
                    f"{_SELECTION}:by_degree",
                    {
                        "beta": Option(
                            "β, share of the mean in-degree",
                            "β",
                            "Every input keeps at least this share, 0 (top-N) to 1 (all equally connected); "
                            "automatic: the largest that keeps 99.99 % of the score.",
                            0,
                            1,
                            step=0.01,
                        )
                    },
                ),
            },
        ),
        "permutation": Dimension(
            "Channel order",
            "Which inputs share a group?",
            {
                "none": Entry("none", "The model's own order.", f"{_ORDERS}:none"),
                "zigzag": Entry("zigzag", "Sorted by score and dealt out to the groups.", f"{_ORDERS}:zigzag"),
                "lsa": Entry(
                    "linear sum assignment", "Columns assigned to groups so that most score is kept.", f"{_ORDERS}:lsa"
                ),
            },
        ),
        "reconstruction": Dimension(
            "Reconstruction",
            "Re-fit the kept weights?",
            {
                "none": Entry("none", "Kept weights stay as they were.", f"{_FITS}:none"),
                "obs": Entry(
                    "OBS (SparseGPT)",
                    "Column by column, later weights make up for pruned ones.",
                    f"{_FITS}:obs",
                    sees_inputs=True,
                    refits=True,
                ),
                "admm": Entry(
                    "ADMM",
                    "Least error of each layer's output, by ADMM.",
                    f"{_FITS}:admm",
                    sees_inputs=True,
                    refits=True,
                ),
                "admm-block": Entry(
                    "ADMM, block by block",
                    "ADMM stage by stage, so that each layer makes up for those before it.",
                    f"{_FITS}:admm",
                    sees_inputs=True,
                    refits=True,
                    stagewise=True,
                ),
            },
        ),
    }
)

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "magnitude": Method("Magnitude", "Keeps the largest weights; looks at no data.", "magnitude", "topn"),
        "wanda": Method("Wanda", "Weight size times the size of the activation that it meets.", "wanda", "topn"),
        "ria": Method("RIA", "Weight size relative to its row and column, times activation size.", "ria", "topn"),
        "ria-cp": Method(
            "RIA + CP", "RIA after reordering channels so that strong ones do not compete.", "ria", "topn", "lsa"
        ),
        "sparsegpt": Method(
            "SparseGPT", "Second-order choice; kept weights make up for pruned ones.", "obs", "topn", "none", "obs"
        ),
        "eggs-ptp": Method(
            "EGGS-PTP", "RIA, plus diagonals that keep every input channel connected.", "ria", "diagonal"
        ),
        "eggs-ptp-cp": Method("EGGS-PTP + CP", "EGGS-PTP after reordering channels.", "ria", "diagonal", "lsa"),
        "eggs-ptp-plus": Method(
            "EGGS-PTP+",
            "Exact degree bound, channel order, and kept weights re-fitted to each block's output.",
            "ria",
            "degree",
            "lsa",
            "admm-block",
        ),
    }
)

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        name: option
        for dimension in DIMENSIONS.values()
        for entry in dimension.entries.values()
        for name, option in entry.options.items()
    }
)


def entry(dimension: str, name: str) -> Entry:
    """The entry of that name; raises EggsError, naming those that there are."""
    entries = DIMENSIONS[dimension].entries
    if name not in entries:
        raise EggsError(f"Unknown {dimension} {str(name)[:40]!r}; choose one of {', '.join(entries)}.")
    return entries[name]


def method_of(choices: Mapping[str, str]) -> str:
    """The named method that makes these choices, else CUSTOM."""
    return next((name for name, method in METHODS.items() if method.choices() == dict(choices)), CUSTOM)


def readers(option: str) -> dict[str, list[str]]:
    """Which entries read an option: {dimension: names}."""
    found = {
        name: [key for key, one in dimension.entries.items() if option in one.options]
        for name, dimension in DIMENSIONS.items()
    }
    return {name: keys for name, keys in found.items() if keys}
