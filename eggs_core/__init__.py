"""N:M pruning of language models, guided by expander graphs: the computations behind EGGS Explorer.

This package never imports gradio, plotly or pandas, so that it can be used without the app. What stands below is its
public interface; each name is imported when it is first asked for, as torch and transformers take seconds. With it
transformers knows packed models, whichever of the two is imported first.
"""

import importlib
from typing import TYPE_CHECKING, Any

from eggs_core.after_import import after_import

if TYPE_CHECKING:
    from eggs_core.allocation.allocate import allocate
    from eggs_core.allocation.table import estimate
    from eggs_core.config import PruneConfig, make_config
    from eggs_core.errors import EggsError
    from eggs_core.evaluation.perplexity import evaluate
    from eggs_core.graph.measures import measure
    from eggs_core.models.loading import load
    from eggs_core.packed.file import load_packed
    from eggs_core.packed.hf_folder import save_hf
    from eggs_core.packed.model import pack_model
    from eggs_core.packed.writing import save_packed
    from eggs_core.pattern import NMPattern
    from eggs_core.pruning.loop import prune
    from eggs_core.runs.execute import execute
    from eggs_core.runs.run import Run, load_run, save_run
    from eggs_core.text.sources import bundled_text, read_text
    from eggs_core.text.windows import calibration_windows, evaluation_windows

__version__ = "0.9.0"

_HOMES = {
    "EggsError": "errors",
    "NMPattern": "pattern",
    "PruneConfig": "config",
    "Run": "runs.run",
    "allocate": "allocation.allocate",
    "bundled_text": "text.sources",
    "calibration_windows": "text.windows",
    "estimate": "allocation.table",
    "evaluate": "evaluation.perplexity",
    "evaluation_windows": "text.windows",
    "execute": "runs.execute",
    "load": "models.loading",
    "load_packed": "packed.file",
    "load_run": "runs.run",
    "make_config": "config",
    "measure": "graph.measures",
    "pack_model": "packed.model",
    "prune": "pruning.loop",
    "read_text": "text.sources",
    "save_hf": "packed.hf_folder",
    "save_packed": "packed.writing",
    "save_run": "runs.run",
}

__all__ = [
    "EggsError",
    "NMPattern",
    "PruneConfig",
    "Run",
    "__version__",
    "allocate",
    "bundled_text",
    "calibration_windows",
    "estimate",
    "evaluate",
    "evaluation_windows",
    "execute",
    "load",
    "load_packed",
    "load_run",
    "make_config",
    "measure",
    "pack_model",
    "prune",
    "read_text",
    "save_hf",
    "save_packed",
    "save_run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


after_import("transformers.quantizers.auto", lambda _: importlib.import_module("eggs_core.packed.quantizer"))
