"""How often the true error of time lies inside `sync_bound_s`.

`python -m ops.bench.bound [--seeds N] [--only WORD ...]`: all stations over simulated recordings.
At each line of sync the error of every live channel is that of its mapped time less its lag;
inside is where the largest of them is within the bound of its tick. 95 of 100 is what is promised.

The studio's cases are ten minutes of an engine and four sensors with clocks of their own, lines
each 10 s. The others have two to four channels, lines each second: two loggers without arrival
stamps whose lag rests, moves along a ramp, jumps or walks; lags given wrong by an honest sd, a
minute a seed; a scraped member, whose readings are of any age up to the period; stamps that are
rounded down; one member alone, whose bound has to be null in all ticks.
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
    "20 dB": (0.1, False), "10 dB": (0.316, False), "0 dB": (1.0, False),
    "10 dB, silences": (0.316, True),
}  # fmt: skip
"""Noise of one reading, and whether sensors fall silent."""
GIVEN_SD_S, MINUTES = 0.02, 25
"""Of lags that are given wrong; so many short runs a seed, since each has one error a member."""
PERIOD_S = 2.0
"""Of the scraped member."""
WALK = 1e-8
"""Variance of a walking lag (s^2/s): 2.4 ms after ten minutes."""
_ROWS = 10_000
_UNSETTLED_S = 1.0
"""A clock that has just stepped is not known yet."""


class Found(NamedTuple):
    """Of runs: errors (n, channels) of live channels, NaN else, and the bounds (n,), in s.

    `ticks` and `null`: how many there were, and at how many there was no bound.
    """

    error: F64
    bound: F64
    estimate: F64
    ticks: int
    null: int


def scenario(noise: float, silences: bool, seed: int) -> Scenario:
    """Return an engine and four sensors whose clocks, lags and steps the seed draws."""
    rng = np.random.default_rng(seed)
    sensors = [Sensor("ure", "pulse", 20.0, "ure", noise=noise, loss=LOSS, outliers=OUTLIERS)]
    for k, rate_hz in enumerate(RATES_HZ):
        silent = (((120.0, 150.0),) if k == 1 else ()) + ((222.0, 252.0),)
        sensors.append(
            Sensor(
                f"s{k}", "pulse", rate_hz, offset_s=rng.uniform(-5, 5),
                skew_ppm=rng.uniform(-200, 200), lag_s=rng.uniform(-2, 2),
                resets=((SECONDS / 2, 0.5),), silent=silent if silences else (), noise=noise,
                loss=LOSS, outliers=OUTLIERS,
            )
        )  # fmt: skip
    return Scenario(SECONDS, tuple(sensors))


def batches(recording: SimulatedRecording) -> Iterator[Batch]:
    """Yield a recording's rows."""
    rows, n = recording.rows, len(recording.rows.value)
    for a in range(0, n, _ROWS):
        cut = slice(a, min(a + _ROWS, n))
        yield Batch(
            rig="bench", names=recording.names, name=rows.name[cut].astype(np.int32),
            ts=rows.ts[cut], rx=START + rows.rx[cut], stamped=rows.stamped[cut],
            wild=np.zeros(cut.stop - a, bool), value=rows.value[cut], seq=rows.seq[cut],
            line=np.arange(a, cut.stop), end=cut.stop == n,
        )  # fmt: skip


def studio(noise: float, silences: bool, seed: int) -> Found:
    """Return what a run of the studio comes to."""
    recording = make(scenario(noise, silences, seed), seed)
    truth = msgspec.convert(recording.truth, Truth)
    members = {s.channel: {"group": s.group} for s in recording.scenario.sensors}
    chosen = msgspec.convert(
        {
            "version": 2, "rig": "bench",
            "streams": [{"name": "rows", "type": "file", "path": "rows", "speed": 0}],
            "signals": {"pulse": {"reference": "ure:pulse", "members": members}},
            "align": {"max_lag_s": 2.5},
        },
        Config,
    )  # fmt: skip

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
    """Return what a run of instruments comes to, of which the first is the reference."""
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
    times = [t for t, row in found.items()
             if np.isfinite(bounds[t][0]) and np.isfinite(row).any()]  # fmt: skip
    bound, estimate = np.array([bounds[t] for t in times]).reshape(-1, 2).T
    null = sum(not np.isfinite(b) for b, _ in bounds.values())
    error = np.array([found[t] for t in times]).reshape(-1, len(channels))
    return Found(error, bound, estimate, len(bounds), null)


# -- the courses --------------------------------------------------------------------------------


def loggers(other: Callable[[np.random.Generator], Instrument], seed: int) -> Found:
    """Return what a logger of 100 Hz as reference and another one come to in ten minutes."""
    rng = np.random.default_rng([seed, 7])
    return course([Instrument("imu", 100.0, constant(0.0)), other(rng)], SECONDS, seed)


def moving(seed: int, make_course: Callable[[float, np.random.Generator], Any]) -> Found:
    """Return what a logger of 50 Hz comes to whose lag takes a course from a drawn start on."""
    return loggers(
        lambda rng: Instrument("phone", 50.0, make_course(rng.uniform(-0.5, 0.5), rng)), seed
    )


def given_wrong(seed: int) -> Found:
    """Return what lags come to that are given with errors of as much as their sd says."""
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
    """Return what a scraped member comes to whose mean age is given as its lag."""
    rng = np.random.default_rng([seed, 9])
    age = scraped(PERIOD_S, rng.uniform(0, PERIOD_S), rng.uniform(5e3, 2e4))
    engine = Instrument("ure", 1 / PERIOD_S, age, (PERIOD_S / 2, 0.01))
    phone = Instrument("phone", 50.0, constant(0.0))
    stream = {
        "name": "ure", "type": "ure", "metrics_url": "http://127.0.0.1:9305/x",
        "pull_interval_s": PERIOD_S,
    }  # fmt: skip
    return course([phone, engine], SECONDS, seed, stream)


def coarse(
    seed: int, grain_s: float, rate_hz: float = 31.7, given_sd_s: float | None = None
) -> Found:
    """Return what a sender comes to that rounds its stamps down.

    The mean of the rounding is a constant: of a quick sender it goes into the lag that is found;
    of one with few stamps a second, whose clock is the mean of its delays, into the offset.
    """

    def phone(rng: np.random.Generator) -> Instrument:
        lag = rng.uniform(-0.5, 0.5)
        given = None if given_sd_s is None else (lag, given_sd_s)
        return Instrument(
            "phone", rate_hz, constant(lag), given, stamped=True, skew_ppm=rng.uniform(-100, 100),
            offset_s=rng.uniform(-5, 5), grain_s=grain_s,
        )  # fmt: skip

    return loggers(phone, seed)


def alone(seed: int) -> Found:
    """Return what one member comes to."""
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
    """Return several runs as one."""
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
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD",
                        help="cases in whose name one of these is")  # fmt: skip
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
