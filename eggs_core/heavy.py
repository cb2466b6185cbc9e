"""torch, transformers and other packages that take seconds to import: each is imported when it is first used.

Whoever takes them from here can itself be imported at once: the page, the command line's help. At a module's own level
nothing may use them; annotations are no use where `from __future__ import annotations` stands.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


# A thread of torch's that waits for another looks for work some 300,000 times before it sleeps. Where another program
# holds a core, its own core goes into that: 2.1 instead of 0.5 ms for a product of 192 × 192 × 512, 14 instead of 10 s
# for a run of tiny-llama. The OpenMP runtime reads this when torch loads it. On a quiet machine it costs nothing.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_IMPORTING = threading.RLock()  # two threads that import parts of one package would find some of them half done
IMPORTS_LATER = ("transformers",)  # packages that import their parts when these are asked for


class _Later(ModuleType):
    """Stands for a package until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        found = self._part(name)
        if isinstance(found, type):  # these never change
            setattr(self, name, found)
        return found

    def _part(self, name: str) -> Any:
        if self.__name__ not in IMPORTS_LATER and self.__name__ in _DONE:
            return getattr(sys.modules[self.__name__], name)
        with _IMPORTING:
            found = getattr(importlib.import_module(self.__name__), name)
            _DONE.add(self.__name__)
            return found


_DONE: set[str] = set()  # packages that are imported


if TYPE_CHECKING:
    import networkx
    import safetensors.torch as safetensors_torch
    import scipy
    import torch
    import transformers
    from torch import nn
else:
    networkx, scipy, torch, transformers = map(_Later, ("networkx", "scipy", "torch", "transformers"))
    nn, safetensors_torch = map(_Later, ("torch.nn", "safetensors.torch"))

__all__ = ["import_all", "networkx", "nn", "no_grad", "safetensors_torch", "scipy", "torch", "transformers"]


def no_grad(function: Callable[P, T]) -> Callable[P, T]:
    """torch.no_grad() as a decorator."""

    @wraps(function)
    def without_gradients(*args: P.args, **options: P.kwargs) -> T:
        return torch.no_grad()(function)(*args, **options)

    return without_gradients


def import_all() -> None:
    """Import them now, so that nobody waits for them later."""
    for name in ("torch", "safetensors.torch", "transformers.modeling_utils", "scipy.optimize", "networkx"):
        with _IMPORTING:
            importlib.import_module(name)
