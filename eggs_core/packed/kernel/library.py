"""The C kernel for products with N:M packed weights: loads it once and names the path that runs."""

import ctypes
import platform
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from eggs_core.errors import EggsError
from eggs_core.packed.kernel.compiler import BuildError, build, prebuilt

ARM = platform.machine().lower() in ("aarch64", "arm64")
PATHS = ("portable C", "NEON" if ARM else "AVX2", "AVX-512", "AVX-512 BF16")  # an eggs_path of nm.h indexes them
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
ROUNDED = {8: 3, 4: 4, 3: 5, 2: 6}  # bits of whole numbers -> an eggs_dtype
DTYPE_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
# More tokens than these go through torch's GEMM; measured for 2:4 on layers of 576² to 2048² in fp32 and bf16.
MAX_TOKENS, MAX_TOKENS_MORE = 8, 32  # the latter with AVX-512, and where torch is slow in bf16


class CLayer(ctypes.Structure):
    """eggs_layer of nm.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("values", "positions", "permutation", "bias", "scales")),
        *((name, ctypes.c_int64) for name in ("out", "in_", "kept", "words", "scaled")),
        *((name, ctypes.c_int32) for name in ("keep", "group", "bits", "dtype", "result", "plain")),
    )


@dataclass(frozen=True)
class Kernel:
    """The loaded library: its functions, the processor's best path and where it came from."""

    lib: ctypes.CDLL
    linear: Callable[[bytes], int]  # eggs_linear, without types, which would be checked at each call
    best: int
    parallel: int | None  # address of the OpenMP runtime's GOMP_parallel; None: threads started for each call
    runtime: str
    file: Path
    note: str


_lock = threading.Lock()
_loaded: Kernel | BuildError | None = None
_forced: str | None = None


def openmp_runtime() -> tuple[int | None, str]:
    """Address and file of GOMP_parallel in the OpenMP runtime that torch has loaded, (None, "") when there is none.

    In this way the kernel borrows torch's own thread pool. A second OpenMP runtime would have a second pool. The idle
    threads of each would spin for milliseconds on the cores that the other needs.
    """
    files = sorted(str(p) for p in (Path(torch.__file__).parent / "lib").glob("lib*omp*"))
    if sys.platform == "linux":
        mapped = set(re.findall(r"(/\S*lib(?:gomp|omp|iomp5)\b\S*)", Path("/proc/self/maps").read_text()))
        files = [f for f in files if f in mapped] + sorted(mapped - set(files))
    for file in files:
        try:
            found = ctypes.cast(ctypes.CDLL(file).GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
        return found, file
    return None, ""


def _load() -> Kernel | BuildError:
    """The library of the package where it loads, else one that is compiled here; the last reason if neither does."""
    reason = BuildError("no kernel")
    for library in (prebuilt, build):
        try:
            file, note = library()
            return _opened(ctypes.CDLL(str(file)), file, note)
        except BuildError as error:
            reason = error
        except OSError as error:
            reason = BuildError(f"the compiled kernel does not load: {error}")
    return reason


def _opened(lib: ctypes.CDLL, file: Path, note: str) -> Kernel:
    pointer, i64, i32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    lib.eggs_unpack.argtypes = [pointer, pointer, i64, i64, i32, i32, pointer]
    lib.eggs_unpack.restype = None
    lib.eggs_bad_row.argtypes, lib.eggs_bad_row.restype = [pointer], i64
    lib.eggs_layer_path.argtypes, lib.eggs_takes_many.argtypes = [pointer, i32, i64], [pointer, i32]
    lib.eggs_read_memory.argtypes = [pointer, i64, i32, i32, pointer]
    lib.eggs_read_memory.restype = ctypes.c_double
    lib.eggs_step.argtypes, lib.eggs_step.restype = [pointer, i64, i64, i32, i32, pointer], i64
    lib.eggs_step_room.argtypes, lib.eggs_step_room.restype = [pointer, i32], i64
    parallel, runtime = openmp_runtime()
    return Kernel(lib, lib["eggs_linear"], lib.eggs_best_path(), parallel, runtime, file, note)


def kernel() -> Kernel | None:
    """The C kernel, compiled and loaded at the first call; None where it cannot be had (kernel_path says why)."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _load()
    return _loaded if isinstance(_loaded, Kernel) and _forced != "torch" else None


def path_number() -> int:
    """The eggs_path to ask the kernel for: the processor's best, unless force_path says otherwise."""
    found = kernel()
    return 0 if found is None else found.best if _forced is None else PATHS.index(_forced)


def max_tokens(dtype: torch.dtype) -> int:
    """The most tokens that the kernel multiplies at once, on the path in use and beside torch's product in `dtype`."""
    slow = dtype is torch.bfloat16 and torch_widens()
    return MAX_TOKENS_MORE if slow or path_number() >= PATHS.index("AVX-512") else MAX_TOKENS


@cache
def torch_widens() -> bool:
    """Does torch multiply bf16 slower than fp32 here, as on processors with AVX2 and no more?"""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


@cache
def torch_has_tiles() -> bool:
    """Does torch multiply bf16 by this processor's tiles (AMX), which are faster with many tokens than the kernel?"""
    return torch.cpu._is_amx_tile_supported()


def kernel_path() -> str:
    """What runs packed layers here: "AVX-512", "AVX2", "NEON", "portable C" or "torch (…why no kernel…)"."""
    found = kernel()
    if found is not None:
        return PATHS[min(path_number(), 2)]  # a layer's own path says when bf16 has a faster one
    return "torch (by choice)" if _forced == "torch" else f"torch ({_loaded})"


def kernel_note() -> str:
    """How the kernel came to be, for a tooltip: its file, its threads, and any fallback taken."""
    found = kernel()
    if found is None:
        return kernel_path()
    threads = f"threads of {Path(found.runtime).name}" if found.parallel else "threads started for each call"
    return f"{kernel_path()}, {threads}, {found.file}" + (f"; {found.note}" if found.note else "")


@contextmanager
def force_path(name: str) -> Iterator[None]:
    """Run another path ("AVX2", "portable C", "torch") inside a with block, to compare or test it; process-wide."""
    global _forced
    found = kernel()
    best = 0 if found is None else found.best
    if name not in ("torch", *PATHS[: best + 1]):
        raise EggsError(
            f"This processor runs {', '.join(('torch', *PATHS[: best + 1]))}; there is no path {name!r} on it."
        )
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before
