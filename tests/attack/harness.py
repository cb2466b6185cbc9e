"""What the attacks share: damaged bytes and values, the one exception that may come of them, and death at random."""

import copy
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings

from eggs_core.errors import EggsError

ROOT = Path(__file__).resolve().parents[2]
CASES = int(os.environ.get("EGGS_FUZZ_CASES", "200"))  # of each fuzz test; `make soak` asks for 2,000
KILLS = int(os.environ.get("EGGS_KILLS", "20"))
fuzz = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

NUMBERS = [10**9, -(10**9), 2**63, 10**400, 1e308, 0.5, -1.0, 0.0]
WORDS = ["", "NaN", "../x", "/etc/passwd", "\0", "🥚", "\u2028", "x" * 5000, "${alert(1)}"]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.sampled_from(NUMBERS),
    st.text(max_size=8),
    st.sampled_from(WORDS),
)
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@contextmanager
def only_sentences() -> Iterator[None]:
    """Let an EggsError of one sentence pass, and nothing else; going on without one is fine too."""
    try:
        yield
    except EggsError as error:
        text = str(error)
        assert text.strip() and "Traceback" not in text and len(text) < 2500, text[:300]


@st.composite
def damaged_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file's bytes with a few flipped, cut, repeated or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["flip", "cut", "drop", "insert", "repeat"]))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=16))
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)


def paths_in(value: Any, here: tuple = ()) -> list[tuple]:
    """The place of every value inside a JSON value, as keys and indices."""
    found = [here]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        found += paths_in(child, (*here, key))
    return found


@st.composite
def damaged_value(draw: st.DrawFn, whole: Any, values: st.SearchStrategy = junk) -> Any:
    """A JSON value in which one or two parts are replaced by junk, removed or swapped for another part."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(paths_in(value)))
        if not place:
            value = draw(values)
            continue
        owner = value
        for key in place[:-1]:
            owner = owner[key]
        kind = draw(st.sampled_from(["replace", "remove", "swap"]))
        if kind == "replace":
            owner[place[-1]] = draw(values)
        elif kind == "remove":
            del owner[place[-1]]
        else:
            other = value
            for key in draw(st.sampled_from(paths_in(value))):
                other = other[key]
            owner[place[-1]] = copy.deepcopy(other)
        if not isinstance(value, dict | list):
            break
    return value


def killed(script: str, arguments: list[str], check: Callable[[bool], None], seed: int, kills: int = KILLS) -> int:
    """Run a Python script again and again, end it by SIGKILL at random moments and check what is there each time.

    The script prints a line "go" when the work that may be interrupted begins and ends when that is done. The first run
    is not killed, so that the moments lie within its length. `check(finished)` looks at what it left; returns how many
    runs were killed before their end.
    """
    moments, length, ended_early = random.Random(seed), None, 0
    for _ in range(kills + 1):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}", "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None and process.stdout.readline().strip() == "go"
        started = time.monotonic()
        if length is None:
            assert process.wait(timeout=1200) == 0
            length = time.monotonic() - started
        else:
            time.sleep(moments.random() * length)
            process.send_signal(signal.SIGKILL)
            ended_early += process.wait(timeout=240) != 0
        process.stdout.close()
        check(process.returncode == 0)
    return ended_early


_FORKS = r"""
import os, sys
import eggs_core.cli.command_line, eggs_core.models.loading, eggs_core.runs.execute, eggs_core.runs.export
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        eggs_core.cli.command_line.app(line.rstrip("\n").split("\t"))
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def killed_commands(arguments: list[str], check: Callable[[bool], None], seed: int, kills: int = KILLS) -> int:
    """As `killed`, for a command of this project: a process that has imported all of it forks for every run."""
    moments, length, ended_early = random.Random(seed), None, 0
    with subprocess.Popen(
        [sys.executable, "-c", _FORKS],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    ) as forks:
        assert forks.stdin is not None and forks.stdout is not None
        for _ in range(kills + 1):
            forks.stdin.write("\t".join(arguments) + "\n")
            forks.stdin.flush()
            child, started = int(forks.stdout.readline()), time.monotonic()
            if length is not None:
                time.sleep(moments.random() * length)
                with suppress(ProcessLookupError):  # it may have ended by itself
                    os.kill(child, signal.SIGKILL)
            status = int(forks.stdout.readline())
            if length is None:
                assert status == 0
                length = time.monotonic() - started
            ended_early += status != 0
            check(status == 0)
        forks.stdin.close()
    return ended_early
