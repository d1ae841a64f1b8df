"""The OSC clock: its bundles, and a process that plays frames in their time."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import isnan, nan

import pytest
from pythonosc.osc_bundle import OscBundle

from configs.outputs import OscClockConfig
from sinks.conductor.clock_process import steady
from sinks.conductor.conductor import MAX_WAITING, OscTickPlayer
from sinks.conductor.osc_clock import tick_bundle, time_tag
from sinks.conductor.tick_schedule import Tick
from sources.osc.frames import Frames
from tests.support.waiting import until

PATIENCE_S = 20.0
SINCE_1900_S = 2_208_988_800


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(PATIENCE_S)
        yield made


@pytest.fixture
def play(peer: socket.socket) -> Iterator[Callable[..., OscTickPlayer]]:
    players = []

    def made(**clock: float) -> OscTickPlayer:
        to = f"127.0.0.1:{peer.getsockname()[1]}"
        players.append(OscTickPlayer("music", to, OscClockConfig(**clock), 0.001))
        players[-1].start()
        return players[-1]

    yield made
    for player in players:
        player.stop()


def ticks(first: int, count: int, start: float, tick_s: float = 0.02, **more: object) -> list[Tick]:
    return [
        Tick(start + i * tick_s, 1.8e9 + i, first + i, tick_s, 1 / tick_s, 0.01, 2, False)._replace(
            **more
        )
        for i in range(count)
    ]


def beat(peer: socket.socket) -> int:
    return OscBundle(peer.recv(2048)).content(0).params[0]


def test_a_bundle_is_read_by_another_library() -> None:
    tick = Tick(0.0, 1.8e9 + 0.25, 41, 0.2, 5.0, -0.125, 3, False)
    bundle = OscBundle(tick_bundle("/lumen/tick", tick, 0.5))
    message = bundle.content(0)

    assert bundle.num_contents == 1
    assert message.address == "/lumen/tick"
    assert message.params == [41, 5.0, -0.125, 3]
    assert bundle.timestamp == pytest.approx(1.8e9 + 0.75, abs=1e-6)


def test_the_time_tag_is_exact_to_the_grain_of_its_time() -> None:
    whole, part = divmod(time_tag(1.8e9 + 0.123456), 1 << 32)

    assert whole == 1_800_000_000 + SINCE_1900_S
    assert part / (1 << 32) == pytest.approx(0.123456, abs=2.4e-7)


def test_an_unknown_phase_error_is_no_number_and_a_long_count_goes_round() -> None:
    tick = Tick(0.0, 0.0, (1 << 31) + 5, 0.2, 5.0, nan, 0, False)
    found = OscBundle(tick_bundle("/t", tick, 0.0)).content(0).params

    assert isnan(found[2])
    assert found[0] == -(1 << 31) + 5


def test_numbers_beyond_float32_are_its_largest() -> None:
    tick = Tick(0.0, 0.0, 1, 0.2, 1e300, -1e300, 0, False)
    found = OscBundle(tick_bundle("/t", tick, 0.0)).content(0).params

    assert found[1:3] == [3.4028234663852886e38, -3.4028234663852886e38]


def test_ticks_come_in_their_order_and_not_before_their_time(play, peer) -> None:
    player = play()
    start = steady() + 1.0
    player.put(ticks(0, 10, start), start + 1.0)

    assert beat(peer) == 0
    assert steady() >= start
    assert [beat(peer) for _ in range(9)] == list(range(1, 10))


def test_a_tick_sent_ahead_comes_before_its_time(play, peer) -> None:
    player = play(ahead_ms=2000, offset_ms=500)
    start = steady() + 30.0
    player.put(ticks(0, 1, start - 28.0, wall=1.8e9), start)
    bundle = OscBundle(peer.recv(2048))

    assert steady() < start
    assert bundle.timestamp == pytest.approx(1.8e9 + 0.5, abs=1e-6)


def test_outcomes_come_back(play, peer) -> None:
    player = play()
    now = steady()
    player.put(ticks(0, 3, now - 5.0), now)
    player.put(ticks(3, 4, now, withheld=True), now)
    player.put(ticks(7, 2, now + 1.0), now + 1.1)
    player.put(ticks(9, 1, now + 1.1, withheld=True), now + 1.2)

    def total() -> bool:
        found = player.totals.total()
        return found.outcomes == {"sent": 2, "withheld": 5, "dropped": 3}

    assert beat(peer) == 7
    until(total)
    found = player.totals.total()
    assert sum(found.jitter) == 2
    assert found.jitter_s >= 0.0


def test_a_stopped_process_sends_no_burst_and_is_in_time_again(play, peer) -> None:
    player = play()
    start = steady() + 0.5
    player.put(ticks(0, 1, start), start)
    assert beat(peer) == 0
    os.kill(player.pid, signal.SIGSTOP)
    start = steady()
    player.put(ticks(1, 100, start), start + 2.0)
    time.sleep(1.0)
    os.kill(player.pid, signal.SIGCONT)
    first = beat(peer)
    assert first > 40
    assert [beat(peer) for _ in range(10)] == list(range(first + 1, first + 11))
    until(lambda: player.totals.total().outcomes["dropped"] >= 40)


def test_a_full_pipe_drops_and_counts_the_oldest(play, peer) -> None:
    player = play()
    os.kill(player.pid, signal.SIGSTOP)
    now = steady()
    many = 2 * MAX_WAITING
    for n in range(many):
        player.put(ticks(10 * n, 10, now), now)
    os.kill(player.pid, signal.SIGCONT)

    assert player.totals.total().outcomes["dropped"] > 0
    until(lambda: (player.put([], now), sum(player.totals.total().outcomes.values()))[1] > many)


def test_a_killed_process_is_started_again_and_its_counts_stay(play, peer, monkeypatch) -> None:
    monkeypatch.setattr("sinks.send.child_process._RESTART_S", 0.0)
    player = play()
    player.put(ticks(0, 1, steady()), steady())
    player.put(ticks(1, 1, steady(), withheld=True), steady())
    until(lambda: sum(player.totals.total().outcomes.values()) == 2)
    before = player.pid
    os.kill(before, signal.SIGKILL)

    def again() -> bool:
        player.put(ticks(2, 1, steady(), withheld=True), steady())
        return player.totals.total().outcomes["withheld"] > 1

    until(again)
    assert player.pid != before
    found = player.totals.total().outcomes
    assert found["sent"] + found["dropped"] == 1


@pytest.mark.parametrize("framing", ["slip", "length"])
def test_ticks_are_sent_over_tcp_and_again_after_a_loss(framing: str, capfd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        to = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        player = OscTickPlayer("music", to, OscClockConfig(), 0.001, framing)
        player.start()
        try:
            for beats in (7, 8):
                with listener.accept()[0] as peer:
                    bundle = OscBundle(first_packet(peer, player, beats))
                assert bundle.content(0).address == "/lumen/tick"
                assert bundle.content(0).params[0] >= beats
        finally:
            player.stop()
    assert "music does not tick: it is gone" in capfd.readouterr().err


def first_packet(peer: socket.socket, player: OscTickPlayer, beats: int) -> bytes:
    """Return the first packet of a connection on which ticks are sent."""
    peer.settimeout(0.05)
    frames, found = Frames(8192), []

    def ticked() -> bool:
        player.put(ticks(beats, 1, steady()), steady())
        with suppress(TimeoutError):
            found.extend(frames.feed(peer.recv(2048)))
        return bool(found)

    until(ticked)
    return found[0]


def test_a_destination_that_cannot_be_reached_drops_its_ticks(capfd) -> None:
    player = OscTickPlayer("music", "no-such-host.invalid:9", OscClockConfig(), 0.001)
    player.start()
    try:
        until(lambda: (player.put(ticks(0, 1, steady()), steady()),
                       player.totals.total().outcomes["dropped"])[1] > 0)  # fmt: skip
        until(lambda: "music does not tick" in capfd.readouterr().err)
    finally:
        player.stop()
