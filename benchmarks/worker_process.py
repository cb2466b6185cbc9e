"""The processes that benchmarks/workers.py measures: one for heavy work, and the page's with and without torch."""

import importlib
import importlib.abc
import importlib.machinery
import json
import os
import pickle
import signal
import sys
import time
import types
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

import psutil

NICENESS = 10  # as the threads of the queue have it
END = "end"
SMALL = {"calibration_windows": 16, "calibration_length": 128, "evaluation_windows": 8}
_held: list[Any] = []  # the model that this process keeps


def memory() -> dict[str, float]:
    """This process's memory in MB: resident, its share of what is shared (PSS), and what only it has (USS)."""
    found = psutil.Process().memory_full_info()
    return {name: getattr(found, name) / 1e6 for name in ("rss", "pss", "uss")}


def serve(pipe: Connection, spawned: float) -> None:
    """Import what heavy work needs, say so, then do what comes as pickled (steps, args) and send back its values."""
    os.nice(NICENESS)
    from transformers import AutoModelForCausalLM  # what it names it imports only then

    importlib.import_module("components.jobs.prune")
    assert AutoModelForCausalLM
    _send(pipe, {"seconds": time.time() - spawned, "cpu_s": time.process_time(), **memory()})
    while True:
        steps, args = pickle.loads(pipe.recv_bytes())
        for value in steps(*args):
            _send(pipe, value)
        _send(pipe, END)


def _send(pipe: Connection, value: object) -> None:
    """Plain pickle: `pipe.send` would move each tensor into shared memory, with one open file for each."""
    pipe.send_bytes(pickle.dumps(value))


def ping() -> Iterator[str]:
    """An answer at once."""
    yield "here"


def pruning(method: str) -> Iterator[tuple]:
    """Prune tiny-llama as the app does, without timing the model: progress, and of each layer its report and masks."""
    from components.state.known_runs import bundled_runs
    from eggs_core.config import make_config
    from eggs_core.masks.bits import pack_bits
    from eggs_core.runs.events import Finished, LayerDone
    from eggs_core.runs.execute import execute

    latency = bundled_runs()[0].report["latency"]
    for event in execute(make_config("tiny-llama", "2:4", method, **SMALL), latency=latency):
        if isinstance(event, LayerDone):
            layer = event.report
            yield layer.to_dict(), *(pack_bits(mask).numpy() for mask in (layer.mask, layer.topn_mask))
        elif not isinstance(event, Finished):
            yield (event,)


def hang(size: int) -> Iterator[str]:
    """A word, and then one call into C that takes very long."""
    import torch

    yield "begun"
    torch.linalg.svd(torch.rand(size, size))


def fill(megabytes: int) -> Iterator[str]:
    """Fill memory, say so, and end as Linux ends a process when memory is full: by SIGKILL."""
    _held.append(bytearray(os.urandom(1 << 20) * megabytes))
    yield "full"
    os.kill(os.getpid(), signal.SIGKILL)


def hold(folder: Path, mapped: bool) -> Iterator[float]:
    """Load a model of fp32 weights, as an own copy or mapped from its file, and read all of it; gives its MB."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    _held.clear()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if mapped:
        model.load_state_dict(load_file(folder / "model.safetensors"), assign=True)
    _held.append(model)
    _held.append(sum(p.sum() for p in model.parameters()))
    yield sum(p.nbytes for p in model.parameters()) / 1e6


def memory_now(empty: bool) -> Iterator[dict[str, float]]:
    """This process's memory, with its model or without."""
    if empty:
        _held.clear()
    yield memory()


class _Anything(type):
    """Any attribute of it is itself; calling it gives it back, or the one function that it is to decorate."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) and not options else cls


class _Nothing(metaclass=_Anything):
    pass


class _Empty(types.ModuleType):
    __path__: ClassVar[list[str]] = []  # makes it a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Empty modules in place of torch and transformers, good enough to be imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] in ("torch", "transformers"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def page(without_torch: bool) -> None:
    """Import what the page's process imports, and print seconds and memory as JSON."""
    if without_torch:
        sys.meta_path.insert(0, _Stubs())
    began = time.perf_counter()
    importlib.import_module("app")
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu_s": time.process_time(), **memory()}))
