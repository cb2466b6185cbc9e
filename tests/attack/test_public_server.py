"""A public server: visitors who want their turn beside a client that takes all it can get, and what stays whose."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.app import served
from benchmarks.hostile import PRUNES, SHIPPED, Greedy, deaf, endpoints, messages, request
from benchmarks.load import Visitor
from components.jobs.admission import HEARD_SECONDS, MOST_QUEUED
from components.jobs.events import WATCHERS
from eggs_core.config import make_config
from eggs_core.limits import PUBLIC
from eggs_core.text.sources import bundled_text

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).resolve().parents[2]
SMALL = {"calibration_windows": 4, "calibration_length": 64}
TAB = {"value": "Overview", "index": 0}
PATIENCE = 60.0  # seconds for an answer, however slow the machine


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a public server, and its process."""
    with served("app.py", EGGS_HOSTED="1", EGGS_STORE=str(tmp_path_factory.mktemp("public"))) as (url, _, pid):
        yield url, psutil.Process(pid)


@pytest.fixture(scope="module")
def public(server) -> str:
    """The address of a public server."""
    return server[0]


@pytest.fixture
def client(public) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{public}gradio_api/", timeout=PATIENCE) as found:
        yield found


@pytest.fixture(scope="module")
def prunes(public) -> dict:
    """The endpoint that prunes."""
    return endpoints(public)["prune"]


def answer(client: httpx.Client, endpoint: dict, session: str, **values) -> dict:
    """The last value of a call that is listened to."""
    client.post("queue/join", json=request(endpoint, session, **values)).raise_for_status()
    found = [m for m in messages(client, session) if m["msg"] in ("process_generating", "process_completed")]
    assert found[-1]["success"], found[-1]
    return next(m["output"]["data"][0] for m in reversed(found) if m["output"].get("data"))


def pruning(url: str, method: str) -> Iterator[str]:
    """What a visitor hears who opens the page and prunes with a method."""
    with closing(Visitor(url, [])) as visitor:
        visitor.open()
        config = make_config("tiny-opt", "2:8", method, **SMALL)
        names = ("model", "method", "score", "selection", "permutation", "reconstruction")
        controls = {name: getattr(config, name) for name in names} | {"pattern": "2:8", "windows": 4, "length": 64}
        for message, _ in visitor.press("prune", "progress", **controls):
            yield json.dumps(message, ensure_ascii=False)


@pytest.mark.slow
def test_a_killed_worker_takes_no_page_down(server):
    """As Linux ends the process that fills the memory."""
    public, process = server
    told = pruning(public, "eggs-ptp-plus")
    while "Block" not in (text := next(told)):
        assert "process_completed" not in text
    for child in process.children():  # other tests' servers have workers of their own
        if "components.jobs.worker" in " ".join(child.cmdline()):
            child.kill()
    assert "ended by the system" in "".join(told)
    assert "Done in" in "".join(pruning(public, "ria"))


def test_requests_that_nobody_listens_for_hold_up_nobody(client, prunes):
    deaf(client, prunes, "deaf", WATCHERS + 10)
    began = time.monotonic()
    known = answer(client, prunes, "listening", **SHIPPED)
    assert known["status"] == "done" and known["report"]["method"] == "magnitude"
    assert time.monotonic() - began < HEARD_SECONDS, "it waited until they were dropped"


def test_a_session_has_a_share_of_requests_and_hears_when_it_is_used_up(client, prunes):
    asked = [client.post("queue/join", json=request(prunes, "greedy", **SHIPPED)) for _ in range(40)]
    refused = [one.json()["detail"] for one in asked if one.status_code == 503]
    assert len(refused) == 40 - MOST_QUEUED and all("of this page wait already" in text for text in refused)


@pytest.mark.slow
def test_one_session_s_prunes_leave_others_their_turns(public, client, prunes):
    """A hundred different prunes of one session, which listens to them; a visitor of the page prunes beside it."""
    greedy = Greedy(client, "hostile", 1000)
    greedy.ask(prunes, PRUNES, **SMALL)
    assert "Done in" in "".join(pruning(public, "magnitude"))
    greedy.leave()
    refused = [message["output"]["error"] for message in greedy.heard if not message["success"]]
    # Of the hundred, some were done meanwhile and few wait; all others were told why not.
    assert len(refused) >= PRUNES // 2
    assert [text for text in refused if "one visitor’s share" not in text] == []


def test_an_address_has_a_share_of_uploads(client):
    limit = PUBLIC.uploads or 0
    sent = [client.post("upload", files={"files": ("a.txt", b"words")}).status_code for _ in range(limit + 2)]
    assert sent[0] == 200 and sent[-2:] == [429, 429]


def test_the_configuration_names_no_place_on_the_server_s_disk(public):
    for path in ("", "config", "gradio_api/info"):
        assert str(ROOT) not in httpx.get(public + path, follow_redirects=True).text


@pytest.mark.parametrize("name", ["model.gguf", "model.GGUF", "Data.JSONL"])
def test_no_name_of_a_file_is_taken_for_a_model(client, prunes, name):
    client.post("queue/join", json=request(prunes, f"file-{name}", **{**SHIPPED, "model": name}))
    last = [m for m in messages(client, f"file-{name}") if m["msg"] == "process_completed"][-1]
    assert not last["success"] and "opens no files by path" in last["output"]["error"]


@pytest.fixture
def visitor(public) -> Iterator[Callable[[], Visitor]]:
    """Lets a visitor in, who has opened the page."""
    inside = []

    def enter() -> Visitor:
        inside.append(Visitor(public, []))
        inside[-1].open()
        return inside[-1]

    yield enter
    for one in inside:
        one.close()


def test_figures_on_a_visitor_s_own_text_are_shown_to_that_visitor_alone(visitor):
    owner, other = visitor(), visitor()
    text = bundled_text("heldout").content[:6000]
    told = list(owner.press("texts-start", "texts-reading", **{"texts-source": "pasted", "texts-pasted": text}))
    assert "process_completed" in told[-1][0]["msg"]
    mine, theirs = (one.cheap("draw-whole", "change", "address")["texts-table"] for one in (owner, other))
    assert "pasted text" in mine and "pasted text" not in theirs
    assert "pasted text" not in visitor().open()["texts-table"]


def test_a_run_on_a_visitor_s_own_text_is_listed_to_that_visitor_alone(visitor):
    owner, other = visitor(), visitor()
    own = {
        "model": "tiny-opt",
        "method": "ria",
        "calibration-source": "own",
        "calibration-text": bundled_text("heldout").content[:20_000],
    }
    told = [json.dumps(m) for m, _ in owner.press("prune", "progress", windows=4, length=64, **own)]
    assert "Done in" in "".join(told)
    key = re.search(r"run=([0-9a-f]{16})", owner.cheap("tabs", "select", "address", TAB)["address"]).group(1)
    mine, theirs = (json.dumps(one.cheap("", "select", "runs-table")["runs-table"]) for one in (owner, other))
    assert key in mine and key not in theirs
    shown = other.cheap("draw-whole", "change", "address")  # its address opens it, for whoever was given that
    assert key not in json.dumps(shown)


def test_downloads_have_a_share(visitor):
    one, limit = visitor(), PUBLIC.folders or 0
    notes = [
        one.cheap("runs-export", "click", "runs-note", **{"runs-chosen": []})["runs-note"] for _ in range(limit + 1)
    ]
    assert "one visitor’s share" in notes[-1] and not any("share" in note for note in notes[:-1])
    assert "share" not in visitor().cheap("runs-export", "click", "runs-note", **{"runs-chosen": []})["runs-note"]


def test_requests_of_many_sessions_make_the_server_forget_no_open_page(client, prunes, visitor):
    one = visitor()
    deaf(client, prunes, "many", WATCHERS)
    assert "run=" in str(one.cheap("tabs", "select", "address", TAB)["address"])
