"""Sync verdict: one word, one sentence, the exceptions and the facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from configs.thresholds import THRESHOLDS
from operators.quality import QualityConfig
from operators.types import ENDS, ChannelState
from ops.report.clocks_lags import ChannelTimeline
from ops.report.model import RigData, RunData
from ops.results.unused import UnusedKind, refused
from ops.results.unused import findings as unused
from ops.text.numbers import count, milliseconds, share, unsure
from sinks.advice.comparison import NOT_COMPARED, MemberState, loose, reasons
from sinks.advice.units import unlike
from sinks.exporter.missing_indicator import needed

MAX_LISTED = 12
DOUBT = 0.5
"""Smallest share of ticks within the budgets of phase and sync quality."""
MOSTLY = 0.5
"""Smallest share of compared ticks for a verdict on all ticks."""


class SyncVerdict(NamedTuple):
    """Verdict as a word and a sentence, exceptions from it, facts as (name, text)."""

    word: str
    sentence: str
    exceptions: list[str]
    facts: list[tuple[str, str]]


def verdict(story: RunData, rig: RigData) -> SyncVerdict:
    """Return the verdict on a rig's sync."""
    course = rig.course
    facts = list(_facts(story, rig))
    if not course.ticks:
        return SyncVerdict("No verdict", "No tick was written.", [], facts)
    exceptions = list(_exceptions(story, rig))
    bound = course.bound
    if not bound.count:
        sentence = f"{why_not(rig, story)}. No bound of the sync error is known."
        return SyncVerdict(NOT_COMPARED, sentence, exceptions, facts)
    sentence = (
        f"While two or more channels were compared ({share(bound.count, course.ticks)} of "
        f"{count(course.ticks, 'tick')}), the stated bound of the sync error was "
        f"{milliseconds(bound.at(0.5))} in the median, at most {milliseconds(bound.at(0.95))} in "
        f"95 % of the ticks, and never above {milliseconds(bound.maximum)}."
    )
    judged = {name: course.within[name] for name in ("phase_diff", "sync_quality")}
    doubtful = [name for name, within in judged.items() if within.good < DOUBT * within.known]
    if doubtful:
        sentence += f" But {' and '.join(doubtful)} kept the budget in less than half of the time."
        return SyncVerdict("In doubt", sentence, exceptions, facts)
    if bound.count < MOSTLY * course.ticks:
        return SyncVerdict(f"{NOT_COMPARED}, most of the time", sentence, exceptions, facts)
    word = "In sync, with exceptions" if exceptions else "In sync"
    return SyncVerdict(word, sentence, exceptions, facts)


def why_not(rig: RigData, story: RunData) -> str:
    """Return the reason why no channels were compared, and the remedy."""
    named = {
        track.channel: _seen(track)._replace(
            refused=refused(story.by_source, track.channel.partition(":")[0])
        )
        for track in rig.members
    }
    signals = [
        [named.get(c, MemberState(c, None, None, None, False)) for c in channels]
        for channels in rig.course.channels.values()
    ] or [list(named.values())]
    text = reasons(signals)
    return text[:1].upper() + text[1:]


def _seen(track: ChannelTimeline) -> MemberState:
    """Return a member's state over the whole run: live if it was ever live."""
    lag, last = track.lag, track.last
    state = "live" if track.live_since is not None else last.state
    return MemberState(
        track.channel,
        cast("ChannelState | None", state),
        lag.lag_s if lag else None,
        lag.lag_sd_s if lag else None,
        bool(last.received),
    )


def unknown(story: RunData, rig: RigData) -> str:
    """Return the reason why no indicator was known."""
    if not rig.course.bound.count:
        return "none was known, since nothing was compared"
    quality = story.config.quality if story.config is not None else QualityConfig()
    return f"none was known: it {needed(quality.window_s)}"


def losses(account: dict[str, int]) -> str:
    """Return the fate of the unused events."""
    if not account:
        return "The account is written when the run ends."
    received, used = account.get("received", 0), account.get("used", 0)
    went = ", ".join(f"{account[end]} {end}" for end in ENDS[2:] if account.get(end))
    lost = received - used
    text = f"{share(lost, received)} of {count(received, 'event')} were not used"
    return f"{text}: {went}" if went else f"all of {count(received, 'event')} were used"


def balanced(account: dict[str, int]) -> bool:
    """Whether each received event has one end."""
    return account.get("received", 0) == sum(account.get(end, 0) for end in ENDS[1:])


def resets(rig: RigData) -> list[str]:
    """Return the clock resets as text."""
    begin = rig.course.begin or 0.0
    return [
        f"{source} by {unsure(reset.step_s, reset.sd_s, 1e3)} ms at {reset.at - begin:.1f} s"
        for source, track in rig.clocks.items()
        for reset in track.resets
    ]


def failovers(rig: RigData) -> list[str]:
    """Return the spells in other modes than `fused` as text."""
    begin = rig.course.begin or 0.0
    return [
        f"{spell.mode} {spell.begin - begin:.1f} to {spell.end - begin:.1f} s"
        for spell in rig.course.spells
        if spell.mode != "fused"
    ]


def _unlocked(rig: RigData) -> list[ChannelTimeline]:
    return [track for track in rig.members if track.live_since is None]


def _exceptions(story: RunData, rig: RigData) -> Iterator[str]:
    course = rig.course
    if story.run and not balanced(story.account):
        yield "The account of events does not balance: this is a bug, please report it."
    if not story.run:
        yield "The run has not ended, or was killed: there is no run.json, and no account yet."
    elif not story.run.get("ended", True):
        yield "The run was stopped before its data ended."
    if course.modes["fused"] < course.ticks:
        away = share(course.ticks - course.modes["fused"], course.ticks)
        yield f"Not fused in {away} of the ticks: {listed(failovers(rig), course.changes)}."
    if never := _unlocked(rig):
        names = listed([track.channel for track in never])
        yield f"Never used, since no lag was found or no event was received: {names}."
    if free := loose(map(_seen, rig.members)):
        yield f"Used, but not compared: {free}."
    newest = {track.channel: track.last for track in rig.members}
    for members in course.channels.values():
        yield from (f"In unlike units: {x.text}." for x in unlike(members, newest))
    gone = [
        f"{track.channel} ({track.last.state})"
        for track in rig.members
        if track.last.state != "live" and track.live_since is not None
    ]
    if gone:
        yield f"Not live at the end: {listed(gone)}."
    if stepped := resets(rig):
        yield f"Clocks were reset: {listed(stepped)}."
    if rig.findings.risks:
        fired = [f"{rule} {n}x" for rule, n in rig.findings.risks.items()]
        yield f"Risks were found: {listed(fired)}."
    letters = (
        UnusedKind(source, reason, dead.count, dead.sample)
        for (_, reason, source), dead in rig.findings.dead.items()
    )
    yield from (f"{found}." for found in unused(story.by_source, letters))
    if lost := story.account.get("dropped", 0):
        yield f"{count(lost, 'event')} were dropped for want of room."
    if lost := story.run.get("dead_lines_lost") or 0:
        yield f"{count(lost, 'dead letter')} could not be written."
    if rig.unread:
        yield f"{count(rig.unread, 'line')} of the run's files could not be read."


def _facts(story: RunData, rig: RigData) -> Iterator[tuple[str, str]]:
    course = rig.course
    lives = sorted(course.lives.items(), reverse=True)
    if story.run.get("hindsight"):
        yield "Passes", "two (hindsight): clocks and lags are those of the whole recording"
    live_shares = [f"{live} in {share(n, course.ticks)}" for live, n in lives]
    yield "Channels live", f"{listed(live_shares, joint=', ')} of the ticks"
    compared, lone = course.bound.count, course.ticks - course.bound.count
    text = f"two channels or more in {share(compared, course.ticks)} of the ticks; "
    yield "Compared", f"{text}not compared in {share(lone, course.ticks)}"
    shares = [f"{mode} {share(n, course.ticks)}" for mode, n in course.modes.most_common()]
    yield "Mode", ", ".join(shares) or "none"
    kept = [
        f"{name} {share(w.good, w.known)}"
        for name, w in course.within.items()
        if name in THRESHOLDS and w.known
    ]
    yield "Within budget", ", ".join(kept) or unknown(story, rig)
    yield "Clock resets", listed(resets(rig)) or "none"
    if nameless := story.unstamped(rig):
        text = "no time stamps of its own were found, so that a clock offset, if any, is part of"
        yield "Without a clock", f"{listed(nameless)}: {text} the lag"
    fired = [f"{rule} {n}x" for rule, n in rig.findings.fired.items()]
    yield "Evidence", listed(fired) or "no rule held"
    yield "Events", losses(story.account)
    median, p95 = milliseconds(course.latency.at(0.5)), milliseconds(course.latency.at(0.95))
    text = f"a tick was released {median} after its time in the median, {p95} at most in 95 %"
    yield "Latency", text


def listed(texts: list[str], number: int = 0, joint: str = "; ") -> str:
    """Return texts in one line: the first `MAX_LISTED`, and the number of the others."""
    more = max(number, len(texts)) - MAX_LISTED if len(texts) > MAX_LISTED else 0
    line = joint.join(texts[:MAX_LISTED])
    return f"{line}{joint}and {more} more" if more else line
