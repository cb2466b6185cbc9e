"""Recovery as a stage of a run: its report, its key, what is kept of it, and where it cannot be."""

import copy
import json
from pathlib import Path

import pytest
import torch

from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models.architectures import linear_layers
from eggs_core.packed.model import packed_copy
from eggs_core.progress import Progress
from eggs_core.pruning.recovery import RecoveryPoint
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.runs.pruned_models import WeightCache, recover
from eggs_core.runs.recover_run import recover_run, recovery_of
from eggs_core.runs.recovery import CHECKPOINT, WEIGHTS
from eggs_core.runs.report import checked_report
from eggs_core.runs.run import load_run, save_run
from eggs_core.runs.store import RunStore
from eggs_core.text.sources import Text

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 4, "evaluation_length": 64}
RECOVERY = {"recovery": "distil", "recovery_tokens": 1024}


def config(method="magnitude", **options):
    return make_config("tiny-llama", "2:4", method, **{**SMALL, **options})


@pytest.fixture(scope="module")
def one_shot() -> Finished:
    return list(execute(config()))[-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[list, Path]:
    """A run with recovery, in a folder of its own."""
    out = tmp_path_factory.mktemp("runs") / "recovered"
    return list(execute(config(**RECOVERY), out=out)), out


def test_both_perplexities_are_kept_and_the_better_one_is_the_runs(whole, one_shot):
    events, out = whole
    report = events[-1].run.report
    recovery = report["recovery"]
    assert recovery["before"] == one_shot.run.report["evaluation"]["pruned"]
    assert recovery["after"] == report["evaluation"]["pruned"]
    assert recovery["after"]["perplexity"] < 0.98 * recovery["before"]["perplexity"]
    assert recovery["text"] == report["calibration"]["text"] != report["evaluation"]["text"]
    assert (recovery["tokens"], recovery["window"], recovery["seed"]) == (1024, 32, 0)
    assert recovery["rate"] == pytest.approx(0.2 / 192)
    points = [event for event in events if isinstance(event, RecoveryPoint)]
    assert recovery["losses"] == [{"step": p.step, "tokens": p.tokens, "loss": p.loss} for p in points]
    shares = [event.share for event in events if isinstance(event, Progress)]
    assert shares == sorted(shares)
    save_run(events[-1].run, out)
    back = load_run(out)
    assert back.report == json.loads(json.dumps(report)) and (out / WEIGHTS).is_file()
    assert all(torch.equal(back.packed_masks[n], m) for n, m in one_shot.run.packed_masks.items())


def test_a_finished_run_recovers_to_the_same_figures_and_stays_as_it_was(whole, one_shot, tmp_path):
    weights = copy.deepcopy(one_shot.model.state_dict())
    events = list(recover_run(one_shot.run, recovery_of(one_shot.run, 1024), out=tmp_path))
    done, expected = events[-1].run, whole[0][-1].run
    assert done.key == expected.key != one_shot.run.key
    for name in ("before", "after", "losses", "tokens"):
        assert done.report["recovery"][name] == expected.report["recovery"][name], name
    assert "recovery" not in one_shot.run.report
    assert all(torch.equal(weights[n], t) for n, t in one_shot.model.state_dict().items())
    with pytest.raises(EggsError, match="recovered already"):
        recovery_of(done)


def test_what_was_learned_is_taken_up_again_or_learned_again(whole, result, tmp_path):
    events, out = whole
    done = events[-1]
    models = result(recover(done.run, WeightCache()))
    assert all(torch.equal(a, b) for a, b in zip(models.zeros.parameters(), done.model.parameters(), strict=True))
    done.run.report["recovery"]["weights"] = str(tmp_path / "gone")
    steps, texts = recover(done.run, WeightCache()), []
    again = None
    while again is None:
        try:
            texts.append(next(steps).text)
        except StopIteration as end:
            again = end.value
    assert any("Recovery: step" in text for text in texts)
    assert all(torch.equal(a, b) for a, b in zip(again.zeros.parameters(), done.model.parameters(), strict=True))
    kept = RunStore().checkpoint(done.run.key)
    assert (kept / WEIGHTS).is_file() and not list(kept.rglob(CHECKPOINT))
    done.run.report["recovery"]["weights"] = str(out / WEIGHTS)


@pytest.mark.parametrize("values", ["bf16", "int4"])
def test_rounded_values_learn_and_stay_rounded(values, result, tmp_path):
    one_shot = list(execute(config("ria-cp", values=values)))[-1]
    done = list(recover_run(one_shot.run, recovery_of(one_shot.run, 4096), out=tmp_path))[-1]
    recovery = done.run.report["recovery"]
    assert recovery["after"]["perplexity"] < 0.98 * recovery["before"]["perplexity"]
    patterns, orders = done.run.patterns, done.run.permutations
    for layer in linear_layers(done.model):
        weight, grid = layer.weight(), done.grids[layer.name]
        assert grid.bits == {"bf16": 16, "int4": 4}[values]
        assert torch.equal(weight, grid.rounded(weight, patterns[layer.name], orders.get(layer.name))), layer.name
    models = result(recover(done.run, WeightCache()))
    assert models.origin == "masked"
    assert all(torch.equal(a, b) for a, b in zip(models.zeros.parameters(), done.model.parameters(), strict=True))
    expected = packed_copy(done.model, models.masks, patterns, orders, done.grids)
    pairs = zip(expected.state_dict().items(), models.packed.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_a_stopped_recovery_goes_on_in_its_folder(whole, tmp_path):
    running = execute(config(**RECOVERY), out=tmp_path)
    for event in running:
        if isinstance(event, RecoveryPoint) and event.step == 2:
            break
    running.close()
    assert list(tmp_path.rglob(CHECKPOINT))
    events = list(execute(config(**RECOVERY), out=tmp_path))
    assert next(e.step for e in events if isinstance(e, RecoveryPoint)) == 3
    expected = whole[0][-1].run.report["recovery"]
    assert events[-1].run.report["recovery"]["after"] == expected["after"]
    assert not list(tmp_path.rglob(CHECKPOINT))


def test_the_text_is_never_the_evaluations():
    text = Text("mine", "We the people of the United States. " * 300)
    name = f"text:{text.sha256}"
    both = config(calibration=name, evaluation=name, **RECOVERY)
    with pytest.raises(EggsError, match="on which the run is evaluated"):
        list(execute(both, {name: text}))
    short = Text("short", "We the people of the United States. " * 4)
    own = config(calibration=f"text:{short.sha256}", **RECOVERY)
    with pytest.raises(EggsError, match="fewer than two windows of 32"):
        list(execute(own, {f"text:{short.sha256}": short}))


def test_a_model_that_is_pruned_block_by_block_is_not_recovered(small_folder, tmp_path):
    streamed = make_config(str(small_folder), "2:4", "magnitude", **SMALL, **RECOVERY)
    with pytest.raises(EggsError, match="leave recovery out"):
        list(execute(streamed, stream=True, out=tmp_path / "out"))


def test_a_report_that_does_not_fit_its_configuration_is_refused(whole):
    report = json.loads(json.dumps(whole[0][-1].run.report))
    assert checked_report(report)["recovery"]
    for change in ({"recovery": None}, {"recovery": {**report["recovery"], "losses": []}}):
        wrong = {**report, **change}
        if wrong["recovery"] is None:
            del wrong["recovery"]
        with pytest.raises(EggsError, match="recovery"):
            checked_report(wrong)
    mixed = {**report["recovery"], "after": report["recovery"]["before"]}
    with pytest.raises(EggsError, match="after is not the pruned"):
        checked_report({**report, "recovery": mixed})


def test_keys_without_recovery_stay_and_labels_keep_both_apart():
    plain = config()
    recovered = plain.changed(**RECOVERY)
    assert plain.recovery_tokens == 0 and recovered.recovery_tokens == 1024
    assert recovered.key() != plain.key() == recovered.without("recovery").key()
    assert plain.to_dict()["recovery"] == "none" and recovered.method == "magnitude"
    assert recovered.in_words() == "Magnitude · recovered on 1,024 tokens"
    assert "--recovery distil --recovery-tokens 1024" in recovered.command_line()
    assert plain.changed(recovery="distil").recovery_tokens == 300_000
    with pytest.raises(EggsError, match="does not use recovery tokens"):
        config(recovery_tokens=1024)
    with pytest.raises(EggsError, match="Unknown recovery"):
        config(recovery="sleep")
    with pytest.raises(EggsError, match="whole number from 256"):
        config(recovery="distil", recovery_tokens=3)
