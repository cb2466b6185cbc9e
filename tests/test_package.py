"""What is installed: declared dependencies, their pins, and a wheel that works in an empty environment."""

import ast
import ctypes
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import eggs_core
from benchmarks.app import served
from eggs_core.packed.kernel.targets import TARGETS, this_machine

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
ENTRIES = {"eggs_linear", "eggs_unpack", "eggs_bad_row", "eggs_layer_path", "eggs_read_memory", "eggs_best_path"}
OWN = {"eggs_core", "components", "app"}
# Imported where they are installed, and never needed.
OPTIONAL = {
    "spaces": "there on Hugging Face Spaces alone",
    "lm_eval": "eval",
    "ray": "sweep",
    "fastapi": "app",
    "uvicorn": "app",
}


def requirements(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(text) for line in lines if (text := line.split("#")[0].strip()) and not text.startswith("-")]


def test_pins_satisfy_the_ranges():
    pins = {canonicalize_name(r.name): str(r.specifier) for r in requirements("requirements.txt")}
    assert all(re.fullmatch(r"==[\w.]+", pin) for pin in pins.values())
    ranges = [Requirement(text) for text in (*PROJECT["dependencies"], *EXTRAS["app"])]
    assert {canonicalize_name(r.name) for r in ranges} == set(pins)
    for wanted in ranges:
        assert Version(pins[canonicalize_name(wanted.name)][2:]) in wanted.specifier, wanted


@pytest.mark.parametrize("extra", ["eval", "sweep"])
def test_the_extras_are_those_of_the_requirements_files(extra):
    assert [str(r) for r in requirements(f"requirements-{extra}.txt")] == [str(Requirement(r)) for r in EXTRAS[extra]]


def test_the_tests_run_with_what_is_pinned():
    for pin in requirements("requirements.txt"):
        assert Version(Version(importlib.metadata.version(pin.name)).public) in pin.specifier, pin


def imported(folder: str) -> set[str]:
    """Top-level names that a folder's files import, at any depth."""
    found = set()
    for file in [ROOT / "app.py"] if folder == "app" else (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - OWN


@pytest.mark.parametrize(("folder", "extras"), [("eggs_core", ()), ("components", ("app",)), ("app", ("app",))])
def test_what_is_imported_is_declared(folder, extras):
    declared = {canonicalize_name(Requirement(r).name) for r in PROJECT["dependencies"]}
    declared |= {canonicalize_name(Requirement(r).name) for extra in extras for r in EXTRAS[extra]}
    homes = importlib.metadata.packages_distributions()
    names = imported(folder) - set(OPTIONAL)
    assert len(names) > (3 if folder != "app" else 0)
    for name in names:
        assert declared & {canonicalize_name(home) for home in homes[name]}, f"{name} is imported and not declared"


def test_the_papers_name_this_version():
    version = eggs_core.__version__
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from this folder, as anybody builds it."""
    if not os.environ.get("EGGS_TRY_WHEEL"):
        pytest.skip("building and installing a wheel takes minutes: EGGS_TRY_WHEEL=1 asks for it")
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=1200)
    [built] = place.glob("*.whl")
    return built


@pytest.mark.timeout(1800)
def test_a_wheel_holds_what_the_app_reads_and_nothing_under_a_name_that_others_use(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert {name.partition("/")[0] for name in names} == {
        "eggs_core",
        f"eggs_explorer-{eggs_core.__version__}.dist-info",
    }
    bundle = {name.removeprefix("eggs_core/_bundle/") for name in names if "/_bundle/" in name}
    assert {"app.py", "docs/teaching.md", "components/page.py", "assets/css/app.css", "assets/logo.svg"} <= bundle
    for kind in ("models", "corpus", "runs", "curves", "fronts", "structure", "sweeps", "tasks", "js"):
        here = {f"assets/{kind}/{f.relative_to(ROOT / 'assets' / kind)}" for f in (ROOT / "assets" / kind).rglob("*.*")}
        assert here and here <= bundle
    assert {f"eggs_core/packed/kernel/prebuilt/{target.file}" for target in TARGETS} <= set(names)
    assert "eggs_core/py.typed" in names and not [n for n in names if n.endswith((".pyi", ".pyc"))]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.file)
def test_every_kernel_of_a_wheel_has_the_entries_that_are_called(wheel, tmp_path, target):
    """Read for the systems that are not this one; loaded on this machine."""
    lief = pytest.importorskip("lief")
    with zipfile.ZipFile(wheel) as file:
        (tmp_path / target.file).write_bytes(file.read(f"eggs_core/packed/kernel/prebuilt/{target.file}"))
    binary = lief.parse(str(tmp_path / target.file))
    assert binary.format.name == {"Linux": "ELF", "Darwin": "MACHO", "Windows": "PE"}[target.system]
    names = {function.name for function in binary.exported_functions}
    names |= {symbol.name for symbol in getattr(binary, "exported_symbols", ())}
    if target.system == "Windows":
        names |= {entry.name for entry in binary.get_export().entries}
    assert {name.removeprefix("_") for name in names} >= ENTRIES
    libraries = {str(getattr(one, "name", one)).lower() for one in binary.libraries}
    assert not [name for name in libraries if "omp" in name or "winpthread" in name]  # nothing that a machine may lack
    if target == this_machine():
        library = ctypes.CDLL(str(tmp_path / target.file))
        assert all(hasattr(library, name) for name in ENTRIES) and library.eggs_best_path() >= 0


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of programs of an empty environment, in which the wheel was installed with its extra `app`."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    pip = [place / "bin" / "python", "-m", "pip", "install", "-q", "-c", ROOT / "requirements.txt", f"{wheel}[app]"]
    subprocess.run(pip, check=True, cwd=place, timeout=1500)
    return place / "bin"


def quiet_environment(place: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EGGS_"))}
    return own | {"EGGS_STORE": str(place / "store"), "XDG_CACHE_HOME": str(place / "cache"), "HF_HUB_OFFLINE": "1"}


@pytest.mark.timeout(1800)
def test_an_installed_wheel_prunes_in_another_folder(installed, tmp_path):
    quick = [
        f"--{side}-{size}={n}" for side in ("calibration", "evaluation") for size, n in (("windows", 4), ("length", 64))
    ]
    words = ["prune", "--model", "tiny-llama", "--pattern", "2:4", "--method", "eggs-ptp", "--out", "run", *quick]
    environment = quiet_environment(tmp_path)
    done = subprocess.run([installed / "eggs", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.json").is_file()
    shown = subprocess.run(
        [installed / "eggs", "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert shown.stdout.split() == ["eggs-explorer", eggs_core.__version__]


@pytest.mark.timeout(1800)
def test_an_installed_wheel_opens_the_app(installed, tmp_path):
    own = {"PYTHONPATH": "", "EGGS_STORE": str(tmp_path / "store"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with served("app", program=str(installed / "eggs"), folder=tmp_path, **own) as (url, *_):
        page = httpx.get(url, timeout=30).text
        assert "EGGS Explorer" in page
        script = re.findall(r"eggs/plotly-\w+", page)[0]
        assert len(httpx.get(url + script, timeout=30).content) > 100_000
        config = httpx.get(f"{url}config", timeout=30).text
        assert "tiny-llama" in config and "teachers" in config
