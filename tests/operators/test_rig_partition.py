"""The partition of a rig is that of Kafka's own producers."""

from __future__ import annotations

import pytest

from operators.rig_partition import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "hash_"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_apache_kafka(key: bytes, hash_: int) -> None:
    assert murmur2(key) == hash_ % (1 << 32)


def test_rigs_are_dealt_over_all_partitions() -> None:
    dealt = {partition_of(f"rig-{number}", 4) for number in range(64)}
    assert dealt == {0, 1, 2, 3}
