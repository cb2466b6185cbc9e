"""EGGS Explorer: see and understand N:M sparsity in language models; `python app.py` starts it, on Spaces too."""

import gc
import os
import sys
import time
from contextlib import suppress
from threading import Thread
from typing import Any

gc.disable()  # the half million objects that the imports make all stay: to look for garbage takes a fifth of the start
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Whose X-Forwarded-For is believed: nobody's, unless it is set; Spaces are reached through their proxy alone.
os.environ.setdefault("FORWARDED_ALLOW_IPS", "*" if os.environ.get("SPACE_ID") else "")

from components.gradio_start import without_type_files  # noqa: E402

without_type_files()

import gradio as gr  # noqa: E402
import httpx  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402

from components.clicks import route as clicks  # noqa: E402
from components.compressed import LEAST_BYTES, LEVEL, Compressed  # noqa: E402
from components.first_screen import FirstScreen  # noqa: E402
from components.jobs.admission import Presence, admit_fairly  # noqa: E402
from components.jobs.events import THREADS, WATCHERS  # noqa: E402
from components.jobs.processes import PROCESSES  # noqa: E402
from components.jobs.queue import QUEUE  # noqa: E402
from components.jobs.zerogpu import on_zero_gpu  # noqa: E402
from components.kept_pages import KeptPages  # noqa: E402
from components.page import create_page  # noqa: E402
from components.state.known_runs import bundled_runs  # noqa: E402
from components.theme import theme  # noqa: E402
from components.widgets.assets import ASSETS, routes  # noqa: E402
from components.widgets.sentence_blocks import SentenceBlocks  # noqa: E402
from eggs_core.freed_memory import return_freed_memory, share_heaps  # noqa: E402
from eggs_core.heavy import import_all  # noqa: E402
from eggs_core.limits import hosted, limits  # noqa: E402
from eggs_core.network import KEEP_ALIVE_SECONDS  # noqa: E402

gc.enable()
SESSIONS = 64  # whose pages gradio remembers, some megabytes each, also after they were closed; the latest ones
TIDY_SECONDS = 30.0  # from one return of freed memory to the next


def build_app() -> gr.Blocks:
    """The whole page, wired but not launched."""
    options: dict[str, Any] = {"analytics_enabled": False, "fill_width": True, "delete_cache": (3600, 7200)}
    with SentenceBlocks(title="EGGS Explorer", **options) as app:
        create_page()
    app.queue(max_size=2 * WATCHERS, default_concurrency_limit=8)
    admit_fairly(app)
    return app


def launch_options() -> dict[str, Any]:
    """How the page is served: theme, style sheet, and scripts from this machine alone."""
    middleware = [
        Middleware(KeptPages),
        Middleware(Compressed, minimum_size=LEAST_BYTES, compresslevel=LEVEL),
        Middleware(FirstScreen),
        Middleware(Presence),
    ]
    return {
        "theme": theme(),
        "css_paths": [ASSETS / "css" / "app.css"],
        "favicon_path": str(ASSETS / "logo.svg"),
        "footer_links": [],
        "app_kwargs": {"middleware": middleware, "routes": [clicks(), *routes()]},
        "run_history": False,
        "ssr_mode": False,
        "max_threads": THREADS,
        "state_session_capacity": SESSIONS,
        "max_file_size": 4 * limits().characters,  # a text's bytes: uploads are texts
        "show_error": not hosted(),  # what a visitor must hear is a gr.Error, which is always shown
        "mcp_server": os.environ.get("EGGS_MCP") == "1",
    }


def open_once(app: gr.Blocks) -> None:
    """Open the served page as a visitor does: what it shows at first is drawn then, and kept for all."""
    events = [event for event in app.fns.values() if event.fn and "load" in [kind for _, kind in event.targets]]
    with suppress(httpx.HTTPError), httpx.Client(base_url=str(app.local_url), timeout=60, trust_env=False) as client:
        for event in events:
            asked = {"fn_index": event._id, "data": [], "session_hash": "first"}
            client.post("gradio_api/run/predict", json=asked)


def get_ready(app: gr.Blocks) -> None:
    """Import, read and draw what the page is there without; an event that needs it sooner waits for it."""
    try:
        bundled_runs()
        open_once(app)
        if not on_zero_gpu():
            PROCESSES.start()
        import_all()
    finally:
        gc.freeze()  # else a look for garbage goes through all that stays and holds up clicks for 0.2 s
        gc.enable()


def keep_house(app: gr.Blocks) -> None:
    """Get ready; then give back from time to time what visitors who left no longer need."""
    get_ready(app)
    while True:
        time.sleep(TIDY_SECONDS)
        return_freed_memory()


def main() -> None:
    """Start the server on GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, by default 127.0.0.1:7860."""
    share_heaps()
    sys.setswitchinterval(0.001)  # seconds; a click waits less for the Python code of a job
    gc.disable()  # until all is there
    if not on_zero_gpu():
        QUEUE.run_with(PROCESSES.run)
    app = build_app()
    app.launch(**launch_options(), prevent_thread_lock=True)
    app.server.config.timeout_keep_alive = KEEP_ALIVE_SECONDS  # for connections from now on
    Thread(target=keep_house, args=(app,), daemon=True).start()
    app.block_thread()


if __name__ == "__main__":
    main()
