"""Output of a station, joined over its packets for comparison of runs.

The division into packets is ignored: columns are joined by channel, counts by source and end,
dead letters by kind and window of data time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec
import numpy as np

from operators.records import Block, DeadLetter, Fused, Grid, Packet

Outcome = dict[str, Any]
WINDOW_S = 10.0


def outcome(packets: Iterable[Packet]) -> Outcome:
    """Return the contents of the packets, by name."""
    packets = list(packets)
    out: Outcome = {
        "arrivals": np.concatenate([p.arrivals for p in packets]),
        "known": packets[-1].watermark,
        "end": packets[-1].end,
        "first_host": packets[-1].first_host,
        "newest_host": packets[-1].newest_host,
    }
    _rows(out, "block", [b for p in packets for b in p.blocks])
    _rows(out, "beat", [b for p in packets for b in p.beats])
    for source, channel, end, before in (e for p in packets for e in p.ends):
        _gather(out, f"ends {source} {channel} {end}", before)
    for key in [k for k in out if k.startswith("ends ")]:
        out[key] = np.sort(np.concatenate(out[key]))
    out["status"] = packets[-1].bridge_status
    _letters(out, [d for p in packets for d in p.letters])
    for r in (r for p in packets for r in p.clocks):
        _gather(out, f"clock {r.source}", r)
    for grain in (r for p in packets for r in p.grains):
        _gather(out, f"grain {grain.channel}", grain)
    for lag in (r for p in packets for r in p.lags):
        _gather(out, f"lag {lag.signal} {lag.channel}", lag)
    _columns(out, "grid", [p.grid for p in packets if p.grid is not None])
    _columns(out, "fused", [p.fused for p in packets if p.fused is not None])
    for name in ("indicators", "sync", "dead", "markers", "evidence", "controls", "bridge"):
        out[name] = [x for p in packets for x in getattr(p, name)]
    # The bridge judges a tick at the next control step, which may be in a later packet.
    out["evidence"].sort(key=lambda record: (record.ts, record.rule))
    for channel, *columns in (a for p in packets for a in p.aligned):
        _gather(out, f"aligned {channel}", np.stack(columns))
    for key in [k for k in out if k.startswith("aligned ")]:
        table = np.concatenate(out[key], axis=1)
        out[key] = table[:, np.lexsort(table[::-1])]
    return out


def _gather(out: Outcome, key: str, item: Any) -> None:
    out.setdefault(key, []).append(item)


def _rows(out: Outcome, kind: str, blocks: list[Block]) -> None:
    """Join the blocks of each channel, rows in order of time; `row` is of a packet alone."""
    for channel in {(b.channel, bool(b.text)) for b in blocks}:
        mine = [b for b in blocks if (b.channel, bool(b.text)) == channel]
        joined = Block.join(mine)
        time = joined.host_time if len(joined.host_time) else joined.arrival
        order = np.lexsort((joined.line, joined.value, joined.source_time, joined.arrival, time))
        joined = joined.take(order)
        for name in joined.__struct_fields__:
            if name not in ("row", "source", "channel"):
                out[f"{kind} {channel} {name}"] = getattr(joined, name)


def _letters(out: Outcome, letters: list[DeadLetter]) -> None:
    """Join letters like `LossCounter`: by kind and window, with the earliest as sample."""
    for d in letters:
        key = (
            f"letter {math.floor(d.watermark / WINDOW_S)} {d.stage} {d.reason} {d.source} {d.where}"
        )
        had = out.get(key)
        if had is not None:
            early = min(had, d, key=lambda x: (x.watermark, x.where, x.sample))
            d = msgspec.structs.replace(early, count=had.count + d.count)
        out[key] = d


def _columns(out: Outcome, name: str, tables: list[Any]) -> None:
    """Join grids or fused ticks over time."""
    if not tables:
        return
    if isinstance(tables[0], Grid):
        out[f"{name} ticks"] = np.concatenate([g.first + np.arange(len(g)) for g in tables])
    for f in fields(tables[0]):
        first = getattr(tables[0], f.name)
        if isinstance(first, np.ndarray):
            out[f"{name} {f.name}"] = np.concatenate([getattr(t, f.name) for t in tables])
    if isinstance(tables[0], Fused):
        for k, signal in enumerate(tables[0].signals):
            _columns(out, f"{name} {signal.name}", [t.signals[k] for t in tables])


# -- comparison ---------------------------------------------------------------------------------


def assert_same(a: Any, b: Any, tolerance: float = 0.0) -> None:
    """Fail with all differences of two outcomes."""
    found = differences(a, b, tolerance)
    assert not found, "\n".join(found[:20])


def differences(a: Any, b: Any, tolerance: float = 0.0, where: str = "") -> list[str]:
    """Return the differences of two outcomes; floats may differ by the tolerance."""
    if isinstance(a, dict):
        both = [f"{where}{k}: only in one" for k in sorted(set(a) ^ set(b))]
        return both + [
            d for k in a if k in b for d in differences(a[k], b[k], tolerance, f"{where}{k} ")
        ]
    if isinstance(a, np.ndarray):
        return _array(a, np.asarray(b), tolerance, where)
    if isinstance(a, msgspec.Struct):
        return differences(msgspec.structs.asdict(a), msgspec.structs.asdict(b), tolerance, where)
    if is_dataclass(a) and not isinstance(a, type):
        names = [f.name for f in fields(a)]
        return [
            d
            for n in names
            for d in differences(getattr(a, n), getattr(b, n), tolerance, f"{where}{n} ")
        ]
    if hasattr(a, "_asdict"):
        return differences(a._asdict(), b._asdict(), tolerance, where)
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{where}: {len(a)} and {len(b)} of them"]
        return [
            d
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for d in differences(x, y, tolerance, f"{where}[{i}] ")
        ]
    if isinstance(a, float) and isinstance(b, float):
        same = a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= tolerance
        return [] if same else [f"{where}: {a!r} and {b!r}"]
    return [] if a == b else [f"{where}: {a!r} and {b!r}"]


def _array(a: np.ndarray, b: np.ndarray, tolerance: float, where: str) -> list[str]:
    if a.shape != b.shape:
        return [f"{where}: {a.shape} and {b.shape}"]
    if a.dtype.kind != "f":
        off = a != b
    else:
        with np.errstate(invalid="ignore"):
            off = ~((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= tolerance))
    if not off.any():
        return []
    i = tuple(int(x[0]) for x in np.nonzero(off))
    return [f"{where}: {int(off.sum())} of {off.size}, first at {i}: {a[i]!r} and {b[i]!r}"]
