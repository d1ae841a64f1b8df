"""Settings of `align`, judged by each member against the others.

For a signal with the values a_m of its members at a tick, aligned and on the grid, and weights w_m,

    r_m = a_m - (sum of w_j a_j over j != m) / (sum of w_j over j != m)

The objective of a half is the rms of all r_m, the mean of each member removed, over the ticks at
which all candidates have r_m. It needs three members: of two, each is the other's only judge.

Each candidate is an exact replay up to `fuse`. They differ from the configuration in one setting
each: window, hop, walk of the lag (q), prior weights. Kernel and rate of the grid are no
candidates: a smoother resampler would always be the best one.

Cost: a replay a candidate, eleven in all. State: the r_m of all candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from configs.schema import Config
from operators.records import FusedSignal
from operators.settings.groups import WeightsConfig
from operators.types import F64, I64
from ops.tune.held_back import Candidate, Decision, decide
from ops.tune.recorded_packets import TuneError, packets

MIN_MEMBERS = 3
MIN_TICKS = 100
"""Least number of compared ticks of a half."""
WINDOWS_S = (20.0, 30.0, 60.0, 90.0)
HOPS_S = (5.0, 10.0)
WALKS = (1e-12, 1e-10, 1e-8)
PRIORS = ((0.7, 0.3), (0.4, 0.6))
"""Prior weights of the groups `ure` and `sensors`."""
Residuals = dict[tuple[str, str, int], tuple[I64, F64]]
"""By rig, signal and member: ticks (n,) and residuals (n,)."""


def residuals(signal: FusedSignal) -> F64:
    """Return r_m of each tick and member, (k, members); NaN where no other member has a weight."""
    value, weights = signal.aligned, signal.weights
    w = np.where(np.isfinite(value), weights, 0.0)
    parts = np.where(w > 0, w * value, 0.0)
    # Sums over the others, and not the whole less one: a weight of 1 would leave rounding.
    others = ~np.eye(w.shape[1], dtype=bool)
    weight, total = w @ others, parts @ others
    left = np.divide(total, weight, out=np.full(w.shape, np.nan), where=weight > 1e-9)
    return np.asarray(value - left)


def candidates(config: Config) -> Iterator[tuple[str, dict[str, Any], Config]]:
    """Yield the changed configurations, with a title and the changed keys."""
    align = config.align
    changes: list[dict[str, Any]] = [{"window_s": w} for w in WINDOWS_S if w != align.window_s]
    changes += [{"hop_s": hop} for hop in HOPS_S if hop != align.hop_s]
    changes += [{"kalman": {"q": q}} for q in WALKS if q != align.kalman.q]
    for change in changes:
        whole = {**msgspec.to_builtins(align), **change}
        whole["kalman"] = {**msgspec.to_builtins(align.kalman), **change.get("kalman", {})}
        changed = msgspec.convert(whole, type(align))
        fits = changed.max_lag_s < changed.window_s / 2 and changed.hop_s <= changed.window_s / 2
        if fits and changed.window_s >= changed.least_window_s():
            key, value = next(iter(change.items()))
            title = f"{key} {value:g}" if key != "kalman" else f"kalman.q {value['q']:g}"
            yield title, {"align": change}, replace(config, align=changed)
    groups = {m.group for m in config.plan().members}
    for ure, sensors in PRIORS if len(groups) > 1 else ():
        weights = WeightsConfig(ure=ure, sensors=sensors)
        if weights != config.weights:
            patch = {"weights": {"ure": ure, "sensors": sensors}}
            yield f"weights {ure:g}/{sensors:g}", patch, replace(config, weights=weights)


def tune_align(config: Config, recording: Path) -> Decision:
    """Return the decision on the settings of `align`.

    Raises
    ------
    TuneError
        No signal has three members; too few ticks to compare.
    """
    check_members(config)
    tried = list(candidates(config))
    made = [_replayed(c, recording) for c in (config, *(c for _, _, c in tried))]
    first, second = (_objectives(made, half) for half in _halves(made[0]))
    titles = [("as configured", {}), *((title, patch) for title, patch, _ in tried)]
    found = [
        Candidate(title, patch, errors)
        for (title, patch), errors in zip(titles, zip(first, second, strict=True), strict=True)
    ]
    return decide(found[0], found[1:])


def check_members(config: Config) -> None:
    """Refuse a configuration without a signal of three members.

    Raises
    ------
    TuneError
        With the numbers of members.
    """
    if max(len(s.members) for s in config.signals.values()) < MIN_MEMBERS:
        counts = ", ".join(f"{name} has {len(s.members)}" for name, s in config.signals.items())
        raise TuneError(f"align needs a signal of {MIN_MEMBERS} members: {counts}")


def _replayed(config: Config, recording: Path) -> Residuals:
    """Return the residuals of a replay."""
    parts: dict[tuple[str, str, int], list[tuple[I64, F64]]] = {}
    for rig, packet in packets(config, recording, "fuse"):
        if packet.fused is None or not len(packet.fused):
            continue
        ticks = np.rint(packet.fused.ts * config.resample.target_hz).astype(np.int64)
        for signal in packet.fused.signals:
            if len(signal.channels) < MIN_MEMBERS:
                continue
            table = residuals(signal)
            for m in range(table.shape[1]):
                known = np.isfinite(table[:, m])
                part = ticks[known], table[known, m]
                parts.setdefault((rig, signal.name, m), []).append(part)
    return {
        key: (np.concatenate([t for t, _ in found]), np.concatenate([r for _, r in found]))
        for key, found in parts.items()
    }


def _halves(residuals: Residuals) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the two halves, in ticks."""
    known = [ticks for ticks, _ in residuals.values() if len(ticks)]
    if not known:
        raise TuneError("no tick at which three members are compared")
    first, last = (float(pick([pick(t) for t in known])) for pick in (np.min, np.max))
    middle = (first + last) / 2
    return (first, middle), (middle, last + 1)


def _objectives(made: list[Residuals], half: tuple[float, float]) -> list[float]:
    """Return the objective of each candidate, at the ticks that all of them have."""
    squares, count = np.zeros(len(made)), 0
    for key in made[0]:
        columns = [each.get(key) for each in made]
        found = [column for column in columns if column is not None]
        if len(found) < len(made):
            continue
        common = found[0][0]
        for ticks, _ in found[1:]:
            common = np.intersect1d(common, ticks, assume_unique=True)
        common = common[(common >= half[0]) & (common < half[1])]
        for at, (ticks, values) in enumerate(found):
            r = values[np.searchsorted(ticks, common)]
            squares[at] += np.sum((r - np.mean(r)) ** 2) if len(r) else 0.0
        count += len(common)
    if count < MIN_TICKS:
        raise TuneError(f"{count} ticks of a half have three members, expected {MIN_TICKS}")
    return [float(x) for x in np.sqrt(squares / count)]
