"""Comparison of two runs tick by tick: the running flow and a candidate on the same input.

A tick is judged when both sides have released it, or when either side has released a tick of the
rig `wait_s` later. Its verdict is the first that fits:

    missing     only the running side has it
    extra       only the candidate has it
    twice       a side delivered it more than once
    mode        the mode of the line or of a signal differs
    presence    other live channels, or one value is null
    value       |difference| > max(1e-9, 2 x the larger sd) in a signal
    identical   the same bytes but for `released`
    within      none of these

A repeat of a tick that was judged already is one more tick, `twice`. Ticks of the first `settle_s`
of a rig are not counted: from the first tick of the side that began later.

Cost: 8 us a tick with equal bytes, 15 us another one, both lines included. State: the lines of
`wait_s`, and their times. Losses: a line that cannot be decoded is counted in `unreadable`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal, NamedTuple, get_args

import msgspec

from ops.results.lines import SignalPart, TickLine

Verdict = Literal["missing", "extra", "twice", "mode", "presence", "value", "identical", "within"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
GOOD: tuple[Verdict, ...] = ("identical", "within")
NOT_UNIQUE: tuple[Verdict, ...] = ("missing", "extra", "twice")
Side = Literal[0, 1]
RUNNING: Side = 0
CANDIDATE: Side = 1
MIN_KEPT = 256
"""Times of judged ticks that are kept, at least."""
MIN_TICKS = 500
"""Fewer compared ticks give no ratio."""
FLOOR = 1e-9
"""Differences of values up to this are none."""
_head = re.compile(rb'\{"ts":([^,"]+),"released":([^,"]+),("rig":"[^"\\]*")').match
_decode = msgspec.json.Decoder(TickLine).decode


class ComparedTick(NamedTuple):
    """One line; `at` is the place behind `released`, 0 where the line has another form."""

    ts: float
    released: float
    rig: bytes
    at: int
    line: bytes


class Difference(NamedTuple):
    """A counted tick that is neither `identical` nor `within`, with both lines."""

    rig: str
    ts: float
    verdict: Verdict
    running: bytes | None
    candidate: bytes | None


def read(line: bytes) -> ComparedTick:
    """Return the tick of a line by its fields, whatever their order.

    Raises
    ------
    msgspec.DecodeError, ValueError
        The line is no tick.
    """
    tick = _decode(line)
    rig = b'"rig":' + msgspec.json.encode(tick.rig or "")
    released_s = tick.ts if tick.released is None else tick.released
    return ComparedTick(tick.ts, released_s, rig, 0, line)


def _same(a: ComparedTick, b: ComparedTick) -> bool:
    """Whether two lines have the same bytes behind `released`."""
    at, other = a.at, b.at
    if not (at and other) or len(a.line) - at != len(b.line) - other:
        return False
    return a.line.endswith(b.line[other:])


def judge(running: ComparedTick, candidate: ComparedTick) -> Verdict:
    """Return the verdict of a tick that both sides delivered once."""
    a, b = _decode(running.line), _decode(candidate.line)
    pairs = [(x, b.signals.get(name)) for name, x in a.signals.items()]
    if a.mode != b.mode or any(y is not None and x.mode != y.mode for x, y in pairs):
        return "mode"
    if a.live != b.live or a.signals.keys() != b.signals.keys():
        return "presence"
    both = [(x, y) for x, y in pairs if y is not None]
    if any(_presence(x) != _presence(y) for x, y in both):
        return "presence"
    if any(_differs(x, y) for x, y in both):
        return "value"
    a.released = b.released = None
    return "identical" if a == b else "within"


def _presence(signal: SignalPart) -> tuple[bool, int | None, frozenset[str]]:
    """Return whether a signal has a value, its live channels, and those with a weight."""
    weighted = frozenset(name for name, weight in signal.weights.items() if weight)
    return signal.value is None, signal.live, weighted


def _differs(x: SignalPart, y: SignalPart) -> bool:
    if x.value is None or y.value is None:
        return False
    return abs(x.value - y.value) > max(FLOOR, 2 * max(x.sd or 0.0, y.sd or 0.0))


@dataclass(slots=True)
class _RigState:
    """Ticks of one rig: waiting by side, and those judged within the last `wait_s`."""

    name: str
    counts: dict[Verdict, int]
    waiting: tuple[dict[float, ComparedTick], dict[float, ComparedTick]] = field(
        default_factory=lambda: ({}, {})
    )
    first: list[float | None] = field(default_factory=lambda: [None, None])
    counted: float = 0.0
    """Time from which on ticks are counted (s)."""
    repeated: set[float] = field(default_factory=set)
    judged: dict[float, float] = field(default_factory=dict)
    kept: int = MIN_KEPT
    """Size of `judged` after it was last cleared of old times."""
    newest: float = float("-inf")
    released: list[float] = field(default_factory=lambda: [float("-inf"), float("-inf")])


class Comparer:
    """Compares the lines of two runs.

    Parameters
    ----------
    wait_s : float
        Longest wait for the other side, in data time (s).
    settle_s : float
        First part of each rig that is not counted (s).
    share : float
        Share of the rigs that are compared, chosen by their names.

    Attributes
    ----------
    counts : dict
        Ticks by rig and verdict.
    unreadable : int
        Lines that are no ticks.
    share : float
        Of the rigs compared; it may be changed at any time.
    """

    def __init__(self, wait_s: float = 60.0, settle_s: float = 120.0, share: float = 1.0) -> None:
        self._wait_s, self._settle_s = wait_s, settle_s
        self.share = share
        self.counts: dict[str, dict[Verdict, int]] = {}
        self.unreadable = 0
        self._rigs: dict[bytes, _RigState] = {}

    def add(self, side: Side, line: bytes) -> list[Difference]:
        """Add the next line of a side; return the counted ticks that differ."""
        tick = self.read(line)
        return [] if tick is None else self.take(side, tick)

    def read(self, line: bytes) -> ComparedTick | None:
        """Return the tick of a line; None, and counted, where it is no tick."""
        try:
            found = _head(line)
            if found is None:
                return read(line)
            ts, released, rig = found.groups()
            return ComparedTick(float(ts), float(released), rig, found.start(3), line)
        except (msgspec.DecodeError, ValueError):
            self.unreadable += 1
            return None

    def take(self, side: Side, tick: ComparedTick) -> list[Difference]:
        """Add the next tick of a side; return the counted ticks that differ."""
        state = self._rigs.get(tick.rig) or self._new(tick.rig)
        if tick.released > state.released[side]:
            state.released[side] = tick.released
        if self.share < 1.0 and not _shared(tick.rig, self.share):
            return []
        ts, line, out = tick.ts, tick.line, list[Difference]()
        if state.first[side] is None:
            state.first[side] = ts
            state.counted = max(x for x in state.first if x is not None) + self._settle_s
        mine, other = state.waiting[side], state.waiting[1 - side]
        if (found := other.pop(ts, None)) is not None:
            running, candidate = (tick, found) if side == RUNNING else (found, tick)
            verdict: Verdict
            if ts in state.repeated:
                state.repeated.discard(ts)
                verdict = "twice"
            elif _same(running, candidate):
                verdict = "identical"
            else:
                verdict = self._judge(running, candidate)
            state.judged[ts] = tick.released
            self._count(out, state, ts, verdict, running.line, candidate.line)
        elif ts in mine:
            state.repeated.add(ts)
        elif ts in state.judged:
            lines = (line, None) if side == RUNNING else (None, line)
            self._count(out, state, ts, "twice", *lines)
        else:
            mine[ts] = tick
        if tick.released > state.newest:
            state.newest = tick.released
            self._expire(out, state, tick.released - self._wait_s)
        return out

    def released(self, side: Side, rig: bytes) -> float:
        """Return the newest release of a side (s), minus infinity before its first tick."""
        state = self._rigs.get(rig)
        return state.released[side] if state is not None else float("-inf")

    def finish(self) -> list[Difference]:
        """End both sides: ticks that wait are `missing` or `extra`."""
        out: list[Difference] = []
        for state in self._rigs.values():
            self._expire(out, state, float("inf"))
        return out

    def waiting(self) -> int:
        """Return the number of ticks that wait for the other side."""
        return sum(len(side) for state in self._rigs.values() for side in state.waiting)

    def _new(self, rig: bytes) -> _RigState:
        name: str = msgspec.json.decode(rig[len(b'"rig":') :], type=str)
        counts = self.counts.setdefault(name, dict.fromkeys(VERDICTS, 0))
        state = self._rigs[rig] = _RigState(name, counts)
        return state

    def _judge(self, running: ComparedTick, candidate: ComparedTick) -> Verdict:
        """Return the verdict of two lines; what cannot be decoded is `value`, and counted."""
        try:
            return judge(running, candidate)
        except (msgspec.DecodeError, ValueError):
            self.unreadable += 1
            return "value"

    def _expire(self, out: list[Difference], state: _RigState, until: float) -> None:
        """Judge ticks that were released before `until` and whose other side is missing."""
        for side, waiting in enumerate(state.waiting):
            while waiting and (tick := next(iter(waiting.values()))).released < until:
                del waiting[tick.ts]
                state.repeated.discard(tick.ts)
                state.judged[tick.ts] = tick.released
                running = side == RUNNING
                lines = (tick.line, None) if running else (None, tick.line)
                self._count(out, state, tick.ts, "missing" if running else "extra", *lines)
        judged = state.judged
        if len(judged) > 2 * state.kept:
            state.judged = {ts: released for ts, released in judged.items() if released >= until}
            state.kept = max(len(state.judged), MIN_KEPT)

    def _count(
        self,
        out: list[Difference],
        state: _RigState,
        ts: float,
        verdict: Verdict,
        running: bytes | None,
        candidate: bytes | None,
    ) -> None:
        if ts < state.counted:
            return
        state.counts[verdict] += 1
        if verdict not in GOOD:
            out.append(Difference(state.name, ts, verdict, running, candidate))


def _shared(rig: bytes, share: float) -> bool:
    """Whether a rig is among the compared ones: the same rigs in every process."""
    return share >= 1.0 or int.from_bytes(blake2b(rig, digest_size=4).digest()) < share * 2**32


def total(counts: dict[str, dict[Verdict, int]]) -> dict[Verdict, int]:
    """Return the counts of all rigs together."""
    return {v: sum(of[v] for of in counts.values()) for v in VERDICTS}


def failure_ratio(counts: dict[Verdict, int]) -> float | None:
    """Return the share of ticks that are neither `identical` nor `within`.

    None below MIN_TICKS ticks.
    """
    ticks = sum(counts.values())
    return None if ticks < MIN_TICKS else 1 - sum(counts[v] for v in GOOD) / ticks


def unique_ratio(counts: dict[Verdict, int]) -> float | None:
    """Return the share of ticks of either side that both delivered, exactly once.

    None below MIN_TICKS ticks.
    """
    ticks = sum(counts.values())
    return None if ticks < MIN_TICKS else 1 - sum(counts[v] for v in NOT_UNIQUE) / ticks
