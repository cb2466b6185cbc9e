"""Hostile texts in every place where a text of a model, a file or a visitor can get into the page's HTML."""

import dataclasses
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
import torch

import components
from components import sidebar_values
from components.jobs import messages
from components.places.home.sentence import view as home_view
from components.places.home.sentence import words as home_words
from components.places.layers.graph import words as graph_words
from components.places.layers.graph.frame import frame_of
from components.places.layers.graph.view import graphs
from components.places.layers.mask import view as mask_view
from components.places.layers.mask import words as mask_words
from components.places.layers.overview import words as overview_words
from components.places.layers.spectrum import words as spectrum_words
from components.places.learn.lesson import scene as lesson
from components.places.learn.lesson.steps import STEPS
from components.places.plan.painting import words as plan_words
from components.places.quality.breakdown import words as breakdown_words
from components.places.quality.perplexity import words as perplexity_words
from components.places.quality.recovery import words as recovery_words
from components.places.quality.recovery.view import Row
from components.places.quality.report import page as report_page
from components.places.quality.rotation import words as rotation_words
from components.places.quality.tasks import words as tasks_words
from components.places.quality.texts import words as texts_words
from components.places.quality.tokens import words as tokens_words
from components.places.quality.tokens.view import Compared
from components.places.quality.writing import words as writing_words
from components.places.runs.compare import words as compare_words
from components.places.runs.front import words as front_words
from components.places.runs.stored import words as runs_words
from components.places.runs.structure import words as structure_words
from components.places.speed.latency import words as latency_words
from components.places.speed.race import words as race_words
from components.state.workspace import Workspace
from components.words import html as html_words
from components.words import labels, recorded
from components.words import run as run_words
from eggs_core.allocation.sizes import LayerSize
from eggs_core.allocation.stored import MeasuredLosses
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.evaluation.by_part import BlockDrift, PartCost
from eggs_core.evaluation.front import OURS, Front, Point
from eggs_core.evaluation.intervals import Interval
from eggs_core.evaluation.structure import Curve, Step
from eggs_core.evaluation.tokens import Prediction, TokenChange
from eggs_core.evaluation.zeroshot import TaskScore
from eggs_core.graph.expansion import CurvePoint, Expansion, spread
from eggs_core.progress import Progress
from eggs_core.pruning.beta_curve import BetaCurve
from eggs_core.pruning.one_layer import BetaStep
from eggs_core.pruning.recovery import RecoveryPoint
from eggs_core.registry import DIMENSIONS
from eggs_core.runs.run import Run
from eggs_core.runs.store import RunStore
from eggs_core.sweep.analysis import groups
from eggs_core.sweep.reading import FAILED
from eggs_core.sweep.results import Cell, Sweep, from_reports

EVIL = (
    "\"'><img src=x onerror=alert(1)><script>alert(2)</script>${alert(3)}{{value}}"
    "\0\u202egnp.exe\x1b[31m</td></div></script>"
)
TAGS = {
    *("fieldset", "legend", "label", "input", "button", "canvas", "h3"),  # Home's controls
    "a",
    "abbr",
    "b",
    "br",
    "button",
    "caption",
    "circle",
    "div",
    "g",
    "h2",
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
# Functions that give no HTML (words that are escaped where they are used, keys, colours, numbers), and those that give
# only HTML which other functions made.
PLAIN = {
    "sidebar_values.model_choices",  # names of the choices of a list
    "sidebar_values.name_of",
    "address.address",
    "address.opened_tab",
    "places.home.sentence.view.methods",  # names of the registry
    "charts.colors.color",
    "charts.colors.ink",
    "charts.colors.shades",
    "jobs.events.visitor",
    "jobs.messages.waiting",  # which is escaped where it is used
    "jobs.prune.run_job",
    "places.layers.graph.view.beta_steps",
    "places.layers.graph.words.origin_of",
    "places.layers.mask.view.compared",
    "places.layers.mask.view.compare_choices",
    "places.layers.mask.view.degree_chart",
    "places.layers.mask.words.degree_reading",
    "places.layers.spectrum.view.density",
    "places.layers.spectrum.view.reach",
    "places.layers.spectrum.words.beta_reading",
    "places.plan.painting.view.fill",  # rules
    "places.plan.painting.view.painted",
    "places.quality.perplexity.words.scatter_reading",
    "places.quality.report.page.report_html",  # see the test below
    "places.quality.report.page.report_json",
    "places.quality.report.tab.write_report",
    "places.quality.writing.view.write",
    "places.quality.tasks.view.newest_day",
    "places.runs.compare.view.sources",
    "places.runs.compare.view.models_of",
    "places.runs.compare.view.options_of",
    "places.runs.compare.view.first_baseline",
    "places.runs.compare.view.source_with",
    "places.runs.compare.view.patterns_of",
    "places.runs.compare.view.size_front",
    "places.runs.compare.view.speed_front",
    "places.runs.compare.view.heat",
    "places.runs.compare.view.significance",
    "places.runs.compare.words.left_out",
    "places.runs.front.figures.kind_of",
    "places.runs.front.view.models",
    "places.runs.front.view.front_of",
    "places.runs.stored.view.as_json",
    "places.runs.stored.words.title_of",
    "places.speed.latency.words.formula_line",
    "places.speed.latency.words.layer_table",
    "places.speed.latency.words.layers_reading",
    "places.speed.latency.words.limit_reading",
    "places.speed.race.view.run_race",
    "places.speed.race.view.race_steps",
    "state.asked.words",
    "state.asked.shown",
    "state.known_runs.problems",
    "places.layers.graph.view.elsewhere",
    "places.layers.overview.words.unfinished_card",  # numbers
    "state.results.run_id",
    "state.workspace.farthest_from_topn",
    "state.results.model_id",
    "widgets.assets.on_load",
    "widgets.assets.script",
    "widgets.encoding.base64_bits",
    "widgets.encoding.base64_values",
    "widgets.encoding.base64_floats",
    "widgets.encoding.base64_counts",
    "widgets.encoding.base64_bytes",
    "places.runs.compare.view.hues_of",
    "places.runs.front.labels.places",
    *(f"words.experts.{name}" for name in ("means_hint", "mean_text", "spread_text", "expert_text")),  # numbers
    "words.labels.run_label",
    "words.labels.label_of",
    "words.labels.short_name",  # of a button
    "words.labels.method_in",
    "words.phrases.plural",
    "words.phrases.speed_beside",
    "words.recorded.weights_hint",  # numbers
    "words.recorded.made_on",
    "words.recorded.took",
    "words.recorded.decode_speed",
    "words.recorded.made_with",
    *(
        f"places.learn.lesson.figures.{name}"
        for name in ("outputs", "error_curve", "stored", "kept_by_method", "graph", "signal", "promises", "challenge")
    ),
    *(  # of shipped runs
        f"places.learn.lesson.model_figures.{name}"
        for name in ("memory", "costs", "plan", "takeaways", "page_to_keep", "prune_or_quantise")
    ),
    "places.learn.lesson.scene.measures",  # of masks of 64 bits
    *(  # these take HTML, or a name of our own
        f"words.html.{name}"
        for name in (
            "heading",
            "hint",
            "measure_hint",
            "facts_line",
            "card",
            "becomes",
            "mini",
            "table",
            "reading",
            "lesson_link",
        )
    ),
}
SILENT = {  # they get a hostile run and show none of its texts
    latency_words.size_reading,
    latency_words.gpu_cards,
    mask_view.legend,
    mask_view.comparison,
    race_words.empty_lanes,
    race_words.race_note,
    race_words.verdict,
    perplexity_words.accuracy_reading,
    graph_words.pruned_cards,
    plan_words.outcome_reading,
    sidebar_values.method_note,
    sidebar_values.pattern_note,
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


def evil_front() -> Front:
    """A front whose every free text is hostile."""
    points = [Point(EVIL, OURS, "1:1", bits, 9, 1.0, [nats]) for bits, nats in ((16.0, 0.5), (2.0, 1.5))]
    points.append(Point(EVIL, EVIL, EVIL, 3.0, 5, 2.0, [0.1]))
    return Front(EVIL, EVIL, EVIL, EVIL, EVIL, points)


def evil_curves() -> list[Curve]:
    """A curve whose free texts are hostile."""
    steps = [Step(pattern, [9.0], Interval(1.0, 1.0, 1.0)) for pattern in ("2:4", "4:8", "50%")]
    return [Curve(EVIL, "ria", EVIL, 8.0, steps)]


def evil_sweep(run: Run) -> Sweep:
    """A sweep of the hostile run, with one cell that failed."""
    config = make_config("m", "2:4", "ria")
    object.__setattr__(config, "model", EVIL)  # a configuration itself refuses such a name
    cell = Cell(config, FAILED, error=EVIL)
    speed = [{"model": EVIL, "kernel": EVIL, "threads": EVIL}]
    protocol = {"windows": 1, "window": 2, "text": EVIL, "sha256": EVIL}
    return Sweep(EVIL, [cell], protocol, {EVIL: {"perplexity": 1.0}}, speed, {"nodes": 2}, 3.0, EVIL)


def words_of_a_run(run: Run) -> dict[Callable, Callable[[], str]]:
    """Functions that describe a run, its layers and its graphs."""
    layer, layers, report = run.report["layers"][0], run.report["layers"], run.report
    work = Workspace()
    work.show(run)
    work.layer = layer["name"]
    mask, pair = torch.eye(4, dtype=torch.bool), graphs(work)
    frame = frame_of(work, pair[1].mask)
    steps, expansion = spread(mask, "inputs", torch.tensor([0]), 2), Expansion(1, 1, 0.1, 1.0)
    point = CurvePoint(1, 2.0, 2.0, 2.0, 2.0, 1.0)
    beta = BetaStep(**{f.name: 1 for f in dataclasses.fields(BetaStep)})
    protocol = {"windows": 1, "window": 2, "text": EVIL, "sha256": EVIL}
    config = dict.fromkeys(("model", "pattern", "method", *DIMENSIONS, "seed"), EVIL)
    return {
        overview_words.measure_reading: lambda: overview_words.measure_reading(layers, "retained_score"),
        graph_words.graph_heading: lambda: graph_words.graph_heading(dataclasses.replace(pair[1], label=EVIL), frame),
        graph_words.window_reading: lambda: graph_words.window_reading(layer, pair, frame),
        graph_words.pruned_cards: lambda: graph_words.pruned_cards(layer, pair),
        graph_words.set_table: lambda: graph_words.set_table([(EVIL, expansion)], "inputs"),
        graph_words.set_reading: lambda: graph_words.set_reading([(EVIL, expansion)], "inputs", 3),
        graph_words.curve_reading: lambda: graph_words.curve_reading([point], EVIL, "inputs"),
        graph_words.mixing_reading: lambda: graph_words.mixing_reading([(EVIL, 0.5, steps)], EVIL),
        graph_words.beta_cards: lambda: graph_words.beta_cards(beta, beta, EVIL),
        mask_view.legend: lambda: mask_view.legend(work),
        mask_view.comparison: lambda: mask_view.comparison(work),
        mask_words.mask_heading: lambda: mask_words.mask_heading({"difference": True, "names": [EVIL, EVIL]}),
        mask_words.layer_reading: lambda: mask_words.layer_reading(layer),
        mask_words.model_summary: lambda: mask_words.model_summary(layers, EVIL),
        mask_words.comparison_reading: lambda: mask_words.comparison_reading(EVIL, EVIL, mask, ~mask),
        spectrum_words.density_reading: lambda: spectrum_words.density_reading(layer, False),
        spectrum_words.weighted_reading: lambda: spectrum_words.weighted_reading(layer, 0.5),
        spectrum_words.reach_reading: lambda: spectrum_words.reach_reading((EVIL, EVIL, 3, 4)),
        spectrum_words.gap_reading: lambda: spectrum_words.gap_reading(EVIL, layers, {EVIL: 0.5, "b": 0.4}),
        spectrum_words.curve_facts: lambda: spectrum_words.curve_facts(BetaCurve(config, protocol, 1.0, [point])),
        latency_words.size_reading: lambda: latency_words.size_reading(run),
        latency_words.latency_reading: lambda: latency_words.latency_reading(report["latency"], EVIL),
        latency_words.gpu_cards: lambda: latency_words.gpu_cards(run),
        recorded.facts: lambda: recorded.facts(run),
        run_words.overview_cards: lambda: run_words.overview_cards(run),
        run_words.latency_card: lambda: run_words.latency_card(report["latency"], "here"),
        run_words.overview_reading: lambda: run_words.overview_reading(run, EVIL),
        labels.layer_name: lambda: labels.layer_name(layer),
    }


def words_of_a_plan(run: Run) -> dict[Callable, Callable[[], str]]:
    """Functions that describe a plan."""
    losses = MeasuredLosses({"seed": EVIL}, EVIL, 3, {EVIL: {"2:4": 0.5}})
    placed = LayerSize(EVIL, 0, EVIL, (4, 8), 4, 1.0)
    return {
        plan_words.sources_note: lambda: plan_words.sources_note(EVIL, EVIL, losses, False),
        plan_words.weakest_reading: lambda: plan_words.weakest_reading(losses, [placed]),
        plan_words.in_use: lambda: plan_words.in_use(2, 1, EVIL),
        plan_words.dropped: lambda: plan_words.dropped((EVIL,) * 4, EVIL),
        plan_words.outcome_reading: lambda: plan_words.outcome_reading(run, 0.1),
    }


def words_of_quality(run: Run) -> dict[Callable, Callable[[], str]]:
    """Functions that describe what was measured of a run."""
    interval, row = Interval(1.1, 1.0, 1.2), run.report["evaluation"]
    change = TokenChange(EVIL, "first tokens", Prediction(1.0, [(EVIL, 0.5)]), Prediction(2.0, [(EVIL, 0.5)]))
    task = TaskScore(EVIL, 4, 0.25, 0.5, 0.1, 0.5, 0.1, [True, False, True, False], [True, False, True, False])
    parts = [PartCost(kind, EVIL, 1, 0.5, interval) for kind in ("block", "projection")]
    drifts = [BlockDrift(0, 0.1, 0.9), BlockDrift(1, 0.2, 0.8)]
    lanes = [writing_words.Lane(EVIL, 1, parted, EVIL, EVIL, EVIL) for parted in (None, 0)]
    compared = Compared(EVIL, [change], EVIL, EVIL)
    unturned = Run(run.report | {"rotation": {"why": EVIL}}, {})
    recovery, point = Row(EVIL, 1.0, 3.0, 2.0, EVIL, EVIL), RecoveryPoint(0, 0, 0.1)
    return {
        breakdown_words.breakdown_reading: lambda: breakdown_words.breakdown_reading(run, 2, drifts, parts),
        perplexity_words.accuracy_reading: lambda: perplexity_words.accuracy_reading(run, [run, run], True),
        perplexity_words.forest_reading: lambda: perplexity_words.forest_reading(
            {EVIL: interval, "b" + EVIL: interval}
        ),
        recovery_words.recovery_table: lambda: recovery_words.recovery_table([recovery]),
        recovery_words.recovery_reading: lambda: recovery_words.recovery_reading([recovery], [point]),
        rotation_words.rotation_reading: lambda: rotation_words.rotation_reading(unturned),
        tasks_words.task_table: lambda: tasks_words.task_table([(task, task)], EVIL),
        tasks_words.tasks_reading: lambda: tasks_words.tasks_reading(run, [(task, task)]),
        tasks_words.tasks_facts: lambda: tasks_words.tasks_facts(EVIL),
        texts_words.texts_table: lambda: texts_words.texts_table(run, [row]),
        texts_words.texts_reading: lambda: texts_words.texts_reading(run, [row]),
        tokens_words.coloured_text: lambda: tokens_words.coloured_text(EVIL, [change]),
        tokens_words.tokens_facts: lambda: tokens_words.tokens_facts(compared),
        tokens_words.tokens_reading: lambda: tokens_words.tokens_reading([change, change]),
        writing_words.writing_reading: lambda: writing_words.writing_reading(lanes),
        writing_words.writing_facts: lambda: writing_words.writing_facts(0.5, 0, EVIL),
        writing_words.lanes_html: lambda: writing_words.lanes_html(lanes, EVIL),
    }


def words_of_runs(run: Run) -> dict[Callable, Callable[[], str]]:
    """Functions that describe runs side by side."""
    sweep, interval = evil_sweep(run), Interval(1.1, 1.0, 1.2)
    finished = from_reports(
        [run.report | {"config": run.report["config"] | {"model": "micro"}, "model": "micro"}], EVIL
    )
    found = [dataclasses.replace(group, label=EVIL, pattern=EVIL) for group in groups(finished, "micro")]
    return {
        compare_words.front_reading: lambda: compare_words.front_reading(found, [0.1], (1.0, 999.0), "MB", "size"),
        compare_words.heat_reading: lambda: compare_words.heat_reading(found, "ratio", 1.0),
        compare_words.significance_reading: lambda: compare_words.significance_reading([(found[0], interval, 1)], EVIL),
        compare_words.overview: lambda: compare_words.overview(sweep, [], EVIL),
        compare_words.absent: lambda: compare_words.absent(EVIL, [EVIL]),
        compare_words.facts: lambda: compare_words.facts(sweep, EVIL),
        runs_words.comparison: lambda: runs_words.comparison([run.report, run.report]),
        runs_words.runs_reading: lambda: runs_words.runs_reading([run.report], [EVIL], EVIL),
    }


def evil_home(value):
    """What Home shows with hostile texts; the names of patterns and methods stay."""
    if isinstance(value, dict):
        return {key: evil_home(item) for key, item in value.items()}
    return [evil_home(item) for item in value] if isinstance(value, list) else EVIL if isinstance(value, str) else value


def calls(run: Run) -> dict[Callable, Callable[[], str]]:
    """Every function that gives HTML, with hostile texts in its arguments."""
    lane = race_words.Lane(EVIL, [1])
    return {
        **words_of_a_run(run),
        **words_of_a_plan(run),
        **words_of_quality(run),
        **words_of_runs(run),
        overview_words.verdict: lambda: overview_words.verdict(run.report, EVIL, 1.4, True),
        home_words.frame: lambda: home_words.frame(evil_home(home_view.home())),
        home_words.about: lambda: home_words.about(evil_home(home_view.home())),
        messages.progress_bar: lambda: messages.progress_bar(0.5, EVIL, 3.0),
        messages.message: lambda: messages.message(EVIL, bad=True),
        messages.refusal: lambda: messages.refusal(EggsError(EVIL)),
        messages.bar: lambda: messages.bar(Progress(EVIL, 0.5)),
        lesson.feedback: lambda: lesson.feedback(dataclasses.replace(STEPS[0], answers=((EVIL, EVIL),)), EVIL),
        race_words.lanes_html: lambda: race_words.lanes_html({"dense": lane}, {"dense": EVIL}, EVIL, 4),
        front_words.front_reading: lambda: front_words.front_reading(evil_front()),
        front_words.front_facts: lambda: front_words.front_facts(evil_front()),
        structure_words.structure_reading: lambda: structure_words.structure_reading(evil_curves()),
        structure_words.structure_facts: lambda: structure_words.structure_facts(evil_curves()),
        structure_words.not_measured: lambda: structure_words.not_measured(EVIL, EVIL),
        race_words.empty_lanes: lambda: race_words.empty_lanes(run),
        race_words.race_note: lambda: race_words.race_note(run),
        race_words.verdict: lambda: race_words.verdict({"dense": lane, "packed": lane}, "zeros", "kept", (EVIL, EVIL)),
        sidebar_values.pattern_note: lambda: sidebar_values.pattern_note(EVIL, 1, 2),
        sidebar_values.method_note: lambda: sidebar_values.method_note(EVIL),
        html_words.escape: lambda: html_words.escape(EVIL),
        html_words.term: lambda: html_words.term("orphans", EVIL),
    }


def gives_text(hint: object) -> bool:
    """Does a value of this type hold text that could be HTML? The keys of a dictionary do not."""
    inside = typing.get_args(hint)[1 if typing.get_origin(hint) is dict else 0 :]
    return hint is str or any(map(gives_text, inside))


def name_of(function: Callable) -> str:
    return f"{function.__module__.removeprefix('components.')}.{function.__name__}"


def test_every_function_that_gives_html_is_walked_or_known_to_be_plain(evil):
    found = set()
    for module in pkgutil.walk_packages(components.__path__, "components."):
        loaded = importlib.import_module(module.name)
        for name, function in vars(loaded).items():
            own = inspect.isfunction(function) and function.__module__ == module.name and not name.startswith("_")
            if own and gives_text(typing.get_type_hints(function).get("return")):
                found.add(name_of(function))
    walked = {name_of(function) for function in calls(evil)}
    assert found - PLAIN == walked, "walk it here, or say why it is plain"
    assert not PLAIN - found, PLAIN - found


def test_no_hostile_text_gets_into_html(evil):
    for function, call in calls(evil).items():
        html = call()
        try:
            check(html, shown=function not in SILENT)
        except AssertionError as error:
            raise AssertionError(f"{name_of(function)}: {error}\n{html[:3000]}") from None


def test_written_text_is_shown_as_text():
    class Tokenizer:
        decode = staticmethod(lambda tokens, **options: EVIL)

    lane = writing_words.lane_of(writing_words.Writer(EVIL, [1, 2], 1), Tokenizer())
    check(writing_words.lanes_html([lane], EVIL))


def test_a_report_to_take_along_has_no_hostile_script(evil):
    page = report_page.report_html(evil, [evil])
    assert "<img src=x" not in page and "<script>alert" not in page and "gnp.exe" in page


def test_a_label_is_one_short_line_and_shown_as_text(evil, tmp_path):
    store = RunStore(tmp_path)
    store.put(Run(evil.report | {"layers": []}, {}, {}))
    store.set_label(evil.key, "=1+1\n" + EVIL * 50)
    label = store.label(evil.key)
    assert len(label) <= 120 and "\n" not in label
    check(runs_words.comparison([evil.report | {"label": label}]))
