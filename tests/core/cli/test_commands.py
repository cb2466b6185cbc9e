"""The command line: figures on stdout, progress and problems on stderr, a sentence and exit code 2 for bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eggs_core.cli.command_line import app
from eggs_core.models.source import BUNDLED
from eggs_core.runs.run import load_run

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parents[3]
QUICK = [
    "--calibration-windows",
    "4",
    "--calibration-length",
    "64",
    "--evaluation-windows",
    "4",
    "--evaluation-length",
    "64",
]


def call(*arguments, code: int = 0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the documented command line, and what it printed."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    result = call(
        "prune",
        "--model",
        "tiny-llama",
        "--pattern",
        "2:4",
        "--method",
        "eggs-ptp",
        "--seed",
        0,
        "--out",
        folder,
        *QUICK,
    )
    return folder, result


def test_models():
    lines = call("models").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(BUNDLED)
    assert json.loads(call("models", "--json").stdout) == BUNDLED


def test_prune_writes_report_and_masks(run):
    folder, result = run
    saved = load_run(folder)
    assert saved.report["method"] == "eggs-ptp"
    assert len(saved.packed_masks) == 42
    assert "EGGS-PTP 2:4 on tiny-llama: 42 layers" in result.stdout
    assert f"{saved.report['evaluation']['pruned']['perplexity']:.2f}" in result.stdout
    assert "layer 42 of 42" in result.stderr
    assert "s left" in result.stderr
    assert "layer 42 of 42" not in result.stdout


def test_analyze(run):
    folder, _ = run
    saved = load_run(folder)
    lines = call("analyze", "--run", folder).stdout.splitlines()
    assert len(lines) == 43
    assert len({len(line) for line in lines}) == 1, "the columns are aligned"
    measures = json.loads(call("analyze", "--run", folder, "--json").stdout)
    for layer in saved.report["layers"]:
        assert measures[layer["name"]]["sigma2"] == pytest.approx(layer["sigma2"], abs=1e-6)
        assert measures[layer["name"]]["orphans"] == layer["orphans"]


def test_analyze_one_layer(run):
    folder, _ = run
    name = "model.layers.3.mlp.up_proj"
    assert "spectral_gap" in call("analyze", "--run", folder, "--layer", name).stdout
    assert list(json.loads(call("analyze", "--run", folder, "--layer", name, "--json").stdout)) == [name]
    assert "no layer 'nothing'" in call("analyze", "--run", folder, "--layer", "nothing", code=2).stderr


def test_evaluate_with_the_masks_is_the_runs_own_figure(run):
    folder, _ = run
    evaluation = load_run(folder).report["evaluation"]
    options = ["--evaluation-windows", 4, "--evaluation-length", 64, "--json"]
    pruned = json.loads(call("evaluate", "--run", folder, *options).stdout)
    dense = json.loads(call("evaluate", "--model", "tiny-llama", *options).stdout)
    assert pruned["pruned"]["perplexity"] == pytest.approx(evaluation["pruned"]["perplexity"], rel=1e-4)
    assert dense["dense"]["perplexity"] == pytest.approx(evaluation["dense"]["perplexity"], rel=1e-4)
    assert dense["sha256"] == evaluation["sha256"]
    assert "dense" not in pruned


def test_evaluate_prints_a_table(run, tmp_path):
    text = tmp_path / "mine.txt"
    text.write_text("We the people of the United States. " * 60, encoding="utf-8")
    folder, _ = run
    out = call("evaluate", "--run", folder, "--evaluation-file", text, "--evaluation-length", 64).stdout
    assert out.startswith("mine.txt: ")
    assert "perplexity   top-1   top-5" in out


def test_a_run_with_reconstruction_is_evaluated_by_its_masks_and_says_so(run, tmp_path):
    folder, _ = run
    saved = load_run(folder)
    saved.report["config"] |= {"method": "custom", "reconstruction": "admm"}
    saved.report["method"] = "custom"
    from eggs_core.runs.run import save_run

    save_run(saved, tmp_path / "fitted")
    result = call("evaluate", "--run", tmp_path / "fitted", "--evaluation-windows", 1, "--json")
    assert "masks alone" in result.stderr
    json.loads(result.stdout)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["prune", "--pattern", "5:4"], "N cannot exceed M"),
        (["prune", "--pattern", "2:64"], "at most 32"),
        (["prune", "--pattern", "half"], "two whole numbers"),
        (["prune", "--method", "gmp"], "Unknown method 'gmp'"),
        (["prune", "--model", "nobody/nothing"], "cannot be reached"),
        (["prune", "--score", "x"], "Unknown score"),
        (["prune", "--method", "ria", "--beta", "0.5"], "does not use β"),
        (["prune", "--seed", "-1"], "seed must be"),
        (["prune", "--pattern", "5:20", "--method", "ria"], "model.layers.0.self_attn.q_proj"),
        (["prune", "--calibration-length", "500"], "at most 256 tokens"),
        (["prune", "--calibration-dataset", "no such: name"], "is no dataset"),
        (["prune", "--calibration-dataset", "a/b", "--calibration-file", "empty.txt"], "not both"),
        (["prune", "--calibration-file", "missing.txt"], "cannot be read: No such file"),
        (["prune", "--calibration-file", "empty.txt"], "'empty.txt' is empty"),
        (["prune", "--calibration-file", "binary.txt"], "not UTF-8"),
        (["prune", "--evaluation-file", "."], "cannot be read"),
        (["evaluate", "--model", "missing/", "--evaluation-length", "5"], "evaluation length must be"),
        (["evaluate", "--model", "tiny-llama", "--evaluation-length", "257"], "at most 256 tokens"),
        (["evaluate"], "--model, --run, or both"),
        (["evaluate", "--run", "nowhere"], "There is no run"),
        (["analyze", "--run", "nowhere"], "There is no run"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    if arguments[0] == "prune":
        arguments = [*arguments, "--out", "out"]
    result = call(*arguments, code=2)
    assert says in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_target_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("keep me")
    for target in (tmp_path / "file", tmp_path / "file" / "run"):
        result = call("prune", "--out", target, "--model", "tiny-llama", code=2)
        assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "keep me"


def test_a_run_of_another_model(run):
    folder, _ = run
    assert "was made on tiny-llama" in call("evaluate", "--run", folder, "--model", "tiny-opt", code=2).stderr


def test_the_real_thing_as_a_process(tmp_path):
    """No option is missing, nothing but the sentence is printed, and no traceback."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}

    def python(*arguments):
        command = [sys.executable, "-m", "eggs_core", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=480)

    shown = python("prune", "--help")
    assert shown.returncode == 0
    options = (
        "model pattern method seed out score selection permutation reconstruction beta diagonals calibration-file "
        "calibration-dataset calibration-windows calibration-length evaluation-file evaluation-windows "
        "evaluation-length"
    )
    assert all(f"--{name}" in shown.stdout for name in options.split())
    failed = python("evaluate", "--model", "nobody/nothing")
    assert failed.returncode == 2
    assert failed.stdout == ""
    assert failed.stderr.startswith("The Hugging Face Hub cannot be reached")
    assert len(failed.stderr.splitlines()) == 1
