"""Coverage of `sync_bound_s`: the share of ticks whose true time error lies inside.

`python -m ops.bench.bound [--seeds N] [--only WORD ...]`: all stations over simulated recordings.
At each sync line, the error of a live channel is that of its mapped time minus that of its lag. A
line is inside if the largest error is within the bound of its tick. The promise is 95 of 100.

The studio cases are ten minutes of an engine and four sensors with clocks of their own, with lines
each 10 s. The others have two to four channels, with lines each second: two loggers without arrival
stamps whose lag rests, follows a ramp, jumps or walks; given lags with errors of their stated sd,
one minute a seed; a scraped member with readings of any age up to the period; stamps that are
rounded down; a lone member, whose bound has to be null in all ticks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

from configs.schema import Config
from flows.pipeline import Pipeline
from operators.events import Batch
from operators.types import F64
from ops.bench.courses import (
    Instrument,
    config,
    constant,
    ramp,
    record,
    scraped,
    step,
    walk,
)
from ops.evaluate.truth import Truth
from ops.simulate.recording import START, SimulatedRecording, make
from ops.simulate.scenario import Scenario, Sensor
from ops.text.table import number, table

SECONDS = 600.0
LOSS, OUTLIERS = 0.02, 0.01
RATES_HZ = (25.0, 31.7, 50.0, 64.0)
STUDIO = {
    "20 dB": (0.1, False),
    "10 dB": (0.316, False),
    "0 dB": (1.0, False),
    "10 dB, silences": (0.316, True),
}
"""Noise of one reading, and presence of silences, by case."""
GIVEN_SD_S, MINUTES = 0.02, 25
"""Sd (s) of given lags, and short runs a seed: a run has only one error for each member."""
PERIOD_S = 2.0
"""Period (s) of the scraped member."""
WALK = 1e-8
"""Variance of a walking lag (s^2/s): 2.4 ms after ten minutes."""
_ROWS = 10_000
_UNSETTLED_S = 1.0
"""Time (s) after a clock step without a known clock."""


class Found(NamedTuple):
    """Errors (n, channels) of live channels (s; NaN for others) and bounds (n,) of runs.

    `ticks` and `null`: number of ticks, and of ticks without a bound.
    """

    error: F64
    bound: F64
    estimate: F64
    ticks: int
    null: int


def scenario(noise: float, silences: bool, seed: int) -> Scenario:
    """Return an engine and four sensors with random clocks, lags and steps."""
    rng = np.random.default_rng(seed)
    sensors = [Sensor("ure", "pulse", 20.0, "ure", noise=noise, loss=LOSS, outliers=OUTLIERS)]
    for k, rate_hz in enumerate(RATES_HZ):
        silent = (((120.0, 150.0),) if k == 1 else ()) + ((222.0, 252.0),)
        sensors.append(
            Sensor(
                f"s{k}",
                "pulse",
                rate_hz,
                offset_s=rng.uniform(-5, 5),
                skew_ppm=rng.uniform(-200, 200),
                lag_s=rng.uniform(-2, 2),
                resets=((SECONDS / 2, 0.5),),
                silent=silent if silences else (),
                noise=noise,
                loss=LOSS,
                outliers=OUTLIERS,
            )
        )
    return Scenario(SECONDS, tuple(sensors))


def batches(recording: SimulatedRecording) -> Iterator[Batch]:
    """Yield a recording's rows."""
    rows, n = recording.rows, len(recording.rows.value)
    for a in range(0, n, _ROWS):
        cut = slice(a, min(a + _ROWS, n))
        yield Batch(
            rig="bench",
            names=recording.names,
            name=rows.name[cut].astype(np.int32),
            ts=rows.ts[cut],
            rx=START + rows.rx[cut],
            stamped=rows.stamped[cut],
            wild=np.zeros(cut.stop - a, bool),
            value=rows.value[cut],
            seq=rows.seq[cut],
            line=np.arange(a, cut.stop),
            end=cut.stop == n,
        )


def studio(noise: float, silences: bool, seed: int) -> Found:
    """Return the errors and bounds of a studio run."""
    recording = make(scenario(noise, silences, seed), seed)
    truth = msgspec.convert(recording.truth, Truth)
    members = {s.channel: {"group": s.group} for s in recording.scenario.sensors}
    chosen = msgspec.convert(
        {
            "version": 2,
            "rig": "bench",
            "streams": [{"name": "rows", "type": "file", "path": "rows", "speed": 0}],
            "signals": {"pulse": {"reference": "ure:pulse", "members": members}},
            "align": {"max_lag_s": 2.5},
        },
        Config,
    )

    def error(line: Any) -> float:
        new = abs(line.ts - START - SECONDS / 2 - _UNSETTLED_S / 2) < _UNSETTLED_S
        if new or line.offset_s is None:
            return float("nan")
        off = line.offset_s - (truth.offset_s(line.channel, line.ts) or 0.0)
        return float(off - (line.lag_s or 0.0) + truth.channels[line.channel].lag_s)

    return run(chosen, batches(recording), list(members), error)


def course(
    instruments: list[Instrument], seconds: float, seed: int, *streams: dict[str, Any]
) -> Found:
    """Return the errors and bounds of a run of instruments; the first is the reference."""
    by_channel = {i.channel: i for i in instruments}

    def error(line: Any) -> float:
        one, host = by_channel[line.channel], np.array([line.ts - START])
        off = 0.0
        if one.stamped:
            if line.offset_s is None:
                return float("nan")
            off = line.offset_s - float(host[0] - one.clock(host)[0])
        shift = float(one.lag(host)[0]) - float(one.early(host)[0])
        return off - float(line.lag_s) + shift

    return run(
        config(instruments, streams), [record(instruments, seconds, seed)], list(by_channel), error
    )


def run(chosen: Config, rows: Any, channels: list[str], error_of: Callable[[Any], float]) -> Found:
    """Return the errors and bounds at the lines of sync of a run."""
    found: dict[float, F64] = {}
    bounds: dict[float, tuple[float, float]] = {}
    for packet in Pipeline(chosen).run(rows):
        if (fused := packet.fused) is not None:
            both = fused.sync_bound_s.tolist(), fused.sync_estimate_bound_s.tolist()
            bounds.update(zip(fused.ts.tolist(), zip(*both, strict=True), strict=True))
        for line in packet.sync:
            if line.why == "hop" and line.state == "live":
                row = found.setdefault(line.ts, np.full(len(channels), np.nan))
                row[channels.index(line.channel)] = error_of(line)
    times = [t for t, row in found.items() if np.isfinite(bounds[t][0]) and np.isfinite(row).any()]
    bound, estimate = np.array([bounds[t] for t in times]).reshape(-1, 2).T
    null = sum(not np.isfinite(b) for b, _ in bounds.values())
    error = np.array([found[t] for t in times]).reshape(-1, len(channels))
    return Found(error, bound, estimate, len(bounds), null)


# -- the courses --------------------------------------------------------------------------------


def loggers(other: Callable[[np.random.Generator], Instrument], seed: int) -> Found:
    """Return the errors and bounds of a 100 Hz reference logger and another, ten minutes."""
    rng = np.random.default_rng([seed, 7])
    return course([Instrument("imu", 100.0, constant(0.0)), other(rng)], SECONDS, seed)


def moving(seed: int, make_course: Callable[[float, np.random.Generator], Any]) -> Found:
    """Return the errors and bounds of a 50 Hz logger whose lag follows a course."""
    return loggers(
        lambda rng: Instrument("phone", 50.0, make_course(rng.uniform(-0.5, 0.5), rng)), seed
    )


def given_wrong(seed: int) -> Found:
    """Return the errors and bounds of given lags with errors of their stated sd."""
    parts = []
    for k in range(MINUTES):
        rng = np.random.default_rng([seed, 8, k])
        lags, wrong = rng.uniform(-0.5, 0.5, 3), GIVEN_SD_S * rng.standard_normal(3)
        both = zip(lags.tolist(), wrong.tolist(), strict=True)
        members = [
            Instrument(f"s{i}", 25.0, constant(lag), (lag + off, GIVEN_SD_S))
            for i, (lag, off) in enumerate(both)
        ]
        base = Instrument("imu", 25.0, constant(0.0), (0.0, 0.0))
        parts.append(course([base, *members], 60.0, 1000 * seed + k))
    return pooled(parts)


def scraping(seed: int) -> Found:
    """Return the errors and bounds of a scraped member; its given lag is its mean age."""
    rng = np.random.default_rng([seed, 9])
    age = scraped(PERIOD_S, rng.uniform(0, PERIOD_S), rng.uniform(5e3, 2e4))
    engine = Instrument("ure", 1 / PERIOD_S, age, (PERIOD_S / 2, 0.01))
    phone = Instrument("phone", 50.0, constant(0.0))
    stream = {
        "name": "ure",
        "type": "ure",
        "metrics_url": "http://127.0.0.1:9305/x",
        "pull_interval_s": PERIOD_S,
    }
    return course([phone, engine], SECONDS, seed, stream)


def coarse(
    seed: int, grain_s: float, rate_hz: float = 31.7, given_sd_s: float | None = None
) -> Found:
    """Return the errors and bounds of a sender that rounds its stamps down.

    The mean of the rounding is a constant. For a fast sender it is part of the found lag; for a
    sender with few stamps a second, whose clock is the mean of its delays, of the offset.
    """

    def phone(rng: np.random.Generator) -> Instrument:
        lag = rng.uniform(-0.5, 0.5)
        given = None if given_sd_s is None else (lag, given_sd_s)
        return Instrument(
            "phone",
            rate_hz,
            constant(lag),
            given,
            stamped=True,
            skew_ppm=rng.uniform(-100, 100),
            offset_s=rng.uniform(-5, 5),
            grain_s=grain_s,
        )

    return loggers(phone, seed)


def alone(seed: int) -> Found:
    """Return the errors and bounds of a lone member."""
    return course([Instrument("phone", 50.0, constant(0.0), stamped=True)], 120.0, seed)


def _studio(noise: float, silences: bool) -> Callable[[int], Found]:
    return lambda seed: studio(noise, silences, seed)


CASES: dict[str, Callable[[int], Found]] = {
    **{name: _studio(*case) for name, case in STUDIO.items()},
    "loggers, no ramp": lambda seed: moving(seed, lambda lag, _: constant(lag)),
    "ramp of 20 ppm": lambda seed: moving(seed, lambda lag, _: ramp(lag, 20.0)),
    "ramp of 80 ppm": lambda seed: moving(seed, lambda lag, _: ramp(lag, 80.0)),
    "step of 20 ms": lambda seed: moving(seed, lambda lag, _: step(lag, SECONDS / 2, 0.02)),
    "walk": lambda seed: moving(seed, lambda lag, rng: walk(lag, WALK, SECONDS, rng)),
    "given wrong, sd 20 ms": given_wrong,
    "scraped each 2 s": scraping,
    "stamps of 1 ms": lambda seed: coarse(seed, 0.001),
    "stamps of 10 ms": lambda seed: coarse(seed, 0.01),
    "stamps of 1 s, lag given": lambda seed: coarse(seed, 1.0, 0.7, 0.01),
    "one member": alone,
}


def pooled(parts: list[Found]) -> Found:
    """Return the pooled results of several runs."""
    error, bound, estimate, ticks, null = zip(*parts, strict=True)
    whole = [np.concatenate(x) for x in (error, bound, estimate)]
    return Found(whole[0], whole[1], whole[2], sum(ticks), sum(null))


def figures(name: str, found: Found) -> list[str]:
    """Return a case's line of the table."""
    null = f"{100 * found.null / found.ticks:.1f}"
    if not len(found.bound):
        return [name, null, *["-"] * 5]
    worst = np.nanmax(np.abs(found.error), axis=1)
    each = (np.abs(found.error) <= found.bound[:, None])[np.isfinite(found.error)]
    medians = (float(np.median(x)) for x in (worst, found.bound, found.estimate))
    inside = (f"{100 * x.mean():.1f}" for x in (worst <= found.bound, each))
    return [name, null, *inside, *(number(x, 2, 1e3) for x in medians)]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, help="default %(default)s")
    parser.add_argument("--first", type=int, default=0, help="first seed, default %(default)s")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        metavar="WORD",
        help="only cases whose name contains one of these",
    )
    given = parser.parse_args()
    rows = []
    for name, case in CASES.items():
        if any(word in name for word in given.only):
            seeds = range(given.first, given.first + given.seeds)
            rows.append(figures(name, pooled([case(seed) for seed in seeds])))
    head = ["", "null, %", "all inside, %", "each, %", "worst, ms", "bound, ms", "estimate, ms"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
