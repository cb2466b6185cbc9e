"""EGGS Explorer: see and understand N:M sparsity in language models; `python app.py` starts it, on Spaces too."""

import gc
import os
import sys
from importlib import import_module
from threading import Thread
from typing import Any

gc.disable()  # the half million objects that the imports make all stay: to look for garbage takes a fifth of the start
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from components.gradio_start import without_type_files  # noqa: E402

without_type_files()

import gradio as gr  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402

from components.compressed import LEAST_BYTES, LEVEL, Compressed  # noqa: E402
from components.jobs.events import THREADS, WATCHERS  # noqa: E402
from components.page import create_page  # noqa: E402
from components.theme import theme  # noqa: E402
from components.widgets.assets import ASSETS  # noqa: E402
from components.widgets.descriptions import describe_once  # noqa: E402
from components.widgets.plot import PLOTLY_JS  # noqa: E402
from components.widgets.sentence_blocks import SentenceBlocks  # noqa: E402
from eggs_core.limits import hosted, limits  # noqa: E402

gc.enable()
LATER = "transformers.modeling_utils"  # takes seconds, which the page need not wait for and the first model would
SESSIONS = 64  # whose pages gradio remembers, some megabytes each, also after they were closed; the latest ones


def build_app() -> gr.Blocks:
    """The whole page, wired but not launched."""
    options: dict[str, Any] = {"analytics_enabled": False, "fill_width": True, "delete_cache": (3600, 7200)}
    with SentenceBlocks(title="EGGS Explorer", **options) as app:
        create_page()
    describe_once(app)
    return app.queue(max_size=2 * WATCHERS, default_concurrency_limit=8)


def launch_options() -> dict[str, Any]:
    """How the page is served: theme, style sheet, and plotly's own script from this machine."""
    gr.set_static_paths([str(PLOTLY_JS)])
    return {
        "theme": theme(),
        "css_paths": [ASSETS / "css" / "app.css"],
        "head": f'<script src="gradio_api/file={PLOTLY_JS.as_posix()}"></script>',
        "favicon_path": str(ASSETS / "logo.svg"),
        "footer_links": [],
        "app_kwargs": {"middleware": [Middleware(Compressed, minimum_size=LEAST_BYTES, compresslevel=LEVEL)]},
        "run_history": False,
        "ssr_mode": False,
        "max_threads": THREADS,
        "state_session_capacity": SESSIONS,
        "max_file_size": 4 * limits().characters,  # a text's bytes: uploads are texts
        "show_error": not hosted(),  # what a visitor must hear is a gr.Error, which is always shown
        "mcp_server": os.environ.get("EGGS_MCP") == "1",
    }


def main() -> None:
    """Start the server on GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, by default 127.0.0.1:7860."""
    sys.setswitchinterval(0.001)  # seconds; a click waits less for the Python code of a job
    app = build_app()
    Thread(target=import_module, args=(LATER,), daemon=True).start()
    gc.freeze()  # else a look for garbage goes through all that stays and holds up clicks for 0.2 s
    app.launch(**launch_options())


if __name__ == "__main__":
    main()
