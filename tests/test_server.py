"""The real server without a browser: what outlives a closed page or a killed process, and what is refused in public."""

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from benchmarks.app import served
from benchmarks.load import Visitor, skipped
from components.widgets.assets import plotly, widgets
from eggs_core.config import PruneConfig, make_config
from eggs_core.runs.store import RunStore

pytestmark = pytest.mark.timeout(900)
QUICK = make_config("tiny-opt", "2:8", "magnitude", calibration_windows=4, calibration_length=64)
SLOW = make_config("tiny-llama", "2:8", "eggs-ptp-plus", calibration_windows=8, calibration_length=64)


@pytest.fixture(scope="module")
def public(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The address of a public server, and its store."""
    store = tmp_path_factory.mktemp("public")
    with served("app.py", EGGS_HOSTED="1", EGGS_STORE=str(store)) as (url, *_):
        yield url, store


def controls(config: PruneConfig, **others) -> dict:
    """The sidebar's values for a configuration."""
    names = ("model", "method", "score", "selection", "permutation", "reconstruction")
    values = {name: getattr(config, name) for name in names} | {"pattern": str(config.pattern)}
    return values | {"windows": config.calibration_windows, "length": config.calibration_length} | others


def visit(url: str, query: dict[str, str] | None = None) -> tuple[Visitor, dict]:
    """A visitor who has opened the page, and what it shows."""
    visitor = Visitor(url, [], query)
    return visitor, visitor.open()


def prune(visitor: Visitor, config: PruneConfig, **others) -> Iterator[str]:
    """The messages after a click on Prune, as text."""
    for message, _ in visitor.press("prune", "progress", **controls(config, **others)):
        yield json.dumps(message, ensure_ascii=False)


def link(visitor: Visitor) -> dict[str, str]:
    """What the page's address says."""
    return dict(parse_qsl(visitor.cheap("tabs", "select", "address", {"value": "Overview", "index": 0})["address"]))


def test_what_a_visit_sees_is_sent_first_and_the_rest_behind_it(public):
    for query, seen in (({"tab": "overview"}, "cards"), ({"tab": "masks"}, "mask-canvas")):
        visitor = Visitor(public[0], [], query)
        first = visitor.cheap("", "load", "progress")
        assert first[seen] and not skipped(first[seen]) and skipped(first["texts-table"])
        shown = visitor.open()
        assert not any(skipped(shown[name]) for name in ("cards", "mask-canvas", "mask-graph", "texts-table"))
        visitor.close()


def test_the_page_and_its_configuration_travel_compressed(public):
    url, _ = public
    for path in ("/", "/config"):
        small = httpx.get(url.rstrip("/") + path, headers={"Accept-Encoding": "gzip, br"})
        plain = httpx.get(url.rstrip("/") + path, headers={"Accept-Encoding": "identity"})
        assert small.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
        assert int(small.headers["content-length"]) < int(plain.headers["content-length"]) / 4
    address = f"{url}gradio_api/queue/data?session_hash=nobody"
    with httpx.stream("GET", address, headers={"Accept-Encoding": "gzip, br"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in stream.headers


def test_a_connection_waits_longer_than_its_client(public):
    """uvicorn's own five seconds are httpx's, too: one of the two sends while the other closes."""
    visit(public[0])[0].close()  # the server has started in full
    with closing(http.client.HTTPConnection(urlsplit(public[0]).netloc, timeout=60)) as connection:
        for pause in (0, 6):
            time.sleep(pause)
            assert connection.sock is not None or not pause
            connection.request("GET", "/gradio_api/startup-events")
            assert connection.getresponse().read()


@pytest.mark.slow
def test_a_killed_server_loses_nothing_but_the_job_at_hand(tmp_path):
    with served("app.py", EGGS_STORE=str(tmp_path)) as (url, _, pid):
        visitor, _ = visit(url)
        with closing(visitor):
            assert "Done in" in "".join(prune(visitor, QUICK))
            messages = prune(visitor, SLOW)
            assert any("layer " in message for message in messages)
            address = link(visitor)
            assert address["run"] == SLOW.key()
            os.killpg(pid, signal.SIGKILL)
    store = RunStore(tmp_path)
    assert [report["key"] for report in store.reports()] == [QUICK.key()] and not store.problems
    assert store.get(QUICK.key()).report["pattern"] == "2:8"
    with served("app.py", EGGS_STORE=str(tmp_path)) as (url, *_):
        visitor, shown = visit(url, {"run": QUICK.key()})
        with closing(visitor):
            assert dict(parse_qsl(shown["address"]))["run"] == QUICK.key() and not shown["pending"]
        visitor, shown = visit(url, address)
        with closing(visitor):
            assert shown["pending"] == SLOW.key()  # the page presses Prune by itself
            assert any("layer " in message for message in prune(visitor, QUICK))
            assert link(visitor)["run"] == SLOW.key()


@pytest.mark.slow
def test_a_job_outlives_its_page_and_its_link_leads_back_to_it(public):
    url, store = public
    visitor, _ = visit(url)
    with closing(visitor):
        messages = prune(visitor, SLOW)
        assert any("layer " in message for message in messages)
        address = link(visitor)
        messages.close()
    visitor, shown = visit(url, address)
    with closing(visitor):
        assert shown["pending"] == SLOW.key()
        said = list(prune(visitor, QUICK))
        assert "Done in" in "".join(said)
        assert link(visitor)["run"] == SLOW.key()
    run = RunStore(store).get(SLOW.key())
    assert run.report["pattern"] == "2:8" and len(run.report["layers"]) == 42


@pytest.mark.parametrize("model", ["/etc", "assets/models/tiny-llama", "../main", "~/x", "x.gguf", "a/b/c"])
def test_a_public_server_opens_no_path_as_a_model(public, model):
    visitor, _ = visit(public[0])
    with closing(visitor):
        said = "".join(prune(visitor, QUICK, model=model))
    assert "opens no files by path" in said and "Traceback" not in said


def test_a_public_server_has_limits(public):
    visitor, _ = visit(public[0])
    with closing(visitor):
        said = "".join(prune(visitor, QUICK, windows=256, length=2048))
        assert "524,288 for calibration, and this public server takes 131,072" in said
        said = "".join(prune(visitor, QUICK, windows=4000, length=256))
        assert "takes at most 256 windows of 2048 tokens for calibration" in said


@pytest.mark.parametrize(
    "path", ["app.py", "README.md", "assets/../app.py", "eggs_core/models.py", "/etc/passwd", "/proc/self/environ", ""]
)
def test_no_file_is_served_but_the_page_s_own(public, path):
    url, store = public
    for place in (path, Path(path).resolve(), f"{store}/{path}"):
        assert httpx.get(f"{url}gradio_api/file={place}").status_code in (403, 404)


def test_scripts_are_served_small_and_kept_by_browsers(public):
    for one in (plotly(), widgets()):
        small = httpx.get(public[0] + one.address, headers={"Accept-Encoding": "gzip, br"})
        plain = httpx.get(public[0] + one.address, headers={"Accept-Encoding": "identity"})
        assert small.text == plain.text == one.text and "immutable" in small.headers["cache-control"]
        assert int(small.headers["content-length"]) < int(plain.headers["content-length"]) / 2


def test_the_page_shows_its_outline_before_gradio_has_built_it(public):
    page = httpx.get(public[0])
    assert 'id="first-screen"' in page.text and int(page.headers["content-length"]) <= len(page.content)
    assert f'href="{widgets().address}"' in page.text and plotly().address in page.text  # the one only where it is seen


def test_a_file_on_the_server_cannot_be_passed_off_as_an_upload(public):
    visitor, _ = visit(public[0])
    with closing(visitor):
        file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
        with pytest.raises(RuntimeError, match="the event failed") as caught:
            list(visitor.press("texts-start", "texts-reading", **{"texts-source": "file", "texts-file": file}))
    assert "root:" not in str(caught.value)
