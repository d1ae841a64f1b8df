"""The dialect of a delimited text file: delimiter, decimal sign, header, time column and unit.

The dialect is found once, from the first lines, so that later lines are independent of each other.
A semicolon or a tab that gives each line the same number of cells takes precedence over a comma,
which is then a possible decimal sign. The time column is the configured one; else one with the name
of a time, else one of dates, else a first column of rising numbers. Its unit is the one by which
large numbers are times of this century; else the one in its name (`time_ms`, `t [us]`); else
seconds.

Cost: that of csv.reader on `MAX_LINES` lines. Losses: none.

Source: RFC 4180, for quotes.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from configs.inputs import Columns, StampUnit, TimeUnit
from sources.delimited.dates import date_of

LOOK = 1 << 18
MAX_LINES = 400
PER_SECOND: dict[TimeUnit, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
DELIMITER_NAMES: dict[str, str] = {",": "comma", ";": "semicolon", "\t": "tab"}
_SHOWN, _MAX_SHOWN = 16, 40
"""Names of columns in a message, and characters of each."""
_MIN_SHARE = 0.9
"""Share of the lines that agree on a delimiter; share of the cells that agree on a kind."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WITH_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_TIMES = re.compile(
    r"(?:(?:unix|epoch|lsl|device|host|local|system|sample|sensor)[ _]?)?"
    r"(?:t|ts|time|times|timestamp|time[ _]stamp|date[ _]?time|date|epoch|elapsed|zeit|"
    r"zeitstempel|unix|clock|seconds[ _]elapsed|utc)"
)
_UNITS: tuple[tuple[TimeUnit, str], ...] = (
    ("ns", r"ns|nsec|nanos|nanoseconds"),
    ("us", r"us|µs|μs|usec|micros|microseconds"),
    ("ms", r"ms|msec|millis|milliseconds"),
    ("s", r"s|sec|secs|seconds"),
)
_UNIT = {unit: re.compile(rf"(.*?)[ _.,/(\[]+(?:{names})[)\]]*") for unit, names in _UNITS}
_NONE = frozenset(("", "-", "nan", "na", "n/a", "null", "none", "inf", "-inf"))
_LARGE: tuple[tuple[float, TimeUnit], ...] = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"))
"""From each number on, a time is one since 1970 in the unit."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of the lines of a file.

    Attributes
    ----------
    delimiter, point : str
        The separator of cells; the decimal sign.
    begin : int
        Byte offset of the first line after the header.
    names : tuple of str
        Of the columns, unique; generated if there is no header.
    header : bool
    time : int
        Index of the time column.
    arrival : int or None
        Index of the column of arrivals.
    values : tuple of int
        Columns that are channels.
    texts : frozenset of int
        Channels of texts: markers.
    unit, arrival_unit : {'s', 'ms', 'us', 'ns'}
    dated : bool
        Times are dates.
    zoned : bool
        Each date has a zone; else UTC is assumed.
    first : float
        The first time (s), NaN without one.
    """

    delimiter: str
    point: str
    begin: int
    names: tuple[str, ...]
    header: bool
    time: int
    arrival: int | None
    values: tuple[int, ...]
    texts: frozenset[int]
    unit: TimeUnit
    arrival_unit: TimeUnit
    dated: bool
    zoned: bool
    first: float

    def report(self) -> str:
        """Return the dialect as a sentence."""
        time = self.names[self.time]
        if self.dated:
            unit = "dates" if self.zoned else "dates without a zone, taken as UTC"
        else:
            unit = self.unit
        sign = "comma" if self.point == "," else "point"
        return (
            f"{DELIMITER_NAMES[self.delimiter]} between cells, decimal {sign}, "
            f"{'a header' if self.header else 'no header'}, time in {time!r} ({unit}), "
            f"{len(self.values)} channel{'' if len(self.values) == 1 else 's'}"
        )


def is_number(cell: str, point: str) -> bool:
    """Whether a stripped cell is a number in this dialect."""
    if point == ",":
        cell = cell.replace(".", "x").replace(",", ".")
    return _NUMBER.fullmatch(cell) is not None


def find(
    path: str,
    head: bytes,
    columns: Columns | None = None,
    unit: StampUnit | None = None,
    *,
    any_time: bool = False,
) -> Dialect:
    """Return the dialect of a file, from its first bytes; `any_time`: the first column is the time.

    Raises
    ------
    ValueError
        It is no delimited text, or has no such time column; the message names the remedy.
    """
    columns = columns or Columns()
    lines = _lines(path, head)
    marker = "," if lines and lines[0][1].lower().strip() == "sep=," else None
    if lines and (found := re.fullmatch(r"sep=([,;\t])\s*", lines[0][1])):
        marker, lines = found[1], lines[1:]
    body = [line for line in lines if not line[1].startswith("#")]
    if not body:
        long = len(head) >= LOOK
        why = f"its first line has more than {LOOK >> 10} KiB" if long else "no line of cells"
        raise ValueError(f"{path}: {why}")
    delimiter = marker or _delimiter(path, [text for _, text in body])
    rows = _split([text for _, text in body], delimiter)
    width = Counter(map(len, rows)).most_common(1)[0][0]
    above = [text for at, text in lines if text.startswith("#") and at < body[0][0]]
    first = _split([above[-1].lstrip("# ")], delimiter)[0] if above else []
    point = _point(rows, delimiter)
    fits = [row for row in rows if len(row) == width]
    named = len(first) == width
    header = named or (len(rows[0]) == width and _is_header(fits, point))
    if not header and len(rows[0]) != width and len(fits) > 1 and _is_title(rows[0], point):
        raise ValueError(
            f"{path}: the header has {len(rows[0])} cells, the lines {width}"
            + (": a decimal comma beside commas between cells?" if delimiter == "," else "")
        )
    titles = (first if named else rows[0]) if header else [""] * width
    names = _names(titles)
    data = fits[1:] if header and not named else fits
    begin = (body[1][0] if len(body) > 1 else len(head)) if header and not named else body[0][0]
    kinds = [_kind([row[i].strip() for row in data], point) for i in range(width)]
    time = 0 if any_time else _time(path, names, kinds, data, columns.ts, point)
    arrival = None if columns.rx is None else _named(path, names, columns.rx)
    values = tuple(_named(path, names, name) for name in columns.values) or tuple(
        i for i in range(width) if i not in (time, arrival) and (titles[i].strip() or kinds[i])
    )
    dated = kinds[time] == "date"
    cells = [row[time].strip() for row in data]
    if unit == "iso" and not dated:
        shown = next((cell for cell in cells if cell), "")
        raise ValueError(f"{path}: {names[time]!r} holds {shown!r}, expected dates (ts_unit: iso)")
    time_unit = _unit_of(names[time], cells, point) if unit is None or unit == "iso" else unit
    arrivals = [] if arrival is None else [row[arrival].strip() for row in data]
    return Dialect(
        delimiter=delimiter,
        point=point,
        begin=begin,
        names=names,
        header=header,
        time=time,
        arrival=arrival,
        values=values,
        texts=frozenset(i for i in values if kinds[i] in ("text", "date")),
        unit=time_unit,
        arrival_unit=_unit_of("" if arrival is None else names[arrival], arrivals, point),
        dated=dated,
        zoned=dated and all(date is None or date.zoned for date in map(date_of, cells)),
        first=_first(cells, time_unit, point),
    )


def _lines(path: str, head: bytes) -> list[tuple[int, str]]:
    """Return the first complete lines that are not blank, with their byte offsets."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head:
        raise ValueError(f"{path}: not UTF-8 text; save it as UTF-8 (iconv -t UTF-8)")
    out, at = [], 0
    pieces = head.split(b"\n")
    for i, piece in enumerate(pieces):
        whole = i + 1 < len(pieces) or len(head) < LOOK
        text = _text(piece.removeprefix(b"\xef\xbb\xbf") if at == 0 else piece).rstrip("\r")
        if whole and text.strip():
            out.append((at, text))
        at += len(piece) + 1
        if len(out) > MAX_LINES:
            break
    return out


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    rows = []
    for line in lines:
        try:
            rows.append(next(csv.reader(io.StringIO(line), delimiter=delimiter), [""]))
        except csv.Error:
            rows.append([line])
    return rows


def _delimiter(path: str, lines: list[str]) -> str:
    shares = {}
    for delimiter in ("\t", ";", ","):
        counts = Counter(len(row) for row in _split(lines, delimiter))
        width, n = max(counts.items(), key=lambda item: (item[1], item[0]))
        shares[delimiter] = n / len(lines) if width > 1 else 0.0
    for delimiter, share in shares.items():
        if share >= _MIN_SHARE:
            return delimiter
    best = max(shares, key=lambda delimiter: shares[delimiter])
    if not shares[best]:
        raise ValueError(
            f"{path}: no comma, semicolon or tab parts its lines into a time and a value"
        )
    return best


def _point(rows: list[list[str]], delimiter: str) -> str:
    cells = [cell.strip() for row in rows for cell in row]
    commas = sum(_WITH_COMMA.fullmatch(cell) is not None for cell in cells)
    points = sum("." in cell and _NUMBER.fullmatch(cell) is not None for cell in cells)
    return "," if commas > points else "."


def _kind(cells: list[str], point: str) -> str:
    """Return the kind of most cells of a column: `number`, `date`, `text`; empty: no content."""
    filled = [cell for cell in cells if cell.lower() not in _NONE]
    if not filled:
        return "number" if any(cells) else ""
    numbers = sum(is_number(cell, point) for cell in filled)
    if numbers * 2 >= len(filled):
        return "number"
    dates = sum(date_of(cell) is not None for cell in filled)
    return "date" if dates >= _MIN_SHARE * len(filled) else "text"


def _is_header(rows: list[list[str]], point: str) -> bool:
    """Whether the first row has a text where the rows below have numbers or dates."""
    below = rows[1:]
    if not below:
        return _is_title(rows[0], point)
    for i, cell in enumerate(rows[0]):
        kind = _kind([row[i].strip() for row in below], point)
        if kind in ("number", "date") and cell.strip() and _kind([cell.strip()], point) != kind:
            return True
    return False


def _is_title(row: list[str], point: str) -> bool:
    """Whether no cell of a row is a number or a date."""
    return all(_kind([cell.strip()], point) in ("", "text") for cell in row)


def _names(titles: Sequence[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    newest: dict[str, int] = {}
    for i, title in enumerate(titles):
        name = base = title.strip() or f"column_{i + 1}"
        while name in names:
            newest[base] = newest.get(base, 1) + 1
            name = f"{base}#{newest[base]}"
        names[name] = None
    return tuple(names)


def _named(path: str, names: tuple[str, ...], name: str) -> int:
    if name not in names:
        raise ValueError(f"{path}: no column {name!r}, expected one of {_shown(names)}")
    return names.index(name)


def _shown(names: tuple[str, ...]) -> str:
    shown = [name[:_MAX_SHOWN] for name in names[:_SHOWN]]
    rest = len(names) - len(shown)
    return ", ".join([*shown, *([f"{rest:,} more"] if rest else [])])


def _time(
    path: str,
    names: tuple[str, ...],
    kinds: list[str],
    rows: list[list[str]],
    given: str | None,
    point: str,
) -> int:
    """Return the index of the time column."""
    if given is not None:
        return _named(path, names, given)
    by_name = [i for i, name in enumerate(names) if _TIMES.fullmatch(_bare(name))]
    for i in by_name:
        if kinds[i] in ("number", "date"):
            return i
    if "date" in kinds:
        return kinds.index("date")
    if kinds[0] == "number":
        cells = [row[0].strip() for row in rows]
        times = [_float(cell, point) for cell in cells if is_number(cell, point)]
        if len(times) > 2 and times == sorted(times) and times[0] < times[-1]:
            return 0
    why = ""
    if by_name:
        cell = next((row[by_name[0]] for row in rows if row[by_name[0]].strip()), "")
        why = f"; {names[by_name[0]]!r} holds {cell!r}, expected a number or a date with time"
    raise ValueError(
        f"{path}: no column of times among {_shown(names)}{why}: name one, by --time COLUMN"
        " or in YAML columns: {ts: COLUMN}"
    )


def _first(cells: list[str], unit: TimeUnit, point: str) -> float:
    """Return the first time (s)."""
    for cell in cells:
        if date := date_of(cell):
            return date.seconds
        if is_number(cell, point):
            return _float(cell, point) / PER_SECOND[unit]
    return float("nan")


def _bare(name: str) -> str:
    """Return a column's name in lower case, without a unit."""
    bare = name.strip().lower()
    for pattern in _UNIT.values():
        if found := pattern.fullmatch(bare):
            return found[1].strip()
    return bare


def _float(cell: str, point: str) -> float:
    return float(cell.replace(",", ".") if point == "," else cell)


def _unit_of(name: str, cells: list[str], point: str) -> TimeUnit:
    """Return the unit of a column of times."""
    times = sorted(abs(_float(cell, point)) for cell in cells if is_number(cell, point))
    middle = times[len(times) // 2] if times else 0.0
    for least, unit in _LARGE:
        if middle >= least:
            return unit
    if middle >= 1e9:
        return "s"
    for unit, pattern in _UNIT.items():
        if pattern.fullmatch(name.strip().lower()):
            return unit
    return "s"
