"""Records as JSONL bytes, one object a line, fields in the order of their contract.

Ticks are many, so they are not written one by one: numbers become text a column at a time,
and one join weaves the columns into the text between them. Columns that rest for many ticks
(modes, weights, indicators) are woven once a run of equal values. Numbers are the shortest
that read back as the same float; NaN is `null`; infinity is a bug and raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.records import F64, INDICATORS, MODES, Bool, Fused, Packet

_encoder = msgspec.json.Encoder()
_MODES = [f'"{mode}"' for mode in MODES]


class _Form:
    """What is the same on every line of a kind: its text, and what its columns are."""

    def __init__(self) -> None:
        self.texts = [b""]
        self.words: list[NDArray[Any] | None] = []

    def text(self, text: str | bytes) -> _Form:
        """Add text."""
        self.texts[-1] += text if isinstance(text, bytes) else text.encode()
        return self

    def column(self, words: Sequence[str] | None = None) -> _Form:
        """Add the place of a column of numbers or, with `words`, of positions in them."""
        self.words.append(
            None if words is None else np.array([w.encode() for w in words], dtype=object)
        )
        self.texts.append(b"")
        return self

    def lines(self, columns: list[NDArray[Any]]) -> bytes:
        """Return the k lines that the columns (k,) make."""
        rows = np.array(columns, dtype=np.float64)
        k = rows.shape[1]
        if k == 0:
            return b""
        if np.isinf(rows).any():
            raise ValueError("an infinite number was to be written")
        bits = rows.view(np.int64)
        changed = bits[:, 1:] != bits[:, :-1]
        busy = changed.sum(axis=1) > k // 4
        start = np.flatnonzero(np.append(True, changed[~busy].any(axis=0)))
        count = np.diff(start, append=k)
        moving = self._tokens(rows, busy)
        resting = self._tokens(rows[:, start], ~busy)
        parts: list[list[bytes]] = []
        text = [self.texts[0]]  # one for all lines, or one a run
        for j, after in enumerate(self.texts[1:]):
            if busy[j]:
                parts += [_spread(text, count, k), moving[j]]
                text = [after]
            else:
                before = text if len(text) == len(resting[j]) else text * len(resting[j])
                text = [a + b + after for a, b in zip(before, resting[j], strict=True)]
        parts.append(_spread(text, count, k))
        out = [b""] * (len(parts) * k)
        for j, part in enumerate(parts):
            out[j :: len(parts)] = part
        return b"".join(out)

    def _tokens(self, rows: F64, which: Bool) -> dict[int, list[bytes]]:
        """Return the text of the columns `which`, by column."""
        n = rows.shape[1]
        tokens = {j: w[rows[j].astype(int)].tolist() for j, w in self._worded if which[j]}
        numbers = [j for j in np.flatnonzero(which).tolist() if self.words[j] is None]
        flat = _encoder.encode(rows[numbers].ravel().tolist())[1:-1].split(b",")
        return tokens | {j: flat[i * n : (i + 1) * n] for i, j in enumerate(numbers)}

    @cached_property
    def _worded(self) -> list[tuple[int, NDArray[Any]]]:
        return [(j, w) for j, w in enumerate(self.words) if w is not None]


def _spread(texts: list[bytes], count: NDArray[np.intp], k: int) -> list[bytes]:
    if len(texts) == 1:
        return texts * k
    return list(np.array(texts, dtype=object).repeat(count).tolist())


@lru_cache(maxsize=1024)
def _fused_form(rig: str, signals: tuple[tuple[str, tuple[str, ...]], ...]) -> _Form:
    form = _Form().text('{"ts":').column().text(',"released":').column()
    form.text(',"rig":').text(_encoder.encode(rig))
    form.text(',"mode":').column(_MODES)
    form.text(',"live":').column(_counts(sum(len(channels) for _, channels in signals)))
    form.text(',"signals":{')
    for i, (name, channels) in enumerate(signals):
        form.text("," if i else "").text(_encoder.encode(name))
        form.text(':{"value":').column().text(',"sd":').column()
        form.text(',"mode":').column(_MODES).text(',"live":').column(_counts(len(channels)))
        form.text(',"weights":{')
        for j, channel in enumerate(channels):
            form.text("," if j else "").text(_encoder.encode(channel)).text(":").column()
        form.text("}}")
    form.text('},"indicators":{')
    for j, name in enumerate(INDICATORS):
        form.text("," if j else "").text(f'"{name}":').column()
    return form.text('},"sync_bound_s":').column().text("}\n")


def _counts(n: int) -> list[str]:
    return [str(i) for i in range(n + 1)]


def fused_lines(fused: Fused, rig: str) -> bytes:
    """Return the lines of consecutive ticks.

    Parameters
    ----------
    fused : Fused
        k ticks.
    rig : str
        Whose ticks they are.

    Raises
    ------
    ValueError
        A number is infinite.
    """
    columns = [fused.ts, fused.released, fused.mode, fused.live]
    for signal in fused.signals:
        columns += [signal.value, signal.sd, signal.mode, signal.live, *signal.weights.T]
    columns += [*fused.indicators.T, fused.sync_bound_s]
    return _fused_form(rig, tuple((s.name, s.channels) for s in fused.signals)).lines(columns)


def aligned_lines(channel: str, ts: F64, source_ts: F64, rx: F64, value: F64, rig: str) -> bytes:
    """Return the lines of one channel's used samples, (n,) each."""
    form = _Form().text('{"ts":').column().text(',"source_ts":').column().text(',"rx":').column()
    form.text(',"rig":').text(_encoder.encode(rig)).text(',"channel":')
    form.text(_encoder.encode(channel)).text(',"value":').column().text("}\n")
    return form.lines([ts, source_ts, rx, value])


def record_lines(records: Sequence[msgspec.Struct]) -> bytes:
    """Return one line a record, its fields as declared."""
    return _encoder.encode_lines(records)


def packet_lines(packet: Packet) -> Iterator[tuple[str, bytes]]:
    """Yield what a packet has to write as (file's stem, lines)."""
    if packet.fused is not None:
        yield "fused", fused_lines(packet.fused, packet.rig)
    yield "sync", record_lines(packet.sync)
    yield "evidence", record_lines(packet.evidence)
    yield "dead", record_lines(packet.dead)
    yield "markers", record_lines(packet.markers)
    yield "aligned", b"".join(aligned_lines(*columns, packet.rig) for columns in packet.aligned)
