"""Where the widgets' scripts and style sheets lie."""

from functools import cache
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@cache
def script(*names: str) -> str:
    """The texts of assets/js/<name>.js, one after another."""
    return "\n".join((ASSETS / "js" / f"{name}.js").read_text(encoding="utf-8") for name in names)
