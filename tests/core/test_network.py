"""Whether the Hub is in reach is known in a moment, and an unknown model is refused as quickly where it is not."""

import socket
import threading
import time

import pytest
from huggingface_hub import constants

from eggs_core import hub, network
from eggs_core.errors import EggsError
from eggs_core.models.loading import load
from eggs_core.network import CONNECT_SECONDS, reachable
from eggs_core.runs.streamed import streams
from eggs_core.text.datasets import dataset_text

SILENCE_SECONDS = 30  # after which the system itself gives a connection up


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """As on a machine whose user has not said that it is offline."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    network._known.clear()
    hub.hub_bytes.cache_clear()
    yield
    network._known.clear()


@pytest.fixture
def silent(monkeypatch):
    """A network that swallows whatever is sent."""
    over = threading.Event()

    def connect(*_args):
        over.wait(SILENCE_SECONDS)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    yield
    over.set()


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_who_listens_is_in_reach(listening, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", f"http://{listening}")
    assert reachable()


def test_the_way_may_lead_over_a_proxy(listening, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    assert not reachable()
    monkeypatch.setenv("https_proxy", listening)
    network._known.clear()
    assert reachable()


def test_who_says_to_be_offline_is(listening, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", f"http://{listening}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not reachable()


@pytest.mark.parametrize("ask", [load, dataset_text, hub.hub_bytes, streams])
def test_an_unknown_id_is_not_waited_for(silent, ask):
    assert CONNECT_SECONDS < 2
    started = time.monotonic()
    if ask is streams:
        assert not ask("owner/not-here")
    else:
        with pytest.raises(EggsError, match="The Hugging Face Hub cannot be reached"):
            ask("owner/not-here")
    assert time.monotonic() - started < SILENCE_SECONDS


@pytest.mark.parametrize("now", [1.0, 14.99, 15.0])
def test_an_answer_holds_for_a_while_whenever_it_was_given(monkeypatch, now):
    """It was forgotten on every 15th second of the clock, be it given a moment before."""
    clock, tried = [now], []
    monkeypatch.setattr(network, "_connects", lambda *whom: not tried.append(whom))
    monkeypatch.setattr(network.time, "monotonic", lambda: clock[0])
    assert reachable() and len(tried) == 1
    clock[0] += 0.99 * network.KNOWN_SECONDS
    assert reachable() and len(tried) == 1
    clock[0] += 0.02 * network.KNOWN_SECONDS
    assert reachable() and len(tried) == 2
