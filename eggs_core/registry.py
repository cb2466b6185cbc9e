"""All that a run can choose: the dimensions of a method, the stages beside it, their options, and the named methods.

Configurations, the command line, the API, the sidebar, the page's address, sweep grids, labels and model cards read
these tables and nothing else. A new score costs a function and a row here, a new option a parameter and a row, a new
stage a row with its entries. Functions are named as "module:object" and imported when they are called, so that this
file needs no torch.
"""

import functools
import importlib
import inspect
import math
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from eggs_core.errors import EggsError

CUSTOM = "custom"  # the method of a run that combines its choices itself
DEFAULT_METHOD = "eggs-ptp-plus"


@dataclass(frozen=True, slots=True)
class Option:
    """A number that one entry of the registry reads; None, always its default, lets the entry choose for itself.

    `usual` is the number that an entry then takes, where it is the same for all runs.
    """

    label: str  # on the page, where a share, an option up to 1, stands in per cent
    symbol: str  # in tables
    called: str  # in sentences
    help: str
    automatic: str  # what None means
    rule: str  # what its values must be
    low: float
    high: float | None = None
    whole: bool = False
    usual: float | None = None

    def check(self, value: object) -> None:
        """Raise EggsError for a value that the option cannot have."""
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= (math.inf if self.high is None else self.high):  # type: ignore[operator]
            raise EggsError(f"{self.rule}; got {str(value)[:40]}.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One way to choose in one dimension or stage.

    `sees_inputs`: its result depends on calibration. `refits`: it gives kept weights new values when their layer is
    pruned. `stagewise`: it goes stage by stage through a block. `fits`: each block is then fitted by gradient.
    `leaves_choice`: the reconstruction chooses the mask. `needs` names the entries of other dimensions without which it
    cannot run. `bits`: of a kept value, None for the model's own dtype. `said` is what a run's name says of a stage,
    the label by itself; it may name options in braces.
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
    bits: int | None = None
    said: str = ""

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
_RECOVERY = "eggs_core.pruning.recovery"
_ROTATION = "eggs_core.pruning.rotation"
_ROUNDING = "eggs_core.pruning.rounding"

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
                    "ADMM block by block; then each block's kept values learn the dense output, on varied text too.",
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
# What any method can have beside its own choices; the first entry is the default, which no key and no name says.
STAGES: Mapping[str, Dimension] = MappingProxyType(
    {
        "rotation": Dimension(
            "Rotation",
            "Turn the residual stream first?",
            {
                "none": Entry("none", "The model's own basis.", f"{_ROTATION}:none"),
                "learned": Entry(
                    "learned",
                    "Orthogonal matrices that fold into the weights, learned so that what is dropped matters less.",
                    f"{_ROTATION}:learned",
                    sees_inputs=True,
                    said="rotated",
                ),
            },
        ),
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
                            usual=RECOVERY_TOKENS,
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
                    said="recovered on {recovery_tokens:,} tokens",
                ),
            },
        ),
        "values": Dimension(
            "Values",
            "How are kept weights stored? The pattern 1:1 keeps all: quantisation alone.",
            {
                "model": Entry("as computed", "In the model's own dtype, fp32 on a CPU.", f"{_ROUNDING}:none"),
                "bf16": Entry(
                    "bf16", "Rounded to 16 bits, each by itself.", f"{_ROUNDING}:to_bf16", refits=True, bits=16
                ),
                **{
                    f"int{bits}": Entry(
                        f"{bits} bits", help, f"{_ROUNDING}:rounded", sees_inputs=True, refits=True, bits=bits
                    )
                    for bits, help in (
                        (8, "Whole numbers times a scale for every 32 kept values."),
                        (4, "As 8 bits; each value's error is passed on to those after it."),
                        (3, "As 4 bits, of eight numbers."),
                        (2, "As 4 bits, of four numbers."),
                    )
                },
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
        "eggs-ptp-fit": Method(
            "EGGS-PTP+ fit",
            "EGGS-PTP+, whose blocks then learn the dense output by gradient: the best and the slowest.",
            "ria",
            "degree",
            "lsa",
            "admm-fit",
        ),
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
    """The dimensions of a method, and the stages beside it."""
    return {**DIMENSIONS, **STAGES}


def entry(dimension: str, name: str) -> Entry:
    """The entry of that name; raises EggsError, naming those that there are."""
    entries = everything()[dimension].entries
    if name not in entries:
        raise EggsError(f"Unknown {dimension} {str(name)[:40]!r}; choose one of {', '.join(entries)}.")
    return entries[name]


def default(stage: str) -> str:
    """The entry of a stage that changes nothing."""
    return next(iter(STAGES[stage].entries))


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


def with_options(words: str, names: Iterable[str], values: Mapping[str, Any]) -> str:
    """Words, and those of the named options that `values` sets."""
    given = ((OPTIONS[name].symbol, values.get(name)) for name in names)
    return words + "".join(f", {symbol} {value:g}" for symbol, value in given if value is not None)


def method_words(values: Mapping[str, Any]) -> str:
    """What a configuration's plain values call a method: its name, or its entries but for "none"; with its options."""
    if values["method"] in METHODS:
        words = METHODS[values["method"]].label
    else:
        words = " · ".join(values[name] for name in DIMENSIONS if values[name] != "none")
    return with_options(words, (name for name in OPTIONS if readers(name).keys() & DIMENSIONS.keys()), values)


def stage_words(stage: str, values: Mapping[str, Any]) -> str:
    """What a stage did by a configuration's plain values, with the options that are set; "" for its default."""
    chosen = values.get(stage, default(stage))
    if chosen == default(stage):
        return ""
    one = entry(stage, chosen)
    said = one.said or one.label
    told = {name for _, name, _, _ in string.Formatter().parse(said) if name}
    known = {name: OPTIONS[name].usual if values.get(name) is None else values[name] for name in told}
    return with_options(said.format(**known), (name for name in one.options if name not in told), values)


def plain_types() -> dict[str, Any]:
    """The type of every dimension's, stage's and option's argument; None keeps the method's own choice."""
    kinds: dict[str, Any] = dict.fromkeys(everything(), str | None)
    return kinds | {name: (int if option.whole else float) | None for name, option in OPTIONS.items()}


def descriptions() -> dict[str, str]:
    """One line for every dimension's, stage's and option's argument."""
    lines = {
        name: f"Another {dimension.label.lower()} than the method's: {', '.join(dimension.entries)}."
        for name, dimension in DIMENSIONS.items()
    }
    lines |= {
        name: f"{stage.help} One of {', '.join(stage.entries)}; default: {default(name)}."
        for name, stage in STAGES.items()
    }
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
