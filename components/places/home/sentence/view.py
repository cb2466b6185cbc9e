"""What Home shows, as tools/build_home.py computed it."""

from functools import cache
from typing import NotRequired, TypedDict

from eggs_core.assets import ASSETS
from eggs_core.reading import read_json
from eggs_core.registry import METHODS

FILE = ASSETS / "home.json"
ALL = "1:1"  # the pattern of a model that keeps every weight, and only rounds them


class Written(TypedDict):
    """One prompt: where the pruned model would have chosen otherwise, with what, and its own continuation."""

    otherwise: list[tuple[int, str]]
    text: str


class Pruned(TypedDict):
    """One pattern, method and number of bits; speeds are medians of tokens that both models computed in turn."""

    perplexity: float
    bytes: int
    tokens_per_second: NotRequired[float]
    dense_tokens_per_second: NotRequired[float]
    prompts: list[Written]


class Dense(TypedDict):
    """The dense model; of every prompt the tokens' texts that it wrote."""

    perplexity: float
    bytes: int
    texts: list[list[str]]


class Tile(TypedDict):
    """A window of one layer's weights, row by row, and what is kept of it by pattern and method, as 0 and 1."""

    model: str
    layer: str
    row: int
    column: int
    rows: int
    columns: int
    weights: list[float]
    masks: dict[str, dict[str, str]]


class Read(TypedDict):
    """Which windows of a text were read."""

    text: str
    window: int
    windows: int


class About(TypedDict):
    """What was run, on what, and when."""

    model: str
    new_tokens: int
    machine: str
    threads: int
    kernel: str
    seed: int
    created: str
    devices: list[str]
    calibration: Read
    evaluation: Read


class Home(TypedDict):
    """All of it."""

    about: About
    prompts: list[str]
    dense: Dense
    pruned: dict[str, dict[str, Pruned]]  # by pattern and method, values as computed
    rounded: dict[str, dict[str, dict[str, Pruned]]]  # the same by values; of ALL each method says the same
    tile: Tile


@cache
def home() -> Home:
    """The file that ships with the app."""
    return read_json(FILE)


def methods(found: Home) -> list[str]:
    """The methods that were run at some pattern, in the order in which the registry has them."""
    return [name for name in METHODS if any(name in of for of in found["pruned"].values())]
