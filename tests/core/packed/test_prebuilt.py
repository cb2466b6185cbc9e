"""The kernels that a wheel carries for five machines: built by Zig, tried where they can be, else read."""

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eggs_core.packed.kernel import compiler as build
from eggs_core.packed.kernel.targets import SOURCES, TARGETS, Target, command, this_machine

HERE = build.HERE
ZIG = [sys.executable, "-m", "ziglang", "cc"]
ENTRIES = {"eggs_linear", "eggs_unpack", "eggs_bad_row", "eggs_layer_path", "eggs_read_memory", "eggs_best_path"}
needs_zig = pytest.mark.skipif(
    not (os.environ.get("EGGS_TRY_WHEEL") and importlib.util.find_spec("ziglang")),
    reason="cross-compiling takes minutes and ziglang: EGGS_TRY_WHEEL=1 asks for it",
)


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.file)
def built(request, tmp_path_factory) -> tuple[Target, Path]:
    """The library of one target, as a wheel carries it."""
    target = request.param
    output = tmp_path_factory.mktemp("kernels") / target.file
    subprocess.run(command(ZIG, HERE, output, "-target", target.triple, "-s"), check=True, timeout=900)
    return target, output


@needs_zig
@pytest.mark.timeout(1200)
def test_every_library_has_the_entries_that_are_called(built):
    lief = pytest.importorskip("lief")
    target, file = built
    binary = lief.parse(str(file))
    formats = {"Linux": "ELF", "Darwin": "MACHO", "Windows": "PE"}
    assert binary.format.name == formats[target.system]
    names = {function.name.removeprefix("_") for function in binary.exported_functions} | {
        symbol.name.removeprefix("_") for symbol in getattr(binary, "exported_symbols", ())
    }
    if target.system == "Windows":
        names |= {entry.name for entry in binary.get_export().entries}
    assert names >= ENTRIES
    libraries = {str(getattr(one, "name", one)).lower() for one in binary.libraries}
    assert not [name for name in libraries if "omp" in name or "winpthread" in name]  # nothing that a machine may lack


@needs_zig
def test_the_library_for_this_machine_loads_and_runs_its_best_path(built):
    target, file = built
    if target != this_machine():
        pytest.skip(f"made for {target.system} on {target.machine}")
    library = ctypes.CDLL(str(file))
    assert all(hasattr(library, name) for name in ENTRIES)
    assert library.eggs_best_path() >= 0


@needs_zig
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("machine", "program"), [("x86_64", None), ("aarch64", "qemu-aarch64-static")])
def test_the_self_test_passes_on_linux(machine, program, tmp_path):
    """The C code itself against a plain loop, on this processor or on one that qemu plays."""
    if program is None and (platform.system(), platform.machine()) != ("Linux", machine):
        pytest.skip("another processor")
    if program and not shutil.which(program):
        pytest.skip(f"{program} is not installed (apt-get install qemu-user-static)")
    file = tmp_path / "selftest"
    sources = [str(HERE / name) for name in ("selftest.c", *SOURCES)]
    zig = [*ZIG, "-target", f"{machine}-linux-musl", "-static", "-O2", "-std=gnu11"]
    subprocess.run([*zig, *sources, "-lpthread", "-lm", "-o", str(file)], check=True, timeout=600)
    words = [program, str(file)] if program else [str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0 and done.stdout.endswith("0 faults\n"), done.stdout[-2000:] + done.stderr[-2000:]


def test_what_the_package_carries_comes_first_unless_a_compiler_is_named(monkeypatch, tmp_path):
    target = this_machine()
    if target is None:
        pytest.skip("no target for this machine")
    monkeypatch.setattr("eggs_core.packed.kernel.targets.PREBUILT", tmp_path)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(build.BuildError, match="carries no kernel for"):
        build.prebuilt()
    target.library.write_bytes(b"library")
    assert build.prebuilt() == (tmp_path / target.file, "carried by the package")
    monkeypatch.setenv("CC", "gcc")
    with pytest.raises(build.BuildError):
        build.prebuilt()
