"""Free memory of a live run is given back."""

import sys
from pathlib import Path

import pytest

from sources.live.heap import TRIM_EVERY_S, Heap

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is of Linux")


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def test_free_pages_between_blocks_in_use_go_back() -> None:
    heap = Heap()
    # Below the threshold from which the allocator maps a block by itself.
    blocks = [bytes(60_000) for _ in range(2_000)]
    full = resident_mib()
    kept = blocks[::20]
    del blocks
    assert heap.trim(0.0)
    assert full - resident_mib() > 80
    assert len(kept) == 100


def test_the_heap_is_trimmed_at_intervals() -> None:
    heap = Heap()
    assert [heap.trim(t) for t in (0.0, 1.0, TRIM_EVERY_S, TRIM_EVERY_S + 1.0)] == [
        True, False, True, False,
    ]  # fmt: skip
