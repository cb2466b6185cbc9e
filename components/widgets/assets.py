"""Where the widgets' scripts and style sheets lie."""

from functools import cache
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@cache
def script(name: str) -> str:
    """The text of assets/js/<name>.js."""
    return (ASSETS / "js" / f"{name}.js").read_text(encoding="utf-8")
