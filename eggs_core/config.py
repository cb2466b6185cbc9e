"""What a run is: one validated, hashable configuration."""

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eggs_core.bos import FIRST, NONE, RULES, bos_rule, settled
from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern
from eggs_core.registry import (
    CUSTOM,
    DEFAULT_METHOD,
    DIMENSIONS,
    METHODS,
    OPTIONS,
    STAGES,
    Entry,
    default,
    entry,
    everything,
    method_words,
    readers,
    stage_words,
)
from eggs_core.rules import parse_rules, plan_name

SCHEMA = 3  # part of every key; later changes of a method raise its revision instead
# What a key was made of when keys were first kept. Any other field enters a key only where it is not at its default.
ALWAYS_IN_KEY = frozenset(
    {"model", "pattern", "method", "score", "selection", "permutation", "reconstruction", "diagonals", "beta", "seed"}
    | {"calibration", "calibration_windows", "calibration_length"}
    | {"evaluation", "evaluation_windows", "evaluation_length"}
)
NUMBERS = {  # whole numbers of a configuration -> the least and the most
    "seed": (0, 2**31 - 1),
    "calibration_windows": (1, 4096),
    "calibration_length": (16, 8192),
    "evaluation_windows": (1, 4096),
    "evaluation_length": (16, 8192),
}


@dataclass(frozen=True, slots=True)
class PruneConfig:
    """Everything that a pruning run depends on; equal configurations give equal masks.

    `stages` are those of registry.STAGES that are not at their default, `options` those of registry.OPTIONS that are
    set, both in alphabetical order. Raises EggsError, before any work, for every value that cannot run.
    """

    model: str
    pattern: NMPattern
    method: str = DEFAULT_METHOD
    score: str = "ria"
    selection: str = "topn"
    permutation: str = "none"
    reconstruction: str = "none"
    options: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    calibration: str = "bundled"  # or "text:<sha256>", a text of one's own, or "dataset:<name>"
    calibration_windows: int = 64
    calibration_length: int = 256
    evaluation: str = "bundled"
    evaluation_windows: int = 64
    evaluation_length: int = 256
    layers: tuple[str, ...] = ()  # rules in order, in which some layers get a pattern of their own (rules.Rule)
    bos: str = NONE  # where windows begin with BOS; see `make_config` and `with_bos`
    stages: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        self._check_names()
        self.pattern.check_asked()
        self.entries()
        self._check_method()
        if parse_rules(self.layers) != self.layers:
            raise EggsError("Rules for layers are written in one way; make the configuration with make_config.")
        for name, value in self.options:
            self._check_option(name, value)
        if self.bos not in RULES:
            raise EggsError(f"BOS must stand in one of {', '.join(RULES)}; got {str(self.bos)[:40]!r}.")
        for name, (low, high) in NUMBERS.items():
            value = getattr(self, name)
            if not (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
                must = f"must be a whole number from {low} to {high}; got {str(value)[:40]}"
                raise EggsError(f"{name.replace('_', ' ')} {must}.")

    def _check_names(self) -> None:
        texts = {name: getattr(self, name) for name in ("model", "method", "calibration", "evaluation")}
        for name, value in (texts | {name: self.choice(name) for name in everything()}).items():
            if not isinstance(value, str):
                raise EggsError(f"{name.capitalize()} must be a text; got {str(value)[:40]}.")
        if not self.model or len(self.model) > 500:
            raise EggsError("Choose a model: a bundled name, a Hub id, a local folder or a GGUF file.")
        if not (self.model + self.calibration + self.evaluation).isprintable():
            raise EggsError("The name of the model or text has characters that cannot be printed; type it again.")

    def _check_method(self) -> None:
        if self.method != CUSTOM and self.method not in METHODS:
            raise EggsError(f"Unknown method {self.method[:40]!r}; choose one of {', '.join(METHODS)}.")
        if self.method != CUSTOM and METHODS[self.method].choices() != self.choices():
            raise EggsError(f"These choices are not those of the method {self.method!r}; call it {CUSTOM!r}.")
        for dimension, chosen in self.entries().items():
            for other, needed in chosen.needs.items():
                if self.choice(other) != needed:
                    raise EggsError(
                        f"The {dimension} {_named(self.choice(dimension), chosen)} needs the {other} "
                        f"{_named(needed, entry(other, needed))}; choose that, or another {dimension}."
                    )
        if not self.pattern.packs and self.bits is not None:
            stored = self.entries()["values"].label
            raise EggsError(f"The pattern {self.pattern} has no packed form that could hold {stored}.")

    def _check_option(self, name: str, value: object) -> None:
        if name not in OPTIONS:
            raise EggsError(f"Unknown option {name[:40]!r}; known are {', '.join(OPTIONS)}.")
        for dimension, names in readers(name).items():
            if self.choice(dimension) not in names:
                raise EggsError(
                    f"{dimension.capitalize()} {self.choice(dimension)} does not use {OPTIONS[name].called}; "
                    f"leave it out or choose {dimension} {' or '.join(names)}."
                )
        OPTIONS[name].check(value)

    @property
    def label(self) -> str:
        """The method's name for people."""
        return METHODS[self.method].label if self.method in METHODS else "Custom"

    def choices(self) -> dict[str, str]:
        """The entry of each dimension."""
        return {name: getattr(self, name) for name in DIMENSIONS}

    def option(self, name: str) -> float | None:
        """An option's value, None where it is left to the entry that reads it."""
        return dict(self.options).get(name)

    def choice(self, name: str) -> str:
        """The entry of a dimension or stage."""
        return getattr(self, name) if name in DIMENSIONS else dict(self.stages).get(name, default(name))

    def entries(self) -> dict[str, Entry]:
        """The entry of each dimension and stage, with what the registry knows of it."""
        return {name: entry(name, self.choice(name)) for name in everything()}

    def in_words(self) -> str:
        """What people call the run; see `words_of`."""
        return words_of(self.to_dict())

    def options_of(self, name: str) -> dict[str, float | None]:
        """The options that this configuration's entry of a dimension or stage reads, by name."""
        return {option: self.option(option) for option in entry(name, self.choice(name)).options}

    @property
    def refits(self) -> bool:
        """Do kept weights get new values when their layer is pruned?"""
        return any(one.refits for one in self.entries().values())

    @property
    def bits(self) -> int | None:
        """Bits of a kept value that is rounded to a scale's whole numbers, or 16 for bf16; None as computed."""
        return entry("values", self.choice("values")).bits

    @property
    def rotates(self) -> bool:
        """Is the residual stream turned before pruning?"""
        return self.choice("rotation") != default("rotation")

    @property
    def recovery_tokens(self) -> int:
        """How many tokens recovery reads; 0 without recovery."""
        if self.choice("recovery") == default("recovery"):
            return 0
        return int(self.option("recovery_tokens") or OPTIONS["recovery_tokens"].usual or 0)

    def without(self, stage: str) -> "PruneConfig":
        """The same run with a stage at its default."""
        return self.changed(**{stage: default(stage)}, **dict.fromkeys(self.options_of(stage)))

    @property
    def stagewise(self) -> bool:
        """Is a block pruned stage by stage?"""
        return any(one.stagewise for one in self.entries().values())

    @property
    def fits(self) -> bool:
        """Is each block fitted by gradient once it is pruned?"""
        return entry("reconstruction", self.reconstruction).fits

    @property
    def sees_inputs(self) -> bool:
        """Does calibration change the result?"""
        return any(one.sees_inputs for one in self.entries().values())

    def changed(self, **values: Any) -> "PruneConfig":
        """The same configuration with other values, options among them; choices without a name are "custom"."""
        return PruneConfig.from_dict(self.to_dict() | values)

    def with_bos(self, has: bool) -> "PruneConfig":
        """The configuration for a model whose tokenizer is at hand and says whether it begins texts with BOS."""
        return dataclasses.replace(self, bos=settled(self.bos, has))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; every stage and option by its own name, options None where they are not set."""
        own = (f.name for f in dataclasses.fields(self) if f.name not in ("options", "stages", "layers"))
        values = {name: getattr(self, name) for name in own} | {"pattern": str(self.pattern)}
        values |= {name: self.choice(name) for name in STAGES}
        rules = {"layers": list(self.layers)} if self.layers else {}
        return values | rules | {name: self.option(name) for name in OPTIONS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PruneConfig":
        """The inverse of to_dict; raises EggsError for what is no dict, and for unknown keys, by name."""
        if not isinstance(values, Mapping):
            raise EggsError(f"A configuration is an object of names and values; got {str(values)[:40]!r}.")
        known = {f.name for f in dataclasses.fields(cls)} - {"options", "stages"} | {*OPTIONS, *STAGES}
        if unknown := sorted(map(str, set(values) - known)):
            shown = ", ".join(map(repr, unknown))[:200]
            raise EggsError(f"Unknown option {shown}; known are {', '.join(sorted(known))}.")
        plain = {name: value for name, value in values.items() if name not in OPTIONS and name not in STAGES}
        stages = tuple((n, values[n]) for n in sorted(STAGES) if values.get(n, default(n)) != default(n))
        options = tuple((n, values[n]) for n in sorted(OPTIONS) if values.get(n) is not None)
        pattern = NMPattern.parse(values.get("pattern", "2:4"))
        rules = parse_rules(values.get("layers", ()))
        return cls(**{"model": "", **plain, "pattern": pattern, "layers": rules, "stages": stages, "options": options})

    def command_line(self) -> str:
        """The command that repeats this run; a text of one's own is left for its path to be filled in."""
        words = ["python -m eggs_core prune --model", shlex.quote(self.model), "--pattern", str(self.pattern)]
        words += ["--method", self.method, "--seed", str(self.seed)]
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        given: dict[str, Any] = self.choices() if self.method == CUSTOM else {}
        given |= dict(self.stages)
        given |= {name: value for name in OPTIONS if (value := self.option(name)) is not None}
        given |= {n: getattr(self, n) for n in NUMBERS if n != "seed" and getattr(self, n) != defaults[n]}
        given |= {"bos": shlex.quote(FIRST)} if self.bos == FIRST else {}  # any other rule is the model's own
        for name, value in given.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        for rule in self.layers:
            words += ["--layer", shlex.quote(rule)]
        for side in ("calibration", "evaluation"):
            source = getattr(self, side)
            if source.startswith("dataset:"):
                words += [f"--{side}-dataset", shlex.quote(source.removeprefix("dataset:"))]
            elif source != defaults[side]:
                words += [f"--{side}-file", "YOUR_TEXT.txt"]
        return " ".join([*words, "--out run"])

    def key(self) -> str:
        """Sixteen hex digits that name this configuration: SHA-256 over its canonical JSON.

        What was no part of the first keys is left out at its default, and a method's revision until it is raised, so
        that runs keep their keys when configurations gain a field.
        """
        defaults = {f.name: f.default for f in dataclasses.fields(self)} | {n: default(n) for n in STAGES}
        values = {n: v for n, v in self.to_dict().items() if n in ALWAYS_IN_KEY or v != defaults.get(n)}
        revision = METHODS[self.method].revision if self.method in METHODS else 1
        later = {"revision": revision} if revision > 1 else {}
        text = json.dumps({"schema": SCHEMA, **values, **later}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_config(model: str, pattern: str | NMPattern, method: str = DEFAULT_METHOD, **options: Any) -> PruneConfig:
    """A configuration for a named method; options given as None keep the method's own choice.

    A choice that differs from the method's makes the method "custom". Windows begin with BOS as the model's tokenizer
    has it, or as `bos` asks; see bos.bos_rule. Raises EggsError for an unknown method or value.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if method != CUSTOM and method not in METHODS:
        raise EggsError(f"Unknown method {str(method)[:40]!r}; choose one of {', '.join(METHODS)}.")
    base = METHODS[DEFAULT_METHOD if method == CUSTOM else method].choices()
    if any(options.get(name, value) != value for name, value in base.items()):
        method = CUSTOM
    values = {"model": model, "pattern": str(NMPattern.parse(pattern)), "method": method, **base, **options}
    if isinstance(model, str) and values.get("bos", NONE) in RULES:
        values["bos"] = bos_rule(model, values.get("bos"))
    return PruneConfig.from_dict(values)


def _named(name: str, one: Entry) -> str:
    return name if one.label == name else f"{name} ({one.label})"


def words_of(values: Mapping[str, Any]) -> str:
    """What people call a run, by its configuration's plain values: its method, then its plan, then its stages."""
    stages = (stage_words(stage, values) for stage in STAGES)
    return " · ".join(filter(None, (method_words(values), plan_name(values.get("layers", ())), *stages)))
