"""Compiles the C kernel for every machine that the wheel is for, so that nobody who installs it needs a compiler."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelHook(BuildHookInterface):
    """Cross-compiles with Zig's C compiler, which ziglang brings along from PyPI."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add a library for each target to the wheel; an editable install compiles at first use, as a clone does."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from eggs_core.packed.kernel.targets import TARGETS, command

        sources, made = Path(self.root, "eggs_core", "packed", "kernel"), Path(self.root, "build", "kernels")
        made.mkdir(parents=True, exist_ok=True)
        newest = max(file.stat().st_mtime for file in sources.iterdir() if file.suffix in (".c", ".h", ".py"))
        for target in TARGETS:
            output = made / target.file
            if not output.is_file() or output.stat().st_mtime < newest:
                zig = [sys.executable, "-m", "ziglang", "cc"]
                subprocess.run(command(zig, sources, output, "-target", target.triple, "-s"), check=True)
            build_data["force_include"][str(output)] = f"eggs_core/packed/kernel/prebuilt/{target.file}"
