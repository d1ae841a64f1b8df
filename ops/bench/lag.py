"""Accuracy of the lag of one minute of two series, beside other estimators.

`python -m ops.bench.lag [--trials N]`: RMS errors (ms) of N windows (150) at each signal-to-noise
ratio, beside the Cramer-Rao bound: a movement of even power up to 2 Hz,
which is the pass band of the kernel at 5 Hz. The later series has white noise; lags are within 2 s
of either sign.

The bound is 1 / (2 T integral (2 pi f)^2 C / (1 - C) df), here with C / (1 - C) = 2.5 / 2 SNR
(Knapp & Carter, IEEE Trans. ASSP 24, 1976). The phase transform (GCC-PHAT, ibid.) discards the
amplitude of each frequency. The whole sample, and the parabola through the peak of the normalised
correlation, are limited by the grid.

`--recordings N`: all stations over N simulated recordings of ten minutes at 20, 10 and 0 dB (five
instruments with clocks, lags and a clock step): RMS error of the lags from 90 s on and at the end,
and their error squared over variance, which is 1 for an honest sd. The noise of the reference is
common to the four lags of a recording, so many recordings are needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from configs.schema import Config
from flows.pipeline import Pipeline
from operators.align.lag_filter import LagFilter, SeriesPair
from operators.align.lag_trend import motions
from operators.lines import SyncReport
from operators.numeric.correlation import SampledSeries, lag_of
from operators.numeric.sinc import CUTOFF
from operators.types import F64, Bool
from ops.bench import bound as bound_of
from ops.simulate.recording import START, SimulatedRecording, make
from ops.text.table import table

HZ, SECONDS, MAX_S, LAGS_S = 5.0, 60.0, 5.0, 2.0
BAND_HZ = CUTOFF * HZ
LINES, SETTLED_S = 300, 90.0
GAIN = float(np.sqrt(2 / LINES))
BOUNDED = (20.0, 10.0, 0.0)
Way = Callable[[F64, F64], tuple[float, float]]
"""Two series -> lag (s) and its sd, NaN without an estimate."""


def pair(lag_s: float, snr_db: float, rng: np.random.Generator) -> tuple[F64, F64]:
    """Return a window of two series, the second late and noisy."""
    t = np.arange(round(SECONDS * HZ)) / HZ
    f, phase = rng.uniform(0.02, BAND_HZ, LINES), rng.uniform(0, 2 * np.pi, LINES)

    def at(t: F64) -> F64:
        return np.asarray(np.sin(2 * np.pi * f * t[:, None] + phase).sum(1)) * GAIN

    return at(t), at(t - lag_s) + 10 ** (-snr_db / 20) * rng.standard_normal(len(t))


def bound(snr_db: float) -> float:
    """Return the Cramer-Rao bound of a window (s)."""
    moment = (2 * np.pi) ** 2 * BAND_HZ**3 / 3
    ratio = 10 ** (snr_db / 10) * (HZ / 2) / BAND_HZ
    return float(1 / np.sqrt(2 * SECONDS * moment * ratio))


def tracked(a: F64, b: F64) -> tuple[float, float]:
    """Return the estimate of `align` for a window."""
    window = SeriesPair(SampledSeries(a), SampledSeries(b), 0, HZ)
    track = LagFilter()
    track.update(window, lag_of(window.a, window.b, HZ, MAX_S), SECONDS, motions(0.0))
    return track.trend.lag, float(np.sqrt(track.trend.var))


def parabola(a: F64, b: F64) -> tuple[float, float]:
    """Return the vertex of the parabola through the peak of the normalised correlation."""
    return lag_of(SampledSeries(a), SampledSeries(b), HZ, MAX_S).lag_s, float("nan")


def whole_sample(a: F64, b: F64) -> tuple[float, float]:
    """Return the peak of the correlation."""
    return _peak(a, b, equal=False), float("nan")


def phase_transform(a: F64, b: F64) -> tuple[float, float]:
    """Return the peak of the correlation with whitened spectra.

    r = irfft(A* B / |A* B|)
    """
    return _peak(a, b, equal=True), float("nan")


def _peak(a: F64, b: F64, *, equal: bool) -> float:
    n, max_lag = 2 * len(a), round(MAX_S * HZ)
    cross = np.fft.rfft(a - a.mean(), n).conj() * np.fft.rfft(b - b.mean(), n)
    r = np.fft.irfft(cross / np.maximum(np.abs(cross), 1e-12) if equal else cross, n)
    return float(np.argmax(np.concatenate((r[-max_lag:], r[: max_lag + 1]))) - max_lag) / HZ


WAYS: dict[str, Way] = {
    "this": tracked,
    "parabola": parabola,
    "whole sample": whole_sample,
    "phase transform": phase_transform,
}


def errors(way: Way, snr_db: float, trials: int, seed: int = 0) -> tuple[F64, F64]:
    """Return the errors (s) of an estimator over the trials, and its stated sds (s)."""
    rng = np.random.default_rng(seed)
    out = np.empty((2, trials))
    for k in range(trials):
        lag = rng.uniform(-LAGS_S, LAGS_S)
        found, out[1, k] = way(*pair(lag, snr_db, rng))
        out[0, k] = found - lag
    return out[0], out[1]


def _lines(recording: SimulatedRecording) -> Iterator[SyncReport]:
    """Yield the sync lines of a recording's run."""
    sensors = recording.scenario.sensors
    config = msgspec.convert(
        {
            "version": 2,
            "rig": "bench",
            "streams": [{"name": "rows", "type": "file", "path": "rows", "speed": 0}],
            "signals": {
                "pulse": {
                    "reference": sensors[0].channel,
                    "members": {s.channel: {"group": s.group} for s in sensors},
                }
            },
            "align": {"max_lag_s": 2.5},
        },
        Config,
    )  # fmt: skip
    for packet in Pipeline(config).run(bound_of.batches(recording)):
        yield from packet.sync


class Followed(NamedTuple):
    """Errors of lags (s) and their sds (s) of all lines from 90 s on; mask of the last lines."""

    error: F64
    sd: F64
    last: Bool


def followed(noise: float, seeds: range) -> Followed:
    """Return the lag errors in simulated recordings; `noise` is that of a reading."""
    rows: list[tuple[float, float, bool]] = []
    for seed in seeds:
        recording = make(bound_of.scenario(noise, False, seed), seed)
        true = {s.channel: s.lag_s for s in recording.scenario.sensors}
        begin = START + SETTLED_S
        for line in _lines(recording):
            counts = line.why == "end" or (line.why == "hop" and line.ts >= begin)
            # A reference has no lag, so it has no error.
            if counts and line.lag_s is not None and line.lag_sd_s:
                rows.append((line.lag_s - true[line.channel], line.lag_sd_s, line.why == "end"))
    error, sd, last = np.array(rows).T
    return Followed(error, sd, last > 0)


def recordings(count: int) -> None:
    """Print errors and honesty of the lags in recordings."""
    rows = []
    for level in BOUNDED:
        f = followed(10 ** (-level / 20), range(count))
        z = (f.error / f.sd) ** 2
        rms = (np.sqrt(np.mean(e**2)) for e in (f.error, f.error[f.last]))
        rows.append(
            (
                f"{level:g} dB",
                *(f"{1e3 * x:.2f}" for x in rms),
                f"{z.mean():.2f}",
                f"{z[f.last].mean():.2f}",
                f"{100 * np.mean(z < 4):.1f}",
            )
        )
    head = ("", "rms, ms", "at the end", "error^2/var", "at the end", "within 2 sd, %")
    print(table(head, rows))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recordings", type=int, default=0)
    given = parser.parse_args()
    if given.recordings:
        recordings(given.recordings)
        return
    levels = (*BOUNDED, -5.0)
    rows = [("Cramer-Rao bound", *(f"{1e3 * bound(x):.2f}" for x in levels))]
    for name, way in WAYS.items():
        estimates = [errors(way, x, given.trials, given.seed) for x in levels]
        rows.append((name, *(f"{1e3 * np.sqrt(np.nanmean(e**2)):.3g}" for e, _ in estimates)))
        if name == "this":
            ratios = (
                np.sqrt(np.nanmean(e**2)) / bound(x)
                for (e, _), x in zip(estimates, levels, strict=True)
            )
            rows.append(("  over the bound", *(f"{r:.2f}" for r in ratios)))
            honest = (np.nanmean((e / sd) ** 2) for e, sd in estimates)
            rows.append(("  error squared over variance", *(f"{z:.2f}" for z in honest)))
            rows.append(
                ("  estimated, %", *(f"{100 * np.isfinite(e).mean():.0f}" for e, _ in estimates))
            )
    print(table(("RMS error, ms", *(f"{x:g} dB" for x in levels)), rows))


if __name__ == "__main__":
    main()
