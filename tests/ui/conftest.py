"""The real app in a process of its own, and a real browser that tolerates no error and no outside request."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from benchmarks.browser import FLAGS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

ROOT = Path(__file__).resolve().parents[2]
WAIT = 240_000  # milliseconds; the machine may be busy with other things
OPEN = 60_000  # for a page, which every test waits for
# The server has said what is in view, and that is seen; of the first panel its cards are.
OPENED = """places.ready() && (!location.search.includes('tab=overview')
  || document.querySelectorAll('#cards .card .after').length === 4)"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_local(url: str) -> bool:
    """Whether a request stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about") or parts.hostname == "127.0.0.1"


@pytest.fixture(scope="session")
def app_url(tmp_path_factory) -> Iterator[str]:
    """The address of app.py, started as a person starts it, without a way to the Hub."""
    port = free_port()
    log = tmp_path_factory.mktemp("app") / "app.log"
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("gradio")),
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}/"
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, f"app.py ended at once:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"app.py did not answer within two minutes:\n{log.read_text()}"
            try:
                urllib.request.urlopen(f"{url}gradio_api/startup-events", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield url
        assert process.poll() is None, f"app.py ended during the tests:\n{log.read_text()}"
        assert "Traceback" not in log.read_text(), log.read_text()
        assert "UserWarning" not in log.read_text(), log.read_text()  # such as a value that is none of a list's choices
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


class Visitors:
    """The visitors of a headless Chromium, each with a window of its own, and what no page of theirs may meet."""

    def __init__(self, browser: "Browser") -> None:
        self._browser = browser
        self.problems: list[str] = []
        self.first = self.another()

    def another(self) -> "BrowserContext":
        """One more visitor."""
        context, met = self._browser.new_context(reduced_motion="reduce"), self.problems.append
        context.set_default_timeout(WAIT)
        context.on("weberror", lambda e: met(f"page error: {e.error}"))
        context.on("console", lambda m: m.type == "error" and met(f"console: {m.text} ({m.location})"))
        context.on("dialog", lambda dialog: (met(f"a script ran: {dialog.message}"), dialog.dismiss()))
        context.on("request", lambda r: is_local(r.url) or met(f"request to the outside: {r.url}"))
        return context


@pytest.fixture(scope="module")
def visitors(chromium) -> Iterator[Visitors]:
    """A browser for the tests of a file; it ends with them, as nothing else here can start an event loop beside it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield Visitors(running)
        running.close()


@pytest.fixture
def open_page(visitors, app_url) -> Iterator[Callable]:
    """Open the app as a new visit; at the end no page may have met a problem.

    The first visitor's tab stays for the next test: the page opens twice as fast in a tab that has compiled it before.
    """
    visitors.problems.clear()
    spare, others = visitors.first.pages[:1] or [visitors.first.new_page()], []

    def visit(width: int = 1440, height: int = 900, query: str = "?tab=overview"):
        if not spare:
            others.append(visitors.another())
        page = spare.pop() if spare else others[-1].new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.goto(app_url + query)
        page.wait_for_function(OPENED, timeout=OPEN)
        return page

    yield visit
    met = "\n".join(visitors.problems)
    for other in others:
        other.close()
    for page in visitors.first.pages[1:]:
        page.close()
    for page in visitors.first.pages:
        page.goto("about:blank")  # what is said of a stream that is left so is no problem of the page's
    assert not met, met


@pytest.fixture
def page(open_page):
    """A first visit on a wide screen."""
    return open_page()
