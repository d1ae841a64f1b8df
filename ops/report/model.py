"""Data of a report: the run, and each of its rigs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from configs.document import parse
from configs.schema import Config
from operators.settings.plan import Plan
from ops.report.beat_clock import BeatClock
from ops.report.clocks_lags import ChannelTimeline, clocks, tracks
from ops.report.detail import WIDTH_S, Detail, windows
from ops.report.findings import Findings, findings
from ops.report.ticks import TickStats
from ops.results.folder import rigs, run_json
from ops.results.lines import BridgeLine, LineReader, SyncLine, TickLine
from sources.recordings.recording import is_xdf
from sources.recordings.remarks import unread


@dataclass
class RigData:
    """One rig: ticks, channels, findings, and a stretch of samples of each signal.

    `units` and `signal_units` hold the configured units of channels and signals; `beats` is None
    in a run without a beat clock.
    """

    name: str
    course: TickStats
    tracks: dict[str, ChannelTimeline]
    clocks: dict[str, ChannelTimeline]
    findings: Findings
    windows: dict[str, Detail]
    aligned: bool
    unread: int
    units: dict[str, str]
    signal_units: dict[str, str]
    beats: BeatClock | None

    @property
    def members(self) -> list[ChannelTimeline]:
        """The fused channels."""
        named = {name for names in self.course.channels.values() for name in names}
        return [t for t in self.tracks.values() if t.channel in named or (not named and t.fused)]

    def is_reference(self, track: ChannelTimeline) -> bool:
        """Whether this channel is the reference of the lags."""
        lag = track.lag
        return lag is not None and lag.lag_s == 0 and lag.lag_sd_s == 0


@dataclass
class RunData:
    """Contents of a run's folder.

    Attributes
    ----------
    folder : Path
    rigs : list of RigData
    run : dict
        Contents of `run.json`; empty until the run has ended.
    text : str or None
        Text of the configuration file.
    config : Config or None
        The parsed text; None where it cannot be parsed here.
    """

    folder: Path
    rigs: list[RigData]
    run: dict[str, Any]
    text: str | None
    config: Config | None

    @property
    def account(self) -> dict[str, int]:
        """The eight counts of the whole run; empty if none was written."""
        total: dict[str, int] = (self.run.get("account") or {}).get("total") or {}
        return total

    @property
    def by_source(self) -> dict[str, dict[str, int]]:
        """The eight counts by source."""
        every: dict[str, dict[str, int]] = (self.run.get("account") or {}).get("by_source") or {}
        return every

    @property
    def two_way(self) -> bool:
        """Whether all recordings are XDF files, which hold two-way clock readings."""
        paths = [str(recording.get("path")) for recording in self.run.get("recordings") or []]
        return bool(paths) and all(map(is_xdf, paths))

    @property
    def remarks(self) -> list[str]:
        """Remarks on the recordings, one sentence each."""
        recordings = self.run.get("recordings") or []
        return [str(remark) for file in recordings for remark in file.get("remarks") or []]

    @property
    def unread(self) -> list[str]:
        """Sources of XDF files without a clock reading."""
        return unread(self.remarks)

    def unstamped(self, rig: RigData) -> list[str]:
        """Return the sources of members without a clock estimate."""
        sources = dict.fromkeys(t.source for t in rig.members if t.source not in rig.clocks)
        return [s for s in sources if s in self.unread] if self.two_way else list(sources)


def story(folder: Path) -> RunData:
    """Read a run's folder; missing or broken parts are left out."""
    try:
        run = run_json(folder)
    except (msgspec.DecodeError, OSError):
        run = {}
    text = (run.get("config") or {}).get("text")
    config = _config(text)
    plan = _plan(config)
    return RunData(folder, [_rig(r.folder, folder, plan) for r in rigs(folder)], run, text, config)


def _rig(folder: Path, root: Path, plan: Plan | None) -> RigData:
    reader = LineReader(folder)
    course = TickStats(reader.lines("fused", TickLine), WIDTH_S)
    channels = tracks(reader.lines("sync", SyncLine))
    found = findings(reader)
    offsets = {
        name: track.clock.offset_s
        for name, track in channels.items()
        if track.clock is not None and track.clock.offset_s is not None
    }
    beats = BeatClock(reader.lines("bridge", BridgeLine))
    near = windows(reader, course, offsets)
    name = folder.name if folder != root else _own_name(reader) or root.name
    units = {c: unit for c in channels if plan and (unit := plan.channel(c).unit)}
    signal_units = {s: unit for s in course.channels if plan and (unit := plan.unit(s))}
    return RigData(
        name=name,
        course=course,
        tracks=channels,
        clocks=clocks(channels),
        findings=found,
        windows=near,
        aligned=reader.has("aligned"),
        unread=reader.unread,
        units=units,
        signal_units=signal_units,
        beats=beats if beats.ticks or beats.stays else None,
    )


def _own_name(reader: LineReader) -> str | None:
    return next((line.rig for line in LineReader(reader.folder).lines("fused", TickLine)), None)


def _plan(config: Config | None) -> Plan | None:
    """Return the plan of the configuration; None where its paths do not exist here."""
    try:
        return config.plan() if config is not None else None
    except (OSError, ValueError):
        return None


def _config(text: str | None) -> Config | None:
    if text is None:
        return None
    try:
        return msgspec.convert(parse(text, "", os.environ).data, Config)
    except (msgspec.ValidationError, TypeError, ValueError):
        return None
