"""The rows of one source on the host axis, mapped with its clock.

Few rows are mapped in plain numbers as far as none is in doubt; the array form maps all others.

Cost: 2 us a row, or about 30 numpy calls. State: none.
"""

from __future__ import annotations

import math
from itertools import compress
from operator import ne
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from operators.drift.clock import NOT_BEGUN, Clock, SureStamps
from operators.drift.clock_path import Smoothed, report
from operators.drift.smoother import ClockLog
from operators.drift.two_way import TwoWay
from operators.records import Block, ClockReport
from operators.types import F64, I64, Bool

AnyClock = Clock | ClockLog | Smoothed
_LAST_ROW = 1 << 60
"""A row number behind all rows."""


class HostRows(NamedTuple):
    """A source's rows (n,) on the host axis.

    `host` (s); `ok`: False for wild rows; `doubtful`: still undecided; `watermark`, `row`: those
    of the row that decided each.
    """

    host: F64
    ok: Bool
    doubtful: Bool
    watermark: F64
    row: I64


def few_rows(
    source: str, clock: AnyClock | None, blocks: list[Block], two_way: TwoWay | None = None
) -> tuple[SureStamps, list[Block], list[ClockReport]]:
    """Map a source's few rows in plain numbers, as far as none is in doubt.

    Returns
    -------
    begun : SureStamps
        The first stamps of this source, which its clock has processed.
    blocks, reports
        The rows with host time, and the clock reports; empty if not all rows are mapped.
    """
    if len(blocks) == 1 and isinstance(clock, Clock):
        block = blocks[0]
        stamps, arrivals = block.source_time.tolist(), block.arrival.tolist()
        if all(block.stamped.tolist()) and all(map(ne, stamps, stamps[1:])):
            run = clock.run(stamps, arrivals)
            if len(run.host) < len(stamps):
                return run, [], []
            marks = block.watermark.tolist()
            times, reports = _mapped(source, stamps, marks, run, two_way)
            return run, [_dated(block, np.array(times))], reports
    rows = [r for b in blocks for r in _stamped(b)]
    if not rows:
        return NOT_BEGUN, [_dated(b, b.arrival) for b in blocks], []
    if not isinstance(clock, Clock):
        return NOT_BEGUN, [], []
    if len(blocks) > 1:
        rows.sort()
    # Rows that share stamp and arrival are fed once.
    stamps, arrivals, marks, place = [], [], [], []
    before = before_arrival = math.nan
    for _, stamp, arrival, watermark in rows:
        if stamp != before or arrival != before_arrival:
            before, before_arrival = stamp, arrival
            stamps.append(stamp)
            arrivals.append(arrival)
            marks.append(watermark)
        place.append(len(stamps) - 1)
    run = clock.run(stamps, arrivals)
    if len(run.host) < len(stamps):
        return run, [], []
    hosts, reports = _mapped(source, stamps, marks, run, two_way)
    times = [hosts[k] for k in place]
    if len(blocks) == 1 and len(times) == len(blocks[0]):
        return run, [_dated(blocks[0], np.array(times))], reports
    host = dict(zip((r[0] for r in rows), times, strict=True))
    return run, [_dated(b, _by_row(b, host)) for b in blocks], reports


def _mapped(
    source: str, stamps: list[float], marks: list[float], run: SureStamps, two_way: TwoWay | None
) -> tuple[list[float], list[ClockReport]]:
    """Return the host times of stamps that are all processed, and the clock reports."""
    if two_way is None:
        return run.host, [report(source, marks[by], known, line) for by, known, line in run.turns]
    two_way.odd = None
    return two_way.host_of_few(stamps, run), [
        report(source, marks[by], *two_way.passed(line, known)) for by, known, line in run.turns
    ]


def every_row(
    source: str,
    clock: AnyClock | None,
    whole: Block,
    watermark: float,
    end: bool,
    begun: SureStamps,
    two_way: TwoWay | None = None,
) -> tuple[HostRows, list[ClockReport]]:
    """Feed a source's stamps to its clock; return its rows and its clock reports.

    Rows that share stamp and arrival are fed once. `clock` is None where no row has a stamp.
    `watermark` is that of the packet. `begun`: the first of these stamps, processed already.
    `two_way`: the clock of the source's readings, by which the rows are mapped then.
    """
    n = len(whole)
    rows = HostRows(
        host=whole.arrival.copy(),
        ok=np.ones(n, bool),
        doubtful=np.zeros(n, bool),
        watermark=whole.watermark.copy(),
        row=whole.row.copy(),
    )
    order = np.argsort(whole.row, kind="stable")
    fed = order[whole.stamped[order]]
    if clock is None or not len(fed):
        return rows, []
    stamp, arrival = whole.source_time[fed], whole.arrival[fed]
    new = np.ones(len(fed), bool)
    new[1:] = (stamp[1:] != stamp[:-1]) | (arrival[1:] != arrival[:-1])
    first, group = fed[new], np.cumsum(new) - 1
    if isinstance(clock, Clock):
        verdicts = clock.feed(stamp[new], arrival[new], end, begun)
    else:
        verdicts = clock.feed(stamp[new], arrival[new], end)
    rows.host[fed], rows.ok[fed] = verdicts.host[group], verdicts.ok[group]
    rows.doubtful[fed] = group >= verdicts.decided
    # A row takes the watermark and the place of the row that decided it.
    moment = np.append(rows.watermark[first], watermark)
    place = np.append(rows.row[first], _LAST_ROW)
    rows.watermark[fed] = np.maximum(rows.watermark[fed], moment[verdicts.by][group])
    rows.row[fed] = np.maximum(rows.row[fed], place[verdicts.by][group])
    if isinstance(clock, Smoothed):
        return rows, []  # its path has its own reports
    if two_way:
        rows.host[fed] = two_way.host(stamp, rows.host[fed], verdicts.total[group])
        if (rows.ok[fed] & ~rows.doubtful[fed]).any():
            two_way.odd = None
        return rows, [
            report(source, float(moment[by]), *two_way.passed(line, known))
            for by, known, line in verdicts.turns
        ]
    return rows, [
        report(source, float(moment[by]), known, line) for by, known, line in verdicts.turns
    ]


def _dated(block: Block, host: F64) -> Block:
    """Return a block with the host times of its rows."""
    return replace(block, host_time=host, straggler=np.zeros(len(host), bool))


def _by_row(block: Block, host: dict[int, float]) -> F64:
    """Return the host times of a block's rows, given by `row`; the arrival of all others."""
    rows = zip(block.row.tolist(), block.arrival.tolist(), strict=True)
    return np.array([host.get(row, arrival) for row, arrival in rows])


def _stamped(b: Block) -> list[tuple[int, float, float, float]]:
    """Return row, stamp, arrival and watermark of each stamped row."""
    columns = (b.row, b.source_time, b.arrival, b.watermark)
    rows = list(zip(*(x.tolist() for x in columns), strict=True))
    stamped = b.stamped.tolist()
    return rows if all(stamped) else list(compress(rows, stamped))
