"""A quicker import of gradio; call it before the first one."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

WRITER = "gradio.component_meta"


def without_type_files() -> None:
    """Keep gradio from writing a .pyi file for each component at every import, which takes longer than all the rest.

    Such files help editors; nothing that runs reads them, and where a package is installed for others they cannot be
    written.
    """
    if WRITER not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the module that writes them, once, and gives it a loader that leaves the writing out."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """As importlib asks; None for all other modules."""
        if fullname != WRITER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """As the loader that was found does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """The module, whose writer does nothing."""
        self._loader.exec_module(module)
        module.create_or_modify_pyi = lambda *_: None  # type: ignore[attr-defined]
