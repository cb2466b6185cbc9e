"""Every work of the app can be done in another process: its function, its arguments and all its values pickle."""

import ast
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from components.api import expansion_work
from components.jobs.prune import Follow, prune_work
from components.jobs.work import Work
from components.places.layers.spectrum.view import curve_work
from components.places.plan.painting.measuring import losses_work, rates_work
from components.places.plan.painting.view import layers_of
from components.places.quality.breakdown.view import measure_breakdown
from components.places.quality.recovery.view import recover_work
from components.places.quality.tasks.view import measure_tasks
from components.places.quality.texts.view import measure_text
from components.places.quality.tokens.view import token_work
from components.places.quality.writing.view import write
from components.places.speed.export.view import export_work
from components.places.speed.export.words import BUTTONS
from components.places.speed.latency.view import measure_work
from components.places.speed.race.view import run_race
from components.state.results import Results
from eggs_core.allocation.allocate import parse_candidates
from eggs_core.config import PruneConfig, make_config
from eggs_core.evaluation.zeroshot import installed
from eggs_core.progress import Progress
from eggs_core.runs.execute import execute
from eggs_core.runs.recover_run import recovery_of
from eggs_core.runs.run import Run
from eggs_core.runs.store import STORE
from eggs_core.text.sources import Text, bundled_text

COMPONENTS = Path(__file__).resolve().parents[3] / "components"
SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 2, "evaluation_length": 32}
PROMPT = "The state of the union is"
OWN = Text("own", bundled_text("heldout").content[:4000])

Make = Callable[[Run, Path], Iterable[Work]]  # the works of one feature of the app, for a finished run


@pytest.fixture(scope="module")
def config(micro_model, tmp_path_factory) -> PruneConfig:
    """A small model in a folder, so that the app's own cache can load it."""
    folder = tmp_path_factory.mktemp("model") / "micro"
    micro_model.model.save_pretrained(folder)
    micro_model.tokenizer.save_pretrained(folder)
    return make_config(str(folder), "2:4", "ria-cp", **SMALL)


@pytest.fixture(scope="module")
def run(config) -> Run:
    return list(execute(config))[-1].run


def recorded(feature: Callable[[Follow], Iterator]) -> list[Work]:
    """The works that a feature follows; it sees progress in place of their values."""
    works: list[Work] = []

    def follow(work: Work) -> Iterator[Progress]:
        works.append(work)
        yield Progress("", 1.0)

    list(feature(follow))
    return works


def config_of(run: Run) -> PruneConfig:
    return PruneConfig.from_dict(run.report["config"])


MAKERS: dict[str, Make] = {
    "prune_steps": lambda run, _: [prune_work(config_of(run), {OWN.name: OWN}, anew=True)],
    "curve_steps": lambda run, _: [curve_work(config_of(run), {}, Results())],
    "measured_losses": lambda run, _: [losses_work(config_of(run), {}, parse_candidates(["dense", "2:4"]))],
    "rate_steps": lambda run, _: [rates_work("micro", layers_of(run.report["model"])[:1], parse_candidates(["2:4"]))],
    "measure_steps": lambda run, _: [measure_work(run, Results())],
    "task_steps": lambda run, _: recorded(lambda f: measure_tasks(f, run, ["cloze"], 4, Results())),
    "recover_steps": lambda run, _: [recover_work(run, recovery_of(run, 512))],
    "text_steps": lambda run, _: recorded(lambda f: measure_text(f, run, OWN, Results())),
    "token_steps": lambda run, _: [token_work(run, PROMPT)],
    "breakdown_steps": lambda run, _: recorded(lambda f: measure_breakdown(f, run, 2, Results())),
    "write_steps": lambda run, _: recorded(lambda f: write(f, [run], PROMPT, 4, 0.0, 0, print)),
    "race_steps": lambda run, _: recorded(lambda f: run_race(f, run, PROMPT, 4, "zeros")),
    "export_steps": lambda run, place: [export_work(run, kind, place / kind) for kind in BUTTONS],
    "expansion_steps": lambda run, _: [expansion_work(run, run.report["layers"][0]["name"])],
}


def steps_in_source() -> set[str]:
    """The functions of all works that components make: the second argument of each call of Work."""
    calls = [
        node
        for file in COMPONENTS.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Work"
    ]
    return {ast.unparse(call.args[1]) for call in calls}


def test_every_work_of_the_app_is_tried_here():
    assert steps_in_source() == set(MAKERS)


@pytest.mark.parametrize("name", MAKERS)
def test_function_arguments_and_values_pickle(name, run, tmp_path):
    if name == "task_steps" and not installed():
        pytest.skip("lm-eval is not installed")
    works = list(MAKERS[name](run, tmp_path))
    assert works
    for work in works:
        steps, args = pickle.loads(pickle.dumps((work.steps, work.args)))
        assert steps is work.steps
        assert steps.__name__ == name
        values = 0
        for value in steps(*args):  # with the arguments that travelled
            back = pickle.loads(pickle.dumps(value))
            assert type(back) is type(value)
            values += 1
        assert values
        if work.keep is not None:
            work.keep(back)  # what this process makes of the last value that came back


def test_a_run_that_travelled_is_the_same(config, run):
    """What prune_steps yields last is what the store and the page get."""
    last = list(prune_work(config, {}, anew=True).steps(config, {}, True))[-1]
    back = pickle.loads(pickle.dumps(last))
    assert back.message == last.message
    assert back.run.report == last.run.report
    for name, packed in last.run.packed_masks.items():
        assert back.run.packed_masks[name].equal(packed)
    assert STORE.get(config.key()).report == back.run.report
