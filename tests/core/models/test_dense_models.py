"""Dense models in memory: bounded in bytes, loaded once, and never in each other's way."""

import threading
from types import SimpleNamespace

import pytest
import torch

from eggs_core.errors import EggsError, OutOfMemory
from eggs_core.models import dense_models as model_cache
from eggs_core.models.dense_models import ModelCache

WAIT = 10.0


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """The names that were loaded; a model of name "a3" has three bytes."""
    names = []

    def load(name):
        names.append(name)
        return SimpleNamespace(name=name, files=None, nbytes=int(name[1:]), device=torch.device("cpu"))

    monkeypatch.setattr(model_cache, "load", load)
    return names


def test_the_models_used_longest_ago_make_room_and_are_loaded_again(loads):
    cache = ModelCache(most_bytes=10)
    for name in ("a4", "b5", "a4", "c6", "a4", "b5"):
        assert cache.get(name).name == name
    assert loads == ["a4", "b5", "c6", "b5"]
    assert cache.get("d99").nbytes == 99  # larger than the whole cache: it stays until another one comes
    assert cache.loaded("d99") and not cache.loaded("a4") and not cache.loaded("b5")


def test_without_a_number_the_bound_is_a_share_of_what_is_free(loads, monkeypatch):
    free = [100]
    monkeypatch.setattr(model_cache, "free_memory", lambda device: free[0])
    cache = ModelCache()
    cache.get("a50"), cache.get("b50")
    assert cache.loaded("a50") and cache.loaded("b50")  # 100 bytes of 100 free and 100 taken
    free[0] = 10
    cache.get("c1")
    assert not cache.loaded("a50") and cache.loaded("b50") and cache.loaded("c1")  # half of 10 and 101


def test_evaluations_go_with_their_model(loads):
    cache = ModelCache(most_bytes=3)
    cache.get("a2")
    cache.remember(("a2", "text"), "scores")
    assert cache.scores(("a2", "text")) == "scores"
    cache.get("b2")
    assert cache.scores(("a2", "text")) is None


def test_loading_one_model_does_not_hold_up_another_and_happens_once(loads, monkeypatch):
    cache, begun, go, real = ModelCache(most_bytes=99), threading.Event(), threading.Event(), model_cache.load
    cache.get("a1")

    def slow(name):
        begun.set()
        assert go.wait(WAIT)
        return real(name)

    monkeypatch.setattr(model_cache, "load", slow)
    found = []
    threads = [threading.Thread(target=lambda: found.append(cache.get("b2")), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(WAIT)
    assert cache.get("a1").name == "a1"  # while the other is being loaded
    go.set()
    for thread in threads:
        thread.join(WAIT)
    assert loads == ["a1", "b2"] and len({id(model) for model in found}) == 1


def test_what_does_not_fit_gets_the_room_of_all_others(loads, monkeypatch):
    cache, real = ModelCache(most_bytes=99), model_cache.load
    cache.get("a1")

    def tight(name):
        if cache.loaded("a1"):
            raise OutOfMemory("no room")
        return real(name)

    monkeypatch.setattr(model_cache, "load", tight)
    assert cache.get("b2").name == "b2"


def test_a_model_that_cannot_be_loaded_may_be_asked_for_again(loads, monkeypatch):
    cache, real = ModelCache(most_bytes=99), model_cache.load

    def fails(name):
        raise EggsError("gone")

    monkeypatch.setattr(model_cache, "load", fails)
    with pytest.raises(EggsError, match="gone"):
        cache.get("a1")
    monkeypatch.setattr(model_cache, "load", real)
    assert cache.get("a1").name == "a1"
