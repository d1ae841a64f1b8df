"""Accuracy and honesty of a run: errors against the truth, beside their bars.

Errors are pooled over channels and over runs. Lines count after the estimates have converged:
clocks after 60 s and not within 10 s after a step, lags and fused values after 90 s.

The oracle has the true clocks, lags, gains and outliers. It fuses with the low-pass of
`ops.evaluate.truth` and weights proportional to the rates: the best of its kind, not a bound.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from operators.types import F64
from ops.evaluate import truth as truths
from ops.evaluate.truth import Truth
from ops.results.folder import Results, rigs, run_json
from ops.results.lines import SyncLine
from ops.simulate.recording import START, SimulatedRecording

SETTLED_S, LAGS_S, TAIL_S, AFTER_STEP_S = 60.0, 90.0, 10.0, 10.0
Errors = defaultdict[str, list[float]]


@dataclass(frozen=True)
class Bar:
    """Allowed range of a figure, from `low` to `high`; NaN for no limit."""

    name: str
    key: str
    high: float
    low: float = 0.0
    digits: int = 3

    def holds(self, figure: float) -> bool:
        """Return whether the figure exists and lies within the bar."""
        return self.low <= figure <= self.high

    def text(self) -> str:
        """Return the bar as text."""
        high = f"{self.high:.{self.digits}f}"
        if self.low == self.high == 0:
            return "0"
        return f"<= {high}" if self.low == 0 else f"{self.low:.{self.digits}f} to {high}"


def bars(snr_db: float) -> tuple[Bar, ...]:
    """Return the bars for ten minutes of five instruments at a signal-to-noise ratio (dB)."""
    lag = {20.0: 0.6, 10.0: 1.5, 0.0: 5.0}.get(snr_db, float("nan"))
    return (
        Bar("fused RMSE / oracle", "fused_over_oracle", 1.05),
        Bar("fused value, error squared / variance", "fused_nees", 1.5, 0.7, 2),
        Bar("skew after 60 s, rms (ppm)", "skew_60_ppm", 1.3, digits=2),
        Bar("skew after 120 s, rms (ppm)", "skew_120_ppm", 0.35, digits=2),
        Bar("skew at the end, p95 (ppm)", "skew_end_p95_ppm", 0.15),
        Bar("mapped time, median channel, rms (ms)", "map_median_ms", 0.03),
        Bar("mapped time, p95 channel, rms (ms)", "map_p95_ms", 0.05),
        Bar("mapped time, 10 s after a step, rms (ms)", "map_step_ms", 0.6),
        Bar("offset, error squared / variance", "offset_nees", 1.5, 0.7, 2),
        Bar("skew, error squared / variance", "skew_nees", 1.5, 0.7, 2),
        Bar("clock resets not found", "resets_missed", 0, digits=0),
        Bar("false clock resets", "resets_false", 0, digits=0),
        Bar("clock reset found after, p95 (s)", "reset_latency_s", 0.25),
        Bar("lag, rms (ms)", "lag_ms", lag, digits=2),
        Bar("lag, error squared / variance", "lag_nees", 1.5, 0.7, 2),
        Bar("true error within the sync bound (%)", "bound_pct", 100.0, 95.0, 1),
        Bar("outliers removed (%)", "outlier_recall_pct", 100.0, 97.0, 1),
        Bar("sound values removed (%)", "outlier_false_pct", 0.3, digits=2),
        Bar("ticks without a value", "ticks_empty", 0, digits=0),
        Bar("ticks in a wrong mode", "modes_wrong", 0, digits=0),
        Bar("events without an end", "unaccounted", 0, digits=0),
    )


class Accuracy:
    """Errors of runs against their truth, pooled; `figures` gives the result.

    Parameters
    ----------
    since_s : float, optional
        Start of the counted lines and ticks, in seconds after the start; by default as above.
    until_s : float
        End of the counted lines and ticks, in seconds after the start.
    """

    def __init__(self, since_s: float | None = None, until_s: float = np.inf) -> None:
        self.errors: Errors = defaultdict(list)
        self.settled_s = SETTLED_S if since_s is None else since_s
        self.lags_s = LAGS_S if since_s is None else since_s
        self.until_s = until_s

    def add(self, folder: Path, recording: SimulatedRecording, true: Truth) -> None:
        """Add a finished run over a simulated recording without silences."""
        results = rigs(folder)[0]
        offsets: dict[str, tuple[F64, F64]] = {}
        lines: dict[str, list[SyncLine]] = defaultdict(list)
        for line in results.sync():
            lines[line.channel].append(line)
        reference = min(true.channels)  # without a lag; another one would shift all lags
        for channel, known in true.channels.items():
            reference = channel if known.lag_s == 0 else reference
        for channel in true.channels:
            offsets[channel] = self._channel(channel, lines[channel], true, channel == reference)
        self._fused(results, recording, true, offsets)
        account = run_json(folder)["account"]["total"]
        ends = sum(n for end, n in account.items() if end != "received")
        injected = sum(known.outliers for known in true.channels.values())
        e = self.errors
        e["unaccounted"].append(abs(true.received - account["received"]))
        e["unaccounted"].append(abs(account["received"] - ends))
        e["injected"].append(injected)
        e["removed"].append(min(account["outliers"], injected))
        e["sound"].append(account["received"] - injected)
        e["sound_removed"].append(max(account["outliers"] - injected, 0))

    def _channel(
        self, channel: str, lines: list[SyncLine], true: Truth, is_reference: bool
    ) -> tuple[F64, F64]:
        """Add the errors of a channel; return times and errors of its aligned time at the lines."""
        e, known = self.errors, true.channels[channel]
        ts = np.array([line.ts for line in lines])
        since = ts - true.start
        offset = np.array([true.offset_s(channel, t) for t in ts.tolist()])
        off = _column(lines, "offset_s") - offset
        after = np.zeros(len(ts), bool)
        for step in known.resets:
            after |= (ts >= step.at - 0.5) & (ts < step.at + AFTER_STEP_S)
        within = since <= self.until_s
        settled = (since > self.settled_s) & within & ~after
        skew = _column(lines, "skew_ppm") - (known.skew_ppm or 0.0)
        lag = _column(lines, "lag_s") - known.lag_s
        found = np.diff([0, *(line.clock_resets for line in lines)])
        at = np.repeat(ts, np.maximum(found, 0)).tolist()
        for step in known.resets:
            mine = [t for t in at if -0.5 <= t - step.at <= AFTER_STEP_S]
            e["resets_missed"].append(not mine)
            if mine:
                e["reset_latency_s"].append(mine[0] - step.at)
                at.remove(mine[0])
        e["resets_false"].append(len(at))
        if is_reference:
            return ts, off - lag
        e["map_channel_s"].append(_rms(off[settled]))
        e["map_step_s"] += off[after].tolist()
        e["offset_z"] += (off / _column(lines, "offset_sd_s"))[settled].tolist()
        e["skew_z"] += (skew / _column(lines, "skew_sd_ppm"))[settled].tolist()
        for moment in (60, 120):
            first = skew[(since >= moment - 0.5) & (since < moment + 10)][:1]
            e[f"skew_{moment}_ppm"] += first.tolist()
        e["skew_end_ppm"] += skew[-1:].tolist()
        late = (since > self.lags_s) & within
        e["lag_s"] += lag[late].tolist()
        with np.errstate(divide="ignore", invalid="ignore"):
            e["lag_z"] += (lag / _column(lines, "lag_sd_s"))[late].tolist()
        return ts, off - lag

    def _fused(
        self,
        results: Results,
        recording: SimulatedRecording,
        true: Truth,
        offsets: dict[str, tuple[F64, F64]],
    ) -> None:
        e, ticks = self.errors, list(results.ticks())
        time, value, sd = truths.fused(ticks, true.signal)
        last = min(recording.scenario.seconds - TAIL_S, self.until_s)
        scored = (time > START + self.lags_s) & (time < START + last)
        clean = recording.clean(time)
        e["ticks_empty"].append(int(np.isnan(value[scored]).sum()))
        wrong = np.array([t.mode != "fused" for t in ticks])
        e["modes_wrong"].append(int(wrong[scored].sum()))
        e["fused_z"] += ((value - clean) / sd)[scored].tolist()
        best = oracle(recording, time[scored])
        e["fused"] += (value - clean)[scored].tolist()
        e["oracle"] += (best - clean[scored]).tolist()
        bound = np.array([np.nan if t.sync_bound_s is None else t.sync_bound_s for t in ticks])
        inside = np.ones(len(time), bool)
        for at, error in offsets.values():
            # The estimate in force at a tick is the newest line before it.
            i = np.maximum(np.searchsorted(at, time, "right") - 1, 0)
            inside &= np.abs(error[i]) <= bound
        e["bound"] += inside[scored & np.isfinite(bound)].astype(float).tolist()

    def figures(self) -> dict[str, float]:
        """Return every figure by its key in `bars`."""
        e = self.errors
        out: dict[str, float] = {
            "fused_over_oracle": _rms(e["fused"]) / _rms(e["oracle"]),
            "fused_rmse": _rms(e["fused"]),
            "skew_60_ppm": _rms(e["skew_60_ppm"]),
            "skew_120_ppm": _rms(e["skew_120_ppm"]),
            "skew_end_p95_ppm": _percentile(np.abs(e["skew_end_ppm"]), 95),
            "map_median_ms": 1e3 * _percentile(e["map_channel_s"], 50),
            "map_p95_ms": 1e3 * _percentile(e["map_channel_s"], 95),
            "map_step_ms": 1e3 * _rms(e["map_step_s"]),
            "reset_latency_s": _percentile(e["reset_latency_s"], 95),
            "lag_ms": 1e3 * _rms(e["lag_s"]),
            "bound_pct": 100 * float(np.mean(e["bound"] or [np.nan])),
            "outlier_recall_pct": 100 * sum(e["removed"]) / max(sum(e["injected"]), 1),
            "outlier_false_pct": 100 * sum(e["sound_removed"]) / max(sum(e["sound"]), 1),
        }
        for key in ("fused", "offset", "skew", "lag"):
            out[f"{key}_nees"] = _rms(e[f"{key}_z"]) ** 2
        for key in ("resets_missed", "resets_false", "ticks_empty", "modes_wrong", "unaccounted"):
            out[key] = float(sum(e[key]))
        return out


def oracle(recording: SimulatedRecording, time: F64) -> F64:
    """Return the fused value at `time` (k,) with known clocks, lags and outliers."""
    rows = recording.rows
    numerator, denominator = np.zeros(len(time)), np.zeros(len(time))
    for k, sensor in enumerate(recording.scenario.sensors):
        mine = (rows.name == k) & ~rows.outlier
        host = rows.host[mine] - sensor.lag_s
        order = np.argsort(host, kind="stable")
        reading = (rows.value[mine][order] - sensor.bias) / sensor.gain
        value = truths.smooth(host[order] + START, reading, time)
        known = np.isfinite(value)
        # x(t) = sum_k w_k x_k(t) / sum_k w_k, w_k = rate_k / noise_k^2
        weight = sensor.rate_hz / sensor.noise**2
        numerator[known] += weight * value[known]
        denominator[known] += weight
    return np.asarray(numerator / np.where(denominator > 0, denominator, np.nan))


def _column(lines: Iterable[SyncLine], name: str) -> F64:
    return np.array([np.nan if (v := getattr(x, name)) is None else v for x in lines], float)


def _finite(values: Iterable[float] | F64) -> F64:
    found = np.asarray(values, float)
    return np.asarray(found[np.isfinite(found)])


def _rms(values: Iterable[float] | F64) -> float:
    found = _finite(values)
    return float(np.sqrt(np.mean(found**2))) if len(found) else float("nan")


def _percentile(values: Iterable[float] | F64, share: float) -> float:
    found = _finite(values)
    return float(np.percentile(found, share)) if len(found) else float("nan")
