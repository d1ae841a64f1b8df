"""Faults on live messages, by a clock of the test."""

import pytest

from ops.chaos.fault import MODES, Disturbance
from ops.chaos.gate import MAX_HELD, OVERHEAD, Gate


def passed(gate: Gate, times: list[float]) -> dict[int, float]:
    """Put message i at each time; return when each leaves, by steps of a millisecond."""
    left, now = {}, 0.0
    pending = list(enumerate(times))
    while pending or gate.held:
        while pending and pending[0][1] <= now + 1e-9:
            number, time = pending.pop(0)
            gate.put(time, b"%d" % number)
        for data in gate.due(now + 1e-9):
            left[int(data)] = now
        now = round(now + 0.001, 3)
    return left


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_is_within_its_window_only(mode) -> None:
    times = [round(0.01 * i, 3) for i in range(600)]
    gate = Gate(Disturbance(mode, 2.0, 2.0, seed=4))
    left = passed(gate, times)
    inside = [i for i, t in enumerate(times) if 2.0 <= t < 4.0]
    held = [left[i] - times[i] for i in inside if i in left]
    assert all(left[i] == t for i, t in enumerate(times) if i not in inside)
    low, high, share = {
        "delay": (0.8, 0.8, 1.0),
        "jitter": (0.05, 0.201, 1.0),
        "loss": (0.0, 0.0, 0.7),
        "stop": (0.0, 0.0, 0.0),
    }.get(mode, (0.0, 0.0, 1.0))
    assert all(low - 1e-6 <= delay <= high + 1e-6 for delay in held)
    assert len(held) / len(inside) == pytest.approx(share, abs=0.1 if mode == "loss" else 0)
    counts = gate.counts
    assert counts.received == 600 == counts.forwarded + counts.removed
    assert counts.overflow == gate.held == 0


def test_a_seed_gives_the_same_losses() -> None:
    made = [passed(Gate(Disturbance("loss", seed=seed)), [0.0] * 100) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_messages_beyond_the_limit_are_dropped_and_counted() -> None:
    gate, size = Gate(Disturbance("delay")), 60_000
    for _ in range(200):
        gate.put(0.0, bytes(size))
    fit = MAX_HELD // (size + OVERHEAD)
    assert gate.held <= MAX_HELD
    assert gate.counts.overflow == 200 - fit > 0
    assert len(gate.due(1.0)) == fit
    assert gate.held == 0


def test_small_messages_are_bounded_too() -> None:
    gate = Gate(Disturbance("delay"))
    for _ in range(MAX_HELD // OVERHEAD + 10):
        gate.put(0.0, b"")
    assert gate.counts.overflow == 10
