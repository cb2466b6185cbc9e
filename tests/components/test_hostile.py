"""Hostile texts in every place where a text of a model, a file or a visitor can get into the page's HTML."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser

import pytest
import torch

import components
from components import sidebar_values
from components.jobs import messages
from components.places.layers.graph import words as graph_words
from components.places.layers.mask import view as mask_view
from components.places.layers.mask import words as mask_words
from components.places.layers.spectrum import words as spectrum_words
from components.places.learn.lesson.scene import feedback
from components.places.learn.lesson.steps import STEPS
from components.places.quality.perplexity import words as readings
from components.places.quality.report import page as report_page
from components.places.quality.tasks import words as tasks_words
from components.places.quality.texts import view as texts_view
from components.places.quality.tokens import view as token_view
from components.places.quality.writing import view as writing_view
from components.places.runs.compare import view as compare_view
from components.places.runs.stored import view as runs_view
from components.places.speed.latency import words as latency_text
from components.places.speed.race import view as race
from components.state.results import RESULTS, run_id
from components.state.workspace import Workspace
from components.words import html, recorded
from components.words import run as run_words
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import Interval
from eggs_core.evaluation.tokens import Prediction, TokenChange
from eggs_core.evaluation.zeroshot import TaskScore
from eggs_core.graph.expansion import CurvePoint, Expansion, spread
from eggs_core.progress import Progress
from eggs_core.pruning.one_layer import BetaStep
from eggs_core.runs.run import Run
from eggs_core.runs.store import RunStore
from eggs_core.sweep.results import FAILED, Cell, Sweep

EVIL = (
    "\"'><img src=x onerror=alert(1)><script>alert(2)</script>${alert(3)}{{value}}"
    "\0\u202egnp.exe\x1b[31m</td></div></script>"
)
TAGS = {
    "a",
    "abbr",
    "b",
    "br",
    "button",
    "caption",
    "circle",
    "div",
    "g",
    "h3",
    "i",
    "line",
    "mark",
    "p",
    "path",
    "polyline",
    "section",
    "span",
    "strong",
    "sub",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "th",
    "thead",
    "tr",
}
# Functions that give no HTML: words that are escaped where they are used, keys, colours and numbers.
PLAIN = {
    "state.asked.shown",
    "state.asked.words",
    "address.address",
    "api.expansion_steps",
    "charts.colors.color",
    "jobs.prune.run_job",
    "places.home.overview.words.measure_reading",
    "places.layers.graph.words.pruned_cards",
    "places.layers.mask.view.compare_choices",
    "places.layers.mask.view.compared",  # their sentences come from words, which are walked
    "places.layers.mask.view.degree_chart",
    "places.layers.mask.words.degree_reading",
    "places.layers.spectrum.view.density",
    "places.layers.spectrum.view.reach",
    "places.layers.spectrum.view.tradeoff",
    "places.layers.spectrum.words.beta_reading",
    "places.layers.spectrum.words.density_reading",
    "places.learn.lesson.figures.challenge",
    "places.learn.lesson.figures.costs",
    "places.learn.lesson.figures.error_curve",
    "places.learn.lesson.figures.graph",
    "places.learn.lesson.figures.kept_by_method",
    "places.learn.lesson.figures.outputs",
    "places.learn.lesson.figures.signal",
    "places.learn.lesson.figures.stored",
    "places.learn.lesson.scene.measures",  # of masks of 64 bits
    "places.quality.breakdown.view.breakdown_reading",
    "places.quality.perplexity.words.scatter_reading",
    "places.quality.report.page.report_json",
    "places.quality.tasks.view.task_steps",
    "places.quality.tokens.tab.token_steps",
    "places.quality.writing.view.lanes_html",
    "places.quality.writing.view.write",
    "places.quality.writing.view.write_steps",
    "places.runs.compare.figures.base_label",
    "places.runs.compare.view.models_of",
    "places.runs.compare.view.options_of",
    "places.runs.compare.view.sources",
    "places.runs.stored.view.as_json",
    "places.runs.stored.view.title_of",
    "places.speed.latency.figures.token_time",
    "places.speed.latency.words.formula_line",
    "places.speed.latency.words.layer_table",
    "places.speed.latency.words.layers_reading",
    "places.speed.latency.words.limit_reading",
    "places.speed.race.view.race_steps",
    "places.speed.race.view.run_race",
    "sidebar_values.read",
    "state.known_runs.problems",
    "state.reports.all_reports",
    "state.results.model_id",
    "state.results.run_id",
    "widgets.encoding.base64_bits",
    "widgets.encoding.base64_values",
    "words.html.lesson_link",  # these take HTML, or a step's name of our own
    "words.html.reading",
    "words.html.seconds",
    "words.html.size",
    "words.labels.label_of",
    "words.labels.run_label",
    "words.phrases.plural",
    "words.recorded.decode_speed",
    "words.recorded.made_on",
    "words.recorded.made_with",
    "words.recorded.took",
}
SILENT = {  # they get a hostile run and show none of its texts
    "places.layers.mask.view.comparison",
    "places.layers.mask.view.legend",
    "places.speed.latency.words.gpu_cards",
    "places.speed.latency.words.size_reading",
    "places.speed.race.view.empty_lanes",
    "places.speed.race.view.race_note",
    "places.speed.race.view.verdict",
    "sidebar_values.method_note",
    "sidebar_values.pattern_note",
}


class _Reader(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in TAGS:
            self.bad.append(f"<{tag}>")
        self.bad += [f"{name}={value}" for name, value in attrs if name.startswith("on") or name == "src"]
        self.bad += [str(value) for name, value in attrs if name == "href" and not (value or "").startswith("?")]


def check(text: str, told: bool = True) -> None:
    """No tag, handler or template of the hostile text is left, and no character that hides or turns what follows."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert not reader.bad, reader.bad
    assert "${" not in text and "{{" not in text and "<img" not in text
    assert not set(text) & {"\0", "\x1b", "\u202e"}
    assert not told or "gnp.exe" in text, "the hostile text was not shown at all: this call tests nothing"


@pytest.fixture
def evil(make_run) -> Run:
    """A finished run whose every free text is hostile."""
    report = make_run("ria").report
    layers = [
        layer | {"name": f"{i}{EVIL}", "projection": EVIL, "notes": [EVIL]} for i, layer in enumerate(report["layers"])
    ]
    packed = report["latency"] | {"kernel": EVIL}
    report = report | {
        "model": EVIL,
        "device": EVIL,
        "created": EVIL,
        "layers": layers,
        "latency": packed,
        "calibration": report["calibration"] | {"text": EVIL},
        "evaluation": report["evaluation"] | {"text": EVIL, "sha256": EVIL},
        "label": EVIL,
        "key": "0123456789abcdef",
    }
    source = make_run("ria")
    rename = dict(zip(source.packed_masks, (layer["name"] for layer in layers), strict=True))
    return Run(
        report,
        {rename[n]: m for n, m in source.packed_masks.items()},
        {rename[n]: m for n, m in source.packed_topn.items()},
    )


def path(function: Callable) -> str:
    """A function's module below components, and its name."""
    return f"{function.__module__.removeprefix('components.')}.{function.__name__}"


def calls(run: Run) -> dict[str, partial]:
    """Every function that gives HTML, with hostile texts in its arguments."""
    layer, layers = run.report["layers"][0], run.report["layers"]
    work = Workspace()
    work.show(run)
    work.layer = layer["name"]
    mask = torch.eye(4, dtype=torch.bool)
    steps, expansion = spread(mask, "inputs", torch.tensor([0]), 2), Expansion(1, 1, 0.1, 1.0)
    point, interval = CurvePoint(1, 2.0, 2.0, 2.0, 2.0, 1.0), Interval(1.1, 1.0, 1.2)
    prediction = Prediction(1.0, [(EVIL, 0.5)])
    change = TokenChange(EVIL, "first tokens", prediction, Prediction(2.0, [(EVIL, 0.5)]))
    task = TaskScore(EVIL, 4, 0.25, 0.5, 0.1, 0.5, 0.1, [True, False, True, False], [True, False, True, False])
    lane = race.Lane(EVIL, [1])
    beta = {f.name: 1 for f in dataclasses.fields(BetaStep)}
    config = make_config("m", "2:4", "ria")
    object.__setattr__(config, "model", EVIL)  # a configuration itself refuses such a name
    cell = Cell(config, FAILED, error=EVIL)
    speed = [{"model": EVIL, "kernel": EVIL, "threads": EVIL}]
    protocol = {"windows": 1, "window": 2, "text": EVIL, "sha256": EVIL}
    sweep = Sweep(EVIL, [cell], protocol, {EVIL: {"perplexity": 1.0}}, speed, {"nodes": 2}, 3.0, EVIL)
    given = [
        partial(compare_view.overview, sweep, [], compare_view.Choice(EVIL)),
        partial(compare_view.facts, sweep, compare_view.Choice(EVIL)),
        partial(messages.progress_bar, 0.5, EVIL, 3.0),
        partial(messages.message, EVIL, bad=True),
        partial(messages.refusal, EggsError(EVIL)),
        partial(messages.bar, Progress(EVIL, 0.5)),
        partial(latency_text.size_reading, run),
        partial(latency_text.latency_reading, run.report["latency"], EVIL),
        partial(latency_text.gpu_cards, run),
        partial(feedback, dataclasses.replace(STEPS[0], answers=((EVIL, EVIL),)), EVIL),
        partial(mask_view.legend, work),
        partial(mask_view.comparison, work),
        partial(race.lanes_html, {"dense": lane}, {"dense": EVIL}, EVIL, 4),
        partial(race.empty_lanes, run),
        partial(race.race_note, run),
        partial(race.verdict, {"dense": lane, "packed": lane}, "zeros", "kept"),
        partial(graph_words.set_table, [(EVIL, expansion)], "inputs"),
        partial(graph_words.set_reading, [(EVIL, expansion)], "inputs", 3),
        partial(graph_words.curve_reading, [point], EVIL, "inputs"),
        partial(graph_words.mixing_reading, [(EVIL, 0.5, steps)], EVIL),
        partial(graph_words.beta_cards, BetaStep(**beta), BetaStep(**beta), EVIL),
        partial(mask_words.model_summary, layers, EVIL),
        partial(mask_words.comparison_reading, EVIL, EVIL, mask, ~mask),
        partial(spectrum_words.layer_extras, layer, 0.5, (EVIL, EVIL, 3, 4)),
        partial(readings.forest_reading, {EVIL: interval, "b" + EVIL: interval}),
        partial(spectrum_words.gap_reading, EVIL, layers, {EVIL: 0.5, "b": 0.4}),
        partial(runs_view.comparison, [run.report, run.report]),
        partial(sidebar_values.pattern_note, EVIL, 1, 2),
        partial(sidebar_values.method_note, EVIL),
        partial(tasks_words.task_table, [(task, task)], EVIL),
        partial(tasks_words.tasks_reading, run, [(task, task)]),
        partial(html.escape, EVIL),
        partial(html.term, "orphans", EVIL),
        partial(run_words.overview_cards, run),
        partial(run_words.latency_card, run.report["latency"]),
        partial(recorded.facts, run),
        partial(run_words.overview_reading, run, EVIL),
        partial(mask_words.layer_reading, layer),
        partial(texts_view.texts_table, run),
        partial(texts_view.texts_reading, run),
        partial(token_view.coloured_text, EVIL, [change]),
        partial(token_view.tokens_reading, [change, change]),
    ]
    return {path(call.func): call for call in given}


def test_every_function_that_gives_html_is_walked_or_known_to_be_plain(evil):
    found = set()
    for module in pkgutil.walk_packages(components.__path__, "components."):
        loaded = importlib.import_module(module.name)
        for name, function in vars(loaded).items():
            own = inspect.isfunction(function) and function.__module__ == module.name and not name.startswith("_")
            if own and "str" in str(inspect.signature(function).return_annotation):
                found.add(path(function))
    walked = set(calls(evil))
    assert found - walked - PLAIN == {path(report_page.report_html)}, "walk it here, or say why it is plain"
    assert walked | PLAIN <= found | PLAIN and not walked - found


def test_no_hostile_text_gets_into_html(evil):
    RESULTS.keep(run_id(evil), texts_view.KIND, "", evil.report["evaluation"])
    for name, call in calls(evil).items():
        shown = call()
        try:
            check(shown, told=name not in SILENT)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}\n{shown[:3000]}") from None


def test_written_text_is_shown_as_text(bundled):
    class Tokenizer:
        decode = staticmethod(lambda tokens, **options: EVIL)

    writer = writing_view.Writer(EVIL, "#000", [1, 2], 1)
    check(writing_view.lanes_html([writer], Tokenizer(), EVIL))


def test_a_report_to_take_along_has_no_hostile_script(evil):
    page = report_page.report_html(evil, [evil])
    assert "<img src=x" not in page and "<script>alert" not in page and "gnp.exe" in page


def test_a_label_is_one_short_line_and_shown_as_text(evil, tmp_path):
    store = RunStore(tmp_path)
    store.put(Run(evil.report | {"layers": []}, {}, {}))
    store.set_label(evil.key, "=1+1\n" + EVIL * 50)
    label = store.label(evil.key)
    assert len(label) <= 120 and "\n" not in label
    check(runs_view.comparison([evil.report | {"label": label}]))
