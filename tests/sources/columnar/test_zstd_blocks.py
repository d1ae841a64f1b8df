"""The bound on packed content, from the headers of its blocks alone."""

import random

import pytest
from backports import zstd

from sources.columnar.parquet_file import _fits
from sources.columnar.zstd_blocks import ZSTD_BLOCK, most_of_zstd

_ZSTD = 6


@pytest.mark.parametrize("size", [0, 1, 1000, ZSTD_BLOCK, ZSTD_BLOCK + 1, 1 << 20])
@pytest.mark.parametrize("alike", [True, False])
def test_the_bound_holds_and_is_at_most_a_block_beyond(size, alike):
    content = bytes(size) if alike else random.Random(size).randbytes(size)
    most = most_of_zstd(zstd.compress(content))
    assert most is not None
    assert size <= most <= size + ZSTD_BLOCK


def test_frames_that_follow_one_another_add_up():
    data = zstd.compress(bytes(300_000)) * 3
    skipped = (0x184D2A53).to_bytes(4, "little") + (5).to_bytes(4, "little") + bytes(5)
    most = most_of_zstd(skipped + data)
    assert most is not None
    assert 900_000 <= most <= 900_000 + 3 * ZSTD_BLOCK


def test_a_bomb_does_not_fit_its_claim():
    bomb = zstd.compress(bytes(1 << 28))
    assert not _fits(_ZSTD, bomb, 1 << 20)
    assert _fits(_ZSTD, bomb, 1 << 28)


def test_damaged_bytes_are_bounded_or_unknown_and_never_an_error():
    draw = random.Random(31)
    whole = zstd.compress(draw.randbytes(5000) * 40)
    for _ in range(300):
        bad = bytearray(whole[: draw.randrange(len(whole) + 1)])
        for _ in range(draw.randint(0, 4) if bad else 0):
            bad[draw.randrange(len(bad))] = draw.randrange(256)
        most_of_zstd(bytes(bad))
        _fits(_ZSTD, bytes(bad), 200_000)
