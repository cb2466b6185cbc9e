"""Which folder may import from which, read from the source itself; docs/architecture.md draws the same picture."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Floors from the ground up. A folder imports from itself and from floors below it, never from its neighbours.
CORE = (
    ("",),
    ("masks", "text"),
    ("graph", "models"),
    ("packed", "evaluation"),
    ("pruning", "speed"),
    ("allocation",),
    ("runs",),
    ("sweep", "serving"),
    ("cli",),
)
COMPONENTS = (("words",), ("widgets",), ("charts",), ("state",), ("jobs",), ("places",), ("",))
PLACES = ("home", "plan", "learn", "layers", "quality", "speed", "runs")
BELOW_PLACES = {"components.tab"}  # of the files that lie directly in components, what places may know
PANEL_FILES = {"tab", "view", "figures", "words"}
NO_GRADIO = ("words", "charts", "state")
WITHOUT_INTERFACE = ("gradio", "plotly", "pandas", "components", "app", "matplotlib", "tests", "tools", "benchmarks")


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


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(p): p for top in ("eggs_core", "components") for p in sorted((ROOT / top).rglob("*.py"))}


@cache
def everything_imported(module: str) -> set[str]:
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return imported(path.read_text(encoding="utf-8"), package)


@cache
def own_imports(module: str) -> set[str]:
    """The project's modules that a module imports."""
    return {name for name in everything_imported(module) if name in MODULES} - {module}


def room(module: str) -> tuple[str, str]:
    """(package, folder) of a module; the folder is "" for what lies directly in the package."""
    package, *rest = module.split(".")
    inside = len(rest) > 1 or MODULES[module].name == "__init__.py"
    return package, rest[0] if rest and inside else ""


def floor(module: str) -> int:
    package, folder = room(module)
    floors = CORE if package == "eggs_core" else COMPONENTS
    return next(number for number, folders in enumerate(floors) if folder in folders)


def test_the_reader_itself():
    source = "import gradio.blocks as g\nfrom . import x\nfrom ..a.b import c\ndef f():\n    from plotly import io\n"
    expected = {"gradio.blocks", "p.q", "p.q.x", "p.a.b", "p.a.b.c", "plotly", "plotly.io"}
    assert imported(source, "p.q") == expected


@pytest.mark.parametrize(("package", "floors"), [("eggs_core", CORE), ("components", COMPONENTS)])
def test_every_folder_that_is_named_holds_something_and_every_folder_is_named(package, floors):
    named = {folder for folders in floors for folder in folders}
    for folder in named:
        assert [m for m in MODULES if room(m) == (package, folder) and MODULES[m].stat().st_size], folder
    assert {room(m)[1] for m in MODULES if m.startswith(package)} == named


def test_every_place_holds_its_panels():
    for place in PLACES:
        assert [m for m in MODULES if m.startswith(f"components.places.{place}.") and m.endswith(".tab")], place
    assert {m.split(".")[2] for m in MODULES if m.startswith("components.places.")} == set(PLACES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module):
    package, folder = room(module)
    if module in ("eggs_core", "eggs_core.__main__"):  # the door, which opens onto every floor
        return
    for other in own_imports(module) - BELOW_PLACES:
        if other == "eggs_core":
            continue
        if package == "eggs_core":
            assert other.startswith("eggs_core"), f"{module} imports {other}"
        if room(other)[0] == package and room(other) != (package, folder):
            assert floor(other) < floor(module), f"{module} imports {other}"


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("components.places.")])
def test_places_never_import_each_other(module):
    mine = module.split(".")[2]
    others = {m.split(".")[2] for m in own_imports(module) if m.startswith("components.places.")}
    assert others <= {mine}


def test_no_circle():
    """At any depth, also inside functions."""
    done, path = set(), []

    def visit(module: str) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for other in sorted(own_imports(module) - {"eggs_core"}):
            visit(other)
        path.pop()
        done.add(module)

    for module in MODULES:
        if module not in ("eggs_core", "eggs_core.__main__"):
            visit(module)


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("eggs_core")])
def test_the_core_knows_no_user_interface(module):
    assert not {n for n in everything_imported(module) if n.split(".")[0] in WITHOUT_INTERFACE}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("components")])
def test_components_do_not_know_the_app(module):
    assert not {n for n in everything_imported(module) if n.split(".")[0] in ("app", "tests", "tools", "benchmarks")}


def _gradio_behind(module: str, seen: set[str]) -> list[str]:
    """A chain of imports from a module to gradio, if there is one."""
    seen.add(module)
    if any(name.split(".")[0] == "gradio" for name in everything_imported(module)):
        return [module]
    for other in sorted(own_imports(module) - seen):
        if chain := _gradio_behind(other, seen):
            return [module, *chain]
    return []


GRADIO_FREE = [
    m
    for m in MODULES
    if m.startswith("components.")
    and (room(m)[1] in NO_GRADIO or (room(m)[1] == "places" and m.split(".")[-1] in PANEL_FILES - {"tab"}))
]


def test_there_is_something_free_of_gradio():
    assert len(GRADIO_FREE) > 30


@pytest.mark.parametrize("module", GRADIO_FREE)
def test_views_figures_and_words_are_free_of_gradio(module):
    assert not _gradio_behind(module, set())


@pytest.mark.parametrize("module", MODULES)
def test_names_say_what_is_inside(module):
    assert module.rpartition(".")[2] not in ("utils", "helpers", "misc", "common", "base", "tools")
