"""Failover as a whole: a hundred silences, and which mode and value each tick has."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from operators.events import Batch
from operators.types import F64, I64, MODES, Bool
from tests.support.signals import START, Source, known, makers, plan, studio, trace

LAG_S = {"ure": 0.0, "osc_1": 0.4, "osc_2": -0.6}
RATE_HZ = {"ure": 10.0, "osc_1": 12.5, "osc_2": 8.0}
WHO = (("ure",), ("osc_1", "osc_2"), ("osc_1",), ("osc_2",), ("ure", "osc_2"), tuple(RATE_HZ))
SILENCES, EVERY_S, REJOIN_S = 102, 48.0, 10.0
"""So far apart that no silence finds two others in the minute before it, which would be usual."""
TICK_S = 0.2
SLACK_S = 0.02
"""By how much the median of 64 intervals may be off."""


class Run(NamedTuple):
    """What went in, and by tick: time (k,), mode (k,), value, weights and sd of the members."""

    batch: Batch
    ts: F64
    mode: I64
    value: F64
    weights: F64
    fused: F64
    sd: F64


def late(lag_s: float, t: F64) -> F64:
    t = t - lag_s
    return np.asarray(np.sin(1.9 * t) + np.sin(3.1 * t + 1) + np.sin(5.3 * t + 2))


@lru_cache(maxsize=1)
def run() -> Run:
    rng = np.random.default_rng(0)
    begin = 90 + EVERY_S * np.arange(SILENCES) + rng.uniform(0, 5, SILENCES)
    long = rng.uniform(2, 15, SILENCES)
    sources = []
    for s, lag in LAG_S.items():
        mine = np.flatnonzero([s in WHO[k % len(WHO)] for k in range(SILENCES)])
        silent = tuple(zip(begin[mine], begin[mine] + long[mine], strict=True))
        sources.append(
            Source(
                source=s,
                key="pulse",
                rate_hz=RATE_HZ[s],
                stamped=False,
                noise=0.2,
                value=partial(late, lag),
                silent=silent,
            )
        )
    batch = studio(*sources, seconds=90 + EVERY_S * SILENCES, ticks_s=0.1)
    members = [known(f"{s}:pulse", lag) for s, lag in LAG_S.items()]
    out = trace(makers(plan(members), block_s=10.0), [batch])
    grids = [p.grid for p in out["resample"] if p.grid is not None]
    fused = [p.fused for p in out["fuse"] if p.fused is not None]
    signal = [f.signals[0] for f in fused]
    return Run(
        batch,
        *(
            np.concatenate(x)
            for x in (
                [f.ts for f in fused],
                [f.mode for f in fused],
                [g.value for g in grids],
                [s.weights for s in signal],
                [s.value for s in signal],
                [s.sd for s in signal],
            )
        ),
    )


def presence(r: Run, source: str) -> tuple[Bool, Bool]:
    """Return where a source is there by its events, and where a tick more or less decides."""
    k = [s for s, _ in r.batch.names].index(source)
    received = r.batch.rx[r.batch.name == k]
    stale_s = max(3 / RATE_HZ[source], TICK_S)
    quiet = np.flatnonzero(np.diff(received) > stale_s)
    there, open_ = np.ones(len(r.ts), bool), np.zeros(len(r.ts), bool)
    for last, first in zip(received[quiet], received[quiet + 1], strict=True):
        gone = last + stale_s
        back = first + min(first - gone, REJOIN_S)
        there &= ~((r.ts > gone) & (r.ts < back))
        # The absence is one of ticks: a tick more or less.
        for edge, less in ((gone, 0.0), (back, TICK_S)):
            open_ |= (r.ts > edge - less - SLACK_S) & (r.ts < edge + less + TICK_S + SLACK_S)
    return there, open_


def test_a_hundred_silences_and_every_mode_is_right_within_a_tick() -> None:
    r = run()
    there, open_ = zip(*(presence(r, s) for s in LAG_S), strict=True)
    ure, sensors = there[0], there[1] | there[2]
    due = np.select([ure & sensors, ure, sensors], ["fused", "ure_only", "sensors_only"], "none")
    mode = np.array(MODES)[r.mode]
    judged = ~np.any(open_, axis=0) & (r.ts > START + 30)
    assert judged.mean() > 0.95
    assert mode[judged].tolist() == due[judged].tolist()
    # Each silence and each return of a whole group is one change of mode.
    changes = np.flatnonzero(mode[1:] != mode[:-1]) + 1
    assert len(changes) >= SILENCES
    assert set(mode) == {"fused", "ure_only", "sensors_only", "none"}


def test_every_tick_with_a_present_member_has_a_value() -> None:
    r = run()
    assert (np.isfinite(r.fused) == np.isfinite(r.value).any(axis=1)).all()


def test_a_failover_moves_the_value_by_at_most_three_sd() -> None:
    r = run()
    turn = np.flatnonzero(((r.weights[1:] > 0) != (r.weights[:-1] > 0)).any(axis=1)) + 1
    moved = []
    for k in turn[r.ts[turn] > START + 90]:
        can = np.isfinite(r.value[k])
        before = np.where(can, r.weights[k - 1], 0.0)
        if before.sum() > 0 and np.isfinite(r.fused[k]):
            by_old = np.nansum(before * r.value[k]) / before.sum()
            moved.append(abs(by_old - r.fused[k]) / r.sd[k])
    assert len(moved) >= SILENCES
    assert max(moved) <= 3.0
