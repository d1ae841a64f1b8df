"""The compiled clock gives the numbers of its Python form, bit for bit, for any stamps."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.drift.clock import Clock
from operators.drift.clock_bin import summed
from operators.drift.offset_filter import OffsetFilterBank
from operators.drift.packet_rate import Packets
from operators.drift.stamp_grain import STEPS, Grain
from operators.types import F64
from tests.operators.drift.test_plain_stamps import PIECES, bits, pieces, senders

MANY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 2**32 - 1)


def judged(source: F64, arrival: F64, sizes: list[int]) -> Any:
    """Return the verdicts of a clock on stamps in pieces, and its state."""
    core, out, waiting = Clock(30.0), [], 0
    for rows in pieces(len(source), sizes):
        mine = slice(rows.start - waiting, rows.stop)
        found = core.feed(source[mine], arrival[mine], rows.stop == len(source))
        k = found.decided
        out.append(bits([found.host[:k], found.ok[:k], found.by[:k], found.turns, found.steps]))
        waiting = rows.stop - (mine.start + k)
    return out, repr(core.finish()), repr(core.snapshot())


@MANY
@given(senders(), PIECES)
def test_a_clock_is_the_same(both, sender: tuple[F64, F64], sizes: list[int]) -> None:
    python, compiled = both(judged, *sender, sizes)
    assert python == compiled


@MANY
@given(SEEDS, st.sampled_from([0.0, 1e-3]), st.sampled_from([0.0, 1e-6, 1e-4, 2e-2]))
def test_a_bank_is_the_same_after_any_readings(
    both, seed: int, rounding: float, own: float
) -> None:
    def read() -> list[str]:
        rng = np.random.default_rng(seed)
        bank, out = OffsetFilterBank.start(1e9, 0.5, 1e-8), []
        for _ in range(80):
            at = bank.at + float(rng.choice([0.0, 0.9, 30.0, -1.0]))
            e = float(rng.exponential(own or 1e-4)) + float(rng.choice([0.0, 1e-5, 1e-3, -0.3]))
            bank.read(at, bank.offset + e, own, max(own, 2e-5) ** 2, rounding)
            out.append(repr(bank))
        return out

    python, compiled = both(read)
    assert python == compiled


@MANY
@given(SEEDS, st.integers(1, 200), st.sampled_from([0.0, 1e-3, 0.5]))
def test_the_figures_of_a_bin_are_the_same(both, seed: int, n: int, grid: float) -> None:
    rng = np.random.default_rng(seed)
    source = 1e9 + np.cumsum(rng.choice([0.0, 0.01], n))
    delay = rng.exponential(0.01, n)
    if grid:
        source, delay = np.round(source / grid) * grid, np.round(delay / grid) * grid
    stamps = array("d", source.tolist()), array("d", delay.tolist())
    python, compiled = both(summed, *stamps, (1e-3, 1e-6, 1e9))
    assert bits(python) == bits(compiled)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bin_with_a_stamp_that_is_not_finite_is_the_same(both, bad: float) -> None:
    stamps = array("d", [1.0, 2.0, 3.0]), array("d", [0.1, bad, 0.2])
    with np.errstate(invalid="ignore"):
        python, compiled = both(summed, *stamps, (0.0, 0.0, 0.0))
    assert bits(python) == bits(compiled)


def paces(source: F64, arrival: F64, sizes: list[int]) -> Any:
    """Return the updates of a channel's packets from samples in pieces, and the state."""
    core, out = Packets(), []
    for rows in pieces(len(source), sizes):
        length_s, rates = core.feed(arrival[rows], source[rows], arrival[rows])
        out.append(bits([length_s, rates]))
    return out, repr(core.snapshot())


@MANY
@given(senders(), st.lists(st.integers(1, 700), min_size=1, max_size=4))
def test_packets_are_the_same(both, sender: tuple[F64, F64], sizes: list[int]) -> None:
    python, compiled = both(paces, *sender, sizes)
    assert python == compiled


def grains(stamps: F64, sizes: list[int]) -> Any:
    """Return the changes of a channel's grain from stamps in pieces, and the state."""
    core = Grain()
    delays = 0.01 * np.sin(stamps)
    out = [
        core.feed(stamps[rows], delays[rows], stamps[rows]) for rows in pieces(len(stamps), sizes)
    ]
    return bits(out), repr(core)


@MANY
@given(senders(), st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_grains_of_senders_are_the_same(both, sender: tuple[F64, F64], sizes: list[int]) -> None:
    python, compiled = both(grains, sender[0], sizes)
    assert python == compiled


@MANY
@given(SEEDS, st.sampled_from(STEPS), st.sampled_from([1.0, 1e9, -2e12, 1e300]))
def test_grains_of_any_stamps_are_the_same(both, seed: int, step: float, far: float) -> None:
    rng = np.random.default_rng(seed)
    of = rng.choice([1, 2, 3]), rng.choice([1, 2, 3])
    stamps = far + step * np.cumsum(rng.choice(of, 400))
    stamps[rng.random(400) < rng.choice([0.0, 0.05])] += 0.3 * step
    with np.errstate(all="ignore"):
        python, compiled = both(grains, stamps, [int(rng.integers(1, 200))])
    assert python == compiled


@pytest.mark.parametrize("wrong", range(9))
def test_stamps_of_the_wrong_shape_are_refused(kernels, wrong: int) -> None:
    time = np.arange(3.0)
    right = [time, time, np.empty(3), 0, (0.0, 0.0, 0.0), 1.0, 10.0, 9.0, 5]
    assert kernels.follow(*right) == 3
    for other in (np.ones(4), np.ones((3, 1), np.float32), "x", (1.0, 2.0), None):
        arguments = [*right]
        arguments[wrong] = other
        with pytest.raises((ValueError, TypeError)):
            kernels.follow(*arguments)
    for first in (-1, 4):
        with pytest.raises(ValueError, match="first stamp"):
            kernels.follow(*right[:3], first, *right[4:])


def test_a_bin_or_bank_of_the_wrong_shape_is_refused(kernels) -> None:
    line, one = (0.0, 0.0, 0.0), array("d", [1.0])
    for size in (0, 1025):
        stamps = array("d", [1.0] * size)
        with pytest.raises(ValueError, match="1 to 1024 stamps"):
            kernels.lowest(stamps, stamps, line)
    for wrong in ((one, array("d"), line), (one, one, (0.0,)), (1.0, one, line)):
        with pytest.raises((ValueError, TypeError)):
            kernels.lowest(*wrong)
    bank = OffsetFilterBank.start(0.0, 0.5, 1e-8)
    for filters in ([], bank.filters * 2, tuple(bank.filters), [1.0]):
        broken = OffsetFilterBank(0.0, 0.5, filters)  # type: ignore[arg-type]
        with pytest.raises((ValueError, AttributeError)):
            kernels.read(broken, 1.0, 0.5, 0.0, 1e-8, 0.0)
    with pytest.raises(AttributeError):
        kernels.read(None, 1.0, 0.5, 0.0, 1e-8, 0.0)


def test_a_window_of_the_wrong_shape_is_refused(kernels) -> None:
    stamps = np.arange(16.0)
    for wrong in (
        (stamps, 1, 0),
        (stamps, -1, 0),
        (stamps[:15], 0, 0),
        ("x", 0, 0),
        (stamps, 0, 1.5),
    ):
        with pytest.raises((ValueError, TypeError)):
            kernels.grid(*wrong)
    time, head = np.arange(10.0), (0.0, 1.0, 2)

    def tables() -> list[Any]:
        return [[[] for _ in range(3)], [[] for _ in range(7)]]

    right = [time, time[:9], 0, 9, 0, head, *tables(), 0.0]
    assert kernels.window(*right)[0] == (8.0, 8.0, 1)
    long = np.arange(100.0)
    for place, other in (
        (0, time[:9]), (1, time), (2, -1), (2, 9), (3, 10), (5, (0.0, 1.0)), (6, [[], []]),
        (6, [[], [], [1.0]]), (6, [["x"], ["x"], ["x"]]), (6, [[0.0] * 65] * 3), (7, [[]] * 6),
        (7, ()), (8, "x"),
    ):  # fmt: skip
        arguments = [*right[:6], *tables(), 0.0]
        arguments[place] = other
        with pytest.raises((ValueError, TypeError)):
            kernels.window(*arguments)
    with pytest.raises(ValueError, match="1 to 64 samples"):
        kernels.window(long, long[:99], 0, 99, 0, head, *tables(), 0.0)
