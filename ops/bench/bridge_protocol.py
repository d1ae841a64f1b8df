"""Changes of state while every indicator wanders about its threshold, and the cost of the parts.

`python -m ops.bench.bridge_protocol [--hours H] [--tick-hz F]`: sync, phase, entropy and residual
are red noise about the thresholds of the protocol, each of a given correlation time, and coherence
about that of the hard stop. Changes of state are counted beside those of the same table without
dwells, and silences of the hard stop beside those without `hard_stop_keep_s`. A rollback is
released at once.

The last silences are those of the estimator: the coherence that `quality` measures in members whose
true coherence is the threshold, for `--quality-hours`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.signal import lfilter

from operators.bridge.actions import Actions, parse_action
from operators.bridge.bridge_config import (
    NonlinearGainConfig,
    PhaseConfig,
    ProtocolConfig,
    SafetyConfig,
)
from operators.bridge.calibrator import Calibrator
from operators.bridge.gains import GainSchedule
from operators.bridge.gains_in_force import Gains
from operators.bridge.protocol import RELEASE, Judged, Protocol
from operators.bridge.trend import RATIO_S, RollbackRatio, SyncWindow, Trends
from operators.records import INDICATORS
from operators.types import F64
from ops.bench.indicators import WINDOW_S, each_hop
from ops.text.table import table

CENTRE = (0.85, 0.02, 0.15, 0.03)
"""Thresholds of sync, phase, entropy and residual."""
SPREAD = (0.05, 0.01, 0.05, 0.01)
CORRELATIONS_S = (2.0, 20.0, 120.0)
COHERENCE, COHERENCE_SD = 0.72, 0.01
WITHOUT_DWELLS = ProtocolConfig(
    idle_s=0, syncing_s=0, bridged_s=0, guard_s=0, calm_s=0, guarded_s=0
)


def red_noise(rng: np.random.Generator, shape: tuple[int, int], correlation: float) -> F64:
    """Return noise of sd 1 whose correlation falls to 1 / e in so many rows."""
    keep = math.exp(-1 / correlation)
    white = rng.standard_normal(shape) * math.sqrt(1 - keep * keep)
    return np.asarray(lfilter([1.0], [1.0, -keep], white, axis=0))


def wandering(
    rng: np.random.Generator, count: int, correlation_s: float, tick_hz: float
) -> list[Judged]:
    """Return ticks whose quantities wander about the thresholds of the protocol."""
    noise = red_noise(rng, (count, 4), correlation_s * tick_hz)
    return [
        Judged(True, sync, phase, entropy, residual, 0.0)
        for sync, phase, entropy, residual in (np.array(CENTRE) + SPREAD * noise).tolist()
    ]


def changes(ticks: Sequence[Judged], tick_hz: float, config: ProtocolConfig) -> tuple[int, float]:
    """Return the changes of state, and the CPU time of the ticks (s)."""
    core = Protocol(config, SafetyConfig(), tick_hz)
    found, begun = 0, time.process_time()
    for i, each in enumerate(ticks):
        found += core.tick(i / tick_hz, each) is not None
    return found, time.process_time() - begun


def silences(coherence: Sequence[float], tick_hz: float, keep_s: float) -> tuple[int, int]:
    """Return how often the hard stop silenced the output, and the most in 300 s of E2."""
    core = Protocol(ProtocolConfig(), SafetyConfig(hard_stop_keep_s=keep_s), tick_hz)
    ratio, stop = RollbackRatio(tick_hz), core.hard_stop
    begun: list[float] = []
    sent, all_begun, most = 0, 0, 0
    for i, value in enumerate(coherence):
        ts, before = i / tick_hz, core.withheld
        stopped = stop.update(ts, 1 if value < COHERENCE else -1)
        if core.state == "E2":
            sent += 1
            if stopped and not before:
                all_begun += 1
                begun = [each for each in begun if sent - each < RATIO_S * tick_hz] + [sent]
                most = max(most, len(begun))
        judged = Judged(True, 1.0, 0.0, 0.0, 0.01, ratio.tick(core.state, stopped))
        if core.tick(ts, judged) and core.state == "E4":
            core.command(RELEASE, ts)
            begun = []
    return all_begun, most


def estimated(hours: float, members: int, tick_hz: float) -> list[float]:
    """Return the coherence at each grid tick, of members whose true coherence is COHERENCE."""
    part = math.sqrt(COHERENCE)
    snr_db = 10 * math.log10(part / (1 - part))
    hops = each_hop(snr_db, round(hours * 3600 / WINDOW_S), members, seed=15)
    coherence = hops[:, INDICATORS.index("coherence")]
    known = coherence[np.isfinite(coherence)]
    return np.repeat(known, round(tick_hz)).tolist()


def cost(call: Callable[[int], object], count: int = 20_000) -> str:
    """Return the CPU time of a call (us), the least of five runs."""
    least = math.inf
    for _ in range(5):
        begun = time.process_time()
        for i in range(count):
            call(i)
        least = min(least, time.process_time() - begun)
    return f"{1e6 * least / count:.2f}"


def parts() -> list[tuple[str, str]]:
    """Return the CPU time of each part by its call."""
    curves = NonlinearGainConfig(
        kp_curve=[(0.0, 0.35), (0.1, 0.33), (0.2, 0.28), (0.3, 0.22)],
        kd_curve=[(0.0, 0.10), (0.1, 0.12), (0.2, 0.14), (0.3, 0.18)],
        ki_base=0.08,
    )
    configured, good = Gains(0.35, 0.08, 0.1), Judged(True, 0.9, 0.01, 0.1, 0.02, 0.0)
    protocol = Protocol(ProtocolConfig(), SafetyConfig(), 5.0)
    window, ratio, trends = SyncWindow(90.0), RollbackRatio(5.0), Trends()
    schedule, actions = GainSchedule(PhaseConfig(), curves), Actions()
    actions.take("rule", [parse_action("increase kd by 0.02"), parse_action("safety gain 0.9")])
    calibrator = Calibrator("advise", PhaseConfig())

    def beat(i: int) -> None:
        window.add(i / 5, 0.01, 0.2)
        window.at(i / 5)
        calibrator.add(i / 5, 0.01)

    return [
        ("protocol, a grid tick", cost(lambda i: protocol.tick(i / 5, good))),
        ("windows of a beat", cost(beat)),
        ("figures over time, a grid tick", cost(lambda i: trends.tick(i / 5, 0.01, 0.9, 0.1, 0.1))),
        ("rollback ratio, a grid tick", cost(lambda i: ratio.tick("E2", False))),
        (
            "calibrator, a grid tick",
            cost(lambda i: calibrator.tick(i / 5, "rig", actions, configured)),
        ),
        ("gains at an entropy", cost(lambda i: schedule.at(i % 300 / 1000))),
        ("gains with actions", cost(lambda i: actions.gains(configured))),
    ]


def main() -> int:
    """Print changes, silences and costs."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.bridge_protocol")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--tick-hz", type=float, default=5.0)
    parser.add_argument("--quality-hours", type=float, default=12.0)
    args = parser.parse_args()
    count = round(args.hours * 3600 * args.tick_hz)
    rows = []
    for correlation_s in CORRELATIONS_S:
        rng = np.random.default_rng(15)
        ticks = wandering(rng, count, correlation_s, args.tick_hz)
        found, cpu_s = changes(ticks, args.tick_hz, ProtocolConfig())
        undelayed, _ = changes(ticks, args.tick_hz, WITHOUT_DWELLS)
        noise = red_noise(rng, (count, 1), correlation_s * args.tick_hz)
        coherence = (COHERENCE + COHERENCE_SD * noise[:, 0]).tolist()
        kept, most = silences(coherence, args.tick_hz, SafetyConfig().hard_stop_keep_s)
        at_once, _ = silences(coherence, args.tick_hz, 0.0)
        rows.append(
            (
                f"{correlation_s:g} s",
                f"{found}",
                f"{found / args.hours:.1f}",
                f"{undelayed / args.hours:.0f}",
                f"{cpu_s:.1f}",
                f"{kept / args.hours:.0f}",
                f"{most}",
                f"{at_once / args.hours:.0f}",
            )
        )
    columns = (
        "correlation", "changes", "an hour", "without dwells", "CPU s", "silences an hour",
        "most in 300 s", "without keep",
    )  # fmt: skip
    print(f"{args.hours:g} h of grid ticks at {args.tick_hz:g} Hz, all quantities at thresholds\n")
    print(table(columns, rows))
    print()
    measured = []
    for members in (2, 3, 5):
        coherence = estimated(args.quality_hours, members, args.tick_hz)
        hours = len(coherence) / args.tick_hz / 3600
        kept, most = silences(coherence, args.tick_hz, SafetyConfig().hard_stop_keep_s)
        at_once, most_at_once = silences(coherence, args.tick_hz, 0.0)
        measured.append(
            (
                f"{members}",
                f"{np.mean(coherence):.3f} +- {np.std(coherence):.3f}",
                f"{kept / hours:.0f}",
                f"{most}",
                f"{at_once / hours:.0f}",
                f"{most_at_once}",
            )
        )
    head = (
        "members", "measured coherence", "silences an hour", "most in 300 s", "without keep",
        "most in 300 s",
    )  # fmt: skip
    print(table(head, measured))
    print()
    print(table(("part", "CPU us"), parts()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
