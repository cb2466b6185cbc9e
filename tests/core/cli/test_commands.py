"""The command line: figures on stdout, progress and problems on stderr, a sentence and exit code 2 for bad input."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from signals import heeds_ctrl_c
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


def test_allocate_writes_a_plan_that_prune_runs(tmp_path):
    plan, out = tmp_path / "plan.yaml", tmp_path / "run"
    asked = ["allocate", "--budget", 0.54, "--method", "ria", "--out", plan, *QUICK[:4]]
    result = call(*asked)
    text = plan.read_text()
    assert "predicted loss: +" in text and "predicted loss: +" in result.stdout and "42 layers" in result.stdout
    assert "layer 42 of 42" in result.stderr and "s left" in result.stderr
    call("prune", "--plan", plan, "--method", "ria", "--out", out, *QUICK)
    found = json.loads(call(*asked, "--json").stdout)
    assert plan.read_text() == text
    pruned = {layer["name"]: layer["pattern"] for layer in load_run(out).report["layers"]}
    assert pruned == {name: choice for name, choice in found["patterns"].items() if choice != "dense"}
    assert found["predicted"]["bytes"] <= 0.54 * found["dense"]["bytes"]
    assert found["sensitivities"]["model.layers.0.mlp.up_proj"]["4:8"]["loss"] > 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["--budget", 0.1], "least possible, 0.27"),
        (["--budget", 2], "above 0 and up to 1; got 2"),
        (["--candidates", "2:4,half"], "two whole numbers"),
        (["--by", "heads"], "bytes, weights, time"),
        (["--method", "degree"], "Unknown method"),
        (["--out", "."], "is a folder"),
    ],
)
def test_allocate_refuses_in_one_sentence(changes, sentence, tmp_path):
    plan = tmp_path / "plan.yaml"
    result = call("allocate", "--budget", 0.5, "--out", plan, *QUICK[:4], *changes, code=2)
    assert sentence in result.stderr and not plan.exists()


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


def test_chat_answers_each_line_of_a_pipe_and_nothing_else_on_stdout(run):
    folder, _ = run
    lines = "My fellow citizens, the state of the\n\n/reset\nMy fellow citizens, the state of the\n/exit\nnever asked\n"
    asked = ["chat", str(folder), "--temperature", "0", "--max-tokens", "12"]
    result = CliRunner().invoke(app, asked, input=lines)
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first == second and first.startswith(" Union")
    assert "tiny-llama-2of4-eggs-ptp (packed 2:4, fp32, native step, reads 256 tokens)" in result.stderr
    assert result.stderr.count("no chat template") == 1
    assert re.search(r"\[12 tokens, [\d.]+ tokens/s, the first after [\d.]+ s, native step, cut at", result.stderr)
    dense = CliRunner().invoke(app, [*asked, "--dense", "--threads", "1"], input="The Union\n")
    assert dense.exit_code == 0 and "tiny-llama (dense, fp32, native step" in dense.stderr


def test_chat_says_what_it_cannot_do(run):
    folder, _ = run
    result = CliRunner().invoke(app, ["chat", str(folder), "--system", "Be kind."], input="a\n")
    assert result.exit_code == 2 and "takes no system prompt" in result.stderr.splitlines()[-1]
    long = CliRunner().invoke(app, ["chat", str(folder)], input="word " * 400 + "\n")
    assert long.exit_code == 2 and "at most 256 tokens" in long.stderr.splitlines()[-1]


def test_serve_says_what_to_install_or_where_nothing_can_listen(run, monkeypatch):
    folder, _ = run
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "Address already in use; choose another" in call("serve", folder, "--port", port, code=2).stderr
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = call("serve", folder, code=2).stderr
    assert said.startswith("Serving needs fastapi, which is not installed: pip install")


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pseudo-terminals")
def test_a_person_stops_an_answer_and_goes_on(run):
    """In a terminal: a prompt, Ctrl-C for the answer alone and for nothing at the prompt, Ctrl-D to leave."""
    folder, _ = run
    words = ["chat", str(folder), "--temperature", "2", "--seed", "0", "--max-tokens", "240"]
    launcher = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"  # forks no threads
    chatting = subprocess.Popen(
        [sys.executable, "-c", launcher, sys.executable, "-m", "eggs_core", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "dumb"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        preexec_fn=heeds_ctrl_c,
    )
    shown, seen = "", 0

    def until(words: str, again: bytes = b"") -> None:
        nonlocal shown, seen
        end = time.monotonic() + 120
        while words not in shown[seen:]:
            if not select.select([chatting.stdout], [], [], 2)[0]:
                chatting.stdin.write(again)
                if time.monotonic() > end:  # without this it would wait for ever
                    chatting.kill()
                    pytest.fail(f"no {words!r} in {shown!r}")
                continue
            read = chatting.stdout.read(4096)
            assert read, shown
            shown += read.decode(errors="replace")
        seen = shown.index(words, seen) + len(words)

    until("> ")
    chatting.stdin.write(b"The state of the\n")
    until("the\r\n")
    until(" ")  # the answer has begun
    chatting.stdin.write(b"\x03")
    until(", native step")
    until("> ")
    until("Ctrl-C stops an answer.", again=b"\x03")  # one that comes before keys are waited for waits for the next
    until("> ")
    chatting.stdin.write(b"\x04")
    shown += chatting.communicate(timeout=60)[0].decode(errors="replace")
    assert chatting.returncode == 0
    assert ", stopped]" in shown or "240 tokens" in shown  # a fast machine is done before


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
