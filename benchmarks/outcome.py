"""How a benchmark ends: its checks against their bars on the screen, everything with machine and versions as JSON."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from eggs_core.runs.new_report import versions

LOAD = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # before anything is measured


def check(name: str, value: float, bar: float, higher_is_better: bool = False) -> dict[str, Any]:
    """A figure and the bar that it has to reach."""
    return {"name": name, "value": value, "bar": bar, "higher_is_better": higher_is_better}


def met(one: Mapping[str, Any]) -> bool:
    """Does a check reach its bar?"""
    return one["value"] >= one["bar"] if one["higher_is_better"] else one["value"] <= one["bar"]


def machine() -> dict[str, Any]:
    """What the figures are measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": LOAD,
        "system": platform.platform(),
    }


def conclude(
    checks: list[dict[str, Any]],
    file: Path | None,
    *,
    notes: Mapping[str, str] | None = None,
    packages: Iterable[str] = (),
    **results: Any,
) -> int:
    """Print the checks, with a note behind those named, write everything to `file`, and return 1 if a bar is missed.

    packages: those whose versions matter beside torch's.
    """
    for one in checks:
        note = (notes or {}).get(one["name"], "")
        print(f"{'ok  ' if met(one) else 'MISS'} {one['name']:36} {one['value']:10.4g}   bar {one['bar']:g}{note}")
    if file:
        found = versions() | {name: importlib.metadata.version(name) for name in packages}
        result = {"checks": checks, "machine": machine(), "versions": found, **results}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return int(not all(map(met, checks)))
