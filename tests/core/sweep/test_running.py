"""Sweeps with Ray itself: on one machine, on two nodes of which one dies in the middle, and with Ctrl-C."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from signals import heeds_ctrl_c

from eggs_core.assets import ASSETS
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.runs.store import RunStore
from eggs_core.sweep.results import load_sweep

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[3]
WAIT = 400  # seconds; the machine may be busy with other things
SMALL = "calibration_windows: 2\ncalibration_length: 32\nevaluation_windows: 4\nevaluation_length: 32\n"
SLOWER = "calibration_windows: 512\ncalibration_length: 64\nevaluation_windows: 4\nevaluation_length: 32\n"


@pytest.fixture
def small_model(tiny_model, tmp_path) -> Callable[[str], Path]:
    """Save a random model of two narrow blocks, with the bundled tokenizer, in a folder."""

    def save(name: str) -> Path:
        folder = tmp_path / name
        tiny_model("llama", vocab_size=4096).save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(ASSETS / "models" / "tiny-llama" / file, folder)
        return folder

    return save


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen]:
    """A process of this Python, with its output as text; at the end it and all that it started are killed."""
    running = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **environment},
        start_new_session=True,
        preexec_fn=heeds_ctrl_c,
    )
    try:
        yield running
    finally:
        kill(running.pid)
        running.wait(10)


def kill(pid: int) -> None:
    """End a process and all that it started, at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something to hold."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT} s: {what}"
        time.sleep(0.1)


def sweep_command(grid: Path, folder: Path, *options: str) -> list[str]:
    return ["eggs_core", "sweep", str(grid), "--out", str(folder / "out"), "--store", str(folder / "store"), *options]


def test_a_sweep_on_this_machine_records_what_fails_and_finishes_the_rest(small_model, tmp_path, one_thread):
    good, broken = small_model("good"), small_model("broken")
    for file in broken.glob("tokenizer*"):  # damaged weights would be found before anything starts
        file.unlink()
    grid = tmp_path / "grid.yaml"
    grid.write_text(f"models: [{broken}, {good}]\npatterns: 2:4\nmethods: [wanda, ria-cp]\n{SMALL}")
    with process(*sweep_command(grid, tmp_path, "--workers", "1")) as running:
        said = running.communicate(timeout=WAIT)[0]
    assert running.returncode == 1, said
    assert "2 of 4 cells failed" in said
    found = load_sweep(tmp_path / "out")
    assert [cell.status for cell in found.cells] == ["failed", "failed", "done", "done"]
    assert "no readable tokenizer" in found.cells[0].error
    assert {(row["pattern"], row["permuted"]) for row in found.latency} == {("2:4", False), ("2:4", True)}
    # The same run without Ray, on as many threads, gives the same figures.
    config = found.cells[3].config
    for event in execute(config):
        if isinstance(event, Finished):
            run = event.run
    stored = RunStore(tmp_path / "store").get(config.key())
    assert stored.report["evaluation"] == run.report["evaluation"]
    assert found.cells[3].figures["perplexity"] == pytest.approx(run.report["evaluation"]["pruned"]["perplexity"])
    assert found.dense[str(good)]["fingerprint"] == run.report["fingerprint"]
    for layer in run.report["layers"]:
        assert stored.mask(layer["name"]).equal(run.mask(layer["name"]))


@pytest.fixture
def cluster() -> Iterator[tuple[str, int, dict[str, str]]]:
    """Two nodes of one CPU each on this machine: the head's address, the second node's process, and the token."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    place = tempfile.mkdtemp(prefix="ray-")  # sockets' paths must be short
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    checks = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
    start = [
        "ray.scripts.scripts",
        "start",
        "--block",
        "--num-cpus=1",
        "--object-store-memory=100000000",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]
    head = [*start, "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={place}"]
    address = f"127.0.0.1:{port}"
    try:
        with process(*head, **token, **checks) as first:
            until(lambda: answers(port) or first.poll() is not None, "the head answers")
            with process(*start, f"--address={address}", **token) as second:
                until(lambda: nodes(address, token) == 2 or second.poll() is not None, "two nodes are there")
                assert first.poll() is None and second.poll() is None
                yield address, second.pid, token
    finally:
        shutil.rmtree(place, ignore_errors=True)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


def nodes(address: str, token: dict[str, str]) -> int:
    """How many nodes a cluster says it has."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    said = subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ, **token}).stdout
    return said.count(" 1 node_")


def computing(pid: int) -> bool:
    """Does a node compute a cell?"""
    with contextlib.suppress(psutil.Error):
        for one in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ray::run_cell" in " ".join(one.cmdline()):
                    return True
    return False


def test_a_node_that_dies_in_the_middle_costs_time_and_nothing_else(small_model, tmp_path, cluster):
    address, second, token = cluster
    model, grid = small_model("good"), tmp_path / "grid.yaml"
    grid.write_text(f"models: {model}\npatterns: [2:4, 1:4]\nmethods: eggs-ptp-plus\nseeds: [0, 1]\n{SLOWER}")
    command = sweep_command(grid, tmp_path, "--address", address)
    with process(*command, **token) as running:
        until(lambda: computing(second) or running.poll() is not None, "the second node computes a cell")
        assert running.poll() is None, running.communicate()[0]
        kill(second)
        said = running.communicate(timeout=WAIT)[0]
    assert running.returncode == 0, said
    found = load_sweep(tmp_path / "out")
    assert [cell.status for cell in found.cells] == ["done"] * 4
    assert found.machine["nodes"] == 2
    assert {p.name for p in (tmp_path / "store").iterdir()} == {cell.config.key() for cell in found.cells}

    with process(*command, **token) as running:  # again, on what is left of the cluster: everything is known
        said = running.communicate(timeout=WAIT)[0]
    assert running.returncode == 0, said
    again = load_sweep(tmp_path / "out")
    assert [cell.status for cell in again.cells] == ["known"] * 4
    assert [cell.figures for cell in again.cells] == [cell.figures for cell in found.cells]
    assert again.latency == found.latency and again.machine["nodes"] == 1


def test_ctrl_c_keeps_what_is_finished(small_model, tmp_path):
    model, grid = small_model("good"), tmp_path / "grid.yaml"
    seeds = list(range(60))
    grid.write_text(f"models: {model}\npatterns: 2:4\nmethods: eggs-ptp-plus\nseeds: {seeds}\n{SLOWER}")
    with process(*sweep_command(grid, tmp_path, "--workers", "1")) as running:
        for line in running.stdout:
            if line.startswith("1 of 60"):
                break
        started = psutil.Process(running.pid).children(recursive=True)
        os.kill(running.pid, signal.SIGINT)
        said = running.communicate(timeout=WAIT)[0]
        assert running.returncode == 130, said
        until(lambda: not any(map(alive, started)), "Ray's processes end")
    found = load_sweep(tmp_path / "out")
    done = found.count("done")
    assert f"Stopped: {done} of 60 cells are kept" in said
    assert 1 <= done < 60 and found.count("waiting") == 60 - done
    assert len(list((tmp_path / "store").iterdir())) == done


def alive(one: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    return False
