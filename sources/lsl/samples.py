"""Samples of an LSL stream as events: one for each channel, with the sender's stamp.

Pure. Cost: 0.5 us an event. State: none. Losses: `stamp`, `value`, `too_long`, counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, TypeAlias

import numpy as np

from operators.limits import MAX_NAME_LENGTH, MAX_SAMPLE, MAX_STAMP_S
from operators.types import F64, Reason
from sources.inbox import Message, Unread

Rows: TypeAlias = np.ndarray[Any, Any]
"""Values of samples (n, channels): numbers of any type, or texts as bytes."""
MAX_TEXT = 8192
"""Longest text of a marker (bytes)."""


class SampleDecoder:
    """Decodes the samples of one stream.

    Parameters
    ----------
    keys : sequence of str
        One for each channel.
    where : str
        The stream, for dead letters.
    """

    def __init__(self, keys: Sequence[str], where: str) -> None:
        self._keys = tuple(keys)
        self._where = where[:MAX_NAME_LENGTH]

    def numbers(self, values: Rows, stamps: F64, rx: float) -> Sequence[Message | Unread]:
        """Return the events of samples; the rejects of one pull come last, one for each reason.

        Parameters
        ----------
        values : Rows
        stamps : float64 (n,)
            The sender's stamps (s).
        rx : float
            Arrival (s).
        """
        numbers = values.astype(np.float64)
        timed = np.isfinite(stamps) & (np.abs(stamps) <= MAX_STAMP_S)
        finite = np.isfinite(numbers)
        if timed.all() and finite.all():
            return self._events(numbers, stamps, rx)
        untimed = int((~timed).sum()) * len(self._keys)
        bad = ~finite & timed[:, None]
        rejects: list[Message | Unread] = []
        if untimed:
            first = f"{float(stamps[~timed][0])!r}"
            rejects.append(self._unread("stamp", self._where, first.encode(), untimed, rx))
        if bad.any():
            row, column = (int(x) for x in np.argwhere(bad)[0])
            first, key = f"{float(numbers[row, column])!r}", self._keys[column]
            rejects.append(self._unread("value", key, first.encode(), int(bad.sum()), rx))
        kept = [
            event
            for event in self._events(numbers[timed], stamps[timed], rx)
            if isfinite(event.value)  # type: ignore[arg-type]
        ]
        return [*kept, *rejects]

    def texts(self, values: Rows, stamps: F64, rx: float) -> Sequence[Message | Unread]:
        """Return the markers of samples; bytes that are no UTF-8 are replaced."""
        items: list[Message | Unread] = []
        for texts, ts in zip(values.tolist(), stamps.tolist(), strict=True):
            if not (isfinite(ts) and abs(ts) <= MAX_STAMP_S):
                items.append(self._unread("stamp", self._where, repr(ts).encode(), len(texts), rx))
                continue
            for key, text in zip(self._keys, texts, strict=True):
                if len(text) > MAX_TEXT:
                    items.append(self._unread("too_long", key, text, 1, rx))
                else:
                    items.append(Message(rx, key, text.decode("utf-8", "replace"), ts))
        return items

    def _events(self, numbers: F64, stamps: F64, rx: float) -> list[Message]:
        keys = self._keys
        return [
            Message(rx, key, value, ts)
            for ts, row in zip(stamps.tolist(), numbers.tolist(), strict=True)
            for key, value in zip(keys, row, strict=True)
        ]

    def _unread(self, reason: Reason, where: str, sample: bytes, count: int, rx: float) -> Unread:
        return Unread(rx, reason, where, sample[:MAX_SAMPLE], count)
