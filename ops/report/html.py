"""The report as one self-contained page: no script, no link, embedded pictures.

Every text of a run is escaped. The page's security policy forbids it to load or run anything.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from html import escape

from configs.document import one_line
from operators.types import ENDS
from ops.report.beat_clock import BeatClock
from ops.report.bridge_picture import NAME, changes, facts
from ops.report.changes import moments
from ops.report.figures import MAX_SIGNALS
from ops.report.model import RigData, RunData
from ops.report.plotting import Picture
from ops.report.verdict import SyncVerdict, balanced, unknown
from ops.text.numbers import NONE, count, plain, unsure, utc

MAX_ROWS = 200
MAX_SVG = 2 << 20
"""Largest SVG (bytes) in the page; a larger one is replaced by its PNG of bounded size."""
_NUMBER = re.compile(r"[-+]?[\d  ]*\d(\.\d+)?([eE][-+]?\d+)?( ± [\d.]+)?( %| ms)?|-")
_SEPARATOR = re.compile(r"(?<=[/_@])|(?<=[:.,-])(?=[^\d\s])")
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #f3f5f7;
  --line: #d4d9de; --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --paper: #16191d; --soft: #22272d; --line: #3a4149; --mark: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
.verdict { border-left: .4rem solid var(--mark); background: var(--soft); padding: .8rem 1.1rem;
  margin: 1rem 0; }
.verdict strong { font-size: 1.25rem; }
.verdict p { margin: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; min-width: 6rem; }
th[scope=row] { overflow-wrap: anywhere; min-width: 9rem; }
th.n[scope=row] { min-width: 0; }
td.n { min-width: 0; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0 1.6rem; }
figure img { width: 100%; height: auto; background: var(--paper); border: 1px solid var(--line);
  border-radius: 4px; }
figcaption, .note { font-size: .88rem; opacity: .85; }
pre { background: var(--soft); padding: .9rem 1rem; overflow-x: auto; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media print {
  :root { --ink: #000; --paper: #fff; --soft: #f4f4f4; --line: #bbb; --mark: #000; }
  body { max-width: none; padding: 0; font-size: 10pt; } .scroll { overflow: visible; }
  table { font-size: 8pt; }
  h2, h3 { break-after: avoid; } figure, table, .verdict { break-inside: avoid; } }
"""
_CHANNEL_COLUMNS = (
    "channel",
    "state",
    "offset (ms)",
    "skew (ppm)",
    "resets",
    "lag (ms)",
    "confidence",
    "rate (Hz)",
    "used",
    "gaps",
    "unit",
)
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(
    story: RunData, results: Sequence[tuple[RigData, SyncVerdict, Sequence[Picture]]], methods: str
) -> str:
    """Return the page: each rig with its verdict and pictures, the run, and the methods."""
    names = ", ".join(rig.name for rig in story.rigs)
    title = f"Sync report: {names if len(story.rigs) == 1 else count(len(story.rigs), 'rig')}"
    parts = [
        f"<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name=viewport content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n<main>\n",
        f"<h1>{_text(title)}</h1>\n",
    ]
    for rig, verdict, pictures in results:
        head = f"Rig {rig.name}" if len(story.rigs) > 1 else ""
        parts += _rig(story, rig, verdict, pictures, head)
    parts += _run(story)
    parts.append("<h2>Methods, to paste into a paper</h2>\n")
    parts.append("<p class=note>The same text lies beside this page as methods.txt.</p>\n")
    parts.append(f"<pre>{escape(methods)}</pre>\n</main>\n</html>\n")
    return "".join(parts)


def _rig(
    story: RunData, rig: RigData, verdict: SyncVerdict, pictures: Sequence[Picture], head: str
) -> Iterator[str]:
    course = rig.course
    if head:
        yield f"<h2>{_text(head)}</h2>\n"
    if course.begin is not None:
        length = f"{count(course.ticks, 'tick')} in {plain(course.seconds, 4)} s"
        yield f"<p>{length}, from {utc(course.begin)}.</p>\n"
    yield "<h2>Was the sync correct?</h2>\n"
    yield f"<div class=verdict><p><strong>{_text(verdict.word)}</strong></p>"
    yield f"<p>{_text(verdict.sentence)}</p></div>\n"
    if verdict.exceptions:
        yield "<ul>\n"
        yield from (f"<li>{_text(text)}</li>\n" for text in verdict.exceptions)
        yield "</ul>\n"
    yield _table(("", ""), verdict.facts, "In short")
    yield (
        "<p class=note>The bound holds the true error in at least 95 % of the ticks. A constant "
        "network delay is not in it: one-way time stamps cannot separate it from a clock offset."
        "</p>\n"
    )
    yield "<h2>Channels</h2>\n"
    yield from _channels(story, rig)
    yield "<h2>Pictures</h2>\n"
    if len(course.channels) > MAX_SIGNALS and pictures:
        yield f"<p>Of {len(course.channels)} signals, the first {MAX_SIGNALS} are drawn.</p>\n"
    if not pictures:
        yield "<p>None: no tick was written, or too many rigs come before this one.</p>\n"
    if course.ticks and not rig.windows:
        yield _not_aligned(rig)
    if course.ticks and not any(within.known for within in course.within.values()):
        yield f"<p>There is no picture of the indicators: {_text(unknown(story, rig))}.</p>\n"
    of_clock = [picture for picture in pictures if picture.name.rpartition(".")[2] == NAME]
    yield from (_figure(picture) for picture in pictures if picture not in of_clock)
    if rig.beats is not None:
        yield from _beats(rig.beats, of_clock, course.begin)
    yield from _found(rig)


def _beats(beats: BeatClock, pictures: Sequence[Picture], begin: float | None) -> Iterator[str]:
    """Yield the section of the beat clock: figures, picture, and changes of state."""
    yield "<h2>Beat clock</h2>\n"
    yield _table(("", ""), list(facts(beats)), "The clock in short")
    yield from map(_figure, pictures)
    head = "second", "state", "cause", "how long"
    rows = changes(beats, begin)
    more = beats.changes + 1 - len(beats.stays) if rows else 0
    yield _table(head, rows, "States of the clock, with their causes", len(rows) + more)


def _not_aligned(rig: RigData) -> str:
    why = (
        "its file aligned.jsonl is empty, or holds none of the signals' channels here"
        if rig.aligned
        else "they were not written; <code>output: {aligned: true}</code> in the configuration "
        "of the next run does that"
    )
    return (
        "<p>There is no picture of before and after alignment: it needs the samples "
        f"themselves, and {why}.</p>\n"
    )


def _channels(story: RunData, rig: RigData) -> Iterator[str]:
    rows = []
    for track in list(rig.tracks.values())[:MAX_ROWS]:
        clock, lag, last = track.clock, track.lag, track.last
        rows.append(
            {
                "channel": track.channel,
                "state": last.state or NONE,
                "offset (ms)": unsure(clock.offset_s, clock.offset_sd_s, 1e3) if clock else "-",
                "skew (ppm)": unsure(clock.skew_ppm, clock.skew_sd_ppm) if clock else "-",
                "resets": str(clock.clock_resets or 0) if clock else "-",
                "lag (ms)": unsure(lag.lag_s, lag.lag_sd_s, 1e3) if lag else "-",
                "confidence": _or_dash(last.confidence, 2),
                "rate (Hz)": _or_dash(last.rate_hz, 4),
                "used": str(last.used if last.used is not None else "-"),
                "gaps": str(last.gaps or 0),
                "unit": rig.units.get(track.channel, "-"),
            }
        )
    head = _CHANNEL_COLUMNS if rig.units else _CHANNEL_COLUMNS[:-1]
    shown = [[row[name] for name in head] for row in rows]
    yield _table(head, shown, "At the end, with one standard deviation", len(rig.tracks))
    yield (
        "<p class=note>Host time is source time plus offset; a fast clock has a positive skew, a "
        "late channel a positive lag."
    )
    if sources := story.unstamped(rig):
        yield f" Without stamps of their own, so without a clock here: {_text(', '.join(sources))}"
        yield "; all of their delay is called lag."
    yield "</p>\n"


def _found(rig: RigData) -> Iterator[str]:
    begin = rig.course.begin or 0.0
    found = rig.findings
    yield "<h2>What happened</h2>\n"
    rows = [(f"{ts - begin:.1f}", event, how) for ts, event, how in moments(rig)]
    more = found.marked - len(found.markers) + rig.course.changes - len(rig.course.spells)
    more += found.fired.total() - len(found.listed)
    head = "second", "what", "how"
    yield _table(head, rows, "Modes, findings, resets and markers", len(rows) + more)
    yield "<h2>Dead letters</h2>\n"
    if not found.dead:
        yield "<p>None: every received event could be used, or is counted below.</p>\n"
        return
    letters = [
        (*kind, str(dead.count), dead.where, dead.sample)
        for kind, dead in sorted(found.dead.items())
    ]
    columns = ("stage", "reason", "source", "events", "first at", "first sample")
    yield _table(columns, letters, "Events that could not be used")


def _run(story: RunData) -> Iterator[str]:
    run = story.run
    yield "<h2>Account</h2>\n"
    if not run:
        yield (
            "<p>There is no run.json: the run has not ended, or was killed. The account of "
            "events, versions, hashes and configuration are written at its end.</p>\n"
        )
        return
    by_source = (run.get("account") or {}).get("by_source") or {}
    rows = [
        (name, *(str(ends.get(end, 0)) for end in ENDS))
        for name, ends in [*sorted(by_source.items()), ("total", story.account)]
    ]
    balance = "balanced" if balanced(story.account) else "NOT balanced, which is a bug"
    yield _table(("source", *ENDS), rows, f"Where every event ended: {balance}", len(rows))
    yield "<h2>Run</h2>\n"
    config = run.get("config") or {}
    versions = run.get("versions") or {}
    facts = [(f"version of {name}", str(number)) for name, number in versions.items()]
    facts += [
        ("configuration", f"{config.get('path')}"),
        ("its SHA-256", f"{config.get('sha256')}"),
    ]
    for recording in run.get("recordings") or []:
        facts += [
            ("recording", f"{recording.get('path')}, {recording.get('bytes')} bytes"),
            ("its SHA-256", f"{recording.get('sha256')}"),
        ]
    facts += [("remark", remark) for remark in story.remarks]
    facts.append(("ended", "with its data" if run.get("ended") else "before its data"))
    yield _table(("", ""), facts, "Origin of these numbers")
    yield "<h2>Configuration</h2>\n"
    if story.text is None:
        yield "<p>Its text is not known: the run was not made from a file.</p>\n"
    else:
        yield f"<pre>{escape(story.text)}</pre>\n"


def _figure(picture: Picture) -> str:
    kind, data = "svg+xml", picture.svg
    if len(data) > MAX_SVG:
        kind, data = "png", picture.png
    description = _text(f"{picture.finding}. {picture.description}")
    files = _text(f"{picture.name}.svg, .png")
    return (
        f'<figure><img alt="{description}" src="data:image/{kind};base64,'
        f'{base64.b64encode(data).decode()}">\n'
        f"<figcaption>{_text(picture.note)} <span>({files})</span></figcaption></figure>\n"
    )


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, number: int = 0
) -> str:
    """Return a table of at most `MAX_ROWS` of `number` rows; numbers are right-aligned."""
    name = _text(caption)
    lines = [f'<div class=scroll tabindex=0 role=region aria-label="{name}">\n<table>\n']
    lines.append(f"<caption>{name}</caption>\n")
    if any(head):
        cells = "".join(f"<th scope=col>{_text(name)}</th>" for name in head)
        lines.append(f"<thead><tr>{cells}</tr></thead>\n")
    for first, *rest in rows[:MAX_ROWS]:
        cells = "".join(f"<td{_kind(c)}>{_breakable(c)}</td>" for c in rest)
        lines.append(f"<tr><th{_kind(first)} scope=row>{_breakable(first)}</th>{cells}</tr>\n")
    lines.append("</table></div>\n")
    if (more := max(number, len(rows)) - min(len(rows), MAX_ROWS)) > 0:
        lines.append(f"<p class=note>And {more} more.</p>\n")
    return "".join(lines)


def _kind(cell: str) -> str:
    return " class=n" if _NUMBER.fullmatch(cell) else ""


def _breakable(cell: str) -> str:
    """Return a cell's text; its names may break behind their separators."""
    return "<wbr>".join(map(_text, _SEPARATOR.split(cell)))


def _or_dash(value: float | None, digits: int) -> str:
    return "-" if value is None else plain(value, digits)


def _text(text: str) -> str:
    """Return a text escaped and on one line."""
    return escape(one_line(text), quote=True)
