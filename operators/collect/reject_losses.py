"""Losses of input that could not be decoded, as ends and dead letters."""

from __future__ import annotations

import numpy as np

from operators.accounting import ended
from operators.events import Reject
from operators.limits import MAX_SAMPLE
from operators.records import DeadLetter, Ends
from operators.types import ENDED, F64, End, Reason


def reject_losses(
    rejects: list[Reject], watermark: F64, window_s: float
) -> tuple[list[Ends], list[DeadLetter]]:
    """Return the ends and dead letters of rejects; `watermark` is that before each row.

    Rejects of one kind share a dead letter within a window, by the rule of `LossCounter.add`.
    """
    if not rejects:
        return [], []
    moments: dict[tuple[str, End], list[Reject]] = {}
    kinds: dict[tuple[float, Reason, str], list[Reject]] = {}
    window = np.floor(watermark / window_s).tolist()
    for r in rejects:
        end = ENDED.get(r.reason, "rejected")
        moments.setdefault((r.source, end), []).append(r)
        if end == "rejected":
            kinds.setdefault((window[r.row], r.reason, r.source), []).append(r)
    ends: list[Ends] = []
    for (source, end), group in moments.items():
        moment = np.repeat(watermark[[r.row for r in group]], [r.count for r in group])
        ends += ended(source, "", "received", moment)
        ends += ended(source, "", end, moment)
    dead: list[DeadLetter] = []
    for (_, reason, source), group in kinds.items():
        ts = float(min(watermark[[r.row for r in group]]))
        first = [r for r in group if watermark[r.row] == ts]
        where, sample = min(
            (r.where, r.sample[:MAX_SAMPLE].decode("utf-8", "replace")) for r in first
        )
        count = sum(r.count for r in group)
        dead.append(DeadLetter(ts, "receive", reason, source, where, sample, count))
    return ends, dead
