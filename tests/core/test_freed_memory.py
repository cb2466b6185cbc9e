"""What was freed goes back to the system, on Linux with glibc."""

import subprocess
import sys

import pytest

FREES = """
import psutil
from eggs_core.freed_memory import return_freed_memory, share_heaps

share_heaps()
resident = lambda: psutil.Process().memory_info().rss >> 20
before = resident()
kept = [bytes(50_000) for _ in range(4_000)][-1:]  # in the heap, and its last piece stays: nothing is freed at its end
full = resident()
return_freed_memory()
print(full - before, full - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_memory_that_was_freed_goes_back_to_the_system():
    run = subprocess.run([sys.executable, "-c", FREES], capture_output=True, text=True, check=True)
    grown, returned = map(int, run.stdout.split())
    assert grown > 150 and returned > 0.8 * grown
