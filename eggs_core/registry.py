"""All that a run can choose: scores, selections, channel orders, reconstructions, their options, and the named methods.

The command line, the API, the sidebar, the page's address, sweep grids and model cards read these tables and nothing
else. A new score costs a function and a row here, a new option a parameter and a row. Functions are named as
"module:object" and imported when they are called, so that this file needs no torch.
"""

import functools
import importlib
import inspect
import math
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

    label: str  # on the page, where a share, an option up to 1, stands in per cent
    symbol: str  # in tables
    called: str  # in sentences
    help: str
    automatic: str  # what None means
    rule: str  # what its values must be
    low: float
    high: float | None = None
    whole: bool = False

    def check(self, value: object) -> None:
        """Raise EggsError for a value that the option cannot have."""
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= (math.inf if self.high is None else self.high):  # type: ignore[operator]
            raise EggsError(f"{self.rule}; got {str(value)[:40]}.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One way to choose in one dimension.

    `sees_inputs`: it needs statistics of calibration. `refits`: it gives kept weights new values. `stagewise`: it goes
    stage by stage through a block. `fits`: each block is then fitted by gradient. `leaves_choice`: the reconstruction
    chooses the mask. `needs` names the entries of other dimensions without which it cannot run.
    """

    label: str
    help: str  # one line
    function: str  # "module:object"
    options: Mapping[str, Option] = field(default_factory=dict)
    sees_inputs: bool = False
    refits: bool = False
    stagewise: bool = False
    fits: bool = False
    leaves_choice: bool = False
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
                    leaves_choice=True,
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
                            label="Diagonals B",
                            symbol="B",
                            called="diagonals",
                            help="Diagonals kept in every strip",
                            automatic="outputs ÷ 144",
                            rule="The number of diagonals B must be a whole number from 0",
                            low=0,
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
                            label="β, % of the mean in-degree",
                            symbol="β",
                            called="β",
                            help="Every input keeps at least this share",
                            automatic="the largest that keeps 99.99 % of the score",
                            rule="β must lie between 0 (top-N) and 1 (every input equally connected)",
                            low=0,
                            high=1,
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
                "admm-fit": Entry(
                    "ADMM, then a gradient fit",
                    "ADMM block by block; then each block's kept weights and norms learn the dense model's output.",
                    f"{_FITS}:admm",
                    sees_inputs=True,
                    refits=True,
                    stagewise=True,
                    fits=True,
                ),
            },
        ),
    }
)

RECOVERY_TOKENS = 300_000  # that recovery reads unless a run says otherwise
_RECOVERY = "eggs_core.pruning.recovery"
# What can follow the pruning of any method; the first entry is the default, which no key names.
STAGES: Mapping[str, Dimension] = MappingProxyType(
    {
        "recovery": Dimension(
            "Recovery",
            "Train what was kept, after pruning?",
            {
                "none": Entry("none", "The model stays as pruning left it.", f"{_RECOVERY}:none"),
                "distil": Entry(
                    "distil",
                    "Kept weights and norms learn the dense model's next-token distribution; the masks stay.",
                    f"{_RECOVERY}:distil",
                    {
                        "recovery_tokens": Option(
                            label="Recovery tokens",
                            symbol="tokens",
                            called="recovery tokens",
                            help="Tokens of the calibration text to learn from",
                            automatic=f"{RECOVERY_TOKENS:,}",
                            rule="The number of recovery tokens must be a whole number from 256 to 1,000,000,000",
                            low=256,
                            high=1_000_000_000,
                            whole=True,
                        ),
                        "recovery_rate": Option(
                            label="Learning rate",
                            symbol="rate",
                            called="a learning rate",
                            help="AdamW's, before its cosine decay",
                            automatic="0.2 ÷ the model's width",
                            rule="The learning rate must lie between 0.0000001 and 0.1",
                            low=1e-7,
                            high=0.1,
                        ),
                        "recovery_seed": Option(
                            label="Recovery seed",
                            symbol="recovery seed",
                            called="recovery seed",
                            help="Decides which windows are read, and in which order",
                            automatic="the run's seed",
                            rule="The recovery seed must be a whole number from 0 to 2,147,483,647",
                            low=0,
                            high=2**31 - 1,
                            whole=True,
                        ),
                    },
                    sees_inputs=True,
                    refits=True,
                ),
            },
        )
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


@dataclass(frozen=True, slots=True)
class Values:
    """How kept values are stored; `bits` of each, None for those of the model's own dtype."""

    label: str
    help: str  # one line
    bits: int | None = None

    @property
    def rounded(self) -> bool:
        """Are values rounded to whole numbers of a scale, each one's error passed on to those after it?"""
        return self.bits is not None and self.bits <= 8


AS_COMPUTED = "model"  # the values of a run that does not round them
VALUES: Mapping[str, Values] = MappingProxyType(
    {
        AS_COMPUTED: Values("as computed", "In the model's own dtype, fp32 on a CPU."),
        "bf16": Values("bf16", "Rounded to 16 bits, each by itself.", 16),
        "int8": Values("8 bits", "Whole numbers times a scale for every 32 kept values.", 8),
        "int4": Values("4 bits", "As 8 bits; each value's error is passed on to those after it.", 4),
        "int3": Values("3 bits", "As 4 bits, of eight numbers.", 3),
        "int2": Values("2 bits", "As 4 bits, of four numbers.", 2),
    }
)

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        name: option
        for dimension in (*DIMENSIONS.values(), *STAGES.values())
        for entry in dimension.entries.values()
        for name, option in entry.options.items()
    }
)


def everything() -> dict[str, Dimension]:
    """The dimensions of a method, and the stages that can follow it."""
    return {**DIMENSIONS, **STAGES}


def entry(dimension: str, name: str) -> Entry:
    """The entry of that name; raises EggsError, naming those that there are."""
    entries = everything()[dimension].entries
    if name not in entries:
        raise EggsError(f"Unknown {dimension} {str(name)[:40]!r}; choose one of {', '.join(entries)}.")
    return entries[name]


def values_entry(name: str) -> Values:
    """How values are stored under that name; raises EggsError, naming those that there are."""
    if name not in VALUES:
        raise EggsError(f"Unknown values {str(name)[:40]!r}; choose one of {', '.join(VALUES)}.")
    return VALUES[name]


def method_of(choices: Mapping[str, str]) -> str:
    """The named method that makes these choices, else CUSTOM."""
    return next((name for name, method in METHODS.items() if method.choices() == dict(choices)), CUSTOM)


def readers(option: str) -> dict[str, list[str]]:
    """Which entries read an option: {dimension: names}."""
    found = {
        name: [key for key, one in dimension.entries.items() if option in one.options]
        for name, dimension in everything().items()
    }
    return {name: keys for name, keys in found.items() if keys}


def reads(choices: Mapping[str, str], option: str) -> bool:
    """Does one of these choices read the option?"""
    return any(choices.get(dimension) in names for dimension, names in readers(option).items())


def spelled_out(choices: Mapping[str, str], options: Mapping[str, float] = MappingProxyType({})) -> str:
    """A combination in a few words: its entries but for "none", then the options that are set."""
    words = [choices[name] for name in DIMENSIONS if choices[name] != "none"]
    return " · ".join(words) + "".join(f", {OPTIONS[name].symbol} {value:g}" for name, value in options.items())


def stage_of(name: str) -> str | None:
    """The stage that an argument belongs to, by its own name or an option's; None for what is a method's."""
    for stage, dimension in STAGES.items():
        if name == stage or any(name in one.options for one in dimension.entries.values()):
            return stage
    return None


def stage_words(values: Mapping[str, Any]) -> str:
    """What followed pruning by a configuration's plain values, with the options that are set; "" if nothing did."""
    if values.get("recovery", "none") == "none":
        return ""
    words = f"recovered on {values.get('recovery_tokens') or RECOVERY_TOKENS:,} tokens"
    later = [name for name in ("recovery_rate", "recovery_seed") if values.get(name) is not None]
    return words + "".join(f", {OPTIONS[name].symbol} {values[name]:g}" for name in later)


def plain_types() -> dict[str, Any]:
    """The type of every dimension's, stage's and option's argument; None keeps the method's own choice."""
    kinds: dict[str, Any] = dict.fromkeys((*everything(), "values"), str | None)
    return kinds | {name: (int if option.whole else float) | None for name, option in OPTIONS.items()}


def descriptions() -> dict[str, str]:
    """One line for every dimension's, stage's and option's argument."""
    lines = {
        name: f"Another {dimension.label.lower()} than the method's: {', '.join(dimension.entries)}."
        for name, dimension in DIMENSIONS.items()
    }
    lines |= {name: f"{stage.help} One of {', '.join(stage.entries)}." for name, stage in STAGES.items()}
    lines["values"] = f"How kept values are stored: {', '.join(VALUES)}; default: {AS_COMPUTED}, the model's own dtype."
    for name, option in OPTIONS.items():
        where = ", ".join(f"{dimension} {' or '.join(names)}" for dimension, names in readers(name).items())
        lines[name] = f"{option.symbol} of {where}. {option.help}; automatic: {option.automatic}."
    return lines


def with_choices(function: Callable[..., Any], annotations: Mapping[str, Any], before: str) -> Callable[..., Any]:
    """The same function with an argument for each of `annotations` in place of its **choices, before the one named.

    What asks the result for its signature, typer and gradio, sees ordinary arguments whose default is None.
    """
    own = inspect.signature(function)
    parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    at = next(number for number, parameter in enumerate(parameters) if parameter.name == before)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters[at:at] = [inspect.Parameter(n, kind, default=None, annotation=a) for n, a in annotations.items()]
    signature = own.replace(parameters=parameters)

    @functools.wraps(function)
    def with_all(*values: Any, **named: Any) -> Any:
        return function(**signature.bind(*values, **named).arguments)

    del with_all.__wrapped__
    with_all.__signature__ = signature  # type: ignore[attr-defined]
    with_all.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": own.return_annotation}
    return with_all
