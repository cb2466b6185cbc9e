"""Dense models in memory: bounded in bytes, loaded once, and never in each other's way."""

import threading
from types import SimpleNamespace

import pytest
import torch

from eggs_core.errors import EggsError, OutOfMemory
from eggs_core.models.dense_models import ModelCache

WAIT = 60.0


class Loads(list[str]):
    """Loads small things and writes down their names; a model of name "a3" has three bytes."""

    def __call__(self, name: str) -> SimpleNamespace:
        self.append(name)
        return SimpleNamespace(name=name, files=None, nbytes=int(name[1:]), device=torch.device("cpu"))


def test_the_models_used_longest_ago_make_room_and_are_loaded_again():
    loads = Loads()
    cache = ModelCache(most_bytes=10, load=loads)
    for name in ("a4", "b5", "a4", "c6", "a4", "b5"):
        assert cache.get(name).name == name
    assert loads == ["a4", "b5", "c6", "b5"]
    assert cache.get("d99").nbytes == 99  # larger than the whole cache: it stays until another one comes
    assert cache.loaded("d99") and not cache.loaded("a4") and not cache.loaded("b5")


def test_without_a_number_the_bound_is_a_share_of_what_is_free():
    free = [100]
    cache = ModelCache(load=Loads(), free_memory=lambda device: free[0])
    cache.get("a50"), cache.get("b50")
    assert cache.loaded("a50") and cache.loaded("b50")  # 100 bytes of 100 free and 100 taken
    free[0] = 10
    cache.get("c1")
    assert not cache.loaded("a50") and cache.loaded("b50") and cache.loaded("c1")  # half of 10 and 101


def test_loading_one_model_does_not_hold_up_another_and_happens_once():
    loads, begun, go = Loads(), threading.Event(), threading.Event()

    def load(name):
        if name == "b2":
            begun.set()
            assert go.wait(WAIT)
        return loads(name)

    cache = ModelCache(most_bytes=99, load=load)
    cache.get("a1")
    cache.get("a1")
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


def test_what_does_not_fit_gets_the_room_of_all_others():
    def tight(name):
        if name == "b2" and cache.loaded("a1"):
            raise OutOfMemory("no room")
        return Loads()(name)

    cache = ModelCache(most_bytes=99, load=tight)
    cache.get("a1")
    assert cache.get("b2").name == "b2"


def test_a_model_that_cannot_be_loaded_may_be_asked_for_again():
    loads = Loads()

    def late(name):
        if not loads:
            loads.append("gone")
            raise EggsError("gone")
        return loads(name)

    cache = ModelCache(most_bytes=99, load=late)
    with pytest.raises(EggsError, match="gone"):
        cache.get("a1")
    assert cache.get("a1").name == "a1"
