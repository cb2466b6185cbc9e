"""What a run is: named methods, and one validated, hashable configuration."""

import dataclasses
import hashlib
import json
import shlex
from dataclasses import dataclass
from typing import Any

from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern

SCHEMA = 3  # 2: diagonals are chosen by their cost; 3: automatic β keeps 99.99 %; admm's ridge and sensitivities
SCORES = ("magnitude", "wanda", "ria", "obs")
SELECTIONS = ("topn", "diagonal", "degree")
PERMUTATIONS = ("none", "zigzag", "lsa")
TEXTS = ("model", "method", "score", "selection", "permutation", "reconstruction", "calibration", "evaluation")
RECONSTRUCTIONS = ("none", "obs", "admm", "admm-block")


@dataclass(frozen=True, slots=True)
class Method:
    """A named combination of the core's four choices, with what a person should know of it."""

    label: str
    score: str
    selection: str
    permutation: str = "none"
    reconstruction: str = "none"
    summary: str = ""

    def choices(self) -> dict[str, str]:
        """The four choices by name."""
        return {c: getattr(self, c) for c in ("score", "selection", "permutation", "reconstruction")}


METHODS: dict[str, Method] = {
    "magnitude": Method("Magnitude", "magnitude", "topn", summary="Keeps the largest weights; looks at no data."),
    "wanda": Method("Wanda", "wanda", "topn", summary="Weight size times the size of the activation that it meets."),
    "ria": Method("RIA", "ria", "topn", summary="Weight size relative to its row and column, times activation size."),
    "ria-cp": Method(
        "RIA + CP", "ria", "topn", "lsa", summary="RIA after reordering channels so that strong ones do not compete."
    ),
    "sparsegpt": Method(
        "SparseGPT", "obs", "topn", "none", "obs", summary="Second-order choice; kept weights make up for pruned ones."
    ),
    "eggs-ptp": Method(
        "EGGS-PTP", "ria", "diagonal", summary="RIA, plus diagonals that keep every input channel connected."
    ),
    "eggs-ptp-cp": Method("EGGS-PTP + CP", "ria", "diagonal", "lsa", summary="EGGS-PTP after reordering channels."),
    "eggs-ptp-plus": Method(
        "EGGS-PTP+",
        "ria",
        "degree",
        "lsa",
        "admm-block",
        summary="Exact degree bound, channel order, and kept weights re-fitted to each block's output.",
    ),
}
CUSTOM = "custom"
DEFAULT_METHOD = "eggs-ptp-plus"


def _member(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise EggsError(f"Unknown {name} {str(value)[:40]!r}; choose one of {', '.join(allowed)}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class PruneConfig:
    """Everything that a pruning run depends on; equal configurations give equal masks.

    `diagonals` None means the default B = max(1, out // 144); `beta` None means the largest β that keeps 99.99 % of
    the score. Raises EggsError, before any work, for every value that cannot run.
    """

    model: str
    pattern: NMPattern
    method: str = DEFAULT_METHOD
    score: str = "ria"
    selection: str = "topn"
    permutation: str = "none"
    reconstruction: str = "none"
    diagonals: int | None = None
    beta: float | None = None
    seed: int = 0
    calibration: str = "bundled"  # or "text:<sha256>", a text of one's own, or "dataset:<name>"
    calibration_windows: int = 64
    calibration_length: int = 256
    evaluation: str = "bundled"
    evaluation_windows: int = 64
    evaluation_length: int = 256

    def __post_init__(self) -> None:
        for name in TEXTS:
            if not isinstance(value := getattr(self, name), str):
                raise EggsError(f"{name.capitalize()} must be a text; got {str(value)[:40]}.")
        if not self.model or len(self.model) > 500:
            raise EggsError("Choose a model: a bundled name, a Hub id, a local folder or a GGUF file.")
        if not (self.model + self.calibration + self.evaluation).isprintable():
            raise EggsError("The name of the model or text has characters that cannot be printed; type it again.")
        _member("score", self.score, SCORES)
        _member("selection", self.selection, SELECTIONS)
        _member("permutation", self.permutation, PERMUTATIONS)
        _member("reconstruction", self.reconstruction, RECONSTRUCTIONS)
        if self.method == CUSTOM:
            if self.score == "obs" and self.reconstruction != "obs":
                raise EggsError("The obs score is SparseGPT's own choice and needs the obs reconstruction.")
        elif self.method not in METHODS:
            raise EggsError(f"Unknown method {str(self.method)[:40]!r}; choose one of {', '.join(METHODS)}.")
        elif any(getattr(self, name) != value for name, value in METHODS[self.method].choices().items()):
            raise EggsError(f"These choices are not those of the method {self.method!r}; call it {CUSTOM!r}.")
        if self.beta is not None and self.selection != "degree":
            raise EggsError(f"Selection {self.selection} does not use β; leave it out or choose selection degree.")
        if self.diagonals is not None and self.selection != "diagonal":
            raise EggsError(
                f"Selection {self.selection} does not use diagonals; leave them out or choose selection diagonal."
            )
        if self.beta is not None and not (_is_number(self.beta) and 0 <= self.beta <= 1):
            raise EggsError(
                f"β must lie between 0 (top-N) and 1 (every input equally connected); got {str(self.beta)[:40]}."
            )
        if self.diagonals is not None and not (_is_whole(self.diagonals) and self.diagonals >= 0):
            raise EggsError(f"The number of diagonals B must be a whole number from 0; got {str(self.diagonals)[:40]}.")
        for name, low, high in (
            ("seed", 0, 2**31 - 1),
            ("calibration_windows", 1, 4096),
            ("calibration_length", 16, 8192),
            ("evaluation_windows", 1, 4096),
            ("evaluation_length", 16, 8192),
        ):
            value = getattr(self, name)
            if not (_is_whole(value) and low <= value <= high):
                name, got = name.replace("_", " "), str(value)[:40]
                raise EggsError(f"{name} must be a whole number from {low} to {high}; got {got}.")

    @property
    def label(self) -> str:
        """The method's name for people."""
        return METHODS[self.method].label if self.method in METHODS else "Custom"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"pattern": str(self.pattern)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PruneConfig":
        """The inverse of to_dict; raises EggsError for what is no dict, and for unknown keys, by name."""
        if not isinstance(values, dict):
            raise EggsError(f"A configuration is an object of names and values; got {str(values)[:40]!r}.")
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(map(str, set(values) - known)):
            shown = ", ".join(map(repr, unknown))[:200]
            raise EggsError(f"Unknown option {shown}; known are {', '.join(sorted(known))}.")
        return cls(**{"model": "", **values, "pattern": NMPattern.parse(values.get("pattern", "2:4"))})

    def command_line(self) -> str:
        """The command that repeats this run; a text of one's own is left for its path to be filled in."""
        words = ["python -m eggs_core prune --model", shlex.quote(self.model), "--pattern", str(self.pattern)]
        words += ["--method", self.method, "--seed", str(self.seed)]
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        choices = ("score", "selection", "permutation", "reconstruction") if self.method == CUSTOM else ()
        numbers = (*(f"{side}_{size}" for side in ("calibration", "evaluation") for size in ("windows", "length")),)
        for name in (*choices, "beta", "diagonals", *numbers):
            value = getattr(self, name)
            if name in choices or value != defaults[name]:
                words += [f"--{name.replace('_', '-')}", str(value)]
        for side in ("calibration", "evaluation"):
            source = getattr(self, side)
            if source.startswith("dataset:"):
                words += [f"--{side}-dataset", shlex.quote(source.removeprefix("dataset:"))]
            elif source != defaults[side]:
                words += [f"--{side}-file", "YOUR_TEXT.txt"]
        return " ".join([*words, "--out run"])

    def key(self) -> str:
        """Sixteen hex digits that name this configuration: SHA-256 over its canonical JSON."""
        text = json.dumps({"schema": SCHEMA, **self.to_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_config(model: str, pattern: str | NMPattern, method: str = DEFAULT_METHOD, **options: Any) -> PruneConfig:
    """A configuration for a named method; options given as None keep the method's own choice.

    A choice that differs from the method's makes the method "custom". Raises EggsError for an unknown method or value.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if method != CUSTOM and method not in METHODS:
        raise EggsError(f"Unknown method {str(method)[:40]!r}; choose one of {', '.join(METHODS)}.")
    base = METHODS[DEFAULT_METHOD if method == CUSTOM else method].choices()
    if any(options.get(name, value) != value for name, value in base.items()):
        method = CUSTOM
    values = {"model": model, "pattern": str(NMPattern.parse(pattern)), "method": method, **base, **options}
    return PruneConfig.from_dict(values)
