"""Checks between the parts of a configuration: names that exist, numbers that fit together.

Each check names the sections that it reads. It is skipped where one of them is faulty, so that no
fault is a mere consequence of another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from configs import bridge_checks, destinations, reach, scales, stream_checks
from configs.document import DataPath, Document
from configs.forms import END
from configs.inputs import (
    TAPE,
    FileStream,
    OscStream,
)
from configs.schema import Config, RecordedStream
from configs.token_file import TokenFileError, token_of
from configs.typed import did_you_mean, one_of, show
from operators.bridge.bridge_config import BridgeExporterConfig
from operators.records import INDICATORS

SEGMENT_S = 12.8
"""Segment of the indicators' spectra (s); a window holds at least two."""
SERIES_HZ = 5.0
"""Rate of the series behind the indicators, or `target_hz` if that is lower."""
MAX_RULE_FILES = 64
MAX_SEARCHED = 150_000
"""Largest number of samples of a member for the search of a lag: an hour at 40 Hz."""
RIG = r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,254}" + END
"""Form of a rig's name, which is also that of a folder."""
_PAGE_FILES = (
    "page.css",
    *(f"{n}.js" for n in ("bridge", "chart", "gauges", "main", "tables", "texts", "timeline")),
)
PAGES = (
    *("/", "/healthz", "/readyz", "/evidence/bundle", "/state"),
    *(f"/page/{name}" for name in _PAGE_FILES),
    *(f"/v1/{name}" for name in ("rigs", "streams", "snapshots", "gate")),
    *(f"/v1/history/{name}" for name in ("ticks", "signals", "sync", "evidence", "minutes")),
)
"""Paths served beside the metrics."""
RESERVED = (*INDICATORS, "sync_bound_s", "sync_estimate_bound_s", "live", "and", "or", "not")


def check(document: Document, config: Config, faulty: frozenset[str]) -> None:
    """Report contradictions between sound sections."""
    for reads, holds in _CHECKS:
        if not faulty & set(reads):
            holds(document, config)


def _exporter(document: Document, config: Config) -> None:
    if config.exporter:
        stream_checks.networks(document, ("exporter", "allow"), config.exporter.allow, "network")
        token_file = config.exporter.token_file
        if token_file is not None:
            at: DataPath = ("exporter", "token_file")
            try:
                token_of(token_file)
            except TokenFileError as error:
                shown = document.shown(at, token_file)
                document.fault(document.place(at), f"the token file {shown} {error}")
    if config.exporter and config.exporter.path in PAGES:
        at = ("exporter", "path")
        message = f"the path '{document.shown(at, config.exporter.path)}' is that of another page"
        document.fault(document.place(at), f"{message}, expected none of {', '.join(PAGES)}")
    if config.bridge is None:
        return
    own = config.bridge.exporter or BridgeExporterConfig()
    taken = [*PAGES, *([config.exporter.path] if config.exporter else [])]
    if own.path in taken:
        at = ("bridge", "exporter", "path") if config.bridge.exporter else ("exporter", "path")
        message = f"the path '{document.shown(at, own.path)}' is that of another page"
        document.fault(document.place(at), f"{message}, expected none of {', '.join(taken)}")


def _kinds(document: Document, config: Config) -> None:
    """Check that a recording beside live streams is played once, at the recorded speed."""
    if not config.live:
        return
    for index, stream in enumerate(config.streams):
        if not isinstance(stream, FileStream):
            continue
        at = ("streams", index)
        if stream.speed not in (0, 1):
            message = f"a recording beside live streams at speed {stream.speed:g}"
            document.fault(document.place((*at, "speed")), f"{message}, expected 1")
        if stream.follow:
            message = "'follow' beside live streams, expected false: a recording has one beginning"
            document.fault(document.place((*at, "follow")), message)


def _mode(document: Document, config: Config) -> None:
    """Check the mode `hindsight`: two passes need recordings at full speed."""
    if config.mode != "hindsight":
        return
    live = [i for i, s in enumerate(config.streams) if not isinstance(s, FileStream)]
    if live and config.topic is not None:
        name = document.shown(("streams", live[0], "name"), config.streams[live[0]].name)
        message = f"mode 'hindsight' with the topic of '{name}', expected recordings only"
        document.fault(document.place(("mode",)), message)
    elif live:
        name = document.shown(("streams", live[0], "name"), config.streams[live[0]].name)
        message = f"mode 'hindsight' with the live stream '{name}', expected recordings only"
        document.fault(document.place(("mode",)), message)
    for index, stream in enumerate(config.streams):
        at = ("streams", index)
        if not isinstance(stream, FileStream):
            continue
        if stream.follow:
            message = "'follow' in mode 'hindsight', expected false: a first pass needs an end"
            document.fault(document.place((*at, "follow")), message)
        if stream.speed != 0:
            message = f"a recording at speed {stream.speed:g} in mode 'hindsight'"
            document.fault(document.place((*at, "speed")), f"{message}, expected 0")
        if (Path(stream.path) / TAPE).is_file():
            message = f"{document.shown((*at, 'path'), stream.path)} is a tape, expected a file"
            why = "in mode 'hindsight': a tape replays its live run, in mode 'causal'"
            document.fault(document.place((*at, "path")), f"{message} {why}")


def _parts(document: Document, config: Config) -> None:
    """Check the parts of the output: several processes read recordings at full speed."""
    if config.output.parts == 1:
        return
    at, number = ("output", "parts"), config.output.parts
    message = f"output.parts {number} with"
    streams = config.streams
    files = [s for s in streams if isinstance(s, FileStream)]
    if config.live or any(s.follow or s.speed for s in files):
        found = "a stream that is live, followed or has a speed"
        document.fault(document.place(at), f"{message} {found}, expected recordings at speed 0")
    if config.mode == "hindsight":
        document.fault(document.place(at), f"{message} mode 'hindsight', expected 'causal'")


def _tap(document: Document, config: Config) -> None:
    if config.tap is None:
        return
    if not config.live:
        message = "'tap' without a live stream, expected it to be left out"
        document.fault(document.key_place(("tap",)), message)
    if Path(config.tap.dir).exists() and not Path(config.tap.dir).is_dir():
        at = ("tap", "dir")
        message = f"{document.shown(at, config.tap.dir)} is a file, expected a folder"
        document.fault(document.place(at), message)
    if config.tap.zstd and config.tap.format == "parquet":
        message = "'zstd' beside format: parquet, expected one of them: Parquet files are packed"
        document.fault(document.key_place(("tap", "zstd")), message)


def _energy(document: Document, config: Config) -> None:
    energy = config.energy
    if energy is None:
        return
    if config.exporter is None and not (config.bridge and config.bridge.exporter):
        message = "'energy' without 'exporter', expected both: energy is among the metrics"
        document.fault(document.key_place(("energy",)), message)
    if (energy.price_per_kwh is None) != (energy.currency is None):
        given, other = "price_per_kwh", "currency"
        if energy.price_per_kwh is None:
            given, other = other, given
        message = f"'{given}' without '{other}', expected both or neither"
        document.fault(document.key_place(("energy", given)), message)


def _channel_names(document: Document, config: Config) -> None:
    for name in config.channels:
        if ":" not in name and not _is_pattern(name):
            message = f"the channel '{name}', expected <source>:<key> or a pattern with * or ?"
            document.fault(document.key_place(("channels", name)), message)
    for signal, settings in config.signals.items():
        for member in settings.members:
            _one_channel(document, config, ("signals", signal, "members", member), member, "member")
    seen: set[str] = set()
    for index, fact in enumerate(config.facts):
        at = ("facts", index)
        _one_channel(document, config, at, fact, "fact")
        if fact in seen:
            name = document.shown(at, fact)
            document.fault(document.place(at), f"the fact '{name}' is here twice, expected once")
        seen.add(fact)


def _literal(config: Config, source: str) -> bool:
    """Whether `*` and `?` are plain characters in a source's channels: recordings, `literal`."""
    stream = config.stream_of(source)
    return not config.live or any(
        isinstance(s, OscStream) and s.literal and s.name == stream for s in config.streams
    )


def _one_channel(document: Document, config: Config, at: DataPath, name: str, role: str) -> None:
    source, _, key = name.partition(":")
    shown = name if role == "member" else document.shown(at, name)
    if not source or not key:
        message = f"the {role} '{shown}', expected <source>:<key>"
        document.fault(document.key_place(at), message)
    elif _is_pattern(name) and not _literal(config, source):
        message = f"the {role} '{shown}' is a pattern, expected the name of one channel"
        document.fault(document.key_place(at), message)


def _roles(document: Document, config: Config) -> None:
    # A fact is held and not fused; a member is fused: one channel cannot be both.
    member_of = {member: name for name, s in config.signals.items() for member in s.members}
    for index, fact in enumerate(config.facts):
        if fact in member_of:
            at = ("facts", index)
            message = f"the fact '{document.shown(at, fact)}' is a member of '{member_of[fact]}'"
            document.fault(document.place(at), f"{message}, expected one of the two")


def _sources(document: Document, config: Config) -> None:
    # A recording may hold any source; without one, only the streams are sources.
    if any(isinstance(stream, RecordedStream) for stream in config.streams):
        return
    streams = [stream.name for stream in config.streams]
    known = [document.shown(("streams", i, "name"), name) for i, name in enumerate(streams)]
    places: list[tuple[DataPath, str]] = [(("channels", name), name) for name in config.channels]
    for signal, settings in config.signals.items():
        places += [(("signals", signal, "members", m), m) for m in settings.members]
    places += [(("facts", index), fact) for index, fact in enumerate(config.facts)]
    for at, name in places:
        source = name.partition(":")[0]
        if config.stream_of(source) not in streams and not _is_pattern(source):
            shown = document.shown(at, source).partition(":")[0] if "facts" in at else source
            message = f"'{shown}' is no stream{did_you_mean(document, shown, known)}"
            document.fault(document.key_place(at), f"{message}, expected {one_of(known)}")


def _signals(document: Document, config: Config) -> None:
    for name, signal in config.signals.items():
        at = ("signals", name)
        if not (name.isascii() and name.isidentifier()) or name in RESERVED:
            message = f"the signal '{name}', expected letters, digits and _ and none of"
            document.fault(document.key_place(at), f"{message} {', '.join(RESERVED)}")
        if name.removesuffix("_sd") in config.signals and name.endswith("_sd"):
            message = (
                f"the signal '{name}' is the name under which rules read the sd of '{name[:-3]}'"
            )
            document.fault(document.key_place(at), f"{message}, expected another name")
        if signal.reference != "auto" and signal.reference not in signal.members:
            reference = document.shown((*at, "reference"), signal.reference)
            near = did_you_mean(document, reference, list(signal.members))
            message = f"the reference '{reference}' is no member of {show(at)}{near}"
            members = one_of(list(signal.members))
            document.fault(
                document.place((*at, "reference")), f"{message}, expected auto or {members}"
            )


def _quality_signal(document: Document, config: Config) -> None:
    wanted = config.quality.signal
    if wanted is not None and wanted not in config.signals:
        at = ("quality", "signal")
        shown, known = document.shown(at, wanted), list(config.signals)
        message = f"there is no signal '{shown}'{did_you_mean(document, shown, known)}"
        document.fault(document.place(at), f"{message}, expected {one_of(known)}")


def _weights(document: Document, config: Config) -> None:
    prior = {"ure": config.weights.ure, "sensors": config.weights.sensors}
    if not any(prior.values()):
        document.fault(
            document.place(("weights",)), "both weights are 0, expected one of them above 0"
        )
        return
    for name, signal in config.signals.items():
        groups = {member.group for member in signal.members.values()}
        if not any(prior[group] for group in groups):
            message = f"signal '{name}' has members of group {groups.pop()} only, whose weight is 0"
            document.fault(document.key_place(("signals", name)), f"{message}, expected it above 0")


def _ranges(document: Document, config: Config) -> None:
    for name, channel in config.channels.items():
        if channel.range is not None and channel.range[0] >= channel.range[1]:
            low, high = channel.range
            document.fault(
                document.place(("channels", name, "range")),
                f"the range [{low:g}, {high:g}] is empty, expected low < high",
            )


def _band(document: Document, config: Config) -> None:
    if config.quality.band_hz == "auto":
        return
    low, high = config.quality.band_hz
    nyquist = min(SERIES_HZ, config.resample.target_hz) / 2
    if not 0 <= low < high <= nyquist:
        message = f"the band [{low:g}, {high:g}] Hz, expected 0 <= low < high <= {nyquist:g}"
        why = f"half of the {2 * nyquist:g} Hz at which the indicators sample the signal"
        document.fault(document.place(("quality", "band_hz")), f"{message}: {why}")


def _windows(document: Document, config: Config) -> None:
    # Consecutive windows share at least half of their data: an event at the border of one is
    # then in the middle of another.
    for section, part in (("align", config.align), ("quality", config.quality)):
        if part.hop_s > part.window_s / 2:
            message = f"{section}.hop_s is {part.hop_s:g}, expected at most half of window_s"
            document.fault(document.place((section, "hop_s")), f"{message} ({part.window_s:g})")
    if config.quality.window_s < 2 * SEGMENT_S:
        document.fault(
            document.place(("quality", "window_s")),
            f"quality.window_s is {config.quality.window_s:g}, expected at least"
            f" {2 * SEGMENT_S:g}: two segments of a spectrum",
        )
    if config.align.window_s < config.align.least_window_s():
        message = f"align.window_s is {config.align.window_s:g}, expected at least"
        why = "no lag is found in less"
        document.fault(
            document.place(("align", "window_s")),
            f"{message} {config.align.least_window_s():g}: {why}",
        )
    elif (samples := config.align.window_s * max(config.align.rates())) > MAX_SEARCHED:
        message = (
            f"align holds {samples:g} samples a member, window_s times the highest of search_hz"
        )
        document.fault(
            document.place(("align", "window_s")), f"{message}, expected at most {MAX_SEARCHED:g}"
        )
    elif config.align.max_lag_s >= config.align.window_s / 2:
        # Beyond that, less than half of a window overlaps with its shifted partner.
        message = f"align.max_lag_s is {config.align.max_lag_s:g}, expected less than half of"
        document.fault(
            document.place(("align", "max_lag_s")),
            f"{message} window_s ({config.align.window_s:g})",
        )


def _places_on_disk(document: Document, config: Config) -> None:
    if not re.match(RIG, config.rig):
        message = f"the rig '{document.shown(('rig',), config.rig)}', expected a name for a folder"
        document.fault(document.place(("rig",)), message)
    if Path(config.output.dir).exists() and not Path(config.output.dir).is_dir():
        at = ("output", "dir")
        message = f"{document.shown(at, config.output.dir)} is a file, expected a folder"
        document.fault(document.place(at), message)


def _store(document: Document, config: Config) -> None:
    kind, _, path = (config.store.dsn if config.store else "").partition(":")
    if kind == "sqlite" and Path(config.output.dir).absolute() in Path(path).absolute().parents:
        message = "the store lies in output.dir, expected another folder: only results lie there"
        document.fault(document.place(("store", "dsn")), message)


def _rule_files(document: Document, config: Config) -> None:
    rules = config.evidence.rules if config.evidence else []
    if len(rules) > MAX_RULE_FILES:
        message = f"{len(rules)} rule files, expected at most {MAX_RULE_FILES}"
        document.fault(document.place(("evidence", "rules")), message)
    seen: set[Path] = set()
    for index, path in enumerate(rules[:MAX_RULE_FILES]):
        at = ("evidence", "rules", index)
        stream_checks.file(document, at, path)
        if Path(path).resolve() in seen:
            shown = document.shown(at, path)
            document.fault(document.place(at), f"the file {shown} is here twice, expected once")
        seen.add(Path(path).resolve())


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


class _Check(NamedTuple):
    reads: tuple[str, ...]
    holds: Callable[[Document, Config], None]


_CHECKS = (
    _Check(("streams",), stream_checks.check),
    _Check(("exporter", "bridge"), _exporter),
    _Check(
        ("streams", "signals", "facts", "bridge", "collect", "resample", "send"), destinations.check
    ),
    _Check(("streams",), _kinds),
    _Check(("streams", "mode"), _mode),
    _Check(("streams", "mode", "output"), _parts),
    _Check(("streams", "tap"), _tap),
    _Check(("energy", "exporter", "bridge"), _energy),
    _Check(("channels", "signals", "facts"), _channel_names),
    _Check(("signals", "facts"), _roles),
    _Check(("streams", "channels", "signals", "facts"), _sources),
    _Check(("streams", "channels", "signals", "facts"), reach.channels),
    _Check(("signals", "align", "resample"), reach.lags),
    _Check(("signals", "failover"), reach.fallback),
    _Check(("signals",), _signals),
    _Check(("signals", "quality"), _quality_signal),
    _Check(("signals", "weights"), _weights),
    _Check(("channels",), _ranges),
    _Check(("streams", "channels", "signals", "facts", "weights"), scales.check),
    _Check(("quality", "resample"), _band),
    _Check(("align", "quality"), _windows),
    _Check(("rig", "output"), _places_on_disk),
    _Check(("output", "store"), _store),
    _Check(("evidence",), _rule_files),
    _Check(
        ("streams", "signals", "facts", "bridge", "exporter", "output", "tap"), bridge_checks.check
    ),
)
