"""How long a person waits: for the page, for a whole run, and after a click for a mask or the lesson's figures.

    python benchmarks/app.py [--quick] [--json FILE]

The bars are those of a machine with two cores that does nothing else. The click figure of 210 layers comes from a run
of random 2:4 masks in the shapes of SmolLM2-135M: 30 blocks of seven. The real model's own run, which ships, is opened
by its address; its graph and its spectrum are opened a second after a layer is picked.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.browser import FLAGS, chromium_path  # noqa: E402
from benchmarks.outcome import check, conclude  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.heavy import import_all  # noqa: E402
from eggs_core.masks.bits import pack_bits  # noqa: E402
from eggs_core.masks.selection import topn  # noqa: E402
from eggs_core.models.dense_models import ModelCache  # noqa: E402
from eggs_core.pattern import NMPattern  # noqa: E402
from eggs_core.runs.events import Finished  # noqa: E402
from eggs_core.runs.execute import execute  # noqa: E402
from eggs_core.runs.run import Run, load_run, save_run  # noqa: E402

BARS = {
    "app_ready_s": 5.0,
    "first_view_s": 2.5,
    "home_s": 2.5,
    "prune_tiny_llama_eggs_ptp_s": 10.0,
    "first_spectrum_s": 1.0,
    "first_speed_s": 1.0,
    "layer_click_to_paint_ms": 200.0,
    "layer_click_to_paint_210_layers_ms": 200.0,
    "shipped_first_view_s": 2.5,
    "shipped_layer_click_to_paint_ms": 200.0,
    "shipped_graph_to_paint_ms": 200.0,
    "shipped_spectrum_to_paint_ms": 200.0,
    "lesson_click_to_figures_ms": 100.0,
}
SHIPPED = "smollm2-135m-2of4-eggs-ptp-plus"
TAB = '#{}-tabs > .tab-wrapper [role=tab][data-tab-id="{}"]'
OPENED = {  # a tab of Layers -> the sentence and the figures that it shows of a layer
    "graph": ("#graph-reading", ["#topn-graph .graph-view", "#mask-graph .graph-view"]),
    "spectrum": ("#density-reading", ["#density-chart .plot"]),
}
PRUNE = "prune --model tiny-llama --pattern 2:4 --method eggs-ptp --seed 0 --out"
BLOCKS = 30
SHAPES = {  # SmolLM2-135M
    "self_attn.q_proj": (576, 576),
    "self_attn.k_proj": (192, 576),
    "self_attn.v_proj": (192, 576),
    "self_attn.o_proj": (576, 576),
    "mlp.gate_proj": (1536, 576),
    "mlp.up_proj": (1536, 576),
    "mlp.down_proj": (576, 1536),
}
CLICK = """name => new Promise((resolve, reject) => {
  const view = document.querySelector('#mask-canvas .mask-view'), drawn = +view.dataset.drawn;
  const cell = [...document.querySelectorAll('#model-map [data-layer]')].find(e => e.dataset.layer === name);
  const start = performance.now();
  cell.click();
  const look = () => {
    if (view.dataset.layer === name && +view.dataset.drawn > drawn)
      requestAnimationFrame(() => resolve(performance.now() - start));  // one frame on, it is on the screen
    else if (performance.now() - start > 20000) reject(new Error(`${name} was not painted within 20 s`));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""

OPEN = """([button, reading, figures, name]) => new Promise((resolve, reject) => {
  const drawn = selector => {
    const figure = document.querySelector(selector);
    return figure?.checkVisibility() && +figure.dataset.drawn > 0;
  };
  const start = performance.now();
  document.querySelector(button).click();
  const look = () => {
    if (document.querySelector(reading)?.textContent.includes(name) && figures.every(drawn))
      requestAnimationFrame(() => resolve(performance.now() - start));
    else if (performance.now() - start > 20000) reject(new Error(`${name} was not shown within 20 s`));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""

LESSON_CLICK = """index => new Promise((resolve, reject) => {
  const cells = [...document.querySelectorAll('#lesson-bench button')];
  const html = id => document.querySelector(id).innerHTML;
  const figures = () => html('#lesson-measures') + html('#lesson-extra');
  const before = figures(), start = performance.now();
  cells[index].click();
  const look = () => {
    if (figures() !== before) requestAnimationFrame(() => resolve(performance.now() - start));
    else if (performance.now() - start > 20000) reject(new Error(`cell ${index}: no figures within 20 s`));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""


def write_large_run(folder: Path) -> None:
    """A run with SmolLM2's shapes and random 2:4 masks, a block's rows those of the block before moved by one.

    All other figures are those of a bundled run.
    """
    pattern, generator = NMPattern(2, 4), torch.Generator().manual_seed(0)
    model = load_run(min((ROOT / "assets" / "runs").glob("tiny-llama-2of4-*")))
    masks, best, layers, drawn = {}, {}, [], {}
    for projection, shape in SHAPES.items():
        scores = torch.rand(shape, generator=generator)
        kept = topn(scores, pattern), topn(scores + 0.2 * torch.rand(shape, generator=generator), pattern)
        drawn[projection] = kept
    for block in range(BLOCKS):
        for projection, shape in SHAPES.items():
            name = f"model.layers.{block}.{projection}"
            best[name], masks[name] = (pack_bits(mask.roll(block, 0)) for mask in drawn[projection])
            like = next(x for x in model.report["layers"] if x["projection"] == projection)
            gap = like["spectral_gap"] + 0.001 * block
            layers.append({**like, "name": name, "block": block, "shape": list(shape), "spectral_gap": gap})
    name = {"model": "random, shapes of SmolLM2-135M"}
    config = {**model.report["config"], **name}
    report = {**model.report, **name, "key": "random", "config": config, "layers": layers}
    save_run(Run(report, masks, best), folder / "run")


def serve(folder: Path) -> None:
    """Run the app with the runs in `folder` in place of those that ship with it."""
    import app
    from components.state import known_runs

    shipped = known_runs.read_shipped(folder)
    known_runs.read_shipped = lambda: shipped
    app.main()


@contextmanager
def served(
    *command: str, program: str = sys.executable, folder: Path = ROOT, **variables: str
) -> Iterator[tuple[str, float, int]]:
    """Start a server; gives its address, the seconds until the page could be fetched, and its process's number."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"} | variables
    url = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [program, *command], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while True:
                try:
                    urlopen(url, timeout=10).close()
                    break
                except OSError:
                    if process.poll() is not None or time.perf_counter() - start > 120:
                        log.seek(0)
                        raise RuntimeError(f"the app did not start:\n{log.read()}") from None
                    time.sleep(0.02)
            yield url, time.perf_counter() - start, process.pid
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(10)


def open_masks(browser, url: str) -> tuple[Any, float, list[str]]:
    """A page at an address's masks; the seconds until its first view, verdict and map, was drawn; the other layers."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(60_000)
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_function("document.querySelectorAll('#cards .card .after').length === 4")
    page.wait_for_function("document.querySelector('#overview-map .model-map')?.dataset.drawn > 0")
    loaded = time.perf_counter() - start
    page.click(TAB.format("layers", "masks"))
    page.wait_for_function("document.querySelector('#mask-canvas .mask-view')?.dataset.drawn > 0")
    names = page.evaluate("[...document.querySelectorAll('#model-map [data-layer]')].map(e => e.dataset.layer)")
    shown = page.get_attribute("#mask-canvas .mask-view", "data-layer")
    return page, loaded, [name for name in names if name != shown]  # a click on the layer in view draws nothing


def click_layers(browser, url: str, count: int) -> dict[str, float]:
    """Milliseconds from clicking a layer in the map to its mask on the screen, over `count` layers spread evenly."""
    page, loaded, others = open_masks(browser, f"{url}?tab=overview")
    count, times = min(count, len(others)), []
    for i in range(-1, count):  # the first click warms up
        name = others[i * len(others) // count]
        times.append(page.evaluate(CLICK, name))
        page.wait_for_function("n => document.querySelector('#layer-reading')?.textContent.includes(n)", arg=name)
        page.wait_for_timeout(150)  # what follows a click, charts and graphs, must not run into the next one
    page.close()
    times = sorted(times[1:])
    return {
        "layers": 1 + len(others),
        "clicks": count,
        "median": statistics.median(times),
        "p95": times[int(0.95 * count)],
        "slowest": times[-1],
        "first_view_s": loaded,
    }


def click_shipped(browser, url: str, count: int) -> dict[str, Any]:
    """Seconds until the real model's shipped run is opened; milliseconds to a layer's mask, graph and spectrum."""
    key = load_run(ROOT / "assets" / "runs" / SHIPPED).report["key"]
    page, loaded, others = open_masks(browser, f"{url}?run={key}&tab=overview")
    times: dict[str, list[float]] = {"mask": [], **{name: [] for name in OPENED}}
    for i in range(-1, count):  # the first round warms up
        name = others[i * len(others) // count]
        times["mask"].append(page.evaluate(CLICK, name))
        page.wait_for_timeout(1000)  # the mask is looked at first
        for tab, (reading, figures) in OPENED.items():
            times[tab].append(page.evaluate(OPEN, [TAB.format("layers", tab), reading, figures, name]))
            page.wait_for_timeout(150)
        page.click(TAB.format("layers", "masks"))
        page.wait_for_function("document.querySelector('#mask-canvas .mask-view')?.checkVisibility()")
    page.close()
    rounds = {name: sorted(all_times[1:]) for name, all_times in times.items()}
    return {
        "layers": 1 + len(others),
        "first_view_s": loaded,
        **{name: statistics.median(sorted_times) for name, sorted_times in rounds.items()},
        **{f"{name}_slowest": sorted_times[-1] for name, sorted_times in rounds.items()},
    }


FIRST = {  # the tab to click, and the figures that are waited for
    "spectrum": (TAB.format("layers", "spectrum"), ("#density-chart", "#gap-chart")),
    "speed": ('#tabs > .tab-wrapper [role=tab][data-tab-id="speed"]', ("#size-chart", "#decode-chart")),
}


def visit_first(browser, url: str) -> dict[str, float]:
    """Seconds from the click to the figures of tabs that nobody has opened since the server started."""
    page, found = browser.new_page(viewport={"width": 1440, "height": 900}), {}
    page.set_default_timeout(60_000)
    page.goto(f"{url}?tab=overview")
    page.wait_for_function("document.querySelector('#overview-map .model-map')?.dataset.drawn > 0")
    page.wait_for_timeout(1500)  # the rest of the page is drawn
    for name, (tab, figures) in FIRST.items():
        start = time.perf_counter()
        page.click(tab)
        for selector in figures:
            page.wait_for_function("s => document.querySelector(s + ' .plot')?.dataset.drawn > 0", arg=selector)
        found[name] = time.perf_counter() - start
    page.close()
    return found


def open_home(browser, url: str, count: int) -> list[float]:
    """Seconds until a visitor's first page shows both texts on Home, `count` times, each with an empty cache."""
    times = []
    for _ in range(count):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        start = time.perf_counter()
        page.goto(url)
        page.wait_for_function("document.querySelectorAll('#home .home-written').length === 2")
        page.wait_for_function("document.querySelector('#home canvas')?.dataset.drawn >= 0")
        times.append(time.perf_counter() - start)
        page.close()
    return times


def click_lesson(browser, url: str, count: int) -> dict[str, float]:
    """Milliseconds from a click on the lesson's matrix to its figures and its graph on the screen."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(f"{url}?step=orphans")
    page.wait_for_selector("#lesson-extra .lesson-graph")
    page.wait_for_timeout(1500)  # the rest of the page is drawn
    times = []
    for i in range(-2, count):  # the first clicks warm up
        times.append(page.evaluate(LESSON_CLICK, (29 * (i + 2)) % 64))
        page.wait_for_timeout(150)
    page.close()
    times = sorted(times[2:])
    return {
        "clicks": count,
        "median": statistics.median(times),
        "p95": times[int(0.95 * count)],
        "slowest": times[-1],
    }


def time_page(quick: bool, tables: dict) -> dict[str, float]:
    """The page's start, and both click figures where there is a Chromium to measure with."""
    starts = tables["app_ready_s"] = []
    for _ in range(0 if quick else 2):
        with served("app.py") as (_, seconds, _):
            starts.append(seconds)
    with tempfile.TemporaryDirectory() as folder, served("app.py") as (url, seconds, _):
        starts.append(seconds)
        figures = {"app_ready_s": statistics.median(starts)}
        chromium = chromium_path()
        if chromium is None:
            print("There is no chromium: clicks are not measured.", file=sys.stderr)
            return figures
        from playwright.sync_api import sync_playwright

        write_large_run(Path(folder))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            tables["chromium"] = browser.version
            first = tables["first_visits_s"] = visit_first(browser, url)
            lesson = tables["lesson_clicks_ms"] = click_lesson(browser, url, 5 if quick else 60)
            small = tables["clicks_ms"] = click_layers(browser, url, 4 if quick else 42)
            shipped = tables["shipped_run"] = click_shipped(browser, url, 2 if quick else 20)
            home = tables["home_s"] = open_home(browser, url, 1 if quick else 5)
            with served(__file__, "--serve", folder) as (url, _, _):
                large = tables["clicks_210_layers_ms"] = click_layers(browser, url, 4 if quick else 70)
            browser.close()
    return figures | {
        "first_view_s": small["first_view_s"],
        "home_s": statistics.median(home),
        **{f"first_{name}_s": seconds for name, seconds in first.items()},
        "layer_click_to_paint_ms": small["median"],
        "layer_click_to_paint_210_layers_ms": large["median"],
        "lesson_click_to_figures_ms": lesson["median"],
        "shipped_first_view_s": shipped["first_view_s"],
        "shipped_layer_click_to_paint_ms": shipped["mask"],
        "shipped_graph_to_paint_ms": shipped["graph"],
        "shipped_spectrum_to_paint_ms": shipped["spectrum"],
    }


def time_runs(quick: bool, tables: dict) -> dict[str, float]:
    """Seconds of one whole run with loading and both evaluations: as a call, and as a command with its imports."""
    calls, commands = [], []
    import_all()  # as the app has by then
    for _ in range(1 if quick else 3):
        start = time.perf_counter()
        *_, last = execute(make_config("tiny-llama", "2:4", "eggs-ptp"), cache=ModelCache())
        calls.append(time.perf_counter() - start)
        assert isinstance(last, Finished)
        if quick:
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "eggs_core", *PRUNE.split(), f"{folder}/run"]
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            commands.append(time.perf_counter() - start)
    tables |= {"run_s": calls, "command_s": commands, "run_parts_s": last.run.report["seconds"]}
    return {"prune_tiny_llama_eggs_ptp_s": calls[0]}  # the first one of a process is what a visitor waits for


def main() -> int:
    """Measure, print, write JSON if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer clicks, one repeat, no command")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, tables, machine and versions here")
    parser.add_argument("--serve", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    begin, tables = time.perf_counter(), {}
    figures = time_runs(options.quick, tables) | time_page(options.quick, tables)
    for name in ("clicks_ms", "clicks_210_layers_ms", "lesson_clicks_ms", "shipped_run"):
        if name in tables:
            print(f"     {name}: " + ", ".join(f"{k} {v:.4g}" for k, v in tables[name].items()))
    for name in ("run_s", "command_s", "app_ready_s"):
        print(f"     {name}: " + ", ".join(f"{seconds:.2f}" for seconds in tables[name]))
    print(f"{time.perf_counter() - begin:.0f} s")
    return conclude(
        [check(name, value, BARS[name]) for name, value in figures.items()],
        options.json,
        packages=("gradio", "plotly", "playwright"),
        quick=options.quick,
        tables=tables,
    )


if __name__ == "__main__":
    raise SystemExit(main())
