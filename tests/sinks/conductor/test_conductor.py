"""The consumer: which frames go to which players, and when they are to be played."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path

import pytest

from configs.load import load
from configs.schema import Config
from sinks.conductor.conductor import Conductor, conducted, playback_speed
from sinks.conductor.play_axis import LiveAxis, ReplayAxis, distance
from sinks.conductor.tick_counts import TickTotals
from sinks.conductor.tick_schedule import Tick
from tests.support.bridge_frames import frame, frames, packet

BRIDGE = 'bridge: {reference: {beat: "a:/tick"}}\n'
PORT = "tests.support.logged_port:LoggedPort"
SEND = 'send: [{name: m, type: osc, to: "127.0.0.1:9", map: {}, clock: {}}]\n'


class Clock:
    """A clock that is set by hand; host time is 1000 s ahead of the steady clock."""

    def __init__(self) -> None:
        self.now, self.ahead_s, self.axis_s = 0.0, 0.0, 1000.0

    def __call__(self) -> float:
        return self.now + self.axis_s

    def steady(self) -> float:
        return self.now


class Player:
    """A player that keeps what it was given."""

    name = "m"

    def __init__(self) -> None:
        self.totals = TickTotals()
        self.ticks: list[Tick] = []
        self.decided: list[float] = []
        self.stops = 0

    def start(self) -> None:
        pass

    def put(self, ticks: list[Tick], decided: float) -> None:
        self.ticks += ticks
        self.decided.append(decided)

    def stop(self) -> None:
        self.stops += 1


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.ndjson").touch()


def config(rest: str, stream: str = '{name: a, type: osc, addr: "127.0.0.1:9000"}') -> Config:
    signals = 'signals: {pulse: {members: {"a:/x": {}}}}\n'
    Path("c.yaml").write_text(f"version: 2\nstreams: [{stream}]\n{signals}{rest}")
    return load("c.yaml", {}).config


def recorded(speed: float, more: str = "") -> str:
    return f"{{name: demo, type: file, path: demo.ndjson, speed: {speed}{more}}}"


def test_a_frame_is_played_at_its_host_time_by_the_steady_clock() -> None:
    clock, player = Clock(), Player()
    conductor = Conductor(config(BRIDGE), LiveAxis(clock, clock.steady), 1.0, [player])
    conductor.consume([packet(*frames(7, 2, 1050.0), at=1049.95)])

    assert [tick.at for tick in player.ticks] == pytest.approx([50.0, 50.2])
    assert [tick.beat for tick in player.ticks] == [7, 8]
    assert [tick.wall for tick in player.ticks] == [1050.0, 1050.2]
    assert player.decided == pytest.approx([1050.0 + 0.2 - 1000.0])


def test_all_ticks_are_known_up_to_the_lead_after_the_newest_control_step() -> None:
    clock, player = Clock(), Player()
    conductor = Conductor(config(BRIDGE), LiveAxis(clock, clock.steady), 1.0, [player])
    conductor.consume([packet(at=1060.0), packet()])

    assert player.decided == pytest.approx([60.2])
    assert player.ticks == []


def test_changes_of_state_and_other_rigs_are_not_played() -> None:
    clock, player = Clock(), Player()
    conductor = Conductor(config(BRIDGE), LiveAxis(clock, clock.steady), 1.0, [player])
    conductor.start("studio")
    change = frame(1, 1050.0, why="entropy", state="E3")
    conductor.consume([packet(change), packet(frame(2, 1051.0), rig="other")])
    conductor.stop()

    assert player.ticks == []
    assert player.stops == 1


def test_an_unknown_time_is_not_played() -> None:
    clock, player = Clock(), Player()
    conductor = Conductor(config(BRIDGE), LiveAxis(clock, clock.steady), 1.0, [player])
    conductor.consume([packet(frame(1, nan), frame(2, inf), at=nan)])
    conductor.consume([packet(frame(3, 1050.0, tick_ms=0.0), frame(4, 1050.0, tick_ms=inf))])

    assert player.ticks == []


def test_an_unknown_phase_error_stays_unknown() -> None:
    clock, player = Clock(), Player()
    conductor = Conductor(config(BRIDGE), LiveAxis(clock, clock.steady), 1.0, [player])
    conductor.consume([packet(frame(1, 1050.0, phase_error=None))])

    assert player.ticks[0].phase_error != player.ticks[0].phase_error


def test_a_step_of_the_wall_clock_moves_time_tags_alone() -> None:
    clock = Clock()
    axis = LiveAxis(clock, clock.steady)
    axis.seen(1000.0)
    clock.ahead_s = 3600.0
    axis.seen(1000.0)

    assert axis.steady(1050.0) == pytest.approx(50.0)
    assert axis.wall(1050.0) == 1050.0 + 3600.0


def test_a_resumed_host_axis_is_followed() -> None:
    clock = Clock()
    axis = LiveAxis(clock, clock.steady)
    axis.seen(1000.0)
    clock.axis_s = 990.0
    axis.seen(1000.0)

    assert axis.steady(1050.0) == pytest.approx(60.0)


def test_the_distance_of_clocks_is_that_of_the_best_reading() -> None:
    readings = iter([0.0, 0.9, 1.0, 1.0000001, 1.5, 1.5000001])
    found, width = distance(lambda: 5.0, lambda: next(readings))

    assert width < 1e-6
    assert found == pytest.approx(5.0 - 1.0)


def test_a_replay_is_played_at_its_speed_from_the_latest_block_on() -> None:
    clock = Clock()
    axis = ReplayAxis(2.0, clock.steady, lambda: clock.now + 1e9)
    clock.now = 10.0
    axis.seen(500.0)
    assert axis.steady(500.0) == 10.0
    assert axis.steady(502.0) == 11.0
    clock.now = 10.9
    axis.seen(501.0)  # 0.4 s later than the first
    assert axis.steady(501.0) == pytest.approx(10.9)
    clock.now = 11.0
    axis.seen(502.0)
    assert axis.steady(502.0) == pytest.approx(11.4)
    assert axis.wall(502.0) == pytest.approx(11.4 + 1e9)


@pytest.mark.parametrize(
    ("stream", "speed"),
    [(recorded(0.5), 0.5), (recorded(0, ", follow: true"), 1.0), (recorded(4), 4.0)],
)
def test_the_speed_of_a_replay(stream, speed):
    assert playback_speed(config("", stream)) == speed


@pytest.mark.parametrize(
    ("rest", "stream", "played"),
    [
        (BRIDGE + SEND, None, True),
        (BRIDGE + SEND, recorded(1), True),
        (BRIDGE + SEND, recorded(0, ", follow: true"), True),
        (BRIDGE + SEND, recorded(0), False),
        (BRIDGE, None, False),
        (BRIDGE + SEND.replace("map: {}, clock: {}", "map: {/x: pulse}"), None, False),
        ("", None, False),
    ],
)
def test_runs_with_a_rhythm_and_a_clock_are_played(rest, stream, played):
    made = conducted(config(rest, stream) if stream else config(rest), Clock(), PORT)

    assert (made is not None) == played
