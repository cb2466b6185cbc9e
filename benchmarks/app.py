"""How long a user waits: for the page, for a pruned model, and for a clicked layer.

    python benchmarks/app.py [--quick] [--json FILE]

--quick clicks fewer layers. The bars are those of a machine with two cores that does nothing else.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from eggs_core.config import make_config  # noqa: E402
from eggs_core.pipeline import Finished, ModelCache, execute, versions  # noqa: E402

CLICK = """async name => {
  const cell = [...document.querySelectorAll('#model-map [data-layer]')].find(e => e.dataset.layer === name);
  const view = document.querySelector('#mask-canvas .mask-view'), start = performance.now();
  cell.click();
  while (view.dataset.layer !== name) await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""


def start_app() -> tuple[subprocess.Popen, str, float]:
    """Start app.py on a free port; returns the process, its address and the seconds until it answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    started, url = time.monotonic(), f"http://127.0.0.1:{port}/"
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, str(ROOT / "app.py")], env=env, stdout=quiet, stderr=quiet)
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return process, url, time.monotonic() - started
        except OSError:
            if process.poll() is not None or time.monotonic() - started > 120:
                raise SystemExit("The app did not start; run `python app.py` to see why.") from None
            time.sleep(0.05)


def prune_seconds() -> float:
    """Seconds of a whole run of tiny-llama at 2:4 with EGGS-PTP, loading and both evaluations included."""
    started = time.monotonic()
    for event in execute(make_config("tiny-llama", "2:4", "eggs-ptp"), cache=ModelCache()):
        if isinstance(event, Finished):
            break
    return time.monotonic() - started


def click_milliseconds(url: str, clicks: int) -> list[float]:
    """Milliseconds from clicking a layer in the map until its mask is painted, in headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        page.wait_for_selector("#cards .card")
        page.get_by_role("tab", name="Masks").click()
        page.wait_for_function("document.querySelector('#mask-canvas .mask-view')?.dataset.drawn > 0")
        names = page.eval_on_selector_all("#model-map [data-layer]", "cells => cells.map(c => c.dataset.layer)")
        shown = page.get_attribute("#mask-canvas .mask-view", "data-layer")
        others = [name for name in names if name != shown]
        times = [page.evaluate(CLICK, others[i % len(others)]) for i in range(clicks)]
        browser.close()
    return times


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pruning = prune_seconds()
    process, url, ready = start_app()
    try:
        clicks = click_milliseconds(url, 6 if args.quick else 40)
    finally:
        process.terminate()
        process.wait(20)
    checks = [
        {"name": name, "value": value, "bar": bar, "higher_is_better": False}
        for name, value, bar in (
            ("app_ready_s", ready, 8.0),
            ("prune_tiny_llama_eggs_ptp_s", pruning, 10.0),
            ("layer_click_to_paint_ms", statistics.median(clicks), 200.0),
        )
    ]
    for check in checks:
        print(f"{check['name']:32} {check['value']:8.2f}   bar {check['bar']:g}")
    print(f"slowest of {len(clicks)} clicks: {max(clicks):.0f} ms")
    if args.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        result = {"checks": checks, "clicks_ms": clicks, "machine": machine, "versions": versions()}
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
