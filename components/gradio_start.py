"""A quicker import of gradio; call it before the first one."""

import sys
from types import ModuleType

from eggs_core.after_import import after_import

WRITER = "gradio.component_meta"


def without_type_files() -> None:
    """Keep gradio from writing a .pyi file for each component at every import, which takes longer than all the rest.

    Such files help editors; nothing that runs reads them, and where a package is installed for others they cannot be
    written.
    """
    if WRITER not in sys.modules:
        after_import(WRITER, _write_nothing)


def _write_nothing(module: ModuleType) -> None:
    module.create_or_modify_pyi = lambda *_: None  # type: ignore[attr-defined]
