"""Methods paragraphs: plain text to paste into a paper, every number from the run."""

from __future__ import annotations

import numpy as np

from configs.schema import Config
from operators.records import INDICATORS
from ops.report.clocks_lags import ChannelTimeline
from ops.report.model import RigData, RunData
from ops.report.nominal_rates import rates
from ops.report.verdict import losses, why_not
from ops.text.numbers import NONE, count, known, milliseconds, plain, share, unsure

_NAME = "Lumen Fusion"
TWO_WAY = (
    "Limits. Two-way clock readings cannot separate a path that is slower than the way back from "
    "a clock offset; half the difference is in no bound given here.\n"
)
HINDSIGHT = (
    "Two passes were made (hindsight): clocks and lags are estimates of the whole recording, used "
    "from its first tick on, and not those that a live run would have had."
)
LIMITS = (
    "Limits. One-way time stamps cannot separate a constant network delay from a clock offset: "
    "such a delay is part of the host time of every source and of no bound given here; where "
    "paths differ, the difference shows as a lag. Lag and clock offset of a source without "
    "arrival stamps, or without stamps of its own, cannot be separated"
)


def methods(story: RunData) -> str:
    """Return the text, one paragraph a line."""
    paragraphs = [_software(story)]
    for rig in story.rigs:
        lead = f"Rig {rig.name}. " if len(story.rigs) > 1 else ""
        paragraphs += [
            lead + _clocks(story, rig),
            _lags(story, rig),
            _fusion(story, rig),
            _rates(story, rig),
            _trust(story, rig),
        ]
    paragraphs.append(f"Losses. {_sentence(losses(story.account))}")
    if story.two_way:
        return "\n\n".join((*paragraphs, TWO_WAY))
    sources = list(dict.fromkeys(s for rig in story.rigs for s in story.unstamped(rig)))
    named = f" (here: {', '.join(sources)})" if sources else ""
    paragraphs.append(f"{LIMITS}{named}; all of it is called lag.")
    return "\n\n".join(paragraphs) + "\n"


def _software(story: RunData) -> str:
    versions = story.run.get("versions") or {}
    others = ", ".join(
        f"{'Python' if name == 'python' else name} {number}"
        for name, number in versions.items()
        if name != "lumen" and number
    )
    text = f"Software. Streams were synchronised and fused with {_NAME} "
    text += f"{versions.get('lumen') or '(version not known: the run has not ended)'}"
    text += f" ({others})." if others else "."
    config = story.run.get("config") or {}
    if config.get("path"):
        text += f" Configuration: {config['path']}, SHA-256 {config.get('sha256') or NONE}."
    if story.run.get("hindsight"):
        text += f" {HINDSIGHT}"
    for recording in story.run.get("recordings") or []:
        size = recording.get("bytes")
        text += f" Recording: {recording.get('path')}, SHA-256 {recording.get('sha256') or NONE}"
        text += f", {count(size or 0, 'byte')}."
    return text


def _clocks(story: RunData, rig: RigData) -> str:
    text = (
        "Clocks. Offset (host minus source time) and skew (positive: the source clock runs fast) "
        "of each source with stamps of its own were estimated from the lower envelope of arrival "
        "minus source time (Zhang, Liu & Xia 2002) by a bank of filters (Magill 1965; Minka 2001)"
        ", clock resets found on the way. At the end of the data "
        f"({plain(rig.course.seconds, 4)} s), with one standard deviation: "
    )
    parts = [_clock(story, source, track) for source, track in rig.clocks.items()]
    text += ("; ".join(parts) or "no source had a clock that could be estimated") + "."
    if story.two_way:
        text += " Stamps had been put on the recorder's clock by the file's two-way readings."
        if story.unread:
            text += f" The clocks of {', '.join(story.unread)} were never read: their stamps were"
            text += " taken to be the recorder's and were not corrected."
    return text


def _clock(story: RunData, source: str, track: ChannelTimeline) -> str:
    line = track.clock
    assert line is not None
    used = ((story.run.get("account") or {}).get("by_source") or {}).get(source, {}).get("used")
    n = used if used is not None else track.last.used
    text = (
        f"{source}: offset {unsure(line.offset_s, line.offset_sd_s, 1e3)} ms, skew "
        f"{unsure(line.skew_ppm, line.skew_sd_ppm)} ppm (n = {NONE if n is None else n} events"
    )
    text += f", jitter p95 {milliseconds(line.jitter_p95_s)})" if line.jitter_p95_s else ")"
    steps = [f"{unsure(r.step_s, r.sd_s, 1e3)} ms at host time {r.at:.3f} s" for r in track.resets]
    resets = line.clock_resets or 0
    return text + (f", {count(resets, 'clock reset')} ({', '.join(steps)})" if steps else "")


def _lags(story: RunData, rig: RigData) -> str:
    config = story.config
    search = ""
    if config is not None:
        align = config.align
        search = (
            f" in windows of {align.window_s:g} s every {align.hop_s:g} s, up to "
            f"{align.max_lag_s:g} s either way,"
        )
    reference = [t.channel for t in rig.members if rig.is_reference(t)]
    text = (
        "Lags (positive: the channel is late) were found by cross-correlation"
        f"{search} against {', '.join(reference) or 'the reference'} (Knapp & Carter 1976; "
        "Hannan & Thomson 1973) and tracked by a Kalman filter. At the end, with one standard "
        "deviation; n estimates were written over the run, of which mean and SD: "
    )
    parts = [_lag(config, track) for track in rig.members if not rig.is_reference(track)]
    return text + ("; ".join(parts) or "no other channel had a lag") + "."


def _lag(config: Config | None, track: ChannelTimeline) -> str:
    line = track.lag
    if line is None:
        return f"{track.channel}: no lag was found, not used"
    text = f"{track.channel}: {unsure(line.lag_s, line.lag_sd_s, 1e3)} ms"
    if _given(config, track.channel):
        free = "" if line.lag_sd_s is not None else "; without an sd, so that it is not compared"
        return f"{text} (given, not searched{free})"
    return (
        f"{text} (n = {track.lags}, {plain(1e3 * track.lag_mean_s, 4)} ms, "
        f"{milliseconds(track.lag_spread_s)}; confidence {plain(track.last.confidence, 2)})"
    )


def _given(config: Config | None, channel: str) -> bool:
    if config is None:
        return False
    members = [s.members[channel] for s in config.signals.values() if channel in s.members]
    return any(member.lag_s is not None for member in members)


def _fusion(story: RunData, rig: RigData) -> str:
    course = rig.course
    hz = plain(course.tick_hz) if known(course.tick_hz) else NONE
    text = (
        "Fusion. Outliers were taken out by Hampel's test (Hampel 1974; Pearson 2002), channels "
        f"resampled to {hz} Hz with a Kaiser-windowed sinc (Kaiser & Schafer 1980) and averaged "
        "with inverse-variance weights from the three-cornered hat (Grubbs 1948; Gray & Allan "
        f"1974), shrunk to the prior. Of {count(course.ticks, 'tick')}, modes: "
    )
    text += ", ".join(f"{m} {share(n, course.ticks)}" for m, n in course.modes.most_common())
    text += "." if course.modes else "none."
    for signal in course.channels:
        mean = course.mean_weights(signal)
        weights = ", ".join(f"{name} {weight:.3f}" for name, weight in mean.items())
        valued = course.valued[signal]
        unit = f" ({rig.signal_units[signal]})" if signal in rig.signal_units else ""
        text += f" {signal}{unit}: n = {valued} ticks with a value, mean weights {weights or NONE}."
    points = course.points
    parts = []
    for name in INDICATORS:
        if n := course.within[name].known:
            column = points.mean[:, course.column(name)]
            parts.append(f"{name} {plain(float(np.nanmean(column)))} (n = {n} ticks)")
    window = f" over {story.config.quality.window_s:g} s" if story.config is not None else ""
    if parts:
        text += f" Mean indicators of agreement{window} (Welch 1967): {', '.join(parts)}."
    return text


def _rates(story: RunData, rig: RigData) -> str:
    nominal = rates(story.config, story.run)
    seconds = rig.course.seconds
    parts = []
    for track in rig.members:
        came = (track.last.received or 0) / seconds if seconds else float("nan")
        parts.append(
            f"{track.channel}: nominal {_hz(nominal.get(track.source), 'not stated')}, effective "
            f"{_hz(track.last.rate_hz, 'not even')}, {plain(came, 4)} events/s over all, "
            f"{count(track.last.gaps or 0, 'gap')}"
        )
    return (
        "Rates. Nominal is what the source states, effective one over the median interval at the "
        f"end: {'; '.join(parts) or NONE}."
    )


def _hz(rate_hz: float | None, otherwise: str) -> str:
    return f"{plain(rate_hz, 4)} Hz" if known(rate_hz) else otherwise


def _trust(story: RunData, rig: RigData) -> str:
    bound = rig.course.bound
    if not bound.count:
        return f"Sync error. Not compared, so that no bound can be given: {why_not(rig, story)}."
    return (
        "Sync error. The bound, made from the standard deviations of offset, skew and lag of the "
        "compared channels, of scraping and of coarse stamps so that the true error lies inside "
        "it in at least 95 % of the ticks, was "
        f"{milliseconds(bound.at(0.5))} in the median, "
        f"{milliseconds(bound.at(0.95))} or less in 95 % and {milliseconds(bound.maximum)} at most "
        f"of n = {bound.count} ticks with two or more compared channels live."
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].removesuffix(".") + "."
