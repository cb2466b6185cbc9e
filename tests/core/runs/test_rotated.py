"""Rotation as a stage of a run: its report, its files, what is made anew of it, and where it cannot be."""

import json

import pytest
import torch
from llama_cpp import LlamaCpp
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from typer.testing import CliRunner

from eggs_core.allocation.allocate import measure_sensitivities
from eggs_core.cli.command_line import app
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.evaluation.perplexity import evaluate
from eggs_core.models import residual_stream
from eggs_core.models.loading import load
from eggs_core.packed.file import load_packed
from eggs_core.pattern import NMPattern
from eggs_core.pruning import rotation
from eggs_core.pruning.beta_curve import curve_config
from eggs_core.runs.execute import execute
from eggs_core.runs.export import export_run
from eggs_core.runs.later_measures import breakdown_steps
from eggs_core.runs.model_card import model_card
from eggs_core.runs.pruned_models import WeightCache, recover
from eggs_core.runs.report import checked_report
from eggs_core.runs.rotated import check_own_basis
from eggs_core.runs.run import load_run, save_run
from eggs_core.text.sources import bundled_text
from eggs_core.text.windows import evaluation_windows

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"calibration_windows": 2, "calibration_length": 64, "evaluation_windows": 4, "evaluation_length": 64}


@pytest.fixture(autouse=True, scope="module")
def few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rotation, "STEPS", 8)
        yield


@pytest.fixture(scope="module")
def tied_folder(tmp_path_factory, small_folder, bundled):
    """The small model with its head tied to the embeddings."""
    folder = tmp_path_factory.mktemp("models") / "tied"
    config = AutoConfig.from_pretrained(small_folder, tie_word_embeddings=True)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).half().save_pretrained(folder)
    bundled("tiny-llama").tokenizer.save_pretrained(folder)
    return folder


def config(model, method="wanda", **options):
    return make_config(str(model), "2:4", method, **{**SMALL, "rotation": "learned", **options})


@pytest.fixture(scope="module")
def done(tied_folder):
    return list(execute(config(tied_folder)))[-1]


@pytest.fixture(scope="module")
def windows(tied_folder):
    return evaluation_windows(load(str(tied_folder)).tokenizer, bundled_text("heldout"), 4, 64)


def test_the_report_says_what_is_dropped_and_a_run_without_it_keeps_its_key(done, tied_folder):
    report = done.run.report
    found, names = report["rotation"], {layer["name"] for layer in report["layers"]}
    assert found["steps"] == 8 and found["before"].keys() == found["after"].keys() == names
    assert sum(found["after"].values()) < sum(found["before"].values())
    assert found["added_bytes"] == 4096 * 32 * 4 == report["size"]["head"]
    dense = load(str(tied_folder)).model
    assert report["size"]["dense_bytes"] == sum(p.nbytes for p in dense.parameters())
    assert report["size"]["packed_bytes"] == report["size"]["packed_pruned"] + report["size"]["untouched"]
    plain = config(tied_folder, rotation="none")
    assert plain.key() == make_config(str(tied_folder), "2:4", "wanda", **SMALL).key() != done.run.key
    assert "rotated" in done.run.config.in_words() and "--rotation learned" in done.run.config.command_line()
    card = model_card(done.run, "hf")
    assert "The model was rotated before it was pruned" in card and "524.3 kB more" in card


def test_a_run_opens_again_and_its_model_is_made_anew_to_the_bit(done, tmp_path, windows, result):
    save_run(done.run, tmp_path)
    back = load_run(tmp_path)
    assert torch.equal(back.rotation.residual, done.run.rotation.residual)
    assert torch.equal(back.rotation.values, done.run.rotation.values)
    models = result(recover(back, WeightCache()))
    expected = done.run.report["evaluation"]["pruned"]["perplexity"]
    assert models.origin == "masked"
    for model in (models.zeros, models.packed):
        assert evaluate(model, windows).perplexity == pytest.approx(expected, rel=1e-6)
    assert all(torch.equal(models.zeros.state_dict()[n], t) for n, t in done.model.state_dict().items())
    assert models.dense.model.config.tie_word_embeddings is True


def test_refitted_weights_are_made_anew_in_the_same_basis(tied_folder, result, monkeypatch):
    done = list(execute(config(tied_folder, "sparsegpt")))[-1]
    monkeypatch.setattr(rotation, "learned", lambda *_: pytest.fail("the rotation was learned once more"))
    models = result(recover(done.run, WeightCache()))
    assert models.origin == "pruned again"
    assert all(torch.equal(models.masks[name], done.run.mask(name)) for name in models.masks)
    for name, tensor in done.model.state_dict().items():
        torch.testing.assert_close(models.zeros.state_dict()[name], tensor)


def test_exports_open_elsewhere_with_the_runs_figures(done, tmp_path, windows):
    expected = done.run.report["evaluation"]["pruned"]["perplexity"]
    list(export_run(done.run, "hf", tmp_path / "hf"))
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["tie_word_embeddings"] is False
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    assert opened.lm_head.weight.data_ptr() != opened.model.embed_tokens.weight.data_ptr()
    assert evaluate(opened, windows).perplexity == pytest.approx(expected, rel=1e-5)
    list(export_run(done.run, "packed", tmp_path / "packed"))
    assert evaluate(load_packed(tmp_path / "packed"), windows).perplexity == pytest.approx(expected, rel=1e-5)
    list(export_run(done.run, "gguf", tmp_path / "gguf"))
    file = next((tmp_path / "gguf").glob("*.gguf"))
    few = windows[:2, :24]
    theirs = LlamaCpp(file, 4096).perplexity(few)
    assert theirs == pytest.approx(evaluate(opened, few).perplexity, rel=0.01)
    list(export_run(done.run, "masks", tmp_path / "masks"))
    details = load_file(tmp_path / "masks" / "details.safetensors")
    assert torch.equal(details["rotation.residual"], done.run.rotation.residual)


def test_the_command_line_prunes_and_evaluates_a_rotated_run(tied_folder, tmp_path):
    sizes = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    asked = ["prune", "--model", tied_folder, "--method", "wanda", "--rotation", "learned", *sizes, "--out", tmp_path]
    said = CliRunner().invoke(app, list(map(str, asked)))
    assert said.exit_code == 0 and "The model was rotated before it was pruned" in said.output, said.output
    run = load_run(tmp_path)
    evaluated = ["--evaluation-windows", "4", "--evaluation-length", "64", "--json"]
    shown = CliRunner().invoke(app, ["evaluate", "--run", str(tmp_path), *evaluated])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)["pruned"]["perplexity"]
    assert found == pytest.approx(run.report["evaluation"]["pruned"]["perplexity"], rel=1e-6)


def test_recovery_follows_a_rotation(tied_folder, tmp_path, result):
    asked = config(tied_folder, recovery="distil", recovery_tokens=512, calibration_length=32)
    done = list(execute(asked, out=tmp_path))[-1]
    assert done.run.report["recovery"]["tokens"] == 512
    models = result(recover(done.run, WeightCache()))
    for name, tensor in done.model.state_dict().items():
        torch.testing.assert_close(models.zeros.state_dict()[name], tensor)


def test_hidden_states_are_compared_in_the_same_basis(done):
    *_, (blocks, _) = breakdown_steps(done.run, 1)
    assert max(one.error for one in blocks) < 1


def test_where_it_does_not_fold_the_run_says_so_and_is_as_without(tied_folder, small_folder, monkeypatch, tmp_path):
    plain = list(execute(config(tied_folder, rotation="none")))[-1].run
    monkeypatch.setattr(residual_stream, "FAMILIES", {})
    run = list(execute(config(tied_folder)))[-1].run
    assert run.rotation is None and run.report["evaluation"] == plain.report["evaluation"]
    assert "pruned without a rotation, as the architecture 'llama' is none of those" in model_card(run, "hf")
    save_run(run, tmp_path / "kept")
    assert load_run(tmp_path / "kept").report == run.report
    streamed = list(execute(config(small_folder), stream=True, out=tmp_path / "streamed"))[-1].run
    assert "block by block" in streamed.report["rotation"]["why"]


def test_what_cannot_hold_a_rotation_refuses_it(done, tied_folder):
    with pytest.raises(EggsError, match="without a rotation"):
        next(measure_sensitivities(config(tied_folder), [NMPattern(2, 4)]))
    with pytest.raises(EggsError, match="without a rotation"):
        curve_config(config(tied_folder))
    with pytest.raises(EggsError, match="weights of this run are rotated"):
        check_own_basis(done.run)


def test_a_damaged_rotation_is_told(done, tmp_path):
    report = done.run.report
    for change in ({"rotation": {"steps": 1}}, {"rotation": None}):
        with pytest.raises(EggsError, match="rotation"):
            checked_report({name: value for name, value in {**report, **change}.items() if value is not None})
    save_run(done.run, tmp_path)
    details = load_file(tmp_path / "details.safetensors")
    stored = {name: tensor for name, tensor in details.items() if not name.startswith("rotation.")}
    bent = details["rotation.residual"] * 1.1
    for changed in (stored, {**details, "rotation.residual": bent}, {**details, "rotation.more": bent}):
        save_file(changed, tmp_path / "details.safetensors", {"shapes": "{}"})
        with pytest.raises(EggsError, match="rotation"):
            load_run(tmp_path)
