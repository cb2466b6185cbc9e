"""How long a mixture of 12,480 layers takes to be drawn: every tab, the map, a cell that opens, an expert, a plan.

    python benchmarks/mixture.py [--quick] [--json FILE]

48 blocks of four attention projections and 128 experts of two layers each; masks and figures are random. The bars are
those of a machine with two cores that does nothing else.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.app import served  # noqa: E402
from benchmarks.browser import FLAGS, chromium_path  # noqa: E402
from benchmarks.outcome import check, conclude  # noqa: E402
from components.places.plan.painting.view import Planned, canvas_value, choices_value  # noqa: E402
from eggs_core.allocation.sizes import LayerSize  # noqa: E402
from eggs_core.allocation.stored import MeasuredLosses  # noqa: E402
from eggs_core.allocation.table import USUAL  # noqa: E402
from eggs_core.config import PruneConfig, make_config  # noqa: E402
from eggs_core.masks.bits import pack_bits  # noqa: E402
from eggs_core.masks.selection import topn  # noqa: E402
from eggs_core.pattern import NMPattern  # noqa: E402
from eggs_core.runs.run import Run, load_run, save_run  # noqa: E402

SHIPPED = ROOT / "assets" / "runs" / "tiny-llama-2of4-eggs-ptp-plus"
SERVER = str(ROOT / "benchmarks" / "app.py")  # of runs in a folder
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
EXPERT = ("gate_up_proj", "down_proj")
BARS = {
    "tab_s": 0.5,
    "tab_mb": 1.0,
    "map_ms": 150.0,
    "open_ms": 150.0,
    "expert_ms": 150.0,
    "paint_ms": 100.0,
    "follow_ms": 100.0,
}
SINCE = """([selector, done]) => new Promise((resolve, reject) => {
  const start = performance.now(), ready = new Function('return ' + done);
  document.querySelector(selector).click();
  const look = () => {
    if (ready()) requestAnimationFrame(() => resolve(performance.now() - start));  // one frame on, it is on the screen
    else if (performance.now() - start > 20000) reject(new Error(done));
    else requestAnimationFrame(look);
  };
  look();
})"""
DRAW = """value => {
  const start = performance.now(), holder = document.createElement('div');
  holder.innerHTML = '<div class="model-map"></div>';
  document.querySelector('#model-map').append(holder);
  eggs.model_map(holder, () => {}, { value }, () => {});
  holder.getBoundingClientRect();  // laid out
  const spent = performance.now() - start;
  holder.remove();
  return spent;
}"""


# A plan's canvas of its own: from a block that is painted until the estimates beside it are on the screen.
PAINT = """([value, choices, count]) => (async () => {
  const holder = document.createElement('div'), frame = () => new Promise(requestAnimationFrame), times = [];
  holder.innerHTML = '<div class="plan"></div>';
  document.querySelector('#model-map').append(holder);
  eggs.plan = JSON.parse(choices);
  eggs.plan_canvas(holder, () => {}, { value }, () => {});
  const plan = holder.querySelector('.plan'), blocks = plan.querySelectorAll('button.mm-block');
  for (let i = 0; i < count; i++) {
    plan.querySelectorAll('[data-brush]')[1 + i % 2].click();
    await frame();
    const before = plan.dataset.bytes, start = performance.now();
    blocks[i].click();
    while (plan.dataset.bytes === before) await frame();
    await frame();
    times.push(performance.now() - start);
  }
  holder.remove();
  return times;
})()"""


def mixture_plan(run: Run) -> Planned:
    """A plan for the layers of such a run, with random losses."""
    draw, config = random.Random(0), make_config("made-up", "2:4", "ria")
    layers = [LayerSize(x["name"], x["block"], x["projection"], (8, 16), 4, 1.0) for x in run.report["layers"]]
    losses = {layer.name: {text: draw.random() for text in USUAL[1:]} for layer in layers}
    return Planned(config, layers, MeasuredLosses(config.to_dict(), "", 1, losses))


def mixture_run(blocks: int = 48, experts: int = 128, rules: Mapping[str, str] | None = None) -> Run:
    """A run of a made-up mixture whose layers share random masks of 8 × 16; other figures are a shipped run's.

    `rules` gives projections a pattern of their own, by the last part of their name.
    """
    shipped, rules, draw = load_run(SHIPPED), rules or {}, random.Random(0)
    masks = {p: pack_bits(topn(torch.rand(8, 16), NMPattern.parse(p))) for p in {"2:4", *rules.values()}}
    layers, packed, best = [], {}, {}
    for block in range(blocks):
        names = [f"self_attn.{name}" for name in ATTENTION]
        names += [f"mlp.experts.{number}.{name}" for number in range(experts) for name in EXPERT]
        for projection in names:
            like, gap = shipped.report["layers"][len(layers) % 42], draw.gauss(0.3, 0.02) + 0.001 * block
            name, pattern = f"model.layers.{block}.{projection}", rules.get(projection.rpartition(".")[2], "2:4")
            own = {"name": name, "block": block, "projection": projection, "shape": [8, 16], "pattern": pattern}
            own |= {"spectral_gap": gap, "sigma2": 1 - gap, "output_error": draw.random(), "gap_z": draw.gauss(0, 2)}
            layers.append({**like, **own})
            packed[name] = best[name] = masks[pattern]
    model = {"model": f"random, {blocks} blocks of {experts} experts"}
    config = {**shipped.report["config"], **model}
    if rules:
        config["layers"] = [f"*.{name}={pattern}" for name, pattern in rules.items()]
    key = PruneConfig.from_dict(config).key()
    return Run({**shipped.report, **model, "key": key, "config": config, "layers": layers}, packed, best)


def time_tabs(run: Run) -> dict[str, tuple[float, float]]:
    """Seconds that each tab takes to be drawn for the first time, and megabytes that it sends."""
    import gradio as gr

    from components.jobs.events import finish
    from components.places.layers.graph.tab import create_graph_tab
    from components.places.layers.mask.tab import create_masks_tab
    from components.places.layers.overview.tab import create_overview_tab
    from components.places.layers.spectrum.tab import create_spectrum_tab
    from components.places.quality.tab import create_accuracy_tab
    from components.places.speed.latency.tab import create_latency_tab
    from components.sidebar_values import read
    from components.state.workspace import Workspace

    with gr.Blocks(), gr.Tabs():
        state, tabs = gr.State(None), {}
        for name, create in (
            ("overview", create_overview_tab),
            ("masks", lambda state: create_masks_tab(state).tab),
            ("graph", create_graph_tab),
            ("spectrum", lambda state: create_spectrum_tab(state, [], read).tab),
            ("accuracy", create_accuracy_tab),
            ("latency", create_latency_tab),
        ):
            with gr.Tab(name):
                tabs[name] = create(state)
    found, small = {}, mixture_run(2, 4)
    for shown in (small, run):  # the first drawing of all imports plotly's parts and torch
        for name, tab in tabs.items():
            workspace, begin = Workspace(), time.perf_counter()
            workspace.show(shown)
            values = finish(tab.outputs, tab.render(workspace))
            found[name] = time.perf_counter() - begin, len(json.dumps(values, default=str)) / 1e6
    return found


def time_plan(run: Run, count: int) -> list[float]:
    """Milliseconds that the open Plan tab computes as the sidebar changes, with rules for some layers."""
    plan, times = mixture_plan(run), []
    rules = ("mlp.experts.*.down_proj=1:4", "blocks 1=dense", "blocks 3-5 mlp.experts.7.down_proj=3:4")
    for _ in range(count + 1):
        begin = time.perf_counter()
        own = replace(plan, config=plan.config.changed(layers=rules))
        _ = own.key(), own.least_budget, own.differing, choices_value(own)
        times.append(1e3 * (time.perf_counter() - begin))
    return times[1:]  # the first one imports torch


def time_map(run: Run, count: int) -> dict[str, list[float]]:
    """Milliseconds of the map's first drawing, a cell that opens, an expert until its mask is drawn, and a paint."""
    from playwright.sync_api import sync_playwright

    from components.places.layers.mask.view import map_value

    value, times = json.dumps(map_value(run, "spectral_gap", "")), {"map_ms": [], "open_ms": [], "expert_ms": []}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        save_run(run, Path(folder) / "run")
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        with served(SERVER, "--serve", folder) as (url, _, _):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(60_000)
            page.goto(f"{url}?tab=masks")
            page.wait_for_function("document.querySelector('#mask-canvas .mask-view')?.dataset.drawn > 0")
            page.wait_for_timeout(1500)  # the rest of the page is drawn
            for i in range(count):
                times["map_ms"].append(page.evaluate(DRAW, value))
                group = f'[data-group="model.layers.{i % 48}.mlp.experts.*.down_proj"]'
                done = f"document.querySelector('{group}').getAttribute('aria-expanded') === 'true'"
                times["open_ms"].append(page.evaluate(SINCE, [group, done]))
                layer = f"model.layers.{i % 48}.mlp.experts.{(37 * i) % 128}.down_proj"
                done = f"document.querySelector('#mask-canvas .mask-view').dataset.layer === '{layer}'"
                times["expert_ms"].append(page.evaluate(SINCE, [f'[data-layer="{layer}"]', done]))
                page.wait_for_timeout(400)  # what follows a click, charts and graphs, must not run into the next one
            plan = mixture_plan(run)
            sent = [json.dumps(value(plan)) for value in (canvas_value, choices_value)]
            times["paint_ms"] = page.evaluate(PAINT, [*sent, count])
        browser.close()
    return times


def main() -> int:
    """Measure, print, write JSON if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer clicks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, tables, machine and versions here")
    options = parser.parse_args()
    run = mixture_run()
    tabs, figures = time_tabs(run), {}
    for name, (seconds, megabytes) in tabs.items():
        print(f"     {name}: {seconds:.3f} s, {megabytes:.3f} MB")
    figures["tab_s"], figures["tab_mb"] = (max(values[i] for values in tabs.values()) for i in (0, 1))
    tables: dict[str, Any] = {"tabs": tabs, "follow_ms": time_plan(run, 30)}
    figures["follow_ms"] = statistics.median(tables["follow_ms"])
    if chromium_path():
        tables |= (times := time_map(run, 6 if options.quick else 30))
        figures |= {name: statistics.median(values[1:]) for name, values in times.items()}
        print("     first: " + ", ".join(f"{name} {values[0]:.0f}" for name, values in times.items()))
    checks = [check(name, value, BARS[name]) for name, value in figures.items()]
    return conclude(checks, options.json, packages=("gradio", "plotly"), quick=options.quick, tables=tables)


if __name__ == "__main__":
    raise SystemExit(main())
