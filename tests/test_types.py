"""Every function has types, which mypy checks; every file and function can be taken in at a glance."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [ROOT / "app.py", *sorted((ROOT / "components").rglob("*.py")), *sorted((ROOT / "eggs_core").rglob("*.py"))]
MOST_LINES = 300
ONE_SCREEN = 50  # lines of a function without its signature and docstring
TABLES = {"components/places/learn/lesson/steps.py", "eggs_core/registry.py"}  # they may be as long as they are


def functions(tree: ast.AST, inside: tuple[str, ...] = ()) -> Iterator[tuple[str, ast.FunctionDef, bool]]:
    """(full name, function, whether its first parameter is the object) of all functions, at any depth."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            static = any(getattr(decorator, "id", "") == "staticmethod" for decorator in node.decorator_list)
            yield ".".join((*inside, node.name)), node, isinstance(tree, ast.ClassDef) and not static
        name = (node.name,) if isinstance(node, ast.FunctionDef | ast.ClassDef) else ()
        yield from functions(node, (*inside, *name))


def untyped(function: ast.FunctionDef, method: bool) -> list[str]:
    """What has no type: names of parameters, and "return"."""
    found = function.args
    named = [*found.posonlyargs, *found.args][method:] + found.kwonlyargs
    named += [one for one in (found.vararg, found.kwarg) if one]
    return [one.arg for one in named if one.annotation is None] + ([] if function.returns else ["return"])


def test_the_reader_itself():
    tree = ast.parse("class A:\n def f(self, x: int, y) -> int:\n  def g(*z): pass\n")
    assert [(name, untyped(function, method)) for name, function, method in functions(tree)] == [
        ("A.f", ["y"]),
        ("A.f.g", ["z", "return"]),
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_functions_have_types_and_fit_a_screen(file):
    place, source = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
    for name, function, method in functions(ast.parse(source)):
        assert not untyped(function, method), f"{place}: {name}"
        first = function.body[ast.get_docstring(function) is not None :][:1]
        long = function.end_lineno - first[0].lineno + 1 if first else 0
        assert long <= ONE_SCREEN, f"{place}: {name} has {long} lines"
    assert place in TABLES or source.count("\n") <= MOST_LINES, place
