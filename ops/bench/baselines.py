"""Baselines of the accuracy: one recording, fused by common methods.

`nearest` joins the nearest sample by arrival, as pandas' `merge_asof` does. `clipped` does the same
after a clip of each series to its 1st and 99th percentile. `first_draft` interpolates by source
stamps minus the first delay, resamples to the grid with `resample_poly` at whole rates, and shifts
by the first peak of the one-sided cross-correlation. `xdf` corrects each clock as pyxdf does and
interpolates; its measured offset is the smallest delay of eight packets each five seconds. All
weigh the reference 0.7 and the mean of the sensors 0.3, and hold the whole recording in memory.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from operators.types import F64
from ops.simulate.recording import START, SimulatedRecording

Fuser = Callable[["list[Series]", F64], F64]
MAX_LAG = 200
PROBE_S, PROBES = 5.0, 8


class Series(NamedTuple):
    """One channel in order of arrival; times in s after the start."""

    stamp: F64
    arrival: F64
    value: F64


def series(recording: SimulatedRecording) -> list[Series]:
    """Return the channels of a recording, the reference first."""
    rows = recording.rows
    mine = [rows.name == k for k in range(len(recording.scenario.sensors))]
    return [Series(rows.ts[m] - START, rows.rx[m], rows.value[m]) for m in mine]


def nearest(channels: list[Series], grid: F64) -> F64:
    """Return the weighted mean of the nearest samples by arrival."""
    return _weigh([_nearest(s.arrival, s.value, grid) for s in channels])


def clipped(channels: list[Series], grid: F64) -> F64:
    """Return the result of `nearest` after a percentile clip of each series."""
    return _weigh([_nearest(s.arrival, _clip(s.value), grid) for s in channels])


def first_draft(channels: list[Series], grid: F64) -> F64:
    """Return the result of clip, whole rates, one-sided correlation and fixed weights."""
    from scipy.signal import resample_poly

    step = float(grid[1] - grid[0])
    rows: list[F64] = []
    for s in channels:
        order = np.argsort(s.stamp, kind="stable")
        stamp = (s.stamp + (s.arrival[0] - s.stamp[0]))[order]
        rate = int(1 / np.median(np.diff(stamp)) + 0.01)
        even = np.interp(
            np.arange(grid[0], grid[-1] + step, 1 / rate), stamp, _clip(s.value)[order]
        )
        row = resample_poly(even, round(1 / step), rate)[: len(grid)]
        if rows:
            n = 1 << (2 * len(row)).bit_length()
            product = np.fft.rfft(rows[0], n) * np.conj(np.fft.rfft(row, n))
            lag = int(np.argmax(np.fft.irfft(product)[:MAX_LAG]))
            row = np.concatenate([np.zeros(lag), row])[: len(grid)]
        rows.append(np.asarray(row))
    return _weigh(rows)


def xdf(channels: list[Series], grid: F64) -> F64:
    """Return the result of pyxdf's clock synchronisation, clip and interpolation."""
    from pyxdf import pyxdf

    logging.getLogger("pyxdf").setLevel(logging.ERROR)
    rows = []
    for s in channels:
        info = {"channel_count": ["1"], "nominal_srate": ["1"], "channel_format": ["double64"]}
        data = pyxdf.StreamData({"info": info})
        data.time_stamps = s.stamp.copy()
        probe = np.floor((s.arrival - s.arrival[0]) / PROBE_S)
        for k in np.unique(probe):
            first = np.flatnonzero(probe == k)[:PROBES]
            delay = s.arrival[first] - s.stamp[first]
            data.clock_times.append(s.stamp[first[np.argmin(delay)]])
            data.clock_values.append(delay.min())
        pyxdf._clock_sync({1: data})
        order = np.argsort(data.time_stamps, kind="stable")
        rows.append(np.interp(grid, data.time_stamps[order], _clip(s.value)[order]))
    return _weigh(rows)


def fusers() -> dict[str, Fuser]:
    """Return the available methods, by name."""
    found: dict[str, Fuser] = {
        "nearest sample by arrival (merge_asof)": nearest,
        "the same, clipped to 1..99 %": clipped,
        "first draft on stamps": first_draft,
    }
    if importlib.util.find_spec("pyxdf"):
        found["pyxdf clocks, clipped, interpolated"] = xdf
    return found


def _clip(x: F64) -> F64:
    return np.clip(x, *np.percentile(x, (1, 99)))


def _weigh(rows: list[F64]) -> F64:
    return np.asarray(0.7 * rows[0] + 0.3 * np.mean(rows[1:], axis=0))


def _nearest(time: F64, value: F64, grid: F64) -> F64:
    order = np.argsort(time, kind="stable")
    time, value = time[order], value[order]
    right = np.clip(np.searchsorted(time, grid), 1, len(time) - 1)
    left = right - 1
    return np.asarray(value[np.where(grid - time[left] <= time[right] - grid, left, right)])
