"""Running a sweep: baselines first, then every cell as a Ray task, with retries, resuming and progress."""

import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from eggs_core.bos import NONE
from eggs_core.errors import EggsError
from eggs_core.runs.new_report import versions
from eggs_core.runs.run import Run
from eggs_core.runs.store import RunStore
from eggs_core.sweep import worker as tasks
from eggs_core.sweep.cluster import connected
from eggs_core.sweep.grid import Grid, describe, layouts
from eggs_core.sweep.reading import DONE, FAILED, KNOWN, WAITING
from eggs_core.sweep.results import (
    Cell,
    Sweep,
    add_protocol,
    add_speed,
    dense_of,
    figures_of,
    latency_row,
    protocol_of,
    seconds_of,
)
from eggs_core.sweep.worker import Failure

RETRIES = 3  # of a task whose worker or machine died
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """Where a sweep stands: what happened, cells done of all, seconds left once they can be told."""

    text: str
    done: int
    total: int
    seconds_left: float | None = None
    cell: Cell | None = None  # that is finished now


def new_sweep(grid: Grid, before: Sweep | None = None) -> Sweep:
    """A sweep of a grid in which nothing has run; it goes on with the speeds and the time of the one `before`."""
    sweep = Sweep(grid.name, [Cell(config) for config in grid.cells])
    if before is not None:
        sweep.created, sweep.seconds = before.created, before.seconds
        sweep.latency = [row for row in before.latency if row["model"] in grid.models]
    return sweep


def run_sweep(
    grid: Grid,
    sweep: Sweep,
    store: RunStore,
    *,
    address: str | None = None,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0.0,
) -> Generator[Step, None, None]:
    """Compute what is waiting in `sweep`, yielding a Step after each cell and while waiting; `sweep` grows meanwhile.

    workers: CPUs of this machine that are used when `address` is None; cpus, gpus: what one cell takes. Cells that the
    store holds are answered from there, if the model still has the same weights; finished ones go into it. A cell that
    fails is recorded with its error. Closing the generator cancels what runs. Raises EggsError if Ray is not there.
    """
    workers = workers or os.cpu_count() or 1
    if address is None and cpus > workers:
        raise EggsError(f"A cell wants {cpus} CPUs, but the sweep may use {workers}; ask for fewer.")
    yield Step("Starting Ray" if address is None else f"Connecting to {address}", 0, len(sweep.cells))
    with connected(address, workers) as ray:
        yield from _Running(ray, grid, sweep, store, cpus, gpus).steps()


class _Running:
    """One sweep under way."""

    def __init__(self, ray: ModuleType, grid: Grid, sweep: Sweep, store: RunStore, cpus: int, gpus: float) -> None:
        self.ray, self.grid, self.sweep, self.store = ray, grid, sweep, store
        self.started, self.spent_before = time.monotonic(), sweep.seconds
        self.computing, self.computed = self.started, 0  # since when cells run, and how many were computed
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        self.cpus, self.least = cpus, max(1, int(min((node["Resources"]["CPU"] for node in nodes), default=1)))

        def task(function: Callable[..., Any], **options: float) -> Any:
            return ray.remote(max_retries=RETRIES, **options)(function)

        self.open_model = task(tasks.open_model, num_cpus=self.least, num_returns=2)
        self.measure_baseline = task(tasks.measure_baseline, num_cpus=self.least, num_gpus=gpus)
        self.run_cell = task(tasks.run_cell, num_cpus=cpus, num_gpus=gpus)
        self.texts = ray.put(dict(grid.texts))
        sweep.versions = versions() | {"ray": ray.__version__}
        sweep.machine = {"nodes": len(nodes), "cpus": int(sum(n["Resources"]["CPU"] for n in nodes)), "cell_cpus": cpus}

    def steps(self) -> Generator[Step, None, None]:
        """Every model's baseline one by one, so that speed is measured while nothing else runs; then the cells."""
        shared, pending = {}, {}
        try:
            for model in self.grid.models:
                shared[model] = yield from self.prepare(model)
            self.computing = time.monotonic()
            for cell in self.waiting():
                arguments = (*shared[cell.config.model], cell.config, self.texts, self.cpus)
                pending[self.run_cell.remote(*arguments)] = cell
            shared.clear()
            while pending:
                ready, _ = self.ray.wait(list(pending), timeout=POLL_SECONDS)
                for reference in ready:
                    yield self.finish(pending.pop(reference), self.fetch(reference))
                if not ready:
                    yield self.step(f"{min(len(pending), self.at_once())} cells are being computed")
        finally:
            for reference in pending:
                self.ray.cancel(reference, force=True)

    def prepare(self, model: str) -> Generator[Step, None, tuple]:
        """Open a model and measure its baseline, as far as its cells need it; returns references to both."""
        dense, fingerprint = self.open_model.remote(model)
        fingerprint = yield from self.result(fingerprint, f"Opening {model}")
        if not isinstance(fingerprint, str):
            yield from self.give_up(model, fingerprint.error)
            return dense, None
        others = [row for row in self.sweep.latency if row["model"] != model]
        own = [row for row in self.sweep.latency if row["model"] == model and row.get("fingerprint") == fingerprint]
        self.sweep.latency = others + own  # of other weights nothing stays
        for cell in self.waiting(model):
            if self.recall(cell, fingerprint):
                yield self.step(f"{describe(cell.config)}: in the run store", cell)
        if not (waiting := self.waiting(model)):
            return dense, None
        needed = [pair for pair in layouts(cell.config for cell in waiting) if self.speed_is_missing(model, pair)]
        reference = self.measure_baseline.remote(dense, waiting[0].config, needed, self.texts, self.least)
        baseline = yield from self.result(reference, f"Evaluating {model} and timing {len(needed)} packed layouts")
        if isinstance(baseline, Failure):
            yield from self.give_up(model, baseline.error)
            return dense, None
        self.sweep.dense[model] = baseline.dense | {"fingerprint": fingerprint}
        add_protocol(self.sweep, baseline.protocol)
        for cell in self.waiting(model):  # a model that was not here when the grid was read may have a BOS
            cell.config = cell.config.with_bos(baseline.protocol.get("bos", NONE) != NONE)
        rows = [latency_row((model, *pair), latency, fingerprint) for pair, latency in baseline.latency.items()]
        self.sweep.latency += [row | {"measured_on": baseline.device} for row in rows]
        return dense, reference

    def waiting(self, model: str | None = None) -> list[Cell]:
        return [c for c in self.sweep.cells if c.status == WAITING and model in (None, c.config.model)]

    def speed_is_missing(self, model: str, layout: tuple[str, bool]) -> bool:
        return not any(
            (row["model"], row["pattern"], row["permuted"]) == (model, *layout) for row in self.sweep.latency
        )

    def recall(self, cell: Cell, fingerprint: str) -> bool:
        """Take a cell's figures from the run store, if it is there and was made with the same weights."""
        run = self.store.get(cell.config.key())
        if run is None or run.report.get("fingerprint") != fingerprint:
            return False
        cell.status, cell.seconds = KNOWN, seconds_of(run.report)
        cell.figures = figures_of(run.report)
        add_protocol(self.sweep, protocol_of(run.report))
        self.sweep.dense.setdefault(cell.config.model, dense_of(run.report))
        add_speed(self.sweep, cell, run.report.get("latency"), fingerprint)
        return True

    def finish(self, cell: Cell, result: Run | Failure) -> Step:
        """Record a cell's result, and keep its run."""
        self.computed += 1
        if isinstance(result, Failure):
            cell.status, cell.error, cell.seconds = FAILED, result.error, result.seconds
            return self.step(f"{describe(cell.config)} failed: {result.error}", cell)
        cell.status, cell.seconds = DONE, round(result.report["seconds"]["total"], 3)
        cell.figures = figures_of(result.report)
        message = f"{describe(cell.config)}: perplexity {cell.figures['perplexity']:.2f}, {cell.seconds:.1f} s"
        try:
            self.store.put(result)
        except EggsError as error:  # its figures are kept all the same
            message += f"; {error}"
        return self.step(message, cell)

    def give_up(self, model: str, error: str) -> Generator[Step, None, None]:
        """Record why none of a model's cells can run."""
        for cell in self.waiting(model):
            cell.status, cell.error = FAILED, error
            yield self.step(f"{describe(cell.config)} failed: {error}", cell)

    def result(self, reference: Any, text: str) -> Generator[Step, None, Any]:
        """Wait for a task with steps that say what it does; returns its result or a Failure."""
        yield self.step(text)
        while not self.ray.wait([reference], timeout=POLL_SECONDS)[0]:
            yield self.step(text)
        return self.fetch(reference)

    def fetch(self, reference: Any) -> Any:
        """A finished task's result; a Failure where Ray lost it for good."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            return Failure(_sentence(error))

    def at_once(self) -> int:
        return max(1, self.sweep.machine["cpus"] // self.sweep.machine["cell_cpus"])

    def step(self, text: str, cell: Cell | None = None) -> Step:
        now = time.monotonic()
        self.sweep.seconds = round(self.spent_before + now - self.started, 3)
        left = len(self.waiting())
        pace = (now - self.computing) / self.computed if self.computed else None
        total = len(self.sweep.cells)
        return Step(text, total - left, total, None if pace is None else pace * left, cell)


def _sentence(error: Exception) -> str:
    """Why Ray lost a task, in one sentence."""
    again = f"and {RETRIES} more tries did not help"
    kinds = {
        "OutOfMemoryError": f"The machine ran out of memory, {again}; give cells more CPUs, so that fewer run at once.",
        "WorkerCrashedError": f"The worker process died, {again}.",
        "NodeDiedError": f"The machine that computed it was lost, {again}.",
        "LocalRayletDiedError": "Ray itself ended on this machine; run the sweep again.",
        "ObjectLostError": "What it needed was lost with a machine; run the sweep again.",
    }
    lines = str(error).strip().splitlines() or [""]
    found = next((kinds[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in kinds), None)
    return found or f"{type(error).__name__}: {lines[0][:300]}"
