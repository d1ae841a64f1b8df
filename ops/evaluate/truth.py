"""The truth about a simulated recording, and the errors of a run against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from operators.types import F64, Bool
from ops.results.folder import Results
from ops.results.lines import SampleLine, TickLine

CUTOFF_HZ, HALF_WIDTH_S, BETA = 2.0, 2.0, 6.0
_AWAY = np.linspace(0.0, 1.0, 8193)
_WINDOW = np.i0(BETA * np.sqrt(1 - _AWAY**2)) / np.i0(BETA)
_KERNEL = np.sinc(2 * CUTOFF_HZ * HALF_WIDTH_S * _AWAY) * _WINDOW


class ClockStep(msgspec.Struct):
    """A step of a source clock."""

    at: float
    step_s: float


class ChannelTruth(msgspec.Struct):
    """True properties of a channel."""

    source: str
    kind: str
    offset_s: float | None
    skew_ppm: float | None
    lag_s: float
    resets: list[ClockStep]
    silent: list[tuple[float, float]]
    noisy: list[tuple[float, float]]
    received: int
    outliers: int
    duplicates: int


class Truth(msgspec.Struct):
    """Content of `<name>.truth.json`."""

    start: float
    signal: str
    received: int
    damaged: int
    trouble: list[tuple[float, float]]
    tick_hz: float
    channels: dict[str, ChannelTruth]
    clean: list[float]

    def offset_s(self, channel: str, host: float) -> float | None:
        """Return host minus source time of a channel at `host` (s)."""
        true = self.channels[channel]
        if true.offset_s is None or true.skew_ppm is None:
            return None
        # offset(t) = offset(0) - skew t - sum of the steps up to t
        drifted_s = (host - self.start) * true.skew_ppm * 1e-6
        return true.offset_s - drifted_s - sum(r.step_s for r in true.resets if r.at <= host)

    def at(self, ticks: F64) -> F64:
        """Return the signal itself at `ticks` (k,), NaN off its grid."""
        index = (ticks - self.start) * self.tick_hz
        nearest = np.round(index).astype(np.int64)
        known = (np.abs(index - nearest) < 1e-3) & (nearest >= 0) & (nearest < len(self.clean))
        clean = np.array(self.clean)[np.clip(nearest, 0, len(self.clean) - 1)]
        return np.where(known, clean, np.nan)


def load(path: Path) -> Truth:
    """Return the truth beside a recording, or at `path` itself."""
    name = path.name.removesuffix(".gz").removesuffix(".ndjson").removesuffix(".truth.json")
    return msgspec.json.decode(path.with_name(f"{name}.truth.json").read_bytes(), type=Truth)


def fused(ticks: Iterable[TickLine], signal: str) -> tuple[F64, F64, F64]:
    """Return time, value and sd (k,) of the ticks, NaN for an absent value."""
    rows = [(t.ts, t.signals[signal].value, t.signals[signal].sd) for t in ticks]
    time, value, sd = np.array(rows, dtype=float).reshape(-1, 3).T
    return time, value, sd


def alone(lines: Iterable[SampleLine], truth: Truth, ticks: F64) -> dict[str, tuple[F64, F64]]:
    """Return the value of each channel alone at `ticks` (k,).

    Returns
    -------
    dict of (uncorrected, corrected)
        The newest value at each tick by arrival; and the value with clock and lag corrected and
        outliers removed, through the low-pass of the fused signal. NaN in silent spells.
    """
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for line in lines:
        if line.rx is not None and line.value is not None:
            rows.setdefault(line.channel, []).append((line.rx, line.ts, line.value))
    out = {}
    for channel in rows:
        rx, ts, value = np.array(rows[channel]).T
        held = truth.channels[channel].kind == "held" if channel in truth.channels else False
        corrected = (_newest if held else smooth)(*_sorted(ts, value), ticks)
        out[channel] = _newest(*_sorted(rx, value), ticks), corrected
    return out


def settled(ticks: Sequence[TickLine], members: int) -> Bool:
    """Return the ticks (k,) with all members live for the half width of the low-pass.

    Earlier samples were written before the lag was known.
    """
    whole = np.array([tick.live == members for tick in ticks], dtype=bool)
    time = np.array([tick.ts for tick in ticks])
    since = np.maximum.accumulate(np.where(whole, -np.inf, time))
    return whole & (time - since > HALF_WIDTH_S)


def time_errors(results: Results, truth: Truth, ticks: F64) -> F64:
    """Return the largest error of the aligned time of the live channels at `ticks` (k,), in s.

    The newest sync line before each tick counts; a source without a clock has a lag only.
    """
    lines: dict[str, list[tuple[float, float]]] = {}
    for line in results.sync():
        if line.state == "live" and line.lag_s is not None:
            true = truth.offset_s(line.channel, line.ts)
            off = 0.0 if true is None or line.offset_s is None else line.offset_s - true
            error = off - (line.lag_s - truth.channels[line.channel].lag_s)
            lines.setdefault(line.channel, []).append((line.ts, abs(error)))
    worst = np.zeros(len(ticks))
    for channel in lines.values():
        ts, error = np.array(channel).T
        i = np.searchsorted(ts, ticks, "right") - 1
        worst = np.maximum(worst, np.where(i >= 0, error[np.maximum(i, 0)], 0.0))
    return worst


def rms_error(value: F64, true: F64) -> float:
    """Return the RMS difference over all pairs of finite values."""
    error = (value - true)[np.isfinite(value - true)]
    return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")


def _sorted(time: F64, value: F64) -> tuple[F64, F64]:
    order = np.argsort(time, kind="stable")
    return time[order], value[order]


def _newest(time: F64, value: F64, ticks: F64) -> F64:
    index = np.searchsorted(time, ticks, side="right") - 1
    known = (index >= 0) & (ticks - time[np.maximum(index, 0)] < 1.0)
    return np.where(known, value[np.maximum(index, 0)], np.nan)


def smooth(time: F64, value: F64, ticks: F64) -> F64:
    """Return a Kaiser-windowed sinc filter of uneven samples, each weighted by its cell.

    y(t) = sum_i k(t - t_i) d_i x_i / sum_i k(t - t_i) d_i, d_i the width of the cell (s).
    """
    if len(time) < 2 or not len(ticks):
        return np.full(len(ticks), np.nan)
    cell = np.minimum(np.gradient(time), 0.5)
    first = np.searchsorted(time, ticks - HALF_WIDTH_S)
    last = np.searchsorted(time, ticks + HALF_WIDTH_S)
    index = first[:, None] + np.arange(max(int((last - first).max()), 1))
    inside = index < last[:, None]
    index = np.minimum(index, len(time) - 1)
    x = np.abs(time[index] - ticks[:, None]) / HALF_WIDTH_S
    weight = inside * np.interp(x, _AWAY, _KERNEL) * cell[index]
    total = weight.sum(axis=1)
    # An incomplete kernel has another frequency response.
    whole = np.abs(2 * CUTOFF_HZ * total - 1) < 0.1
    return np.where(
        whole, (weight * value[index]).sum(axis=1) / np.where(whole, total, 1.0), np.nan
    )
