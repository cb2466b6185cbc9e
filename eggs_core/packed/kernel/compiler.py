"""The compiled C kernel: from the package, or compiled at first use into the user's cache folder."""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from eggs_core.errors import EggsError
from eggs_core.files import replacing
from eggs_core.packed.kernel.targets import FLAGS, SOURCES, command, this_machine

HEADERS = (
    "nm.h",
    "nm_avx512.h",
    "nm_beside.h",
    "nm_int.h",
    "nm_int_rows.h",
    "nm_totals256.h",
    "nm_totals512.h",
    "step.h",
    "step_math.h",
)
COMPILERS = ("cc", "gcc", "clang")
TIMEOUT = 300  # seconds; a compile takes some three on an idle core
HERE = Path(__file__).resolve().parent


class BuildError(Exception):
    """The kernel could not be compiled; the message is short enough for the app's label."""


def cache_folder() -> Path:
    """The user's cache folder for compiled kernels, whether it exists or not."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eggs" / "kernels"


def prebuilt() -> tuple[Path, str]:
    """The library that the package carries for this machine, and a note; raises BuildError where it carries none.

    Who names a compiler in $CC wants that one.
    """
    target = this_machine()
    if target is None or os.environ.get("CC") or not target.library.is_file():
        raise BuildError(f"the package carries no kernel for {platform.system()} on {platform.machine()}")
    return target.library, "carried by the package"


def find_compiler() -> list[str]:
    """The words that call the first C compiler found: $CC, cc, gcc, clang or ziglang; raises BuildError for none."""
    names = ([os.environ["CC"]] if os.environ.get("CC") else []) + list(COMPILERS)
    for name in names:
        if path := shutil.which(name):
            return [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise BuildError(f"no C compiler: none of {', '.join(dict.fromkeys([*names, 'ziglang']))} is installed")


def fingerprint(compiler: list[str]) -> str:
    """Hash of all that the library depends on: sources, flags, compiler and machine."""
    digest = hashlib.sha256()
    for name in SOURCES + HEADERS:
        digest.update((HERE / name).read_bytes())
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{compiler[-1]} does not run: {error}") from error
    digest.update(repr((FLAGS, version, platform.machine(), platform.system())).encode())
    return digest.hexdigest()[:16]


def compile_library(compiler: list[str], target: Path) -> None:
    """Compile into `target`, which appears as a whole, so that two processes can do it at once.

    Raises BuildError with the compiler's own words, EggsError when the folder cannot be written.
    """
    with replacing(target) as part:
        try:
            done = subprocess.run(
                command(compiler, HERE, part),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"{Path(compiler[0]).name} took more than {TIMEOUT} s") from error
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
            raise BuildError(f"{Path(compiler[0]).name} failed: {(words or ['no message'])[0].strip()[:200]}")


def build() -> tuple[Path, str]:
    """The compiled library's path and a note ("" when it lies in the user's cache); compiles it when it is not there.

    A cache that cannot be written falls back to a new temporary folder. Raises BuildError when nothing compiles.
    """
    compiler = find_compiler()
    name = f"libeggs_nm-{fingerprint(compiler)}.so"
    folder = cache_folder()
    if (folder / name).is_file():
        return folder / name, ""
    try:
        compile_library(compiler, folder / name)
    except (OSError, EggsError) as error:
        note = f"compiled into a temporary folder, because {folder} cannot be written ({_reason(error)})"
        try:
            folder = Path(tempfile.mkdtemp(prefix="eggs-kernel-"))
            compile_library(compiler, folder / name)
        except (OSError, EggsError) as second:
            raise BuildError(f"no folder to compile into: {_reason(second)}") from second
        return folder / name, note
    return folder / name, ""


def _reason(error: Exception) -> str:
    """What the system said of a folder that cannot be written."""
    cause = error.__cause__ or error
    return getattr(cause, "strerror", None) or str(cause)
