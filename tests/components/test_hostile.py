"""Hostile texts in every place where a text of a model, a file or a visitor can get into the page's HTML."""

import dataclasses
import importlib
import inspect
import pkgutil
from html.parser import HTMLParser

import pytest
import torch

import components
from components import sidebar
from components.jobs import prune as jobs
from components.places.layers.mask import view as mask_view
from components.places.learn.lesson.scene import feedback
from components.places.learn.lesson.steps import STEPS
from components.places.quality.perplexity import words as readings
from components.places.quality.report import page as report_page
from components.places.quality.tasks import view as tasks_view
from components.places.quality.texts import view as texts_view
from components.places.quality.tokens import view as token_view
from components.places.quality.writing import view as writing_view
from components.places.runs.compare import view as compare_view
from components.places.runs.stored import view as runs_view
from components.places.speed.latency import words as latency_text
from components.places.speed.race import view as race
from components.state.results import RESULTS, run_id
from components.state.workspace import Workspace
from components.words import recorded
from components.words import run as text
from eggs_core.config import make_config
from eggs_core.evaluation.intervals import Interval
from eggs_core.evaluation.tokens import Prediction, TokenChange
from eggs_core.evaluation.zeroshot import TaskScore
from eggs_core.graph.expansion import CurvePoint, Expansion, spread
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
    "address.address",
    "figures.color",
    "jobs.run_job",
    "latency_figures.token_time",
    "mask_view.compare_choices",
    "race.run_race",
    "race.race_steps",
    "report_page.report_json",
    "runs_view.all_reports",
    "runs_view.title_of",
    "runs_view.as_json",
    "session.run_label",
    "session.label_of",
    "session.problems",
    "sidebar.read",
    "text.size",
    "text.seconds",
    "readings.plural",
    "recorded.made_on",
    "recorded.took",
    "recorded.decode_speed",
    "recorded.made_with",
    "results.run_id",
    "results.model_id",
    "api.expansion_steps",
    "tasks_view.task_steps",
    "tokens_panel.token_steps",
    "widgets.canvas.base64_bits",
    "widgets.canvas.base64_values",
    "writing_view.write",
    "writing_view.write_steps",
    "spectrum_view.density",
    "spectrum_view.tradeoff",
    "spectrum_view.reach",
    "mask_view.degree_chart",
    "mask_view.compared",  # their sentences come from readings, which is walked
    "compare_figures.base_label",
    "compare_view.models_of",
    "compare_view.options_of",
    "compare_view.sources",
    "text.reading",
    "text.lesson_link",  # these take HTML, or a step's name of our own
    *(
        f"lesson_figures.{n}"
        for n in ("outputs", "error_curve", "stored", "kept_by_method", "graph", "signal", "costs")
    ),
    "lesson_figures.challenge",
    "lesson.measures",  # of masks of 64 bits
    "latency_text.layers_reading",
    "latency_text.limit_reading",
    "latency_text.layer_table",
    "latency_text.formula_line",
    "breakdown_view.breakdown_reading",
    "readings.beta_reading",
    "readings.density_reading",
    "readings.measure_reading",
    "readings.scatter_reading",
    "readings.pruned_cards",
    "readings.degree_reading",
    "writing_view.lanes_html",
}
SILENT = {  # they get a hostile run and show none of its texts
    "latency_text.size_reading",
    "latency_text.gpu_cards",
    "mask_view.legend",
    "mask_view.comparison",
    "race.empty_lanes",
    "race.race_note",
    "race.verdict",
    "sidebar.method_note",
    "sidebar.pattern_note",
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


def check(html: str, shown: bool = True) -> None:
    """No tag, handler or template of the hostile text is left, and no character that hides or turns what follows."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert not reader.bad, reader.bad
    assert "${" not in html and "{{" not in html and "<img" not in html
    assert not set(html) & {"\0", "\x1b", "\u202e"}
    assert not shown or "gnp.exe" in html, "the hostile text was not shown at all: this call tests nothing"


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


def calls(run: Run) -> dict:
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
    return {
        "compare_view.overview": lambda: compare_view.overview(sweep, [], compare_view.Choice(EVIL)),
        "compare_view.facts": lambda: compare_view.facts(sweep, compare_view.Choice(EVIL)),
        "jobs.progress_bar": lambda: jobs.progress_bar(0.5, EVIL, 3.0),
        "jobs.message": lambda: jobs.message(EVIL, bad=True),
        "jobs.refusal": lambda: jobs.refusal(jobs.EggsError(EVIL)),
        "jobs.bar": lambda: jobs.bar(jobs.Progress(EVIL, 0.5)),
        "latency_text.size_reading": lambda: latency_text.size_reading(run),
        "latency_text.latency_reading": lambda: latency_text.latency_reading(run.report["latency"], EVIL),
        "latency_text.gpu_cards": lambda: latency_text.gpu_cards(run),
        "lesson.feedback": lambda: feedback(dataclasses.replace(STEPS[0], answers=((EVIL, EVIL),)), EVIL),
        "mask_view.legend": lambda: mask_view.legend(work),
        "mask_view.comparison": lambda: mask_view.comparison(work),
        "race.lanes_html": lambda: race.lanes_html({"dense": lane}, {"dense": EVIL}, EVIL, 4),
        "race.empty_lanes": lambda: race.empty_lanes(run),
        "race.race_note": lambda: race.race_note(run),
        "race.verdict": lambda: race.verdict({"dense": lane, "packed": lane}, "zeros", "kept"),
        "readings.set_table": lambda: readings.set_table([(EVIL, expansion)], "inputs"),
        "readings.set_reading": lambda: readings.set_reading([(EVIL, expansion)], "inputs", 3),
        "readings.curve_reading": lambda: readings.curve_reading([point], EVIL, "inputs"),
        "readings.mixing_reading": lambda: readings.mixing_reading([(EVIL, 0.5, steps)], EVIL),
        "readings.beta_cards": lambda: readings.beta_cards(BetaStep(**beta), BetaStep(**beta), EVIL),
        "readings.model_summary": lambda: readings.model_summary(layers, EVIL),
        "readings.comparison_reading": lambda: readings.comparison_reading(EVIL, EVIL, mask, ~mask),
        "readings.layer_extras": lambda: readings.layer_extras(layer, 0.5, (EVIL, EVIL, 3, 4)),
        "readings.forest_reading": lambda: readings.forest_reading({EVIL: interval, "b" + EVIL: interval}),
        "readings.gap_reading": lambda: readings.gap_reading(EVIL, layers, {EVIL: 0.5, "b": 0.4}),
        "runs_view.comparison": lambda: runs_view.comparison([run.report, run.report]),
        "sidebar.pattern_note": lambda: sidebar.pattern_note(EVIL, 1, 2),
        "sidebar.method_note": lambda: sidebar.method_note(EVIL),
        "tasks_view.task_table": lambda: tasks_view.task_table([(task, task)], EVIL),
        "tasks_view.tasks_reading": lambda: tasks_view.tasks_reading(run, [(task, task)]),
        "text.escape": lambda: text.escape(EVIL),
        "text.term": lambda: text.term("orphans", EVIL),
        "text.overview_cards": lambda: text.overview_cards(run),
        "text.latency_card": lambda: text.latency_card(run.report["latency"]),
        "recorded.facts": lambda: recorded.facts(run),
        "text.overview_reading": lambda: text.overview_reading(run, EVIL),
        "text.layer_reading": lambda: text.layer_reading(layer),
        "texts_view.texts_table": lambda: texts_view.texts_table(run),
        "texts_view.texts_reading": lambda: texts_view.texts_reading(run),
        "token_view.coloured_text": lambda: token_view.coloured_text(EVIL, [change]),
        "token_view.tokens_reading": lambda: token_view.tokens_reading([change, change]),
    }


def test_every_function_that_gives_html_is_walked_or_known_to_be_plain(evil):
    found = set()
    for module in pkgutil.walk_packages(components.__path__, "components."):
        loaded = importlib.import_module(module.name)
        for name, function in vars(loaded).items():
            own = inspect.isfunction(function) and function.__module__ == module.name and not name.startswith("_")
            if own and "str" in str(inspect.signature(function).return_annotation):
                found.add(f"{module.name.removeprefix('components.')}.{name}")
    walked = set(calls(evil))
    assert found - walked - PLAIN == {"report_page.report_html"}, "walk it here, or say why it is plain"
    assert walked | PLAIN <= found | PLAIN and not walked - found


def test_no_hostile_text_gets_into_html(evil):
    RESULTS.keep(run_id(evil), texts_view.KIND, "", evil.report["evaluation"])
    for name, call in calls(evil).items():
        html = call()
        try:
            check(html, shown=name not in SILENT)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}\n{html[:3000]}") from None


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
