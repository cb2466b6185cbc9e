"""How fluid the canvases are in headless Chromium: from an event until the next frame is painted and read back."""

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import gradio as gr  # noqa: E402
import torch  # noqa: E402

from app import launch_options  # noqa: E402
from benchmarks.browser import FLAGS, chromium_path  # noqa: E402
from components.places.layers.graph.frame import frame_of  # noqa: E402
from components.places.layers.graph.view import Graph, graph_value  # noqa: E402
from components.places.layers.mask.view import mask_values  # noqa: E402
from components.state.workspace import Workspace  # noqa: E402
from components.widgets.canvas import GraphCanvas, MaskCanvas  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.masks.bits import pack_bits  # noqa: E402
from eggs_core.runs.run import Run  # noqa: E402

# Reading one pixel back makes sure that the painting is over, and not only queued.
TIMED = """([selector, events]) => (async () => {
  const canvas = document.querySelector(selector + ' canvas'), box = canvas.getBoundingClientRect(), times = [];
  const make = e => new (e.type === 'wheel' ? WheelEvent : PointerEvent)(e.type, {
    clientX: box.left + e.x * box.width, clientY: box.top + e.y * box.height, deltaY: e.dy || 0,
    bubbles: true, cancelable: true });
  for (const e of events) {
    const start = performance.now();
    canvas.dispatchEvent(make(e));
    await new Promise(requestAnimationFrame);
    canvas.getContext('2d').getImageData(0, 0, 1, 1);
    times.push(performance.now() - start);
    await new Promise(done => setTimeout(done, 20));
  }
  return times;
})()"""


def workspace_of(mask: torch.Tensor) -> Workspace:
    """A visitor who looks at one random mask."""
    layer = {"name": "random", "block": 0, "projection": "random", "shape": list(mask.shape)}
    config = make_config("random", "2:4", "wanda").to_dict()
    report = {"key": "random", "config": config, "layers": [layer], "evaluation": {}} | {
        name: config[name] for name in ("model", "pattern", "method")
    }
    workspace = Workspace(run=Run(report, {"random": pack_bits(mask)}), finished=False, layer="random")
    workspace.graph.size = 512
    return workspace


def canvas_figures(mask: torch.Tensor) -> list[tuple[str, float, float]]:
    """(name, value, bar) for hovering over 512 × 512 channels, and for zooming and moving in the given mask."""
    from playwright.sync_api import sync_playwright

    workspace = workspace_of(mask)
    graph = Graph("random", mask, 0.1, "random")
    with gr.Blocks() as page:
        MaskCanvas(mask_values(workspace)[0], elem_id="mask")
        GraphCanvas(graph_value(workspace, graph, graph, frame_of(workspace, mask)), elem_id="graph")
    _, url, _ = page.launch(
        **{**launch_options(), "prevent_thread_lock": True, "quiet": True, "server_name": "127.0.0.1"}
    )
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
            tab = browser.new_page(viewport={"width": 1440, "height": 1400})
            tab.goto(url)
            for selector in ("#mask .mask-view", "#graph .graph-view"):
                tab.wait_for_function("s => document.querySelector(s)?.dataset.drawn > 0", arg=selector, timeout=60_000)
            tab.wait_for_timeout(1500)
            zooms = [{"type": "wheel", "x": 0.6, "y": 0.6, "dy": dy} for dy in (-100, 100) for _ in range(32)]
            hovers = [{"type": "pointermove", "x": 0.02 + 0.96 * k / 40, "y": 30 / 440} for k in range(40)]
            clicks = [{"type": "click", "x": 0.1, "y": 30 / 440}]
            drawn = tab.evaluate(TIMED, ["#mask", zooms])
            lit = tab.evaluate(TIMED, ["#graph", hovers])
            picked = tab.evaluate(TIMED, ["#graph", clicks])
            browser.close()
    finally:
        page.close()
    return [
        ("mask_4096x11008_zoom_ms", statistics.median(drawn), 50.0),
        ("mask_4096x11008_zoom_slowest_ms", max(drawn), 250.0),
        ("graph_512_hover_ms", statistics.median(lit), 50.0),
        ("graph_512_hover_slowest_ms", max(lit), 100.0),
        ("graph_512_pick_ms", picked[0], 50.0),
    ]
