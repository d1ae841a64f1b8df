"""A growing recording is followed, whatever happens to its file."""

import gzip

import pytest

from sources.host.shutdown import Shutdown
from sources.replay.poll import AT_ONCE
from tests.sources.replay.replayed import Seen, config, event, part, write


def follow(path, state=None, shutdown=None):
    return part(config(path, follow=True), state, shutdown=shutdown)


def test_a_growing_recording_is_followed_and_its_torn_line_waits(tmp_path):
    path, seen = tmp_path / "f", Seen()
    line = event(0)
    path.write_text(line[:20])
    shutdown = Shutdown()
    source = follow(path, shutdown=shutdown)
    assert source.next_batch() == []
    assert source.next_awake() == AT_ONCE
    with path.open("a") as f:
        f.write(line[20:] + "\n" + event(1) + "\n" + "{")
    seen.take(source.next_batch())
    assert seen.arrivals() == [0, 1]
    shutdown.request()
    seen.take(source.next_batch())
    assert [s[1] for s in seen.rejects["studio"]] == ["torn"]
    assert seen.ended == ["studio"]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_hundred_rotations_lose_nothing_and_repeat_nothing(tmp_path, resumed):
    path, seen, n = tmp_path / "f", Seen(), 0
    path.touch()
    source = follow(path)
    for turn in range(100):
        with path.open("a") as f:
            for _ in range(3):
                f.write(event(n / 10) + "\n")
                n += 1
            f.flush()
            if turn % 3 == 0:
                seen.take(source.next_batch())
            f.write(event(n / 10) + "\n")  # just before it is moved away
            n += 1
        path.rename(tmp_path / f"f.{turn}")
        path.touch()
        if resumed and turn % 7 == 0:
            state = source.snapshot()
            source = follow(path, state)
        for _ in range(3):
            seen.take(source.next_batch())
    assert seen.arrivals() == [i / 10 for i in range(n)]
    assert seen.rejects["studio"] == []
    assert len({r[7] for r in seen.rows["studio"]}) == n


def test_a_truncated_recording_is_read_anew(tmp_path):
    path, seen = write(tmp_path / "f", [event(i) for i in range(5)]), Seen()
    with path.open("a") as f:
        f.write("{")
    source = follow(path)
    seen.take(source.next_batch())
    write(path, [event(9)])
    for _ in range(3):
        seen.take(source.next_batch())
    assert seen.arrivals() == [0, 1, 2, 3, 4, 9]
    assert [(s[0], s[1]) for s in seen.rejects["studio"]] == [(5, "torn")]


def test_a_packed_recording_cannot_be_followed(tmp_path):
    path = tmp_path / "f.gz"
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match="cannot be followed"):
        follow(path)
