"""The kernel on other processors, and which library a machine takes; tests/test_package.py reads those of a wheel."""

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

from eggs_core.packed.kernel import compiler as build
from eggs_core.packed.kernel.targets import SOURCES, this_machine

QEMU = "qemu-aarch64-static"


@pytest.mark.timeout(1200)
def test_the_self_test_passes_on_aarch64(tmp_path):
    """The C code against a plain loop, on a processor that qemu plays; test_kernel does the same on this one."""
    if not (os.environ.get("EGGS_TRY_WHEEL") and importlib.util.find_spec("ziglang")):
        pytest.skip("cross-compiling takes ziglang and a minute: EGGS_TRY_WHEEL=1 asks for it")
    if not shutil.which(QEMU):
        pytest.skip(f"{QEMU} is not installed (apt-get install qemu-user-static)")
    file = tmp_path / "selftest"
    sources = [str(build.HERE / name) for name in ("selftest.c", *SOURCES)]
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static", "-O2", "-std=gnu11"]
    subprocess.run([*zig, *sources, "-lpthread", "-lm", "-o", str(file)], check=True, timeout=600)
    done = subprocess.run([QEMU, str(file)], capture_output=True, text=True, timeout=600, check=False)
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
