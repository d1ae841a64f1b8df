"""Decoder of one page of Prometheus text into samples; one fault rejects the whole page.

Pure: the only input is bytes. Formats: text 0.0.4 and OpenMetrics 1.0. All or nothing: a page is
rejected for a line that is neither comment nor sample, a duplicate series, invalid UTF-8, a last
line without an end (cut), or OpenMetrics without `# EOF`. Comments are skipped: the type of a
metric is not used.

- the key of a series is its metric name; labels follow in the order of their names, escaped as in
  the text: `node_cpu{cpu="0",mode="idle"}`. An empty label counts as absent
- a sample that is not finite, or has an implausible stamp, is rejected alone
- a series with the same stamp as on the page before is a duplicate (`repeated`)
- a byte order mark is skipped; OpenMetrics is complete with `# EOF`, a line feed after it or not
- a rejected line is quoted with its fault

Cost: about 2 us a sample. State: the stamps of the last page. Limits: 4 MiB, 65,536 lines, 16,384
samples, 8 KiB a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

from operators.errors import SourceError
from operators.limits import MAX_NAME_LENGTH, MAX_SAMPLE, MAX_STAMP_S
from operators.types import Reason
from sources.inbox import NO_TIME, Message, Unread

MAX_PAGE = 4 << 20
MAX_LINES = 65_536
MAX_SAMPLES = 16_384
MAX_LINE = 8_192

_NUMBER = rb"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,5})?"
_VALUE = rb"(?P<value>" + _NUMBER + rb"|(?i:[+-]?inf(?:inity)?|[+-]?nan))"
_SERIES = (
    rb"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    rb"(?:[ \t]*\{(?P<labels>(?:[^\"}]++|\"(?:[^\"\\]++|\\.)*+\")*+)\}[ \t]*|[ \t]+)"
)
_MILLISECONDS = re.compile(_SERIES + _VALUE + rb"(?:[ \t]+(?P<ts>-?[0-9]{1,19}))?[ \t\r]*")
_SECONDS = re.compile(_SERIES + _VALUE + rb"(?:[ \t]+(?P<ts>" + _NUMBER + rb"))?(?: # .*)?[ \t\r]*")
_LABEL = re.compile(
    rb"[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*\"((?:[^\"\\]++|\\[\\\"n])*+)\"[ \t]*(?:,|$)"
)
_END = b"# EOF"
_MARK = b"\xef\xbb\xbf"
_HEAD = re.compile(rb"[^\s{]*")
_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABELLED = re.compile(_SERIES)
_PLAIN_VALUE = re.compile(_VALUE)
_QUOTED = 60
"""Quoted bytes of a faulty line."""


class PageError(SourceError):
    """A rejected page: the cause, the reason of its dead letter (None: no data), a sample."""

    def __init__(self, why: str, reason: Reason | None = "exposition", sample: bytes = b"") -> None:
        super().__init__(why)
        self.why = why
        self.reason = reason
        self.sample = sample[:MAX_SAMPLE]


class _Sample(NamedTuple):
    """One line: `value` and `ts` (s) as written; `ts` is NaN if absent."""

    value: float
    ts: float
    line: bytes


class PageDecoder:
    """Decoder of the successive pages of one endpoint.

    Parameters
    ----------
    wants : callable
        Whether a series is used, given its key; others are rejected (`filtered`).

    Attributes
    ----------
    series, wanted : int
        Number of series, and of used ones, on the last page.
    """

    def __init__(self, wants: Callable[[str], bool] = lambda key: True) -> None:
        self.series = self.wanted = 0
        self._wants = wants
        self._stamps: dict[str, float] = {}

    def decode(
        self, page: bytes, rx: float, where: str, openmetrics: bool = False
    ) -> list[Message | Unread]:
        """Return the samples of a page in its order, then one reject for each reason.

        Parameters
        ----------
        page : bytes
        rx : float
            Arrival (s), that of all its samples.
        where : str
            Address of the page.
        openmetrics : bool
            The page is declared as OpenMetrics: stamps are in seconds.

        Raises
        ------
        PageError
            The whole page is rejected.
        """
        samples = _samples(page, openmetrics)
        messages: list[Message | Unread] = []
        lost: dict[Reason, Unread] = {}
        stamps: dict[str, float] = {}
        for key, (value, ts, line) in samples.items():
            if ts == ts:
                stamps[key] = ts
            reason = self._unfit(key, value, ts)
            if reason is None:
                messages.append(Message(rx, key, value, ts))
            elif reason in lost:
                lost[reason] = lost[reason]._replace(events=lost[reason].events + 1)
            else:
                lost[reason] = Unread(rx, reason, where, line[:MAX_SAMPLE])
        unwanted = lost["filtered"].events if "filtered" in lost else 0
        self.series, self.wanted = len(samples), len(samples) - unwanted
        self._stamps = stamps
        return messages + list(lost.values())

    def _unfit(self, key: str, value: float, ts: float) -> Reason | None:
        if not self._wants(key):
            return "filtered"
        if len(key) > MAX_NAME_LENGTH:
            return "too_long"
        if not isfinite(value):
            return "value"
        if abs(ts) > MAX_STAMP_S:
            return "stamp"
        return "repeated" if ts == self._stamps.get(key) else None


def _samples(page: bytes, openmetrics: bool) -> dict[str, _Sample]:
    if len(page) > MAX_PAGE or page.count(b"\n") > MAX_LINES:
        raise PageError("the page is too long", "too_long", page)
    lines = page.removeprefix(_MARK).split(b"\n")
    if openmetrics and lines[-1].rstrip() == _END:
        lines.append(b"")
    if lines.pop():
        raise PageError("the page is cut: its last line has no end", sample=page[-MAX_SAMPLE:])
    if openmetrics and (not lines or lines.pop().rstrip() != _END):
        raise PageError("the page is cut: it does not end in # EOF", sample=page[-MAX_SAMPLE:])
    grammar, unit = (_SECONDS, 1.0) if openmetrics else (_MILLISECONDS, 1e3)
    samples: dict[str, _Sample] = {}
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            fault = f"line {number} is not UTF-8: {_quoted(line)}"
            raise PageError(fault, sample=line) from None
        if not text.strip() or (line.startswith(b"#") and line.strip() != _END):
            continue
        found = grammar.fullmatch(line) if len(line) <= MAX_LINE else None
        key = _key(*found.group("name", "labels")) if found else None
        if found is None or key is None:
            fault = f"line {number} is no sample: {_quoted(line)}: {_fault(line)}"
            raise PageError(fault, sample=line)
        if key in samples:
            fault = f"line {number} repeats a series: {_quoted(line)}"
            raise PageError(fault, sample=line)
        if len(samples) >= MAX_SAMPLES:
            raise PageError(f"more than {MAX_SAMPLES} series", "too_long", line)
        ts = found["ts"]
        samples[key] = _Sample(float(found["value"]), float(ts) / unit if ts else NO_TIME, line)
    if not samples:
        raise PageError("the page has no sample", sample=page)
    return samples


def _fault(line: bytes) -> str:
    """Return the reason why a line is no sample."""
    if len(line) > MAX_LINE:
        return f"it is longer than {MAX_LINE} bytes"
    if line.strip() == _END:
        return "it stands at the end of OpenMetrics only"
    head = _HEAD.match(line)
    name = head[0] if head else b""
    if not _NAME.fullmatch(name):
        return f"the name {_quoted(name)} is not of letters, digits, _ and : alone"
    series = _LABELLED.match(line + b" ")
    if series is None or _key(*series.group("name", "labels")) is None:
        return 'its labels are not of the form {name="text",...}'
    value, *rest = line[series.end() :].split(None, 1) or [b""]
    if not value:
        return "it has no value"
    if _PLAIN_VALUE.fullmatch(value):
        return f"{_quoted(b''.join(rest) or line[-1:])} behind the value is no stamp"
    if _PLAIN_VALUE.fullmatch(value.replace(b",", b".")):
        return f"the value {_quoted(value)} has a decimal comma, expected a point"
    return f"the value {_quoted(value)} is no number"


def _quoted(text: bytes) -> str:
    """Return the first bytes of a text, printable and in quotes."""
    shown = text[:_QUOTED].decode("utf-8", "backslashreplace")
    return ascii(shown + ("..." if len(text) > _QUOTED else ""))


def _key(name: bytes, labels: bytes | None) -> str | None:
    """Return the key of a series; None for invalid labels."""
    if not labels or not labels.strip():
        return name.decode()
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(labels):
        label = _LABEL.match(labels, at)
        if label is None or label[1] in found:
            return None
        found[label[1]] = label[2]
        at = label.end()
    pairs = b",".join(b'%b="%b"' % pair for pair in sorted(found.items()) if pair[1])
    return (name + b"{" + pairs + b"}" if pairs else name).decode()
