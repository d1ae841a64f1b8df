"""Presence by age, lag and how long a channel is back, tick by tick."""

from __future__ import annotations

import numpy as np
import pytest

from operators.presence import Presence, StreamUptime
from operators.types import STATES

HZ = 2.0
NEVER = np.inf
STALE_AFTER = 1.0


def watched(
    age: list[float],
    *,
    locked: list[bool] | bool = True,
    rejoin_s: float = 2.0,
    watch: Presence | None = None,
    first: int = 100,
) -> tuple[list[str], list[float], list[int]]:
    """Return states, ramp and gaps over ticks of these ages."""
    n = len(age)
    usable = np.broadcast_to(locked, n)
    state, ramp, gaps = (watch or Presence()).step(
        first, HZ, np.array(age), np.full(n, STALE_AFTER), usable, rejoin_s
    )
    return [STATES[i] for i in state], ramp.tolist(), gaps.tolist()


@pytest.mark.parametrize(
    ("age", "locked", "state"),
    [
        (0.1, True, "live"),
        (1.0, True, "live"),
        (1.01, True, "stale"),
        (10.0, True, "stale"),
        (10.01, True, "lost"),
        (0.1, False, "acquiring"),
        (1.01, False, "stale"),
        (10.01, False, "lost"),
        (NEVER, True, "acquiring"),
        (NEVER, False, "acquiring"),
    ],
)
def test_the_state_follows_age_and_lag(age: float, locked: bool, state: str) -> None:
    assert watched([age], locked=locked)[0] == [state]


def test_a_channel_that_comes_back_rejoins_for_as_long_as_it_was_absent() -> None:
    states, ramp, gaps = watched([0.1] + [1.5] * 3 + [0.1] * 9, rejoin_s=9.0)
    # Absent for three ticks: three of hold, then three of ramp.
    assert states == ["live"] + ["stale"] * 3 + ["rejoining"] * 3 + ["live"] * 6
    assert ramp[7:] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0])
    assert ramp[0] == 1.0 and not any(ramp[1:7])
    assert gaps == [0] + [1] * 12


def test_wait_and_ramp_are_limited() -> None:
    states, ramp, _ = watched([11.0] * 40 + [0.1] * 16)
    # Fresh for 2 s: four ticks have passed since the first fresh one.
    assert states[40:] == ["rejoining"] * 4 + ["live"] * 12
    assert ramp[44:] == pytest.approx([0.1 * k for k in range(1, 11)] + [1.0, 1.0])


def test_a_channel_without_a_wait_is_live_at_once_and_ramped() -> None:
    states, ramp, _ = watched([2.0] * 4 + [0.1] * 5, rejoin_s=0.0)
    assert states == ["stale"] * 4 + ["live"] * 5
    assert ramp[4:] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_a_second_stale_stretch_restarts_the_wait() -> None:
    states, _, gaps = watched([2.0, 2.0, 0.1, 2.0, 2.0, 2.0, 0.1, 0.1, 0.1, 0.1])
    assert states == [*["stale"] * 2, "rejoining", *["stale"] * 3, *["rejoining"] * 3, "live"]
    assert gaps == [1, 1, 1, 2, 2, 2, 2, 2, 2, 2]


def test_a_channel_back_without_its_lag_acquires() -> None:
    states, _, _ = watched([2.0] * 4 + [0.1] * 6, locked=[True] * 4 + [False] * 3 + [True] * 3)
    assert states == ["stale"] * 4 + ["acquiring"] * 3 + ["rejoining", "live", "live"]


@pytest.mark.parametrize("at", range(1, 20))
def test_presence_continues_from_any_tick(at: int) -> None:
    age = [NEVER, 0.1, 1.5, 11.0, 0.1, 0.1, 2.0, 3.0] + [0.1] * 12
    watch = Presence()
    first = watched(age[:at], watch=watch)
    rest = watched(age[at:], watch=Presence.from_snapshot(watch.snapshot()), first=100 + at)
    assert tuple(a + b for a, b in zip(first, rest, strict=True)) == watched(age)


def test_a_stream_is_down_from_its_down_status_until_it_is_up() -> None:
    links = StreamUptime()
    at = np.arange(6.0)
    assert links.down("midi", at) is None

    links.turn((("midi", 1.5, False), ("osc", 0.0, True), ("midi", 4.0, True)))
    again = StreamUptime.from_snapshot(links.snapshot())
    for one in (links, again):
        down = one.down("midi", at)
        assert down is not None
        assert down.tolist() == [False, False, True, True, False, False]


def test_status_changes_are_dropped_once_no_tick_needs_them() -> None:
    links = StreamUptime()
    links.turn(tuple(("midi", float(i), i % 2 == 0) for i in range(1000)))
    links.forget(998.5)

    assert len(links.snapshot()["midi"]) == 2
    down = links.down("midi", np.array([998.5, 999.5]))
    assert down is not None
    assert down.tolist() == [False, True]
