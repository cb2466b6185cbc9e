"""The named endpoints of the API, for programs and for MCP; every other event of the page is private.

Arguments arrive as plain JSON that nobody has checked; they are checked here, and then by the same functions as on the
page. Heavy work goes through the same queue.
"""

import functools
import inspect
import logging
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from components.jobs.events import WATCH, visitor
from components.jobs.messages import waiting
from components.jobs.prune import check_asked, known_run, prune_work
from components.jobs.queue import QUEUE
from components.jobs.work import Waiting, Work
from components.places.quality.texts.view import measure_text
from components.state.asked import number, shown, whole_number, words
from components.state.reports import open_run
from components.state.results import run_id
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.graph.expansion import SIDES, expansion_curve
from eggs_core.graph.measures import certificate_sigma2
from eggs_core.limits import hosted, limits, sentence
from eggs_core.models.source import BUNDLED
from eggs_core.progress import Progress
from eggs_core.registry import DEFAULT_METHOD, METHODS, descriptions, plain_types, with_choices
from eggs_core.runs.run import Run
from eggs_core.text.datasets import PREFIX, dataset_text
from eggs_core.text.sources import Text

JSON_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "null"}
LONGEST_NAME = 500
log = logging.getLogger(__name__)


def models() -> dict:
    """List the bundled models, the named methods, and what this server allows.

    Returns:
        `models` (name and about), `methods` (name, label and about), `hosted`, and `limits`; a limit of null is none.
        Any Hub id of a causal language model works as a name too.
    """
    return {
        "models": [{"name": name, "about": about} for name, about in BUNDLED.items()],
        "methods": [{"name": name, "label": m.label, "about": m.summary} for name, m in METHODS.items()],
        "hosted": hosted(),
        "limits": asdict(limits()),
    }


def prune(
    model: str = "tiny-llama",
    pattern: str = "2:4",
    method: str = DEFAULT_METHOD,
    seed: int = 0,
    calibration_windows: int = 64,
    calibration_length: int = 256,
    calibration_dataset: str | None = None,
    layers: list[str] | None = None,
    bos: str | None = None,
    anew: bool = False,
    **choices: Any,
) -> Iterator[dict]:
    """Prune a model to N of every M weights, evaluate it before and after, and return the run's key and its report.

    A configuration that is known already is answered from the store. Streams a value whenever there is news.

    Args:
        model: A bundled name or a Hub id such as HuggingFaceTB/SmolLM2-135M.
        pattern: N:M, for example 2:4: of every M consecutive weights N are kept.
        method: A name that `models` lists, or custom.
        seed: Of the calibration windows.
        calibration_windows: How many windows of text to calibrate on.
        calibration_length: Tokens of each window.
        calibration_dataset: A Hub dataset to calibrate on; null is the bundled speeches.
        layers: Rules that give layers a pattern of their own, such as mlp.down_proj=3:4 or blocks 1,30=dense.
        bos: Where windows begin with BOS, for models that have one: null is every window; or "first window".
        anew: Run it again even if it is known.

    Returns:
        `status` (waiting, running or done), `text`, `share` done from 0 to 1, `key` of the run, and `report` once done.
    """
    config = make_config(
        model.strip(),
        pattern,
        method,
        seed=seed,
        calibration_windows=calibration_windows,
        calibration_length=calibration_length,
        calibration=PREFIX + calibration_dataset.strip() if calibration_dataset else None,
        layers=layers,
        bos=bos,
        **choices,
    )
    check_asked(config)
    key = config.key()
    if not anew and (run := known_run(config)) is not None:
        yield _done(run)
        return
    for event in QUEUE.follow(prune_work(config, {}, anew), owner=visitor()):
        if isinstance(event, Waiting):
            yield _waiting(event) | {"key": key}
        elif event.message:
            yield _done(event.run)
        else:
            yield _running(event.progress) | {"key": key}


def report(key: str) -> dict:
    """Return the whole report of a finished run: configuration, protocol, layers, evaluation, size and latency.

    Args:
        key: The run's sixteen hex digits.
    """
    return dict(open_run(key).report)


def analyze_layer(key: str, layer: str) -> Iterator[dict]:
    """Return a layer's graph measures, and how far sets of its channels reach against the proven lower bound.

    Args:
        key: The run's sixteen hex digits.
        layer: The layer's full name, as in the report, for example model.layers.0.self_attn.q_proj.

    Returns:
        `status`, and once done `measures` (as in the report) and `expansion`: for inputs and for outputs, by set size,
        |Γ(T)| ÷ |T| over random sets, over those of lowest degree, over the worst found, and the certificate.
    """
    run = open_run(key)
    found = run.layer(layer)
    for event in QUEUE.follow(expansion_work(run, layer), owner=visitor()):
        if isinstance(event, Waiting):
            yield _waiting(event)
        else:
            yield {"status": "done", "measures": found, "expansion": event}


def evaluate(key: str, text: str | None = None, dataset: str | None = None) -> Iterator[dict]:
    """Measure the perplexity of a run's model on another text, dense and pruned, on at most 64 windows.

    Args:
        key: The run's sixteen hex digits.
        text: A plain text of at least one window (256 tokens unless the run says otherwise).
        dataset: Instead of a text, a Hub dataset such as Salesforce/wikitext:wikitext-2-raw-v1.

    Returns:
        `status`, and once done `evaluation`: text, SHA-256, windows, and for `dense` and `pruned` perplexity, top-1 and
        top-5 accuracy and nats per window.
    """
    run = open_run(key)
    if bool(text and text.strip()) == bool(dataset and dataset.strip()):
        raise EggsError("Give either a text or the name of a dataset.")
    content = dataset_text(dataset.strip()) if dataset and dataset.strip() else Text("text", text or "")
    for event in measure_text(functools.partial(QUEUE.follow, owner=visitor()), run, content):
        if isinstance(event, Waiting):
            yield _waiting(event)
        elif isinstance(event, Progress):
            yield _running(event)
        else:
            yield {"status": "done", "evaluation": event}


def expansion_work(run: Run, layer: str) -> Work:
    """The work of following one layer's sets of channels; its value is that of `expansion_steps`."""
    return Work(("expansion", *run_id(run), layer), expansion_steps, (run, layer))


def expansion_steps(run: Run, layer: str) -> Iterator[dict[str, list[dict]]]:
    """Both sides' curves of one layer, as plain values."""
    mask = run.mask(layer)
    sigma2 = certificate_sigma2(mask, run.layer(layer)["sigma2"])
    yield {side: [asdict(point) for point in expansion_curve(mask, side, sigma2)] for side in SIDES}


def create_api() -> None:
    """Add the endpoints to an open gr.Blocks."""
    gr.api(_endpoint(models), api_name="models", queue=False)
    gr.api(_endpoint(report), api_name="report", queue=False)
    watch = {name: WATCH[name] for name in ("concurrency_id", "concurrency_limit")}
    for function in (_with_choices(prune), analyze_layer, evaluate):
        gr.api(_endpoint(function), api_name=function.__name__, **watch)


def _with_choices(function: Callable[..., Iterator[dict]]) -> Callable[..., Iterator[dict]]:
    """`prune` with an argument, and a line about it, for everything in the registry."""
    full = with_choices(function, plain_types(), before="seed")
    lines = "".join(f"        {name}: {text}\n" for name, text in descriptions().items())
    full.__doc__ = (function.__doc__ or "").replace("        seed: ", f"{lines}        seed: ")
    return full


def _endpoint(function: Callable) -> Callable:
    """The function with its arguments checked against their types, and with every error as one sentence."""
    hints = typing.get_type_hints(function)
    names = list(inspect.signature(function).parameters)

    def checked(values: tuple) -> list:
        return [_check(name, value, hints[name]) for name, value in zip(names, values, strict=True)]

    @functools.wraps(function)
    def stream(*values: Any) -> Iterator[dict]:
        try:
            yield from function(*checked(values))
        except Exception as error:
            raise _refusal(function.__name__, error) from None

    @functools.wraps(function)
    def answer(*values: Any) -> dict:
        try:
            return function(*checked(values))
        except Exception as error:
            raise _refusal(function.__name__, error) from None

    streams = typing.get_origin(hints["return"]) is Iterator
    return stream if streams else answer


def _check(name: str, value: Any, hint: Any) -> Any:
    """A value of the JSON kind that a type hint names; raises EggsError for another one."""
    kinds = typing.get_args(hint) or (hint,)
    if float in kinds and type(value) in (int, float):
        return number(value, name)
    if type(value) not in kinds:
        wanted = " or ".join(JSON_NAMES[kind] for kind in kinds)
        raise EggsError(f"{name} must be {wanted}; got {shown(value)}.")
    if type(value) is int:
        return whole_number(value, name)
    if isinstance(value, str):
        words(value, name)
    if name != "text" and isinstance(value, str) and len(value) > LONGEST_NAME:
        raise EggsError(f"{name} has {len(value):,} characters, and {LONGEST_NAME} are read; shorten it.")
    return value


def _refusal(name: str, error: Exception) -> gr.Error:
    if not isinstance(error, EggsError):
        log.exception("the endpoint %s failed", name)
    return gr.Error(sentence(error), print_exception=False)


def _waiting(event: Waiting) -> dict:
    return {"status": "waiting", "text": waiting(event), "share": 0.0}


def _running(progress: Progress) -> dict:
    return {"status": "running", "text": progress.text, "share": progress.share}


def _done(run: Run) -> dict:
    return {"status": "done", "text": "Done", "share": 1.0, "key": run.key, "report": run.report}
