"""What is said of a token's time beside what memory needs for it."""

import pytest

from components.places.speed.latency.words import limit_reading
from eggs_core.runs.measurement import Measurement


def taking(milliseconds: float) -> Measurement:
    """A token that reads 20 MB at 10 GB/s, which takes memory 2 ms."""
    side = {"ms_per_token": {"median": milliseconds}, "decode_tokens_per_s": {"median": 1e3 / milliseconds}}
    read = {"linear": 16_000_000, "head": 4_000_000, "total": 20_000_000}
    return Measurement(
        [], generation={"dense": side, "packed": side}, bandwidth=10.0, dense_bytes=read, packed_bytes=read
    )


@pytest.mark.parametrize(("milliseconds", "in_cache"), [(3.0, False), (1.0, True)])
def test_a_model_that_stays_in_the_cache_is_not_said_to_wait_for_memory(milliseconds, in_cache):
    said = limit_reading(taking(milliseconds))
    assert ("stays in the processor’s cache" in said) == in_cache
    assert ("The largest part is" in said) != in_cache and f"{milliseconds:.2f} ms" in said
