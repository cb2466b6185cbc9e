"""Every command with hostile arguments: exit code 2, one sentence, nothing left on disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eggs_core.cli.command_line import app
from tests.attack.harness import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
RUN = str(ROOT / "assets" / "runs" / "tiny-llama-2of4-wanda")
LONG = "a" * 300
PRUNE = ["prune", "--out", "out"]
EXPORT = ["export", "--run", RUN]
EVALUATE = ["evaluate", "--model", "tiny-llama"]

NO_FOLDER = "is no name for a folder"
FOLDERS = {  # of --out
    "": NO_FOLDER,
    "  ": NO_FOLDER,
    "a\nb": NO_FOLDER,
    "a\x1b[31mb": NO_FOLDER,
    "a\udcffb": NO_FOLDER,
    LONG: "File name too long",
    f"{LONG}/out": "File name too long",
    f"out/{LONG}": "File name too long",
    "/".join(["a" * 200] * 30): "File name too long",
    "/proc/out": "could not be written",
    "/dev/null/out": "Not a directory",
    "file/out": "Not a directory",
}
MODELS = {
    "": "Choose a model",
    "a" * 499: "a",
    "/" + "a" * 499: "a",
    "./" + "a" * 400: "a",
    "a/" * 249 + "a": "no folder",
    "a/" + "b" * 400: "b",
    "~nobody/model": "nobody",
    "a\nb": "cannot be printed",
    "a\udcff": "cannot be printed",
    "file": "file",
    ".": "no config.json",
    "../../etc": "etc",
    "x.gguf": "no GGUF file",
    "a" * 400 + ".gguf": "a",
}
TEXTS = {
    "missing.txt": "cannot be read: No such file",
    ".": "cannot be read: Is a directory",
    "": "cannot be read: Is a directory",
    "binary.bin": "not UTF-8",
    "/dev/zero": "larger than",
    LONG: "cannot be read: File name too long",
    "file/x": "cannot be read: Not a directory",
}
RUNS = {"file": "run", ".": "no run", "": NO_FOLDER, LONG: "run", "a\nb": NO_FOLDER, "/dev/null": "run"}
NUMBERS = [
    ("--beta", "nan", "β must lie"),
    ("--beta", "inf", "β must lie"),
    ("--beta", "-1", "β must lie"),
    ("--beta", "1e400", "β must lie"),
    ("--diagonals", "-1", "does not use diagonals"),
    ("--seed", "-1", "seed must be"),
    ("--seed", "9" * 30, "seed must be"),
    ("--seed", "9" * 4000, "seed must be"),
    ("--calibration-windows", "0", "calibration windows must be"),
    ("--calibration-windows", "-5", "must be"),
    ("--calibration-length", "9" * 20, "must be"),
    ("--evaluation-windows", "-1", "must be"),
    ("--evaluation-length", "15", "must be"),
    ("--pattern", "", "two whole numbers"),
    ("--pattern", "9" * 500 + ":4", "two whole numbers"),
    ("--pattern", "0:0", "at least 1"),
    ("--pattern", "-1:4", "at least"),
    ("--method", LONG, "Unknown method"),
    ("--score", "", "Unknown score"),
    ("--permutation", "a\nb", "Unknown permutation"),
    ("--calibration-dataset", "", "is no dataset"),
    ("--calibration-dataset", "a" * 5000, "is no dataset"),
    ("--calibration-dataset", "~nobody/x y", "is no dataset"),
]
ASKED = MODELS | dict.fromkeys(("", "a\nb", "a\udcff"), "names no run or model")
SETTINGS = [
    ("--temperature", "nan", "temperature must lie"),
    ("--temperature", "-1", "temperature must lie"),
    ("--temperature", "1e9", "temperature must lie"),
    ("--top-p", "0", "top_p must lie"),
    ("--top-p", "nan", "top_p must lie"),
    ("--max-tokens", "0", "max_tokens must be"),
    ("--seed", "9" * 30, "seed must be"),
]

CASES: list[tuple[list[str], str]] = [
    *(([*PRUNE[:1], "--out", out], said) for out, said in FOLDERS.items()),
    (["prune", "--out", "file"], "is a file"),
    (["prune", "--out", "broken link"], "is a file"),
    *(([*EXPORT, "--format", "masks", "--out", out], said) for out, said in FOLDERS.items()),
    *(([*EXPORT, "--format", kind, "--out", "file"], "not empty") for kind in ("hf", "packed", "gguf", "masks")),
    ([*EXPORT, "--out", "."], "not empty"),
    ([*EXPORT, "--out", "out", "--format", ""], "Unknown format"),
    ([*EXPORT, "--out", "out", "--push", "", "--dry-run"], "is no repository"),
    ([*EXPORT, "--out", "out", "--push", LONG], "is no repository"),
    *((["sweep", "grid.yaml", "--out", out], said) for out, said in FOLDERS.items()),
    *((["sweep", "grid.yaml", "--store", out], NO_FOLDER) for out in ("", "a\nb")),
    (["sweep", "grid.yaml", "--out", "out", "--gpus", "inf"], "--gpus"),
    (["sweep", "missing.yaml"], "cannot be read: No such file"),
    (["sweep", "."], "cannot be read: Is a directory"),
    (["sweep", ""], "cannot be read: Is a directory"),
    (["sweep", LONG], "File name too long"),
    (["sweep", "binary.bin"], "not UTF-8"),
    (["sweep", "/dev/zero"], "larger than"),
    (["sweep", "deep.yaml"], "no YAML"),
    *(([*PRUNE, "--model", model], said) for model, said in MODELS.items()),
    *((["evaluate", "--model", model], said) for model, said in MODELS.items()),
    *(([*PRUNE, "--evaluation-file", text], said) for text, said in TEXTS.items()),
    *(([*PRUNE, "--calibration-file", text], said) for text, said in TEXTS.items()),
    *(([*EVALUATE, "--evaluation-file", text], said) for text, said in TEXTS.items()),
    ([*EVALUATE, "--evaluation-file", "empty.txt"], "is empty"),
    ([*EVALUATE, "--device-map", "x"], "--device-map is auto"),
    ([*EVALUATE, "--device-map", ""], "--device-map is auto"),
    ([*EVALUATE, "--evaluation-windows", "-1"], "must be"),
    *(([*PRUNE, option, value], said) for option, value, said in NUMBERS),
    *(
        ([command, "--run", run, *more], said)
        for run, said in RUNS.items()
        for command, *more in (["analyze"], ["evaluate"], ["export", "--out", "out"])
    ),
    *((["analyze", "--run", RUN, "--layer", layer], "has no layer") for layer in ("", "nothing", LONG, "a\nb")),
    *(([*command, name], said) for name, said in ASKED.items() for command in (["chat"], ["serve", "--port", "0"])),
    *((["chat", "no-model", option, value], said) for option, value, said in SETTINGS),
    *((["serve", "no-model", "--host", host], "Nothing can listen") for host in ("no such host", "", "a\0b", LONG)),
]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder at hand with a few things that are no use."""
    (tmp_path / "file").write_text("keep me")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "binary.bin").write_bytes(b"\xff\xfe\x00\x01" * 100)
    (tmp_path / "broken link").symlink_to("nowhere")
    (tmp_path / "grid.yaml").write_text("models: tiny-llama\npatterns: 2:4\nmethods: wanda")
    (tmp_path / "deep.yaml").write_text("models: " + "[" * 100_000)
    for name in ("EGGS_STORE", "EGGS_SWEEPS"):
        monkeypatch.setenv(name, str(tmp_path.parent / name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def short(value: object) -> str:
    words = value if isinstance(value, list) else [value]
    return ascii(" ".join(Path(w).name if w.startswith(str(ROOT)) else w[:20] for w in words))


def check(code: int, stdout: str, stderr: str, said: str, place: Path, before: set[Path]) -> None:
    assert code == 2, stdout + stderr
    lines = stderr.splitlines()
    assert lines and said in lines[-1], lines[-3:]
    assert lines[-1].endswith(".") and len(lines[-1]) < 2500
    assert "Traceback" not in stderr and stdout == ""
    assert set(place.rglob("*")) == before


@pytest.mark.parametrize(("arguments", "said"), CASES, ids=short)
def test_a_hostile_argument_is_a_sentence(place, arguments, said):
    before = set(place.rglob("*"))
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    check(result.exit_code, result.stdout, result.stderr, said, place, before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prune", "--out", LONG], "File name too long"),
        (["prune", "--out", b"a\xffb"], NO_FOLDER),
        (["evaluate", "--model", b"a\xff\n"], "cannot be printed"),
        (["analyze", "--run", b"a\xff\x1b[31m"], NO_FOLDER),
        (["sweep", "deep.yaml"], "no YAML"),
    ],
    ids=["long", "bytes of --out", "bytes of --model", "bytes of --run", "deep"],
)
def test_the_same_of_a_real_process(place, arguments, said):
    before = set(place.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "eggs_core", *arguments],
        cwd=place,
        capture_output=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    check(done.returncode, done.stdout.decode(), done.stderr.decode(), said, place, before)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_the_right_to_write(place):
    place.chmod(0o500)
    try:
        for command in (["prune"], EXPORT, ["sweep", "grid.yaml"]):
            result = CliRunner().invoke(app, [*command, "--out", "out"])
            assert result.exit_code == 2 and "Permission denied" in result.stderr.splitlines()[-1]
    finally:
        place.chmod(0o700)
