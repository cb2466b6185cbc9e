"""What the sidebar's controls hold, as a configuration and back; no gradio here."""

import hashlib
from typing import Any

from components.state.asked import number, whole_number, words
from components.words.html import escape
from eggs_core.bos import EVERY, FIRST
from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError
from eggs_core.models.source import BUNDLED
from eggs_core.pattern import NMPattern
from eggs_core.registry import DEFAULT_METHOD, DIMENSIONS, METHODS, OPTIONS, Option, everything, method_of, reads
from eggs_core.rules import SEPARATOR
from eggs_core.runs.suggestions import outlook, suggestions
from eggs_core.text.datasets import PREFIX
from eggs_core.text.sources import Text

PATTERNS = ("1:4", "2:4", "3:4", "2:8", "4:8")
OTHER = "other"
REFERENCE = "unstructured"  # a share of each row: what structure costs
AUTOMATIC = "automatic"  # what an option shows that holds no number
DEFAULT_CHOICE = "tiny-llama", "2:4", DEFAULT_METHOD
BUNDLED_TEXT, OWN_TEXT, DATASET = "bundled", "own", "dataset"
NAMES = (  # of the controls, in the order in which their values come
    *("model", "pattern", "keep", "group", "method"),
    *everything(),
    *OPTIONS,
    *("windows", "length", "seed", "source", "text", "dataset", "bos", "layers"),
)


def model_choices() -> list[tuple[str, str]]:
    """The models to choose from, bundled ones and suggestions of the Hub: what is shown of each, and its name."""
    found = [(f"{one.name} · {outlook(one)}", one.name) for one in suggestions()]
    return [*((name, name) for name in BUNDLED), *found]


def scale(option: Option) -> float:
    """What a control shows for an option's 1: shares stand in per cent."""
    return 100 if option.high == 1 else 1


def pattern_note(choice: str, keep: float | None, group: float | None) -> str:
    """What the pattern means, in words, or what is wrong with it."""
    try:
        pattern = read_pattern(choice, keep, group)
    except EggsError as error:
        return f'<p class="hint bad">{escape(error)}</p>'
    if pattern.unstructured:
        return (
            f'<p class="hint">keeps the best {pattern} of every row, wherever they stand: a reference for what groups '
            "cost; it has no packed form</p>"
        )
    return f'<p class="hint">keeps {pattern.keep} of every {pattern.group} weights: {pattern.sparsity:.0%} pruned</p>'


def method_note(method: str) -> str:
    """What a method does, in one line."""
    summary = METHODS[method].summary if method in METHODS else "Your own combination of the choices below."
    return f'<p class="hint">{escape(summary)}</p>'


def read_pattern(choice: str, keep: float | None, group: float | None) -> NMPattern:
    """The chosen pattern; raises EggsError if the free N and M make none."""
    if choice == REFERENCE:
        return NMPattern.parse(f"{whole_number('' if keep is None else keep, 'The share')}%")
    if choice != OTHER:
        return NMPattern.parse(choice)
    try:
        kept, of = (whole_number("" if n is None else n, "N or M") for n in (keep, group))
    except EggsError as error:
        raise EggsError("Give N and M as whole numbers, for example N = 2 and M = 4.") from error
    pattern = NMPattern(kept, of)
    pattern.check_asked()
    return pattern


def read(*values: Any) -> tuple[PruneConfig, dict[str, Text]]:
    """The configuration that the controls describe, values in the order of NAMES, and the user's own texts by name.

    Raises EggsError.
    """
    given = dict(zip(NAMES, values, strict=True))
    calibration, texts = _calibration(
        given["source"], words(given["text"], "Your text"), words(given["dataset"], "The dataset").strip()
    )
    choices = {name: given[name] for name in everything()}
    config = make_config(
        words(given["model"], "The model").strip(),
        read_pattern(given["pattern"], given["keep"], given["group"]),
        words(given["method"], "The method"),
        **choices,
        **{name: _option(name, given[name]) for name in OPTIONS if reads(choices, name)},
        calibration=calibration,
        calibration_windows=whole_number(given["windows"], "The number of calibration windows"),
        calibration_length=whole_number(given["length"], "The calibration length"),
        seed=whole_number(given["seed"], "The seed"),
        bos=None if given["bos"] == EVERY else words(given["bos"], "BOS"),
        layers=list(filter(None, words(given["layers"], "The plan").split(SEPARATOR))),
    )
    return config, texts


def _option(name: str, value: Any) -> float | None:
    """An option as a configuration holds it; None is automatic."""
    option = OPTIONS[name]
    if value is None:
        return None
    if option.whole:
        return whole_number(value, f"The number of {option.called}")
    return number(value, option.called) / scale(option)


def _calibration(source: str, text: str, dataset: str) -> tuple[str, dict[str, Text]]:
    """The configuration's name for the chosen text, and that text if it is the user's own; raises EggsError."""
    if source == DATASET:
        if not dataset:
            raise EggsError("Name a dataset, such as Salesforce/wikitext:wikitext-2-raw-v1, or choose another text.")
        return PREFIX + dataset, {}
    if source != OWN_TEXT:
        return "bundled", {}
    if not text.strip():
        raise EggsError("Paste a text to calibrate on, or choose the bundled speeches.")
    name = f"text:{hashlib.sha256(text.encode()).hexdigest()}"
    return name, {name: Text("your text", text)}


def controls_of(config: PruneConfig) -> list[Any]:
    """Values of the controls that describe a configuration, in the order of NAMES; the inverse of `read`."""
    own, free = config.pattern, REFERENCE if config.pattern.unstructured else OTHER
    source, dataset = BUNDLED_TEXT, ""
    if config.calibration.startswith(PREFIX):
        source, dataset = DATASET, config.calibration.removeprefix(PREFIX)
    elif config.calibration != "bundled":
        source = OWN_TEXT
    values = {
        "model": config.model,
        "pattern": str(own) if str(own) in PATTERNS else free,
        "keep": round(100 * own.density) if own.unstructured else own.keep,
        "group": own.group,
        "method": config.method,
        **{name: config.choice(name) for name in everything()},
        **{name: _shown(option, config.option(name)) for name, option in OPTIONS.items()},
        "windows": config.calibration_windows,
        "length": config.calibration_length,
        "seed": config.seed,
        "source": source,
        "text": "",
        "dataset": dataset,
        "bos": FIRST if config.bos == FIRST else EVERY,
        "layers": SEPARATOR.join(config.layers),
    }
    return [values[name] for name in NAMES]


def _shown(option: Option, value: float | None) -> float | None:
    """What an option's control holds."""
    return value if value is None or option.whole else float(f"{scale(option) * value:.9g}")


def name_of(*choices: str) -> str:
    """The named method that a combination is, or "custom"; choices in the order of DIMENSIONS."""
    return method_of(dict(zip(DIMENSIONS, choices, strict=True)))
