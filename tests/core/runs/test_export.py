"""Runs taken along: folders that open elsewhere with the run's own figures, cards, and a Hub that is not asked."""

import json
import math
from pathlib import Path

import pytest
import torch
from llama_cpp import LlamaCpp
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from eggs_core.cli.command_line import app
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.evaluation.perplexity import evaluate
from eggs_core.masks.bits import unpack_bits
from eggs_core.models.loading import load
from eggs_core.packed.file import load_packed
from eggs_core.runs import export
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.runs.export import check_format, check_push, export_run, push, push_plan
from eggs_core.runs.model_card import model_card
from eggs_core.runs.pruned_models import keep
from eggs_core.runs.run import Run, load_run, save_run
from eggs_core.text.sources import bundled_text
from eggs_core.text.windows import evaluation_windows

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parents[3]
SMALL = {"calibration_windows": 2, "calibration_length": 64, "evaluation_windows": 4, "evaluation_length": 64}
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def run(small_folder) -> Run:
    """A run with channel orders and re-fitted weights, which only the kept model has."""
    config = make_config(
        str(small_folder),
        "2:4",
        "custom",
        score="ria",
        selection="topn",
        permutation="zigzag",
        reconstruction="obs",
        **SMALL,
    )
    finished = next(e for e in execute(config) if isinstance(e, Finished))
    keep(finished)
    return finished.run


def call(*arguments, code: int = 0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def plain_perplexity(folder: Path, windows: torch.Tensor) -> float:
    """With nothing of this project: transformers' own loss over the same windows."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        return math.exp(torch.stack([model(w[None], labels=w[None]).loss for w in windows]).mean())


def test_a_hugging_face_folder_reaches_the_runs_own_perplexity(run, tmp_path):
    list(export_run(run, "hf", tmp_path / "hf"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    windows = evaluation_windows(tokenizer, bundled_text("heldout"), 4, 64)
    expected = run.report["evaluation"]["pruned"]["perplexity"]
    assert plain_perplexity(tmp_path / "hf", windows) == pytest.approx(expected, rel=1e-5)
    list(export_run(run, "packed", tmp_path / "packed"))
    assert evaluate(load_packed(tmp_path / "packed"), windows).perplexity == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("kind", "stored"), [("gguf", "F16"), ("gguf-q8_0", "Q8_0")])
def test_llama_cpp_reaches_our_own_perplexity(kind, stored, run, tmp_path):
    list(export_run(run, kind, tmp_path / "gguf"))
    file = next((tmp_path / "gguf").glob(f"*-2of4-custom-{stored}.gguf"))
    assert {f.name for f in (tmp_path / "gguf").iterdir()} == {file.name, "README.md"}
    assert "FROM ./" in (tmp_path / "gguf" / "README.md").read_text()
    list(export_run(run, "packed", tmp_path / "packed"))
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path / "packed"), load_packed(tmp_path / "packed")
    windows = evaluation_windows(tokenizer, bundled_text("heldout"), 2, 24)
    theirs = LlamaCpp(file, model.config.vocab_size).perplexity(windows)
    assert theirs == pytest.approx(evaluate(model, windows).perplexity, rel=0.01)


def test_a_model_that_llama_cpp_has_not_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "recover", lambda _: pytest.fail("the weights were made anew"))
    opt = load_run(ROOT / "assets" / "runs" / "tiny-opt-2of4-wanda")
    with pytest.raises(EggsError, match="There is no GGUF export of 'opt' models"):
        list(export_run(opt, "gguf", tmp_path / "gguf"))
    assert not list(tmp_path.iterdir())


def test_masks_alone(run, tmp_path):
    list(export_run(run, "masks", tmp_path / "masks"))
    assert sorted(f.name for f in (tmp_path / "masks").iterdir()) == [
        "README.md",
        "details.safetensors",
        "masks.safetensors",
    ]
    masks, orders = (load_file(tmp_path / "masks" / f"{n}.safetensors") for n in ("masks", "details"))
    for layer in run.report["layers"]:
        assert torch.equal(unpack_bits(masks[layer["name"]], tuple(layer["shape"])), run.mask(layer["name"]))
        assert torch.equal(orders[f"{layer['name']}.permutation"].long(), run.permutations[layer["name"]])


def test_a_card_has_configuration_figures_and_provenance_and_no_path(run, tmp_path):
    card = model_card(run, "hf")
    report = run.report
    for said in (
        report["fingerprint"],
        report["evaluation"]["sha256"],
        report["calibration"]["sha256"],
        report["key"],
        f"{report['evaluation']['pruned']['perplexity']:.2f}",
        "| reconstruction | obs |",
        "--seed 0",
        "zigzag",
        "channel order of its own",
        "licence of the original model",
    ):
        assert said in card, said
    secret = tmp_path / "private" / "my`model|x"
    hidden = Run(json.loads(json.dumps(report)), {})
    hidden.report["model"] = hidden.report["config"]["model"] = str(secret)
    hidden.report["evaluation"]["text"] = "a\n# heading <script>"
    card = model_card(hidden, "hf")
    assert str(tmp_path) not in card and "base_model" not in card
    assert "\n# heading" not in card and "<script>" not in card
    hidden.report["model"] = hidden.report["config"]["model"] = "owner/name"
    assert 'base_model: "owner/name"' in model_card(hidden, "hf")


def test_a_streamed_runs_folder_is_copied(tmp_path, small_folder, monkeypatch):
    config = make_config(str(small_folder), "2:4", "wanda", **SMALL)
    streamed = list(execute(config, stream=True, out=tmp_path / "streamed"))[-1].run
    list(export_run(streamed, "hf", tmp_path / "hf"))
    names = {f.name for f in (tmp_path / "hf").iterdir()}
    assert {"README.md", "config.json", "tokenizer.json", "model-00004-of-00004.safetensors"} <= names
    assert not names & {"report.json", "masks.safetensors", "details.safetensors"}
    windows = evaluation_windows(AutoTokenizer.from_pretrained(tmp_path / "hf"), bundled_text("heldout"), 4, 64)
    list(export_run(streamed, "gguf", tmp_path / "gguf"))
    monkeypatch.setenv("EGGS_CONVERTED", str(tmp_path / "converted"))
    read, zeros = (load(str(p)) for p in (next((tmp_path / "gguf").glob("*.gguf")), tmp_path / "hf"))
    for name, weight in zeros.model.state_dict().items():
        assert torch.equal(read.model.state_dict()[name], weight.half().float() if weight.dim() > 1 else weight), name
    expected = streamed.report["evaluation"]["pruned"]["perplexity"]
    assert plain_perplexity(tmp_path / "hf", windows) == pytest.approx(expected, rel=1e-3)


def test_what_no_engine_reads_is_refused_by_name():
    for name in ("compressed-tensors", "sparse-24-bitmask"):
        with pytest.raises(EggsError, match=rf"no {name} export.*vLLM by 0\.19\.1.*use hf"):
            check_format(name)
    with pytest.raises(EggsError, match="Unknown format 'onnx'; choose one of hf, packed, gguf, gguf-q8_0, masks"):
        check_format("onnx")


def test_the_command_line_exports_and_lists_what_a_push_would_upload(run, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    save_run(run, tmp_path / "run")
    assert load_run(tmp_path / "run").key == run.key
    out = tmp_path / "out"
    result = call(
        "export", "--run", tmp_path / "run", "--format", "hf", "--out", out, "--push", "me/pruned", "--dry-run"
    )
    for name, count in push_plan(out):
        assert f"{count:,}  {name}" in result.stdout
    assert "would go to me/pruned, private if it is new; nothing was uploaded" in result.stdout
    said = call("export", "--run", tmp_path / "run", "--out", out, code=2).output
    assert "is not empty; choose a new folder" in said
    said = call("export", "--run", tmp_path / "run", "--out", tmp_path / "x", "--format", "sparse24", code=2).output
    assert "There is no sparse24 export" in said and not (tmp_path / "x").exists()
    said = call(
        "export", "--run", tmp_path / "run", "--out", tmp_path / "x", "--push", "a b", "--dry-run", code=2
    ).output
    assert "'a b' is no repository" in said
    said = call("export", "--run", tmp_path / "run", "--out", tmp_path / "x", "--dry-run", code=2).output
    assert "--dry-run goes with --push" in said


class Hub:
    """A Hub that writes down what it is asked, or fails."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.asked: list = []
        self.fails = fails

    def __call__(self, token: str) -> "Hub":
        self.asked.append(token)
        return self

    def create_repo(self, name: str, private: bool, exist_ok: bool) -> str:
        if self.fails:
            raise self.fails
        self.asked.append((name, private, exist_ok))
        return f"https://hub/{name}"

    def upload_folder(self, repo_id: str, folder_path: Path, allow_patterns: list[str]) -> None:
        self.asked.append((repo_id, folder_path, allow_patterns))


def test_a_push_uploads_what_the_dry_run_lists_and_never_tells_the_token(run, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(EggsError, match="no token to push with"):
        check_push("me/pruned", False)
    check_push("me/pruned", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    list(export_run(run, "masks", tmp_path / "masks"))
    hub = Hub()
    assert push(tmp_path / "masks", "me/pruned", hub=hub) == "https://hub/me/pruned"
    names = ["README.md", "details.safetensors", "masks.safetensors"]
    assert hub.asked == [TOKEN, ("me/pruned", True, True), ("me/pruned", tmp_path / "masks", names)]
    with pytest.raises(EggsError, match="did not take me/pruned") as caught:
        push(tmp_path / "masks", "me/pruned", hub=Hub(OSError(f"403 for token {TOKEN} and hf_other")))
    assert "hf_" not in str(caught.value) and caught.value.__cause__ is None
