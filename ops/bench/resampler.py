"""Properties of the resampler: gain by frequency, error by losses, latency, for both profiles.

`python -m ops.bench.resampler`: a channel of 10 samples a tick, evenly spaced, then with 2 % of
them lost; frequencies as shares of the grid rate. The error by losses is that of a signal in the
band from 0 to 0.3, in dB relative to its power.
"""

from __future__ import annotations

import numpy as np

from operators.records import Block
from operators.resample import ResampleConfig
from operators.resample.sampler import Sampler
from operators.types import F64
from ops.text.table import number, table

RATE, TICKS, FIRST = 10, 600, 20
PARTS = (0.1, 0.2, 0.3, 0.4, 0.52, 0.7, 1.0)
SEEDS = 4


def read(config: ResampleConfig, time: F64, value: F64) -> F64:
    """Return the values at all ticks except those at the ends; time in ticks."""
    n, hz = len(time), config.target_hz
    sampler = Sampler(hz, config.half_width_s(), False, eager=config.profile == "low_latency")
    at = time / hz
    sampler.push(
        Block(
            "s",
            "s:x",
            np.arange(n),
            at,
            at,
            value,
            at,
            np.ones(n, bool),
            np.arange(n),
            host_time=at,
            straggler=np.zeros(n, bool),
            spacing=np.full(n, 1 / RATE / hz),
            noise=np.full(n, np.nan),
        ),
        0,
    )
    ticks = np.arange(FIRST, TICKS - FIRST)
    return sampler.read(ticks, 0.0, np.full(len(ticks), np.inf))[0]


def gain_db(config: ResampleConfig, part: float) -> float:
    """Return the gain (dB) of a sinusoid at a share of the grid rate."""
    time = np.arange(TICKS * RATE) / RATE
    power = [
        np.mean(read(config, time, np.cos(2 * np.pi * part * time + phase)) ** 2)
        for phase in (0.0, np.pi / 2)
    ]
    return float(10 * np.log10(sum(power)))


def loss_db(config: ResampleConfig) -> float:
    """Return the error (dB) of 2 % lost samples."""
    errors, powers = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        time = np.arange(TICKS * RATE) / RATE
        f, phase = np.linspace(0.005, 0.3, 60), rng.uniform(0, 2 * np.pi, 60)
        value = np.sin(2 * np.pi * np.outer(time, f) + phase).sum(axis=1)
        kept = rng.random(len(time)) >= 0.02
        whole = read(config, time, value)
        errors.append(np.mean((read(config, time[kept], value[kept]) - whole) ** 2))
        powers.append(np.mean(whole**2))
    return float(10 * np.log10(sum(errors) / sum(powers)))


def main() -> int:
    """Print both profiles side by side."""
    profiles = [ResampleConfig(profile="accurate"), ResampleConfig(profile="low_latency")]
    rows = [
        (
            f"gain at {part:g} of the grid's rate, dB",
            *(number(gain_db(c, part), 2) for c in profiles),
        )
        for part in PARTS
    ]
    rows.append(("2 % of the samples lost", *(number(loss_db(c), 1) for c in profiles)))
    ticks = (c.half_width_s() * c.target_hz for c in profiles)
    rows.append(("half-width, ticks", *(number(t, 1) for t in ticks)))
    print(table(("dB", "accurate", "low_latency"), rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
