"""Where the bundled models, texts, runs and curves lie."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
