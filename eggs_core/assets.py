"""Where the bundled models, texts, runs and curves lie, and the page that shows them."""

from pathlib import Path

_INSTALLED = Path(__file__).resolve().parent / "_bundle"  # where a wheel puts what lies beside eggs_core in a clone
ROOT = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parent.parent
INSTALLED = ROOT == _INSTALLED  # from a wheel, in a folder with other packages
ASSETS = ROOT / "assets"


def install_command(extra: str) -> str:
    """What a person types to add one of the extras of pyproject.toml, such as "sweep"."""
    if INSTALLED:
        return f"pip install 'eggs-explorer[{extra}]'"
    return f"pip install -r {'requirements.txt' if extra == 'app' else f'requirements-{extra}.txt'}"
