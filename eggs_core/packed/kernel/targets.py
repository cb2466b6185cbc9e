"""The machines that a wheel carries a compiled kernel for; imports nothing, as the wheel is built where nothing is."""

import platform
from dataclasses import dataclass
from pathlib import Path

PREBUILT = Path(__file__).resolve().parent / "prebuilt"
PRODUCTS = (
    "nm.c",
    "nm_avx2.c",
    "nm_avx2_words.c",
    "nm_avx512.c",
    "nm_beside.c",
    "nm_bf16.c",
    "nm_bf16_panel.c",
    "nm_int.c",
    "nm_int_avx2.c",
    "nm_int512.c",
    "nm_int_neon.c",
    "product.c",
    "team.c",
)
SOURCES = (*PRODUCTS, "step.c", "step_avx2.c", "step_avx512.c", "step_portable.c")
# Without traps a compiler may compute both sides of a choice, which is what makes vectors of the step's loops.
FLAGS = ("-O3", "-std=gnu11", "-fno-trapping-math", "-shared", "-fPIC")


@dataclass(frozen=True)
class Target:
    """A system and a processor, as `platform` names them; `triple` is Zig's name, with the oldest C library."""

    system: str
    machine: str
    triple: str
    file: str

    @property
    def library(self) -> Path:
        """Where the compiled kernel lies in an installed package, whether it is there or not."""
        return PREBUILT / self.file


TARGETS = (
    Target("Linux", "x86_64", "x86_64-linux-gnu.2.17", "linux-x86_64.so"),
    Target("Linux", "aarch64", "aarch64-linux-gnu.2.17", "linux-aarch64.so"),
    Target("Darwin", "arm64", "aarch64-macos", "macos-arm64.dylib"),
    Target("Darwin", "x86_64", "x86_64-macos", "macos-x86_64.dylib"),
    Target("Windows", "AMD64", "x86_64-windows-gnu", "windows-x86_64.dll"),
)


def this_machine() -> Target | None:
    """The target that this process runs on, None for any other machine."""
    here = platform.system(), platform.machine()
    return next((target for target in TARGETS if (target.system, target.machine) == here), None)


def command(compiler: list[str], folder: Path, output: Path, *options: str) -> list[str]:
    """How a compiler makes the library of the sources in `folder`."""
    return [
        *compiler,
        *options,
        *FLAGS,
        *(str(folder / source) for source in SOURCES),
        "-o",
        str(output),
        "-lpthread",
        "-lm",
    ]
