"""Records as JSONL bytes, one object a line, fields in the order of their contract.

Ticks and samples are many: `map` makes records from their columns, and one call encodes them.
Values that stay equal for many ticks (indicators, weights) are encoded once a run. Numbers are the
shortest that parse to the same float; NaN is `null`; infinity is a bug and raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain, repeat
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np

from configs.inert import inert_json
from operators import native
from operators.records import INDICATORS, Fused, Packet
from operators.types import F64, I64, MODES

_encoder = msgspec.json.Encoder()
_MODES = np.array(MODES, dtype=object)
_MODE_TEXTS = tuple(_encoder.encode(mode) for mode in MODES)
_Shape: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Name and channels of each signal."""
MAX_TICKS = 1024
"""Ticks whose lines are made at once."""
_MIN_TICKS_FOR_RUNS = 32
"""Fewer ticks than this are not searched for runs of equal values."""


class _Kinds(NamedTuple):
    """Constructors of the objects of a line."""

    line: Callable[..., Any]
    signals: Callable[..., Any]
    signal: Callable[..., Any]
    weights: tuple[Callable[..., Any], ...]
    indicators: Callable[..., Any]


def _kind(names: Sequence[str]) -> Callable[..., Any]:
    """Return a constructor of an object with these names, from as many values."""
    places = [f"at_{i}" for i in range(len(names))]
    rename = dict(zip(places, names, strict=True))
    try:
        return msgspec.defstruct("Object", places, rename=rename, gc=False)
    except ValueError:  # a name with a quote, say, cannot be a field's
        return lambda *values: dict(zip(names, values, strict=True))


@lru_cache(maxsize=16)
def _kinds(signals: _Shape) -> _Kinds:
    return _Kinds(
        _kind(("ts", "released", "rig", "mode", "live", "signals", "indicators", "sync_bound_s")),
        _kind([name for name, _ in signals]),
        _kind(("value", "sd", "systematic_sd", "mode", "live", "weights")),
        tuple(_kind(channels) for _, channels in signals),
        _kind(INDICATORS),
    )


_sample = _kind(("ts", "source_ts", "rx", "rig", "channel", "value"))


def _finite(*columns: F64) -> F64:
    """Return columns (n, k); an infinite value raises."""
    rows = np.array(columns)
    if np.isinf(rows).any():
        raise ValueError("an infinite number was to be written")
    return rows


def _objects(kind: Callable[..., Any], rows: F64) -> Iterable[Any]:
    """Return k objects made of the rows (n, k)."""
    k = rows.shape[1]
    if k >= _MIN_TICKS_FOR_RUNS:
        bits = np.ascontiguousarray(rows).view(np.int64)
        start = np.flatnonzero((bits[:, 1:] != bits[:, :-1]).any(axis=0)) + 1
        if len(start) < k // 4:
            start = np.concatenate(([0], start))
            values = rows[:, start].T.tolist()
            texts = [msgspec.Raw(_encoder.encode(kind(*value))) for value in values]
            return chain.from_iterable(map(repeat, texts, np.diff(start, append=k).tolist()))
    return map(kind, *rows.tolist())


def fused_lines(fused: Fused, rig: str) -> bytes:
    """Return `fused_texts` as one text."""
    return b"".join(fused_texts(fused, rig))


def fused_texts(fused: Fused, rig: str) -> Iterator[bytes]:
    """Yield the lines of consecutive ticks, control characters escaped, MAX_TICKS at once.

    The lines of so many ticks stay in the processor's cache until they are written.

    Parameters
    ----------
    fused : Fused
        k ticks.
    rig : str
        The rig of the ticks.

    Raises
    ------
    ValueError
        A number is infinite.
    """
    shape = tuple((s.name, s.channels) for s in fused.signals)
    columns = [fused.ts, fused.released, fused.sync_bound_s, *fused.indicators.T]
    codes = [fused.mode, fused.live]
    for s in fused.signals:
        columns += [s.value, s.sd, s.systematic_sd, *s.weights.T]
        codes += [s.mode, s.live]
    lines = partial(_rendered, native.kernels) if native.kernels is not None else _encoded
    numbers, indexes = np.array(columns), np.array(codes, np.int64)
    for first in range(0, len(fused), MAX_TICKS):
        ticks = slice(first, first + MAX_TICKS)
        yield lines(shape, rig, numbers[:, ticks], indexes[:, ticks])


def _encoded(shape: _Shape, rig: str, numbers: F64, codes: I64) -> bytes:
    """Return the lines of k ticks from their columns (n, k) and codes (2 + 2 signals, k)."""
    if np.isinf(numbers).any():
        raise ValueError("an infinite number was to be written")
    kinds = _kinds(shape)
    ts, released, bound = numbers[:3].tolist()
    modes, live = _MODES[codes[::2]].tolist(), codes[1::2].tolist()
    at = 3 + len(INDICATORS)
    indicators = _objects(kinds.indicators, numbers[3:at])
    signals = []
    for j, (kind, (_, channels)) in enumerate(zip(kinds.weights, shape, strict=True), 1):
        value, sd, systematic = numbers[at : at + 3].tolist()
        at += 3
        weights = _objects(kind, numbers[at : at + len(channels)])
        at += len(channels)
        signals.append(map(kinds.signal, value, sd, systematic, modes[j], live[j], weights))
    lines: Iterable[Any] = map(
        kinds.line,
        ts,
        released,
        repeat(rig),
        modes[0],
        live[0],
        map(kinds.signals, *signals),
        indicators,
        bound,
    )
    return inert_json(_encoder.encode_lines(list(lines)))


class _Template(NamedTuple):
    """The text between the values of a line, and the row of each value; ~j is row j of codes."""

    pieces: tuple[bytes, ...]
    values: tuple[int, ...]


@lru_cache(maxsize=16)
def _template(shape: _Shape, rig: str) -> _Template:
    kinds, value = _kinds(shape), msgspec.Raw(b"\0")  # no text has this byte: JSON escapes it
    first = 3 + len(INDICATORS)
    order, signals = [0, 1, ~0, ~1], []
    for j, (kind, (_, channels)) in enumerate(zip(kinds.weights, shape, strict=True), 1):
        members = len(channels)
        weights = kind(*repeat(value, members))
        signals.append(kinds.signal(*repeat(value, 5), weights))
        order += [first, first + 1, first + 2, ~(2 * j), ~(2 * j + 1)]
        order += range(first + 3, first + 3 + members)
        first += 3 + members
    indicators = kinds.indicators(*repeat(value, len(INDICATORS)))
    order += [*range(3, 3 + len(INDICATORS)), 2]
    line = kinds.line(value, value, rig, value, value, kinds.signals(*signals), indicators, value)
    pieces = inert_json(_encoder.encode_lines([line])).split(b"\0")
    return _Template(tuple(pieces), tuple(order))


@lru_cache(maxsize=16)
def _counts(below: int) -> tuple[bytes, ...]:
    return tuple(b"%d" % count for count in range(below))


def _rendered(kernels: native.Kernels, shape: _Shape, rig: str, numbers: F64, codes: I64) -> bytes:
    """Return the lines of `_encoded`, compiled."""
    pieces, values = _template(shape, rig)
    counts = _counts(int(codes[1::2].max(initial=0)) + 1)
    tables = (_MODE_TEXTS, counts) * (len(shape) + 1)
    return kernels.render(codes.shape[1], pieces, values, numbers, codes, tables)


def aligned_lines(channel: str, ts: F64, source_ts: F64, rx: F64, value: F64, rig: str) -> bytes:
    """Return the lines of one channel's used samples, (n,) each."""
    ts_, source_ts_, rx_, value_ = _finite(ts, source_ts, rx, value).tolist()
    lines = map(_sample, ts_, source_ts_, rx_, repeat(rig), repeat(channel), value_)
    return _encoder.encode_lines(list(lines))


def record_lines(records: Sequence[msgspec.Struct]) -> bytes:
    """Return one line a record, its fields as declared."""
    # A list: msgspec 0.22 leaks the iterator of any other iterable.
    return _encoder.encode_lines(list(records))


def packet_lines(packet: Packet) -> Iterator[tuple[str, bytes]]:
    """Yield a packet's lines as (file's stem, lines), with control characters escaped."""
    if packet.fused is not None:
        for lines in fused_texts(packet.fused, packet.rig):
            yield "fused", lines
    for stem, lines in _record_lines(packet):
        yield stem, inert_json(lines)


def _record_lines(packet: Packet) -> Iterator[tuple[str, bytes]]:
    yield "sync", record_lines(packet.sync)
    yield "evidence", record_lines(packet.evidence)
    yield "dead", record_lines(packet.dead)
    yield "markers", record_lines(packet.markers)
    yield "bridge", record_lines(packet.bridge)
    yield "aligned", b"".join(aligned_lines(*columns, packet.rig) for columns in packet.aligned)
