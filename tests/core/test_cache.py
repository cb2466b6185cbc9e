"""The one bounded cache: what stays, what makes room, and many threads at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from eggs_core.cache import Bounded

WAIT = 10.0


def characters(values) -> int:
    return sum(map(len, values))


def test_values_used_longest_ago_make_room():
    cache = Bounded(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1  # now b is the one used longest ago
    cache.put("c", 3)
    assert cache.items() == {"a": 1, "c": 3} and len(cache) == 2
    assert cache.get("b") is None and "b" not in cache and "c" in cache


def test_a_value_put_again_replaces_the_old_one_and_is_the_newest():
    cache = Bounded(2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        cache.put(key, value)
    assert list(cache.items().items()) == [("a", 3), ("c", 4)]


def test_looking_at_all_values_uses_none():
    cache = Bounded(2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.items()["a"] = "changed by whoever looked"
    cache.put("c", 3)
    assert cache.items() == {"b": 2, "c": 3}


def test_the_bound_counts_what_total_counts():
    cache = Bounded(10, characters)
    cache.put("a", "1234")
    cache.put("b", "12345")
    assert cache.used() == 9
    cache.put("c", "123456")  # 15 in all: a goes (11 left), then b
    assert cache.items() == {"c": "123456"} and cache.used() == 6


def test_a_number_of_values_can_be_a_second_bound():
    cache = Bounded(10, characters, most_values=2)
    for key in "abc":
        cache.put(key, "1")
    assert list(cache.items()) == ["b", "c"]


def test_what_values_share_counts_once():
    def bytes_of(values) -> int:
        return sum({t.data_ptr(): t.nbytes for tensors in values for t in tensors}.values())

    shared, own = torch.zeros(10), [torch.zeros(1) for _ in range(4)]
    cache = Bounded(40 + 3 * 4, bytes_of)
    for key in range(3):
        cache.put(key, (shared, own[key]))
    assert len(cache) == 3 and cache.used() == 52
    cache.put(3, (shared, own[3]))
    assert list(cache.items()) == [1, 2, 3]


def test_what_is_too_large_is_not_kept_unless_the_newest_always_stays():
    plain, newest = Bounded(3, characters), Bounded(3, characters, keep_newest=True)
    for cache in (plain, newest):
        cache.put("a", "12")
        cache.put("b", "12345")
    assert plain.items() == {} and newest.items() == {"b": "12345"}
    newest.put("c", "1")
    assert newest.items() == {"c": "1"}


def test_a_bound_may_be_asked_for_at_each_change():
    most = [3]
    cache = Bounded(lambda: most[0])
    for key in "abc":
        cache.put(key, key)
    most[0] = 1
    assert len(cache) == 3
    cache.put("d", "d")
    assert list(cache.items()) == ["d"]


def test_a_bound_may_ask_how_much_is_used():
    cache = Bounded(lambda: cache.used() / 2, characters)
    cache.put("a", "12")
    assert cache.items() == {}


def test_a_value_is_made_once_also_if_it_is_none():
    cache, made = Bounded(2), []
    for _ in range(2):
        assert cache.get_or_make("a", lambda: made.append(1)) is None
    assert made == [1] and "a" in cache


def test_using_a_made_value_keeps_it():
    cache = Bounded(2)
    for key in ("a", "b", "a", "c"):
        cache.get_or_make(key, lambda key=key: key)
    assert list(cache.items()) == ["a", "c"]


def test_forgetting_all_or_some():
    cache = Bounded(9)
    for key in ("a1", "a2", "b1"):
        cache.put(key, key)
    cache.forget(lambda key: key.startswith("a"))
    assert cache.items() == {"b1": "b1"}
    cache.forget()
    assert len(cache) == 0


@pytest.mark.parametrize("most", [9, 0])
def test_who_asks_for_what_is_being_made_waits_and_gets_it_though_it_be_too_large_to_keep(most):
    cache, made, waiting, go = Bounded(most), [], [], threading.Event()

    def make() -> object:
        made.append(1)
        assert go.wait(WAIT)
        return object()

    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(cache.get_or_make, "a", make) for _ in range(5)]
        waiting = pool._threads
        deadline = time.monotonic() + WAIT
        while len(waiting) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)  # all five have asked
        go.set()
        assert len({id(future.result(WAIT)) for future in futures}) == 1
    assert made == [1] and len(cache) == min(most, 1)


def test_making_one_value_does_not_hold_up_another():
    cache, begun, go = Bounded(9), threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go.wait(WAIT)
        return "slow"

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(cache.get_or_make, "a", slow)
        assert begun.wait(WAIT)
        assert cache.get_or_make("b", lambda: "fast") == "fast" and cache.get("a") is None
        go.set()
        assert future.result(WAIT) == "slow"


def test_one_value_may_be_made_of_another():
    cache = Bounded(9)
    assert cache.get_or_make("ab", lambda: cache.get_or_make("a", lambda: "a") + "b") == "ab"
    assert cache.items() == {"a": "a", "ab": "ab"}


def test_what_could_not_be_made_is_tried_again():
    cache = Bounded(9)

    def fails() -> str:
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        cache.get_or_make("a", fails)
    assert cache.get_or_make("a", lambda: "a") == "a"


def test_when_making_fails_one_of_those_who_waited_makes_it():
    cache, begun, go = Bounded(9), threading.Event(), threading.Event()

    def fails() -> str:
        begun.set()
        assert go.wait(WAIT)
        raise ValueError("not now")

    made = []

    def works() -> str:
        made.append(1)
        return "made"

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(cache.get_or_make, "a", fails)
        assert begun.wait(WAIT)
        others = [pool.submit(cache.get_or_make, "a", works) for _ in range(3)]
        go.set()
        with pytest.raises(ValueError, match="not now"):
            first.result(WAIT)
        assert [other.result(WAIT) for other in others] == ["made"] * 3
    assert made == [1]


def test_many_threads_never_break_the_bound_or_mix_up_values():
    cache, most = Bounded(5), []

    def work(seed: int) -> bool:
        right = True
        for i in range(400):
            key = (i * 7 + seed * 3) % 11
            right &= cache.get_or_make(key, lambda key=key: key * 10) == key * 10
            if i % 50 == 0:
                cache.forget(lambda k: k % 2 == 0)
            cache.put(key, key * 10)
            most.append(len(cache.items()))
        return right

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert max(most) <= 5 and cache.items() == {key: key * 10 for key in cache.items()}
