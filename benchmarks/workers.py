"""Heavy work in a thread of the page's process, as now, against a spawned process that lives on between jobs.

    python benchmarks/workers.py [--quick] [--json FILE]

It measures: the start of such a process, and the page's with and without torch; clicks (some milliseconds of Python)
while real jobs run; what passing their values costs; a model mapped in two processes; and how soon work can go on after
a kill. Thread and process take turns. docs/architecture.md says what follows from the figures.
"""

import argparse
import json
import multiprocessing
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from benchmarks.worker_process import END, fill, hang, hold, memory_now, ping, pruning, serve  # noqa: E402

BARS = {
    "page_without_torch_mb": 300.0,
    "click_p95_process_to_thread": 1.25,
    "job_cpu_process_to_thread": 1.25,
    "lean_message_largest_kb": 250.0,
    "two_mapped_models_to_one": 1.2,
    "ready_after_kill_with_spare_s": 0.5,
}
METHODS = ("magnitude", "eggs-ptp-plus")
PAUSE = 0.02  # seconds between two clicks
EVERY = 10  # of the layers of the large run, one in so many is pickled


class Worker:
    """A spawned process that does what it is sent; `ready` waits for its imports."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=serve, args=(far, time.time()), daemon=True)
        self.process.start()
        far.close()

    def ready(self) -> dict[str, float]:
        """Seconds since it was spawned, and its memory."""
        return pickle.loads(self.pipe.recv_bytes())

    def values(self, steps: Callable[..., Iterator[Any]], *args: Any) -> Iterator[Any]:
        """What the steps yield there; raises EOFError when the process is gone."""
        self.pipe.send_bytes(pickle.dumps((steps, args)))
        while (value := pickle.loads(self.pipe.recv_bytes())) != END:
            yield value

    def cpu_seconds(self) -> float:
        """That the process has computed so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Median, 95th percentile and largest of some values."""
    found = sorted(values)
    return {"n": len(found), "p50": statistics.median(found), "p95": found[int(0.95 * len(found))], "max": found[-1]}


def page_start(without_torch: bool) -> dict[str, float]:
    """Seconds and memory of a fresh process that imports the app."""
    code = f"from benchmarks.worker_process import page; page({without_torch})"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def click() -> str:
    """What an event of the page costs, more or less: two milliseconds of Python, and JSON of some kB."""
    total = sum(i * i for i in range(15_000))
    rows = [{"name": f"layer {i}", "value": i * 0.37, "text": f"{i * 0.37:.3f}"} for i in range(100)]
    return json.dumps([*rows, total])


def clicks(go_on: Callable[[int], bool]) -> list[float]:
    """Milliseconds from when each click was due to its end, while `go_on(number so far)`."""
    found: list[float] = []
    while go_on(len(found)):
        due = time.perf_counter() + PAUSE
        time.sleep(PAUSE)
        click()
        found.append(1e3 * (time.perf_counter() - due))
    return found


def beside(work: Callable[[], Iterator[Any]], cpu: Callable[[], float]) -> dict[str, Any]:
    """Follow some work in a thread of its own while this one clicks."""
    gaps, done = [], threading.Event()

    def follow() -> None:
        last = time.perf_counter()
        for _ in work():
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
        done.set()

    computed, began = cpu(), time.perf_counter()
    threading.Thread(target=follow, daemon=True).start()
    found = clicks(lambda _: not done.is_set())
    seconds, computed = time.perf_counter() - began, cpu() - computed
    return {"clicks_ms": found, "seconds": seconds, "cpu_s": computed, "longest_step_s": max(gaps)}


def jobs(worker: Worker, repeats: int) -> dict[str, Any]:
    """Clicks alone, beside a job in a thread and beside the same in the process, in turns; and the jobs' own times."""
    from components.jobs.queue import JobQueue, Work

    queue, rows = JobQueue(workers=1), []

    def other_threads() -> float:
        return time.process_time() - time.thread_time()

    for number in range(repeats):
        for method in METHODS:
            work = Work((method, number), pruning, (method,))
            rows.append({"where": "alone", "method": method, "clicks_ms": clicks(lambda n: n < 60)})
            found = beside(lambda work=work: queue.follow(work), other_threads)
            rows.append({"where": "thread", "method": method, **found})
            found = beside(lambda work=work: worker.values(work.steps, *work.args), worker.cpu_seconds)
            rows.append({"where": "process", "method": method, **found})
    table: dict[str, Any] = {}
    for where in ("alone", "thread", "process"):
        for method in METHODS:
            mine = [row for row in rows if (row["where"], row["method"]) == (where, method)]
            entry: dict[str, Any] = {"clicks_ms": percentiles(ms for row in mine for ms in row["clicks_ms"])}
            for name in ("seconds", "cpu_s", "longest_step_s") if where != "alone" else ():
                entry[name] = statistics.median(row[name] for row in mine)
            table[f"{where}, {method}"] = entry
    return table


def pickled(values: Iterable[Any], times: int) -> dict[str, float]:
    """Messages, MB in all, kB of the largest, and seconds of pickling and unpickling; each value stands for `times`."""
    sizes, computed = [], time.process_time()
    for value in values:
        sent = pickle.dumps(value)
        pickle.loads(sent)
        sizes.append(len(sent))
    computed = time.process_time() - computed
    return {
        "messages": times * len(sizes),
        "mb": times * sum(sizes) / 1e6,
        "largest_kb": max(sizes) / 1e3,
        "cpu_s": times * computed,
    }


def passing(folder: Path) -> dict[str, Any]:
    """What the values of a whole job cost as they are, each with the run so far, and with the new layer only.

    Every layer gives two values: it is done, and what comes next. The large run has SmolLM2's 210 shapes.
    """
    from benchmarks.app import write_large_run
    from components.jobs.prune import Seen
    from eggs_core.progress import Progress
    from eggs_core.runs.run import Run, load_run

    write_large_run(folder)
    progress = Progress("Block 1, mlp.gate_proj: layer 5 of 210", 0.5, 20.0)

    def growing(run: Run, every: int) -> Iterator[Seen]:
        names = [layer["name"] for layer in run.report["layers"]]
        for count in range(every, len(names) + 1, every):
            masks, topn = ({n: held[n] for n in names[:count]} for held in (run.packed_masks, run.packed_topn))
            yield Seen(progress, Run(run.report | {"layers": run.report["layers"][:count]}, masks, topn))

    def layers(run: Run) -> Iterator[tuple]:
        for layer in run.report["layers"]:
            yield progress, layer, run.packed_masks[layer["name"]].numpy(), run.packed_topn[layer["name"]].numpy()

    found = {}
    bundled = load_run(min((ROOT / "assets" / "runs").glob("tiny-llama-2of4-*")))
    for label, run, every in (("tiny-llama", bundled, 1), ("210 layers", load_run(folder / "run"), EVERY)):
        found[f"{label}, as now"] = pickled(growing(run, every), 2 * every)
        found[f"{label}, new layer only"] = pickled(layers(run), 1)
    return found


def mapping(workers: list[Worker], folder: Path, blocks: int) -> dict[str, float]:
    """MB of one model in two processes: an own copy in each, and both mapped from the same fp32 file."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
    LlamaForCausalLM(LlamaConfig(**shape, vocab_size=4096, num_hidden_layers=blocks)).save_pretrained(folder)

    found = {}
    for name, mapped in (("own copies", False), ("mapped", True)):
        before = _both(workers, memory_now, True)
        found["model_mb"] = _both(workers, hold, folder, mapped)[0]
        after = _both(workers, memory_now, False)
        found[f"{name}_mb"] = sum(b["pss"] - a["pss"] for a, b in zip(before, after, strict=True))
    _both(workers, memory_now, True)
    return found


def _both(workers: list[Worker], steps: Callable[..., Iterator[Any]], *args: Any) -> list[Any]:
    return [list(worker.values(steps, *args))[-1] for worker in workers]


def killing(worker: Worker, spare: Worker) -> dict[str, Any]:
    """Seconds until a killed process is gone, and until work goes on in a spare one and in a new one."""
    hanging = worker.values(hang, 6000)
    next(hanging)
    time.sleep(0.2)
    began = time.perf_counter()
    worker.process.kill()
    worker.process.join()
    gone = time.perf_counter() - began
    next(spare.values(ping))
    with_spare = time.perf_counter() - began
    new = Worker()
    new.ready()
    cold = time.perf_counter() - began
    filling = new.values(fill, 400)
    next(filling)
    began = time.perf_counter()
    with suppress(EOFError):
        next(filling)
    noticed = time.perf_counter() - began
    new.process.join()
    return {
        "gone_s": gone,
        "ready_with_spare_s": with_spare,
        "ready_without_s": cold,
        "memory_kill_noticed_s": noticed,
        "memory_kill_exit_code": new.process.exitcode,
    }


def main() -> int:
    """Measure, print, write JSON if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repeat, a smaller model to map")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, tables, machine and versions here")
    options = parser.parse_args()
    repeats, began = (1 if options.quick else 3), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"EGGS_STORE": f"{name}/store", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        tables: dict[str, Any] = {}

        def keep(title: str, table: Any) -> None:
            tables[title] = table
            print(f"     {title}: {json.dumps(table)}", flush=True)

        for title, without in (("page", False), ("page without torch", True)):
            keep(title, [page_start(without) for _ in range(repeats)])
        workers, starts = [], []
        for _ in range(2):
            workers.append(Worker())
            starts.append(workers[-1].ready())
        keep("worker", starts)
        from benchmarks.outcome import check, conclude

        sys.setswitchinterval(0.001)  # as the app does
        keep("mapping", mapping(workers, Path(name) / "model", 4 if options.quick else 30))
        keep("passing", passing(Path(name)))
        keep("jobs", jobs(workers[0], repeats))
        keep("stop", killing(*workers))
        workers[1].process.kill()
    print(f"{time.perf_counter() - began:.0f} s")
    table = tables["jobs"]

    def ratio(value: Callable[[dict], float]) -> float:
        return statistics.mean(value(table[f"process, {m}"]) / value(table[f"thread, {m}"]) for m in METHODS)

    figures = {
        "page_without_torch_mb": statistics.median(row["rss"] for row in tables["page without torch"]),
        "click_p95_process_to_thread": ratio(lambda row: row["clicks_ms"]["p95"]),
        "job_cpu_process_to_thread": ratio(lambda row: row["cpu_s"]),
        "lean_message_largest_kb": tables["passing"]["210 layers, new layer only"]["largest_kb"],
        "two_mapped_models_to_one": tables["mapping"]["mapped_mb"] / tables["mapping"]["model_mb"],
        "ready_after_kill_with_spare_s": tables["stop"]["ready_with_spare_s"],
    }
    checks = [check(name, value, BARS[name]) for name, value in figures.items()]
    return conclude(checks, options.json, packages=("gradio",), quick=options.quick, tables=tables)


if __name__ == "__main__":
    raise SystemExit(main())
