"""The live streams of a configuration as a source: one partition for all of them.

Threads hear and put into inboxes; the partition takes what they hold in order of arrival, tells
the host's time where nothing else tells it, writes all that to the tape when there is a tap, and
hands it on. From there on it is a recording like any other: the same verdicts on arrivals, the
same batches. So a replay of the tape gives what the live run gave.

What it goes on from is a place on the tape: from there to its end the tape is read, while the
streams hear already; then it is live again. Without a tap, what came after the last snapshot
is gone, and only the state is there again. A recording beside them is played as one more of them.

A flow that is behind takes a quarter of a second of arrivals at a time, so that a stop is near. At
a stop nothing more is taken: the tape ends there, and what still waits is dropped and counted
(`stopped`); of a flow that keeps up only what arrived after the wish to stop.

State: the inboxes (65,536 events each) and as much that is taken and waits, 4,096 names. Losses:
what the inboxes drop and what a stop leaves, counted.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from errno import EADDRINUSE
from pathlib import Path
from threading import Thread
from typing import TypeAlias

import msgspec
import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from configs.files import ACCESS
from configs.schema import Config, FileStream, MidiStream, OscStream, UreStream
from operators.events import Batch
from operators.snapshot import StateRefusedError, seal, unseal
from operators.types import ENDED, I64
from sources import shutdown as stop
from sources.host_clock import Axis, HostClock, stated
from sources.inbox import Inbox, Receiving, Unread, losses, size
from sources.live.heap import Heap
from sources.live.inbox_rows import Arrival, HostTick, in_order, lines_of, rows_of, starts_of
from sources.live.playback import Playback
from sources.live.standstill import Standstill
from sources.live.status import LATE_S, StatusReporter
from sources.live.tape_position import TapePosition
from sources.midi import MidiReceiver
from sources.ndjson import Decoder
from sources.opening import FileDecoder
from sources.osc import OscReceiver, open_port, refusal
from sources.recordings.recording import Mark
from sources.replay import MAX_SILENT_TICKS, sources_of
from sources.replay.arrival_check import Arrivals
from sources.replay.recording_reader import FeedState, RecordingReader
from sources.rows.admission import Admission
from sources.rows.by_rig import RigSplitter
from sources.rows.names import Names
from sources.rows.rows import Arrived
from sources.tape.reader import Tape
from sources.tape.writer import Lock, TapError, TapeWriter, unfinished
from sources.ure import UreScraper
from sources.wake import AT_ONCE, Poll

LiveStream: TypeAlias = MidiStream | OscStream | UreStream
TICK_S = 0.1
"""The longest silence that is not told."""
MAX_SLEEP_S = 86_400.0
_POLL_S = 0.004
_PORTION, _PORTION_S = 64, 0.25
_MAX_IN_TABLE = 4096
"""A batch with a new name costs all names of its table: random ones must not fill a large one."""
"""Of what waits, so many events and so much of arrivals are taken at a time."""
_STOPPING = (
    "Ctrl-C: nothing more is taken, what still waits is dropped, the rest is written; again to end"
    " at once"
)
_VERSION = 1


class LiveState(msgspec.Struct, frozen=True):
    """What a live run goes on from; `tape` is the name of its tape, if it has one.

    `began` holds at which host time the recordings beside it began (s), `axis` where host time
    lies.
    """

    version: int
    ended: bool
    tape: str | None
    rigs: list[str]
    seen: list[str]
    feed: FeedState
    began: dict[str, float] = {}
    axis: Axis | None = None
    names: bytes = b""


def _known(state: bytes) -> LiveState:
    """Return a stored state."""
    try:
        return msgspec.msgpack.decode(unseal(state, "live"), type=LiveState)
    except msgspec.DecodeError as error:
        raise StateRefusedError(f"live: the stored state cannot be read ({error})") from error


def steady(config: Config) -> set[str]:
    """Return the OSC streams that are to speak at a rate: a sampled member comes from them."""
    plan = config.plan()
    measured = {config.stream_of(m.source) for m in plan.members if not plan.is_held(m.channel)}
    return {s.name for s in config.streams if isinstance(s, OscStream) and s.name in measured}


def stream_of(config: LiveStream) -> Receiving:
    """Return a stream, not started."""
    match config:
        case OscStream():
            return OscReceiver(config)
        case MidiStream():
            return MidiReceiver(config)
        case UreStream():
            return UreScraper(config)


def preflight(config: Config) -> None:
    """Refuse a port or tap that another run has, and what is heard twice, before anything starts.

    Raises
    ------
    TapError
        A port or the tape is taken, and its holder is named; or a stream has two sources.
    """
    streams = {s.name for s in config.streams if not isinstance(s, FileStream)}
    if config.tap is not None:
        Lock(Path(config.tap.dir), make=False).release()
    for stream in config.streams:
        if isinstance(stream, FileStream) and (both := streams & sources_of(stream.path)):
            report = f"{stream.path} holds events of '{min(both)}', which is a live stream too"
            raise TapError(f"{stream.name}: {report}: give that another name")
        if isinstance(stream, OscStream):
            try:
                open_port(stream).close()
            except OSError as error:
                if error.errno == EADDRINUSE:  # other errors may pass before the start
                    raise TapError(f"{stream.name}: {refusal(stream, error)}") from None


class Live(FixedPartitionedSource[tuple[str, Batch], bytes]):
    """The live streams of a configuration."""

    def __init__(self, config: Config, fingerprint: str, host: HostClock | None = None) -> None:
        self._config = config
        self._fingerprint = fingerprint
        self._host = host

    def list_parts(self) -> list[str]:
        """Name the one partition."""
        return ["live"]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> LivePartition:
        """Open the tape and start the streams."""
        stop.install(_STOPPING)
        return LivePartition(self._config, self._fingerprint, resume_state, host=self._host)


class LivePartition(StatefulSourcePartition[tuple[str, Batch], bytes]):
    """Hands on all that came since it was last asked, as one batch.

    Parameters
    ----------
    config : Config
    fingerprint : str
        Of the configuration.
    state : bytes or None
        Of `snapshot`.
    streams : list of Stream or None
        Instead of those of the configuration.
    clock, sleep : callable
        Monotonic seconds; waits so many.
    host : HostClock or None
        Of the run; by default one of its own.
    """

    def __init__(
        self,
        config: Config,
        fingerprint: str,
        state: bytes | None = None,
        streams: list[Receiving] | None = None,
        clock: Callable[[], float] = time.monotonic,
        host: HostClock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        known = _known(state) if state else None
        if known and known.version != _VERSION:
            raise StateRefusedError(
                f"the recovery store is of version {known.version}, not {_VERSION}"
            )
        self._rig, self._believed_s = config.rig, config.drift.max_delay_s
        self._clock, self._host = clock, host or HostClock()
        self._ended = self._done = bool(known and known.ended)
        self._final = state if self._ended else None
        self._tap: TapeWriter | None = None
        self._streams: list[Receiving] = []
        self._inboxes: dict[str, Inbox] = {}
        if known and self._ended:
            return
        recording = self._open(config, fingerprint, known)
        reader = FileDecoder(Decoder(recording.path))
        known_feed = known.feed if known else None
        self._feed = RecordingReader(0, recording, _arrivals(config), known_feed, reader)
        self._names = Names(config.rig)
        admission = Admission(config.plan().used, known.names if known else b"")
        self._dealer = RigSplitter([recording.path], config.rig, config.max_rigs,
                              known.rigs if known else [], known.seen if known else [],
                              admission)  # fmt: skip
        look_s = _POLL_S / 2 if config.resample.profile == "low_latency" else _POLL_S
        self._pace = Poll(look_s, clock, sleep)
        self._heard = clock()
        self._standstill = Standstill(clock, self._host)
        self._heap = Heap()
        self._held: list[Arrival] = []
        self._torn = False
        keys = {s.name: s.keys for s in config.streams if isinstance(s, OscStream) and s.keys}
        self._voice = StatusReporter(clock, steady(config), keys)
        self._began = dict(known.began) if known else {}
        if streams is None:
            streams = live_streams(config, self._began, self._host)
        self._streams = streams
        if known:
            self._host.go_on(known.axis or Axis("", 0, 0))
            self._not_before(self._feed.newest)
        for stream in self._streams:
            self._inboxes[stream.name] = Inbox(stream.name, host=self._host)
            stream.start(self._inboxes[stream.name])

    def _open(
        self, config: Config, fingerprint: str, known: LiveState | None
    ) -> Tape | TapePosition:
        """Open the tap; return what is to be read before the run is live."""
        mark = known.feed.mark if known else Mark()
        if config.tap is None:
            return TapePosition("live", mark.offset)
        run = known.tape if known else None
        if known is None and stop.recovering():
            run = unfinished(config.tap, fingerprint)
        needed = mark.offset if stop.recovering() else None
        self._tap = TapeWriter(
            config.tap, config.rig, fingerprint, run, needed, ACCESS[config.output.mode]
        )
        path = str(self._tap.folder)
        return Tape(path, mark, growing=True) if run else TapePosition(path, 0)

    @property
    def tape(self) -> Path | None:
        """Folder of the tape that is written, if one is."""
        return self._tap.folder if self._tap else None

    def next_batch(self) -> list[tuple[str, Batch]]:
        """Return what came; at the end of a run that is not gone on with, the end of every rig."""
        if self._done:
            raise StopIteration
        names = self._names = self._names.renewed(_MAX_IN_TABLE)
        if self.next_awake() is not None:
            self._pace.wait()
        if isinstance(self._feed.recording, Tape):
            if not self._feed.fill(names):
                tape = self._feed.recording
                tape.close()
                self._feed.recording = TapePosition(tape.path, tape.mark(None).offset)
                self._not_before(self._feed.newest)
            return self._hand_on()
        self._heap.trim(self._clock())
        self._done = stop.requested()
        items: list[Arrival] = []
        if self._done:
            items = self._last()
        elif not self._standstill.lasts(self._inboxes.values(), self._behind()):
            items = self._take()
        if items:
            self._feed.add([rows_of(items, self._tape(items), names)], names)
        if self._done and not stop.recovering():
            self._ended = True
            self._feed.finish(names)
        return self._hand_on() if items or self._ended else []

    def _behind(self) -> bool:
        """Whether events that were taken before still wait to be handed on."""
        return bool(self._held) and not self._torn

    def _take(self) -> list[Arrival]:
        """Empty the inboxes, by portions; when nothing has come for a while, tell the time."""
        now, host = self._clock(), self._host()
        fresh = self._torn or not self._held
        if fresh:
            emptied = self._emptied()
            self._held = sorted([*self._held, *emptied], key=_arrival) if self._torn else emptied
            self._torn = self._standstill.began()
            if self._torn:  # some inboxes were emptied before, some after: the rest is to follow
                return []
        items = self._portion()
        if items:
            self._voice.wait(host - items[0][1].rx)
        whole = fresh and not self._held
        items = self._bridged(items, host, whole)
        if any(type(item) is not Unread for _, item in items):
            self._heard = now
        elif now - self._heard >= TICK_S and not self._held:
            self._heard = now
            items.append(("", HostTick(host, self._rig)))
        for inbox in self._inboxes.values():
            for line in inbox.words():
                self._voice.say(line)
        return items

    def _stepped(self) -> list[Arrival]:
        """Return a tick for each step of the wall clock, and state it."""
        found: list[Arrival] = []
        for rx, step_s in self._host.steps():
            self._voice.say(stated(step_s))
            found.append(("", HostTick(rx, self._rig, step_s)))
        return found

    def _not_before(self, newest: float) -> None:
        """Let host time not begin before what the run has already."""
        if behind_s := self._host.not_before(newest):
            self._voice.say(
                f"the host's clock is {behind_s:.3f} s behind the newest event of this run:"
                " host time goes on from that event"
            )

    def _emptied(self) -> list[Arrival]:
        """Return all that the inboxes hold and the steps of the wall clock, by arrival."""
        taken = {name: said for name, inbox in self._inboxes.items() if (said := inbox.take())}
        self._voice.tell(taken)
        found = in_order(taken)
        steps = self._stepped()
        return sorted([*found, *steps], key=_arrival) if steps else found

    def _portion(self) -> list[Arrival]:
        """Take of what is held as much as is soon worked off."""
        held = self._held
        if len(held) <= _PORTION:
            self._held = []
            return held
        last = held[0][1].rx + _PORTION_S
        n = max(_PORTION, bisect_right(held, last, key=_arrival))
        self._held = held[n:]
        return held[:n]

    def _last(self) -> list[Arrival]:
        """Stop the streams; return what was there in time, and all else as dropped."""
        host, wish = self._host(), self._host() - stop.age_s()
        self._stop()
        waiting = [*self._held, *self._emptied()]
        if self._torn:
            waiting.sort(key=_arrival)
        self._held = []
        in_time = bool(waiting) and host - waiting[0][1].rx <= LATE_S
        taken: list[Arrival] = []
        dropped: Counter[str] = Counter()
        for source, item in waiting:
            counted = isinstance(item, Unread) and ENDED.get(item.reason) == "dropped"
            if counted or (in_time and item.rx <= wish):
                taken.append((source, item))
            elif not isinstance(item, HostTick):
                dropped[source] += size(item)
        for source, events in dropped.items():
            taken += [(source, lost) for lost in losses(host, "stopped", events)]
        if count := dropped.total():
            print(f"lumen: stopped: {count} events that still waited are dropped", file=sys.stderr)
        return self._bridged(taken, host, False)

    def _bridged(self, items: list[Arrival], host: float, whole: bool) -> list[Arrival]:
        """Add ticks where no stream gave the time, as after a sleep: no leap may be beyond belief.

        A run that is gone on with after more than a day ends instead.

        Parameters
        ----------
        items : list of Came
        host : float
            Host time (s).
        whole : bool
            Nothing else had come by then.
        """
        newest = self._feed.newest
        leap = host - newest
        if leap <= self._believed_s or newest == float("-inf"):
            return items
        if leap > MAX_SLEEP_S:
            if not stop.requested():
                self._voice.say(f"nothing came for {leap:.0f} s: this run ends here")
            stop.request()
            return items
        found: list[Arrival] = []
        for source, item in items:
            if type(item) is not Unread and item.rx <= host:
                found += self._ticks(newest, item.rx)
                newest = max(newest, item.rx)
            found.append((source, item))
        return found + self._ticks(newest, host) if whole else found

    def _ticks(self, newest: float, rx: float) -> list[Arrival]:
        """Return ticks between two times, where these are further apart than is believed."""
        if rx - newest <= self._believed_s:
            return []
        step = self._believed_s / 2
        times = np.round(newest + np.arange(step, rx - newest, step), 6).tolist()
        return [("", HostTick(time, self._rig)) for time in times]

    def _tape(self, items: list[Arrival]) -> I64:
        """Write the items to the tape, if there is one; return their places."""
        place = self._feed.recording
        assert isinstance(place, TapePosition)
        before = place.offset
        if self._tap is None:
            place.offset += len(items)
            return before + np.arange(len(items))
        lines = lines_of(items, self._rig)
        self._tap.write(lines)
        place.offset += len(lines)
        return before + starts_of(lines)

    def _hand_on(self) -> list[tuple[str, Batch]]:
        parts = self._feed.take_up_to(float("inf"), 0)
        if not parts and not self._ended:
            return []
        rows = Arrived.join(parts) if parts else Arrived.none(self._names)
        self._feed.used(rows)
        return self._dealer.deal(rows, self._ended)

    def next_awake(self) -> datetime | None:
        """Return a moment that is past: the next look waits for itself, where it has to wait."""
        if self._done or self._held or isinstance(self._feed.recording, Tape):
            return None
        return AT_ONCE

    def snapshot(self) -> bytes:
        """Return the place on the tape from which it is to be gone on."""
        if self._final is not None:
            return self._final
        feed = self._feed.state([])
        if self._tap is not None and stop.recovering():
            self._tap.sync(feed.mark.offset)
        self._began |= {s.name: s.began for s in self._streams
                        if isinstance(s, Playback) and s.began is not None}  # fmt: skip
        return seal(msgspec.msgpack.encode(LiveState(
            _VERSION, self._ended, self._tap.run if self._tap else None,
            self._dealer.admitted, self._dealer.seen, feed, self._began, self._host.axis(),
            self._dealer.names.snapshot(),
        )))  # fmt: skip

    def close(self) -> None:
        """Stop the streams and complete the tape."""
        self._stop()
        if self._tap is not None:
            self._tap.close(self._ended)
            self._tap = None

    def _stop(self) -> None:
        threads = [Thread(target=stream.stop) for stream in self._streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._streams = []


def live_streams(config: Config, began: dict[str, float], host: HostClock) -> list[Receiving]:
    """Return the streams of a live configuration, not started.

    Parameters
    ----------
    config : Config
    began : dict
        Host times at which recordings began that are to be gone on with (s).
    host : HostClock
        Of the run.
    """
    return [
        Playback(s, config.rig, _arrivals(config), began.get(s.name), host)
        if isinstance(s, FileStream) else stream_of(s)
        for s in config.streams
    ]  # fmt: skip


def _arrival(came: Arrival) -> float:
    return came[1].rx


def _arrivals(config: Config) -> Arrivals:
    """Return what judges arrivals."""
    return Arrivals(config.drift.max_delay_s, MAX_SILENT_TICKS / config.resample.target_hz)
