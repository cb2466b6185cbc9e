"""Addresses where no cluster is, and Ray that is not installed: one sentence each, within seconds."""

import sys
import time

import pytest

from eggs_core.errors import EggsError
from eggs_core.sweep.cluster import PORT_SECONDS, check_address, connected


@pytest.mark.parametrize("address", ["ray://host:10001", "host", ":6379", "host:0", "host:many", "host:70000"])
def test_an_address_that_is_none_is_one_sentence(address):
    with pytest.raises(EggsError, match="auto or its head's HOST:PORT"):
        check_address(address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379"])
def test_a_cluster_that_does_not_answer_is_one_sentence(address, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    started = time.monotonic()
    with pytest.raises(EggsError, match=f"No Ray cluster answers at {address}"):
        check_address(address)
    assert time.monotonic() - started < PORT_SECONDS + 5
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(EggsError, match=f"No Ray cluster answers at {address}"):
        check_address("auto")


def test_ray_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EggsError, match=r"pip install -r requirements-sweep\.txt"), connected():
        pass
