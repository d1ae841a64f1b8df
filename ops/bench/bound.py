"""How often the true error of time lies inside `sync_bound_s`.

`python -m ops.bench.bound [--seeds N]`: all stations over simulated recordings of ten minutes. At
each line of sync the error of every live channel is that of its mapped time less its lag; inside
is where the largest of them is within the bound of its tick. 95 of 100 is what is promised.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import msgspec
import numpy as np

from configs.schema import Config
from operators.records import F64, Batch
from ops.bench.chain import Chain
from ops.scenario import Scenario, Sensor
from ops.simulate import START, Recording, make
from ops.table import table
from ops.truth import Truth

SECONDS = 600.0
LOSS, OUTLIERS = 0.02, 0.01
RATES_HZ = (25.0, 31.7, 50.0, 64.0)
CASES = {
    "20 dB": (0.1, False), "10 dB": (0.316, False), "0 dB": (1.0, False),
    "10 dB, silences": (0.316, True),
}  # fmt: skip
"""Noise of one reading, and whether sensors fall silent."""
_ROWS = 10_000
_UNSETTLED_S = 1.0
"""A clock that has just stepped is not known yet."""


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


def batches(recording: Recording) -> Iterator[Batch]:
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


def errors(recording: Recording) -> tuple[F64, F64]:
    """Return errors (n, channels) of live channels (NaN else) and the bounds (n,), in s."""
    truth = msgspec.convert(recording.truth, Truth)
    sensors = recording.scenario.sensors
    members = {s.channel: {"group": s.group} for s in sensors}
    config = msgspec.convert(
        {
            "version": 2, "rig": "bench",
            "streams": [{"name": "rows", "type": "file", "path": "rows", "speed": 0}],
            "signals": {"pulse": {"reference": "ure:pulse", "members": members}},
            "align": {"max_lag_s": 2.5},
        },
        Config,
    )  # fmt: skip
    names = [s.channel for s in sensors]
    found: dict[float, F64] = {}
    bound: dict[float, float] = {}
    for packet in Chain(config).run(batches(recording)):
        if packet.fused is not None:
            at = packet.fused.ts.tolist()
            bound.update(zip(at, packet.fused.sync_bound_s.tolist(), strict=True))
        for line in packet.sync:
            true = truth.offset_s(line.channel, line.ts)
            new = abs(line.ts - START - SECONDS / 2 - _UNSETTLED_S / 2) < _UNSETTLED_S
            if line.why != "hop" or line.state != "live" or line.offset_s is None or new:
                continue
            row = found.setdefault(line.ts, np.full(len(names), np.nan))
            off = line.offset_s - (true or 0.0)
            late = (line.lag_s or 0.0) - truth.channels[line.channel].lag_s
            row[names.index(line.channel)] = off - late
    times = [t for t in found if np.isfinite(bound.get(t, np.nan))]
    return np.array([found[t] for t in times]), np.array([bound[t] for t in times])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, help="default %(default)s")
    given = parser.parse_args()
    rows = []
    for name, (noise, silences) in CASES.items():
        runs = [errors(make(scenario(noise, silences, k), k)) for k in range(given.seeds)]
        error, bound = (np.concatenate(x) for x in zip(*runs, strict=True))
        worst = np.nanmax(np.abs(error), axis=1)
        each = (np.abs(error) <= bound[:, None])[np.isfinite(error)]
        rows.append([
            name, f"{100 * (worst <= bound).mean():.1f}", f"{100 * each.mean():.1f}",
            f"{1e3 * np.median(worst):.2f}", f"{1e3 * np.median(bound):.2f}",
        ])  # fmt: skip
    print(table(["", "all inside, %", "each, %", "worst, ms", "bound, ms"], rows))


if __name__ == "__main__":
    main()
