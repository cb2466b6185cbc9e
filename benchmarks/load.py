"""A class at once: thirty visitors of a real server, each with its own session, on this machine's loopback.

    python benchmarks/load.py [--quick] [--hostile] [--json FILE]

Every visitor opens the page, prunes a toy mask by hand, has the bundled model pruned with one of five configurations
(computed anew, not taken from the store), opens two tabs and a layer, checks what it sees against its configuration,
and leaves; then the next one comes. The events are the page's own, sent as the browser sends them, in a session of
gradio_client. The clients compute on the same machine as the server, so their load is in the figures; they sit in a few
processes, so that one's Python code seldom holds up the clock of another. With --hostile the server is a public one,
and beside them one client, from the same address, takes all it can get (hostile.py).
"""

import argparse
import base64
import json
import multiprocessing
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # else each client starts a thread that looks for the network
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
import psutil  # noqa: E402
from gradio_client import Client  # noqa: E402

from benchmarks.app import served  # noqa: E402
from benchmarks.hostile import besiege  # noqa: E402
from benchmarks.outcome import check, conclude  # noqa: E402
from eggs_core.config import PruneConfig, make_config  # noqa: E402
from eggs_core.registry import METHODS  # noqa: E402

BARS = {"errors": 0, "cheap_p95_ms": 300.0, "crosstalk": 0, "memory_growth_mb": 100.0}
SMALL = {"calibration_windows": 4, "calibration_length": 64}
CHOICES = (("2:4", "ria"), ("1:4", "magnitude"), ("3:4", "wanda"), ("4:8", "eggs-ptp"), ("2:8", "ria-cp"))
CONFIGS = [make_config("tiny-llama", pattern, method, **SMALL) for pattern, method in CHOICES]
EDITS, THINK_SECONDS = 8, 0.5  # clicks on the toy mask, and the longest pause before each
SKIPPED = {"__type__": "update"}
DRAWN = {"draw-few": "model-map", "draw-whole": "address"}  # what has the page drawn -> something that it draws
HOUR = 3600.0  # by then all caches are full
LONGEST = 120.0  # seconds that one answer may take
TABLE = 10  # visitors in one process
EVENTS = ("cheap", "draw", "open", "prune")


def skipped(value: object) -> bool:
    """Does an answer leave this component as it is?"""
    return value in (SKIPPED, SKIPPED | {"props": SKIPPED})


class Wrong(Exception):
    """A visitor saw what belongs to another configuration."""


class Visitor:
    """One session of the page; remembers how long its cheap events took."""

    def __init__(self, url: str, timings: list[float], query: dict[str, str] | None = None) -> None:
        self._query = query or {}  # of the page's address, which the browser sends along
        self._client = Client(
            url, verbose=False, download_files=False, analytics_enabled=False, httpx_kwargs={"timeout": LONGEST}
        )
        self._http = httpx.Client(base_url=self._client.src_prefixed, timeout=LONGEST)
        self._timings = timings
        config = self._client.config
        self._ids = {c["id"]: c["props"].get("elem_id") for c in config["components"]}
        self._values = {c["id"]: c["props"].get("value") for c in config["components"]}
        self._dependencies = config["dependencies"]

    def close(self) -> None:
        """Leave, as by closing the tab."""
        self._http.close()
        self._client.close()

    def _find(self, elem_id: str, event: str, output: str) -> dict:
        """The page's listener on a component's event that fills another component."""
        return next(
            d
            for d in self._dependencies
            if d["backend_fn"]
            and output in [self._ids[i] for i in d["outputs"]]
            and any(self._ids.get(i) == (elem_id or None) and name == event for i, name in d["targets"])
        )

    def _body(self, dependency: dict, event_data: dict | None, values: dict[str, object]) -> dict:
        data = [values.get(self._ids[i], self._values[i]) for i in dependency["inputs"]]
        return {
            "data": data,
            "event_data": event_data,
            "fn_index": dependency["id"],
            "trigger_id": dependency["targets"][0][0],
            "session_hash": self._client.session_hash,
        }

    def cheap(
        self, elem_id: str, event: str, output: str, event_data: dict | None = None, *, timings=None, **values
    ) -> dict:
        """Send an event that does not queue; gives the new values by elem_id."""
        return self._send(self._find(elem_id, event, output), event_data, timings, values)

    def _send(self, dependency: dict, event_data: dict | None, timings: list[float] | None, values: dict) -> dict:
        start = time.perf_counter()
        answer = self._http.post("run/predict", params=self._query, json=self._body(dependency, event_data, values))
        (self._timings if timings is None else timings).append(time.perf_counter() - start)
        answer.raise_for_status()
        return dict(zip([self._ids[i] for i in dependency["outputs"]], answer.json()["data"], strict=True))

    def open(self) -> dict:
        """Load the page as a browser does, first what is seen at once; gives what it shows by elem_id."""
        first = self._find("", "load", "progress")
        shown = self._send(first, None, [], {})
        for then in self._dependencies:
            if then["trigger_after"] == first["id"] and then["backend_fn"]:
                rest = self._send(then, None, [], {})
                shown |= {name: value for name, value in rest.items() if not skipped(value)}
        return shown

    def press(self, button: str, output: str, **values) -> Iterator[tuple[dict, list[str]]]:
        """Start heavy work that fills `output`; gives each message and what it changes, until the work is complete."""
        first = self._find(button, "click", button)
        self._http.post("run/predict", params=self._query, json=self._body(first, None, values)).raise_for_status()
        dependency = next(
            d
            for d in self._dependencies
            if d["trigger_after"] == first["id"] and output in [self._ids[i] for i in d["outputs"]]
        )
        body, names = self._body(dependency, None, values), [self._ids[i] for i in dependency["outputs"]]
        answer = self._http.post("queue/join", params=self._query, json=body)
        answer.raise_for_status()
        mine = answer.json()["event_id"]
        with self._http.stream("GET", "queue/data", params={"session_hash": self._client.session_hash}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("event_id") != mine:
                    continue
                # Values, and from the second message on what differs from the last ones; what is skipped is empty.
                data = (message.get("output") or {}).get("data") or []
                told = [(n, v) for n, v in zip(names, data, strict=False) if v not in ([], None, "0")]
                changed = [name for name, value in told if not skipped(value)]
                yield message, changed
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(f"the event failed: {message['output']}")
                    return
        raise RuntimeError("the server closed the stream")


def visit(url: str, config: PruneConfig, draw: random.Random, timings: dict[str, list[float]]) -> None:
    """One visit from the first sight of the page to the check of the result."""
    start = time.perf_counter()
    with closing(Visitor(url, timings["cheap"])) as visitor:
        visitor.open()
        timings["open"].append(time.perf_counter() - start)
        for _ in range(EDITS):
            time.sleep(draw.uniform(0, THINK_SECONDS))
            bits = "".join(draw.choices("01", k=64))
            answer = visitor.cheap(
                "lesson-bench", "edit", "lesson-measures", {"mask": bits}, **{"lesson-steps": "by-hand"}
            )
            if not re.search(rf"\b{bits.count('1')} (?:of|/) 64", str(answer["lesson-measures"])):
                raise Wrong(f"{bits} has {bits.count('1')} ones, shown is {answer['lesson-measures']}")
        start = time.perf_counter()
        controls = {"model": config.model, "pattern": str(config.pattern), "method": config.method, "anew": True}
        controls |= config.choices()
        controls |= {"windows": config.calibration_windows, "length": config.calibration_length}
        said = []
        for message, changed in visitor.press("prune", "progress", **controls):
            said.append(json.dumps(message))
            if message["msg"] == "process_generating":
                for name, output in DRAWN.items():
                    if name in changed:
                        visitor.cheap(name, "change", output, timings=timings["draw"])
        timings["prune"].append(time.perf_counter() - start)
        if not any("Done in" in text for text in said):
            last = next((text for text in reversed(said) if "<" in text), "nothing")
            raise RuntimeError(f"no result, the last that was said: {last[-400:]}")
        verify(visitor, config, draw)


def verify(visitor: Visitor, config: PruneConfig, draw: random.Random) -> None:
    """Open two tabs and a layer; raise Wrong unless they show this configuration's run."""
    for name, tab in (("Mask", "masks"), ("Spectrum", "spectrum")):
        query = visitor.cheap("layers-tabs", "select", "address", {"value": name, "index": 1})["address"]
        found = {name: values[0] for name, values in parse_qs(query).items()}
        if (found["run"], found["pattern"], found["tab"]) != (config.key(), str(config.pattern), tab):
            raise Wrong(f"{config.key()} {config.pattern} expected, {query} shown")
    layer = f"model.layers.{draw.randrange(6)}.mlp.down_proj"
    shown = visitor.cheap("model-map", "pick", "mask-canvas", {"layer": layer})["mask-canvas"]
    shown = json.loads(shown)
    mask = base64.b64decode(shown["bits"])
    kept = sum(byte.bit_count() for byte in mask)
    wanted = shown["rows"] * shown["cols"] * config.pattern.keep // config.pattern.group
    if (shown["name"], shown["label"], kept) != (layer, METHODS[config.method].label, wanted):
        raise Wrong(f"{layer} of {config.method} expected, {shown['name']} of {shown['label']} shown, {kept} kept")


def memory(pid: int) -> tuple[int, int]:
    """Bytes of a process and of its children that are in memory; what they share counts for each."""
    process = psutil.Process(pid)
    return process.memory_info().rss, sum(p.memory_info().rss for p in process.children(recursive=True))


def sit(url: str, start: float, seconds: float, timings: dict, errors: list, crossed: list, seat: int) -> int:
    """Visits one after another until `seconds` after `start`, on the machine's monotonic clock; their number."""
    draw, visits = random.Random(seat), 0
    time.sleep(max(0.0, start - time.monotonic()) + draw.uniform(0, min(5, seconds / 10)))
    while time.monotonic() - start < seconds:
        try:
            visit(url, CONFIGS[(seat + visits) % len(CONFIGS)], draw, timings)
        except Wrong as error:
            crossed.append(str(error))
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:500])
            time.sleep(1)
        visits += 1
    return visits


def table(channel, url: str, seats: range) -> None:
    """Let some visitors in from a process of their own; what they saw goes through the channel."""
    channel.send("ready")
    start, seconds = channel.recv()
    timings, errors, crossed = {name: [] for name in EVENTS}, [], []
    with ThreadPoolExecutor(len(seats)) as pool:
        visits = sum(pool.map(partial(sit, url, start, seconds, timings, errors, crossed), seats))
    channel.send((visits, timings, errors, crossed))


def run(visitors: int, seconds: float, quick: bool, hostile: bool) -> tuple[dict[str, float], dict]:
    """The figures of a class of so many for so long, and the tables behind them."""
    variables = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False"}
    if hostile:
        variables["EGGS_HOSTED"] = "1"
    spawn, channels, samples, over = multiprocessing.get_context("spawn"), [], [], threading.Event()
    with (
        tempfile.TemporaryDirectory() as store,
        served("app.py", EGGS_STORE=store, **variables) as (url, _, pid),
        ExitStack() as tables,
    ):
        visit(url, CONFIGS[0], random.Random(0), {name: [] for name in EVENTS})  # loads the model
        for first in range(0, visitors, TABLE):
            channel, theirs = spawn.Pipe()
            process = spawn.Process(target=table, args=(theirs, url, range(first, min(first + TABLE, visitors))))
            process.start()
            tables.callback(process.terminate)
            theirs.close()  # theirs alone, so that their end is heard of
            channels.append(channel)
        for channel in channels:
            channel.recv()
        if hostile:
            process = spawn.Process(target=besiege, args=(url,), daemon=True)
            process.start()
            tables.callback(process.terminate)
        start = time.monotonic()
        for channel in channels:
            channel.send((start, seconds))

        def watch() -> None:
            while not over.wait(1):
                samples.append((time.monotonic() - start, *memory(pid)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            seen = [channel.recv() for channel in channels]
        finally:
            over.set()
            watcher.join()
    visits = sum(found[0] for found in seen)
    timings = {name: [value for found in seen for value in found[1][name]] for name in EVENTS}
    errors, crossed = ([text for found in seen for text in found[kind]] for kind in (2, 3))
    cheap = sorted(timings["cheap"])
    # Caches and allocators fill first: growth is what the second half adds to the end of the first.
    spans = ((0.4, 0.6), (0.8, 1.0))
    early, late = ([a + b for t, a, b in samples if low <= t / seconds < high] for low, high in spans)
    growth = (statistics.mean(late) - statistics.mean(early)) / 1e6 if early and late else 0.0
    figures = {
        "errors": len(errors),
        "cheap_p95_ms": 1e3 * cheap[int(0.95 * len(cheap))],
        "crosstalk": len(crossed),
        "memory_growth_mb": growth,
    }
    tables = {
        "visits": visits,
        "visitors": visitors,
        "seconds": seconds,
        "quick": quick,
        "hostile": hostile,
        "errors": errors[:20],
        "crosstalk": crossed[:20],
        "events": {name: summary(values) for name, values in timings.items()},
        "memory_mb": [  # seconds, the server, its workers
            (round(t), round(a / 1e6), round(b / 1e6)) for t, a, b in samples[:: max(1, len(samples) // 60)]
        ],
    }
    return figures, tables


def summary(seconds: list[float]) -> dict[str, float]:
    """Number, median, 95th percentile and largest of some times, in milliseconds."""
    if not seconds:
        return {"count": 0}
    times = sorted(1e3 * s for s in seconds)
    return {"count": len(times), "p50": times[len(times) // 2], "p95": times[int(0.95 * len(times))], "max": times[-1]}


def main() -> int:
    """Measure, print, write JSON if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 visitors for 15 seconds instead of 30 for 10 minutes")
    parser.add_argument("--visitors", type=int, help="another number of visitors")
    parser.add_argument("--seconds", type=float, help="another duration")
    parser.add_argument("--hostile", action="store_true", help="beside a client that takes all it can get")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, tables, machine and versions here")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server ends with us
    visitors = options.visitors or (10 if options.quick else 30)
    seconds = options.seconds or (15 if options.quick else 600)
    bars = BARS | ({"memory_growth_mb": 50.0} if seconds >= HOUR else {})
    figures, tables = run(visitors, seconds, options.quick, options.hostile)
    for name, row in tables["events"].items():
        print(f"     {name:8} " + ", ".join(f"{k} {v:.4g}" for k, v in row.items()))
    for text in (*tables["errors"][:5], *tables["crosstalk"][:5]):
        print(f"     {text}")
    print(f"{tables['visits']} visits by {visitors} visitors")
    return conclude(
        [check(name, value, bars[name]) for name, value in figures.items()],
        options.json,
        packages=("gradio", "gradio_client"),
        quick=options.quick,
        tables=tables,
    )


if __name__ == "__main__":
    raise SystemExit(main())
