"""What every report begins with, and the versions that its figures depend on."""

import importlib.metadata
import platform
from typing import Any

from eggs_core.config import PruneConfig
from eggs_core.runs.report import REPORT_SCHEMA


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    packages = ("torch", "transformers", "numpy", "scipy", "networkx")
    return {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages}


def heading(config: PruneConfig) -> dict[str, Any]:
    """What every report begins with: its schema, and the configuration with what is asked of it most."""
    return {
        "schema": REPORT_SCHEMA,
        "key": config.key(),
        "model": config.model,
        "pattern": str(config.pattern),
        "method": config.method,
        "seed": config.seed,
        "config": config.to_dict(),
    }
