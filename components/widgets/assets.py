"""Where the widgets' scripts and style sheets lie."""

from functools import cache

from eggs_core.assets import ASSETS


@cache
def script(*names: str) -> str:
    """The texts of assets/js/<name>.js, one after another."""
    return "\n".join((ASSETS / "js" / f"{name}.js").read_text(encoding="utf-8") for name in names)
