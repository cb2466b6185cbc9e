"""app → components → eggs_core: the direction of imports, read from the source itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "eggs_core").rglob("*.py"))
COMPONENTS = sorted((ROOT / "components").rglob("*.py"))
TABS = [p for p in COMPONENTS if p.name.endswith("_tab.py")]
STAND_ALONE = sorted((ROOT / "tools").glob("*.py")) + sorted((ROOT / "benchmarks").glob("*.py"))


def imported(source: str, package: str) -> set[str]:
    """Full names of all modules that a source imports, at any depth, relative ones resolved against `package`."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def imports_of(path: Path) -> set[str]:
    return imported(path.read_text(encoding="utf-8"), ".".join(path.relative_to(ROOT).parent.parts))


def within(names: set[str], *packages: str) -> set[str]:
    return {n for n in names if n.split(".")[0] in packages}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_reader_itself():
    source = "import gradio.blocks as g\nfrom . import x\nfrom ..a.b import c\ndef f():\n    from plotly import io\n"
    assert imported(source, "p.q") == {
        "gradio.blocks", "p.q", "p.q.x", "p.a.b", "p.a.b.c", "plotly", "plotly.io",
    }  # fmt: skip


def test_there_is_something_to_check():
    assert len(CORE) > 15


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_knows_no_user_interface(path):
    forbidden = ("gradio", "plotly", "pandas", "components", "app", "matplotlib", "tests", "tools", "benchmarks")
    assert not within(imports_of(path), *forbidden)


@pytest.mark.parametrize("path", COMPONENTS, ids=name_of)
def test_components_do_not_know_the_app(path):
    assert not within(imports_of(path), "app", "tests", "tools", "benchmarks")


@pytest.mark.parametrize("path", TABS, ids=name_of)
def test_tabs_do_not_know_each_other(path):
    assert not {n for n in imports_of(path) if any(part.endswith("_tab") for part in n.split("."))}


@pytest.mark.parametrize("path", [p for p in COMPONENTS if p.name in ("figures.py", "tables.py")], ids=name_of)
def test_figures_and_tables_are_free_of_gradio(path):
    assert not within(imports_of(path), "gradio")


@pytest.mark.parametrize("path", CORE + COMPONENTS + STAND_ALONE, ids=name_of)
def test_no_utils(path):
    assert path.stem not in ("utils", "helpers", "misc", "common")
