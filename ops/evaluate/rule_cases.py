"""Cases of rules: when they fire and resolve on given series, beside the expected times.

A file is a list of cases, or `cases:` with one::

    - rules: configs/rules/risk_map.yaml
      series:
        phase_diff: [[0, 0.01], [30, 0.03], [60, 0.01]]
        entropy_ratio: {ramp: [[0, 0.1], [60, 0.3]]}
      expect: [{rule: sync_degradation, fires: [40, 41], resolves: [74, 76]}]
      never: [clarity]

Times are seconds after the first grid tick. A series holds each value until the next, or with
`ramp` is a line between them; null is unknown, as are the names without a series. The n-th
expectation of a rule is met by its n-th firing; further firings of that rule are not expected.
Other rules may fire. In place of `series`, a `recording` is replayed by its `config`, or by one
derived from its content.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta

from configs.document import BAD, ConfigError, DataPath, Document, Fault, read
from configs.rulefiles import load_rules
from configs.shipped import shipped
from configs.typed import convert, did_you_mean, found, one_of, show
from operators.conditions import Rule, RuleWatch
from operators.conditions.names import SECOND_NAMES
from operators.records import BRIDGE_NAMES, INDICATORS
from operators.settings.config_part import ConfigPart, Number, Rate, Rest
from operators.types import F64

MAX_CASES = 1_000
MAX_TICKS = 2_000_000
MAX_POINTS = 100_000
KNOWN = (*INDICATORS, "sync_bound_s", "sync_estimate_bound_s", "live", *BRIDGE_NAMES)
"""Names that every rule may read, without second names."""
Points = Annotated[list[tuple[Rest, Number | None]], Meta(min_length=1, max_length=MAX_POINTS)]
Window = tuple[Rest, Rest]
"""First and last time of an event (s)."""


class Ramp(ConfigPart, frozen=True, kw_only=True):
    """A line between points (s, value)."""

    ramp: Points


class Expected(ConfigPart, frozen=True, kw_only=True):
    """One firing of a rule; without `resolves` its end is not judged."""

    rule: str
    fires: Window
    resolves: Window | None = None


class RuleCase(ConfigPart, frozen=True, kw_only=True):
    """One case; `seconds` is its length, by default up to its last time and a minute."""

    rules: str | list[str]
    name: str | None = None
    recording: str | None = None
    config: str | None = None
    rig: str | None = None
    series: dict[str, Points | Ramp] | None = None
    expect: list[Expected] = []
    never: list[str] = []
    seconds: Rest | None = None
    tick_hz: Rate = 5.0

    @property
    def files(self) -> list[str]:
        """The rule files."""
        return [shipped(p) for p in ([self.rules] if isinstance(self.rules, str) else self.rules)]


class PlacedCase(NamedTuple):
    """A case with its title and its document, for later faults."""

    case: RuleCase
    title: str
    document: Document
    at: DataPath


class CaseRow(NamedTuple):
    """One row of the answer: a rule, the expected and the seen event, and whether they agree."""

    rule: str
    event: str
    expected: str
    seen: str
    met: bool


def read_cases(path: str, environ: Mapping[str, str]) -> list[PlacedCase]:
    """Return the cases of a file.

    Raises
    ------
    ConfigError
        With all faults, a line each.
    """
    document = read(path, environ)
    at: DataPath = ()
    data = document.data
    if isinstance(data, dict) and list(data) == ["cases"]:
        at, data = ("cases",), data["cases"]
    cases: list[PlacedCase] = []
    if isinstance(data, list) and 0 < len(data) <= MAX_CASES:
        for index in range(len(data)):
            place = (*at, index)
            case = convert(document, place, RuleCase)
            if case is BAD:
                continue
            line, _ = document.place(place)
            title = case.name or f"{path}:{line}"
            cases.append(PlacedCase(case, title, document, place))
            _check(document, place, case)
    elif data is not BAD and not document.faults:
        shown = f"{show(at) or 'the file'} {found(document, at, data)}"
        document.fault(document.place(at), f"{shown}, expected a list of 1 to {MAX_CASES} cases")
    if document.faults:
        raise ConfigError(document.faults)
    return cases


def _check(document: Document, at: DataPath, case: RuleCase) -> None:
    """Report the contradictions of a case."""
    if (case.recording is None) == (case.series is None):
        both = "no form" if case.series is None else "both forms"
        document.fault(document.place(at), f"{both} of data, expected a recording or series")
    for key in ("config", "rig"):
        if case.recording is None and getattr(case, key) is not None:
            place = document.key_place((*at, key))
            document.fault(place, f"'{key}' without a recording, expected it beside one")
    for key in ("recording", "config"):
        path = getattr(case, key)
        if path is not None and not Path(shipped(path)).exists():
            shown = document.shown((*at, key), path)
            document.fault(document.place((*at, key)), f"{shown} does not exist, expected a file")
    if not case.expect and not case.never:
        document.fault(document.place(at), "nothing to judge, expected 'expect' or 'never'")
    for name, series in (case.series or {}).items():
        where: DataPath = (*at, "series", name)
        points = series
        if isinstance(series, Ramp):
            where, points = (*where, "ramp"), series.ramp
        for k, (one, other) in enumerate(pairwise(_points(points))):
            if other[0] <= one[0]:
                place = document.place((*where, k + 1))
                document.fault(place, f"{other[0]:g} after {one[0]:g}, expected rising times")
    for k, expected in enumerate(case.expect):
        for key in ("fires", "resolves"):
            window = getattr(expected, key)
            if window is not None and window[1] < window[0]:
                place = document.place((*at, "expect", k, key))
                document.fault(place, f"{key} ends before it begins, expected [from, to]")
    if case.series is not None and length(case) * case.tick_hz > MAX_TICKS:
        document.fault(document.place(at), f"too many ticks, expected at most {MAX_TICKS}")


def _points(series: Points | Ramp) -> Points:
    return series.ramp if isinstance(series, Ramp) else series


def length(case: RuleCase) -> float:
    """Return the length of a case of series (s)."""
    if case.seconds is not None:
        return case.seconds
    times = [t for series in (case.series or {}).values() for t, _ in _points(series)]
    for expected in case.expect:
        times += [*expected.fires, *(expected.resolves or ())]
    return max(times, default=0.0) + 60.0


def columns_of(case: RuleCase) -> tuple[dict[str, F64], F64]:
    """Return the columns of a case of series, (n,) each, and the times of their ticks (s)."""
    ts = np.arange(math.floor(length(case) * case.tick_hz) + 1) / case.tick_hz
    unknown = np.full(len(ts), np.nan)
    columns: dict[str, F64] = dict.fromkeys(KNOWN, unknown)
    for name, series in (case.series or {}).items():
        points = _points(series)
        t = np.array([at for at, _ in points])
        x = np.array([np.nan if value is None else value for _, value in points])
        # A tick at the very time of a point has its value, also where decimals round.
        newest = np.searchsorted(t, ts + 1e-9, "right") - 1
        held = np.where(newest < 0, np.nan, x[newest])
        line = np.where(newest < 0, np.nan, np.interp(ts, t, x))
        columns[name] = line if isinstance(series, Ramp) else held
    for second, first in SECOND_NAMES.items():
        columns.setdefault(second, columns[first])
    return columns, ts


def judge(
    placed: PlacedCase,
    columns: Mapping[str, F64],
    ts: F64,
    tick_hz: float,
    environ: Mapping[str, str],
) -> list[CaseRow]:
    """Return the expected events of a case beside the seen ones.

    Parameters
    ----------
    placed : PlacedCase
    columns : mapping of str to float64 (n,)
        All that a rule may read; NaN is unknown.
    ts : float64 (n,)
        Times of the ticks (s).
    tick_hz : float
    environ : mapping
        For `${NAME}` in rule files.

    Raises
    ------
    ConfigError
        A rule file with a fault, or an expected rule that no file has.
    """
    case, _, document, at = placed
    rules = _rules(case, tuple(columns), environ)
    named: list[tuple[str, DataPath]] = [
        *((e.rule, ("expect", k, "rule")) for k, e in enumerate(case.expect)),
        *((title, ("never", k)) for k, title in enumerate(case.never)),
    ]
    for title, where in named:
        if title not in rules:
            place = (*at, *where)
            near = did_you_mean(document, title, sorted(rules))
            message = f"there is no rule '{document.shown(place, title)}'{near}"
            document.fault(document.place(place), f"{message}, expected {one_of(sorted(rules))}")
    if document.faults:
        raise ConfigError(document.faults)
    seen: list[CaseRow] = []
    for title in dict.fromkeys(title for title, _ in named):
        spells = _spells(rules[title], columns, ts, tick_hz)
        wanted = [e for e in case.expect if e.rule == title]
        seen += _beside(title, wanted, spells)
    return seen


def _rules(case: RuleCase, names: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, Rule]:
    """Return the rules of a case by title."""
    rules: list[Rule] = []
    faults: list[Fault] = []
    titles: dict[str, str] = {}
    for path in dict.fromkeys(case.files):
        more, wrong = load_rules(path, names, titles, environ)
        rules += more
        faults += wrong
    if faults:
        raise ConfigError(faults)
    return {rule.title: rule for rule in rules}


def _spells(
    rule: Rule, columns: Mapping[str, F64], ts: F64, tick_hz: float
) -> list[tuple[float, float | None]]:
    """Return when a rule fires and resolves (s); None where it still fires at the end."""
    watch = RuleWatch(rule, tuple(columns), tick_hz)
    spells: list[tuple[float, float | None]] = []
    for at, _, firing in watch.changes(dict(columns), range(len(ts)), ts) if len(ts) else ():
        if firing:
            spells.append((float(ts[at]), None))
        else:
            spells[-1] = (spells[-1][0], float(ts[at]))
    return spells


def _beside(
    title: str, wanted: list[Expected], spells: list[tuple[float, float | None]]
) -> list[CaseRow]:
    """Return the expected firings of a rule beside the seen ones."""
    rows: list[CaseRow] = []
    for k in range(max(len(wanted), len(spells))):
        fired, resolved = spells[k] if k < len(spells) else (None, None)
        if k >= len(wanted):
            rows.append(
                CaseRow(title, "fires", "never" if not wanted else "no more", _at(fired), False)
            )
            continue
        for event, window, time in (
            ("fires", wanted[k].fires, fired),
            ("resolves", wanted[k].resolves, resolved),
        ):
            if window is not None:
                # Times of ticks are decimal fractions: half a microsecond is no difference.
                met = time is not None and window[0] - 5e-7 <= time <= window[1] + 5e-7
                expected = f"{window[0]:g} to {window[1]:g} s"
                rows.append(CaseRow(title, event, expected, _at(time), met))
    if not rows:
        rows.append(CaseRow(title, "fires", "never", "never", True))
    return rows


def _at(time: float | None) -> str:
    return "never" if time is None else f"{round(time, 6):g} s"
