"""Rows of the history, made from lines of the result files.

A line that cannot be decoded, or holds a number that no column can hold, is lost and counted.

Cost: 5 us a tick with one signal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from operators.lyapunov import lyapunov_v
from operators.types import Mode
from sinks.files.line_reader import plain
from sinks.history.back_end import Row
from sinks.history.tables import BRIDGE, DEAD, EVIDENCE, MINUTE, SIGNAL, SYNC, TICK, Table

MINUTE_S = 60.0
T = TypeVar("T")
Numbers: TypeAlias = Callable[[str, Sequence[str]], dict[str, int]]
"""Returns the numbers of names of a kind."""
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Place = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_NONE: tuple[Any, ...] = (0, None, None, None)
_UNSOUND = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _SignalPart(msgspec.Struct, gc=False):
    value: float | None
    sd: float | None
    systematic_sd: float | None
    mode: Mode
    live: _Count
    weights: msgspec.Raw


class _Indicators(msgspec.Struct, gc=False):
    phase_diff: float | None
    coherence: float | None
    harmony: float | None
    sync_quality: float | None
    entropy_ratio: float | None


class _TickPart(msgspec.Struct, gc=False):
    ts: float
    released: float
    mode: Mode
    live: _Count
    signals: dict[str, _SignalPart]
    indicators: _Indicators
    sync_bound_s: float | None


class _SyncPart(msgspec.Struct, gc=False):
    ts: float
    channel: str
    why: str
    state: str
    clock_resets: _Count
    received: _Count
    used: _Count
    outliers: _Count
    late: _Count
    duplicate: _Count
    rejected: _Count
    gaps: _Count
    offset_s: float | None = None
    offset_sd_s: float | None = None
    skew_ppm: float | None = None
    skew_sd_ppm: float | None = None
    lag_s: float | None = None
    lag_sd_s: float | None = None
    confidence: float | None = None
    rate_hz: float | None = None
    jitter_p95_s: float | None = None
    gain: float | None = None
    gain_sd: float | None = None
    level: float | None = None
    level_sd: float | None = None
    reset_at: float | None = None


class _EvidencePart(msgspec.Struct, gc=False):
    ts: float
    rule: str
    state: str
    kind: str
    facts: msgspec.Raw
    since: float
    severity: str | None = None
    risk: str | None = None
    action: str | None = None
    quote: str | None = None


class _BridgePart(msgspec.Struct, gc=False):
    ts: float
    known: float
    beat: _Place
    tick_ms: float
    rate_hz: float
    lock: str
    state: str
    safety_gain: float
    withheld: bool
    slips: _Count
    steps: _Count
    phase_error: float | None = None
    phase_sd: float | None = None
    why: str | None = None


class _UnusedPart(msgspec.Struct, gc=False):
    ts: float
    stage: str
    reason: str
    source: str
    where: str
    count: _Count


_ticks = msgspec.json.Decoder(_TickPart)
_syncs = msgspec.json.Decoder(_SyncPart)
_findings = msgspec.json.Decoder(_EvidencePart)
_frames = msgspec.json.Decoder(_BridgePart)
_letters = msgspec.json.Decoder(_UnusedPart)


class NewRows(msgspec.Struct):
    """Rows of some lines.

    Attributes
    ----------
    rows : dict
        Rows by table.
    lost : int
        Lines that could not be taken in.
    released : float or None
        When the newest tick was released (s).
    replaced : (float, float) or None
        Span of stored ticks that are replaced, with `every_s`.
    """

    rows: dict[Table, list[Row]]
    lost: int = 0
    released: float | None = None
    replaced: tuple[float, float] | None = None


class LineRows:
    """Rows of the lines of one rig.

    Parameters
    ----------
    run, rig : int
        Numbers of the run and the rig.
    numbers : callable
    every_s : float
        The newest tick of so many seconds is taken; 0 takes all.
    """

    def __init__(self, run: int, rig: int, numbers: Numbers, every_s: float = 0.0) -> None:
        self._key = run, rig
        self._numbers, self._every_s = numbers, every_s

    def taken(self, stem: str, lines: bytes, segment: int = 0, byte: int = 0) -> NewRows:
        """Return the rows of whole lines that begin at a byte of a segment."""
        match stem:
            case "fused":
                return self._of_ticks(*_decoded(_ticks, lines))
            case "sync":
                return self._of_reports(*_decoded(_syncs, lines))
            case "evidence":
                return self._of_findings(*_decoded(_findings, lines))
            case "bridge":
                return self._of_frames(*_placed(_frames, lines, byte), segment)
            case _:
                return self._of_letters(*_placed(_letters, lines, byte), segment)

    def _of_ticks(self, ticks: list[_TickPart], lost: int) -> NewRows:
        if not ticks:
            return NewRows({}, lost)
        names = sorted({name for tick in ticks for name in tick.signals})
        number = self._of_names("signal", names)
        minutes = [
            row
            for minute, spell in groupby(ticks, lambda tick: tick.ts // MINUTE_S * MINUTE_S)
            for row in self._minutes(minute, list(spell), number)
        ]
        kept, replaced = self._newest(ticks)
        return NewRows(
            {
                TICK: [self._tick(tick) for tick in kept],
                SIGNAL: [
                    self._signal(tick.ts, number[name], signal)
                    for tick in kept
                    for name, signal in tick.signals.items()
                ],
                MINUTE: minutes,
            },
            lost,
            max(tick.released for tick in ticks),
            replaced,
        )

    def _newest(self, ticks: list[_TickPart]) -> tuple[list[_TickPart], tuple[float, float] | None]:
        """Return the newest tick of each span of `every_s`, and the part of the first span."""
        every_s = self._every_s
        if not every_s:
            return ticks, None
        spells = groupby(ticks, lambda tick: tick.ts // every_s)
        kept = [list(spell)[-1] for _, spell in spells]
        return kept, (kept[0].ts // every_s * every_s, kept[0].ts)

    def _tick(self, tick: _TickPart) -> Row:
        i, bound = tick.indicators, tick.sync_bound_s
        return (
            *self._key,
            tick.ts,
            tick.released,
            tick.mode,
            tick.live,
            i.phase_diff,
            i.coherence,
            i.harmony,
            i.sync_quality,
            i.entropy_ratio,
            bound,
            lyapunov_v(i.phase_diff, bound),
        )

    def _signal(self, ts: float, signal: int, s: _SignalPart) -> Row:
        weights = str(s.weights, "utf-8")
        return *self._key, ts, signal, s.value, s.sd, s.systematic_sd, s.mode, s.live, weights

    def _minutes(
        self, minute: float, ticks: list[_TickPart], number: dict[str, int]
    ) -> Iterator[Row]:
        """Yield the sums of the ticks of a minute, a row a signal."""
        common: list[Any] = []
        for values in zip(*map(_astuple, (tick.indicators for tick in ticks)), strict=True):
            common += _sums(values)
        common += _sums(tick.sync_bound_s for tick in ticks)
        for name, signal in number.items():
            parts = [part for tick in ticks if (part := tick.signals.get(name)) is not None]
            if parts:
                fused = sum(part.mode == "fused" for part in parts)
                value = _sums(part.value for part in parts)
                yield (*self._key, signal, minute, len(parts), fused, *value, *common)

    def _of_reports(self, reports: list[_SyncPart], lost: int) -> NewRows:
        number = self._of_names("channel", sorted({report.channel for report in reports}))
        return NewRows(
            {
                SYNC: [
                    (*self._key, r.ts, number[r.channel], *_clean(_sync_rest(r))) for r in reports
                ]
            },
            lost,
        )

    def _of_findings(self, findings: list[_EvidencePart], lost: int) -> NewRows:
        number = self._of_names("rule", sorted({finding.rule for finding in findings}))
        rows = [(*self._key, number[f.rule], f.ts, *_clean(_finding_rest(f))) for f in findings]
        return NewRows({EVIDENCE: rows}, lost)

    def _of_frames(self, frames: list[tuple[int, _BridgePart]], lost: int, segment: int) -> NewRows:
        rows = [(*self._key, segment, byte, *_clean(_frame_rest(f))) for byte, f in frames]
        return NewRows({BRIDGE: rows}, lost)

    def _of_letters(
        self, letters: list[tuple[int, _UnusedPart]], lost: int, segment: int
    ) -> NewRows:
        rows = [(*self._key, segment, byte, *_clean(_letter_rest(d))) for byte, d in letters]
        return NewRows({DEAD: rows}, lost)

    def _of_names(self, kind: str, names: list[str]) -> dict[str, int]:
        """Return the numbers of names as they are in the lines."""
        stored = [plain(name) for name in names]
        number = self._numbers(kind, stored) if stored else {}
        return {name: number[text] for name, text in zip(names, stored, strict=True)}


_astuple = attrgetter(*_Indicators.__struct_fields__)
_sync_rest = attrgetter(*(c.name for c in SYNC.columns[4:]))
_finding_rest = attrgetter(*(c.name for c in EVIDENCE.columns[4:]))
_frame_rest = attrgetter(*(c.name for c in BRIDGE.columns[4:]))
_letter_rest = attrgetter(*(c.name.replace("place", "where") for c in DEAD.columns[4:]))


def _clean(values: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the values of columns."""
    for value in values:
        if isinstance(value, msgspec.Raw):
            yield str(value, "utf-8")
        elif isinstance(value, str):
            yield plain(value)
        else:
            yield int(value) if isinstance(value, bool) else value


def _sums(values: Iterable[float | None]) -> tuple[Any, ...]:
    """Return count, sum, least and greatest of the known values."""
    known = [value for value in values if value is not None]
    return (len(known), sum(known), min(known), max(known)) if known else _NONE


def _decoded(decoder: msgspec.json.Decoder[T], lines: bytes) -> tuple[list[T], int]:
    """Return the objects of the lines, and the number of lines that have none."""
    try:
        return decoder.decode_lines(lines), 0
    except _UNSOUND:
        placed, lost = _placed(decoder, lines, 0)
        return [part for _, part in placed], lost


def _placed(
    decoder: msgspec.json.Decoder[T], lines: bytes, byte: int
) -> tuple[list[tuple[int, T]], int]:
    """Return the objects of the lines with their places, and the number of lines without one."""
    found, lost = [], 0
    for line in lines.split(b"\n")[:-1]:
        try:
            found.append((byte, decoder.decode(line)))
        except _UNSOUND:
            lost += 1
        byte += len(line) + 1
    return found, lost
