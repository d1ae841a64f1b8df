"""The live streams of a configuration as a source: one partition for all of them.

Receiver threads fill one inbox per stream. The partition drains the inboxes in arrival order and
adds ticks of the host clock when they are idle. It writes the batch to the tape, if there is a tap,
then emits it. Arrival check and batches are those of a recording, so that a replay of the tape
reproduces the live run.

A run resumes from a position on its tape. The tape is read from there to its end while the
streams already receive; then the run is live again. Without a tap only the state is restored, and
the events after the last snapshot are lost. A recording beside the streams is one more stream.

A flow that is behind takes a quarter of a second of arrivals at a time, so that a stop takes
effect soon. At a stop nothing more is taken: the tape ends there, and waiting events are dropped
and counted (`stopped`). A flow that keeps up drops only events that arrived after the request.

State: the inboxes (65,536 events each), as many events taken and not emitted, 4,096 names.
Losses: events dropped by the inboxes and at a stop, counted.
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

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from configs.connectors.kafka import KafkaStream
from configs.connectors.mqtt import MqttStream
from configs.connectors.websocket import WebSocketStream
from configs.inputs import FileStream, MidiStream, OscStream, UreStream
from configs.schema import Config, LiveStream
from operators.collect import BlockRule
from operators.events import Batch
from operators.types import ENDED, I64
from sources.control import CommandSocket
from sources.host.host_clock import Axis, HostClock
from sources.host.shutdown import Shutdown
from sources.inbox import Inbox, Receiving, Unread, losses, size
from sources.live.heap import Heap
from sources.live.idle_clock import IdleClock
from sources.live.inbox_rows import Arrival, HostTick, in_order, rows_of
from sources.live.live_snapshot import VERSION, LiveSnapshot
from sources.live.live_tape import LiveTape
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
from sources.replay.poll import AT_ONCE, Poll
from sources.replay.recording_reader import RecordingReader
from sources.rows.admission import Admission
from sources.rows.by_rig import RigSplitter
from sources.rows.names import Names
from sources.rows.rows import Arrived
from sources.tape.reader import Tape
from sources.tape.writer import Lock, TapError
from sources.ure import UreScraper

_LOOK, _MIN_LOOK_S, _MAX_LOOK_S = 0.4, 0.002, 0.02
"""Time from one look at the inboxes to the next, in blocks and within these limits (s)."""
_PORTION, _PORTION_S = 64, 0.25
"""A portion of the waiting events: at least so many, at most so much arrival time (s)."""
_MAX_IN_TABLE = 4096
"""Names of a table: a batch with a new name carries them all, so that a table stays small."""
_STOPPING = (
    "Ctrl-C: nothing more is taken, waiting events are dropped, the rest is written; again to end"
    " at once"
)


def steady(config: Config) -> set[str]:
    """Return the OSC streams of sampled members: they are expected to send at a rate."""
    plan = config.plan()
    measured = {config.stream_of(m.source) for m in plan.members if not plan.is_held(m.channel)}
    return {s.name for s in config.streams if isinstance(s, OscStream) and s.name in measured}


def stream_of(stream: LiveStream, config: Config | None = None) -> Receiving:
    """Return a stream, not started; without a configuration, no channel of it is held."""
    match stream:
        case OscStream():
            return OscReceiver(stream)
        case MidiStream():
            return MidiReceiver(stream)
        case UreStream():
            return UreScraper(stream)
        case MqttStream():
            from sources.mqtt.mqtt import MqttReceiver  # an extra

            plan = config.plan() if config else None
            return MqttReceiver(
                stream, lambda key: plan is not None and plan.is_held(f"{stream.name}:{key}")
            )
        case WebSocketStream():
            from sources.websocket.websocket import WebSocketReceiver  # an extra

            return WebSocketReceiver(stream, pages_of(config))


def pages_of(config: Config | None) -> list[str]:
    """Return the origins of the run's own pages."""
    if config is None or config.exporter is None:
        return []
    hosts = ["127.0.0.1", "localhost", "[::1]", config.exporter.host, *config.exporter.allow_hosts]
    return [f"http://{host}:{config.exporter.http_port}" for host in hosts]


def preflight(config: Config) -> None:
    """Refuse a port or tap in use by another run, and a source received twice, before any start.

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
    """The live streams of a configuration.

    Parameters
    ----------
    config : Config
    fingerprint : str
        Of the configuration.
    host : HostClock, optional
        Of the run; by default one of its own.
    recovering : bool
        The run has a recovery store.
    shutdown : Shutdown, optional
        Of the run; by default one of its own.
    """

    def __init__(
        self,
        config: Config,
        fingerprint: str,
        host: HostClock | None = None,
        *,
        recovering: bool = False,
        shutdown: Shutdown | None = None,
    ) -> None:
        self._config = config
        self._shutdown = shutdown or Shutdown()
        self._fingerprint = fingerprint
        self._host = host
        self._recovering = recovering

    def list_parts(self) -> list[str]:
        """Name the one partition."""
        return ["live"]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> LivePartition:
        """Open the tape and start the streams."""
        self._shutdown.start(_STOPPING)
        return LivePartition(
            self._config,
            self._fingerprint,
            resume_state,
            host=self._host,
            recovering=self._recovering,
            shutdown=self._shutdown,
        )


class LivePartition(StatefulSourcePartition[tuple[str, Batch], bytes]):
    """Emits all events received since the last call, as one batch for each rig.

    Parameters
    ----------
    config : Config
    fingerprint : str
        Of the configuration.
    state : bytes or None
        Of `snapshot`.
    streams : list of Receiving or None
        Replace those of the configuration.
    clock, sleep : callable
        Monotonic seconds; waits a number of seconds.
    host : HostClock or None
        Of the run; by default one of its own.
    recovering : bool
        The run has a recovery store: a stop is a pause, not the end of the rigs.
    shutdown : Shutdown or None
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
        *,
        recovering: bool = False,
        shutdown: Shutdown | None = None,
    ) -> None:
        self._shutdown = shutdown or Shutdown()
        known = LiveSnapshot.of(state) if state else None
        self._clock, self._host = clock, host or HostClock()
        self._recovering = recovering
        self._ended = self._done = bool(known and known.ended)
        self._final = state if self._ended else None
        self._tape: LiveTape | None = None
        self._streams: list[Receiving] = []
        self._inboxes: dict[str, Inbox] = {}
        if known and self._ended:
            return
        self._tape = LiveTape(
            config,
            fingerprint,
            resumed=known is not None,
            run=known.tape if known else None,
            mark=known.feed.mark if known else Mark(),
            recovering=recovering,
        )
        self._open_reader(self._tape.start, config, known)
        self._pace = Poll(_look_s(config.block_s()), clock, sleep)
        self._standstill = Standstill(clock, self._host)
        self._heap = Heap()
        self._held: list[Arrival] = []
        self._torn = False
        keys = {s.name: s.keys for s in config.streams if isinstance(s, OscStream) and s.keys}
        self._status = StatusReporter(clock, steady(config), keys)
        self._idle = IdleClock(
            config.rig,
            config.drift.max_delay_s,
            self._host,
            self._status.report,
            clock(),
            self._shutdown,
        )
        self._began = dict(known.began) if known else {}
        if streams is None:
            streams = live_streams(config, self._began, self._host)
        self._streams = streams
        if known:
            self._host.resume(known.axis or Axis("", 0, 0))
            self._idle.not_before(self._feed.newest)
        for stream in self._streams:
            self._inboxes[stream.name] = Inbox(stream.name, host=self._host)
            stream.start(self._inboxes[stream.name])

    def _open_reader(
        self, recording: Tape | TapePosition, config: Config, known: LiveSnapshot | None
    ) -> None:
        """Set up the path of rows: reader, names, rigs."""
        reader = FileDecoder(Decoder(recording.path))
        known_feed = known.feed if known else None
        self._feed = RecordingReader(0, recording, _arrivals(config), known_feed, reader)
        self._names = Names(config.rig)
        self._splitter = RigSplitter(
            [recording.path],
            config.rig,
            config.max_rigs,
            admitted=known.rigs if known else [],
            seen=known.seen if known else [],
            names=Admission(config.plan().used, known.names if known else b""),
        )

    @property
    def tape(self) -> Path | None:
        """Folder of the tape that is written; None without one."""
        return self._tape.folder if self._tape else None

    def next_batch(self) -> list[tuple[str, Batch]]:
        """Return the received events; at the end of a run without recovery, every rig's end."""
        if self._done:
            raise StopIteration
        names = self._names = self._names.rotated(_MAX_IN_TABLE)
        if self.next_awake() is not None:
            self._pace.wait()
        if isinstance(self._feed.recording, Tape):
            if not self._feed.fill(names):
                self._feed.recording = TapePosition.behind(self._feed.recording)
                self._idle.not_before(self._feed.newest)
            return self._hand_on()
        self._heap.trim(self._clock())
        self._done = self._shutdown.requested()
        items: list[Arrival] = []
        if self._done:
            items = self._last()
        elif not self._standstill.lasts(self._inboxes.values(), self._behind()):
            items = self._take()
        if items:
            self._feed.add([rows_of(items, self._append(items), names)], names)
        if self._done and not self._recovering:
            self._ended = True
            self._feed.finish(names)
        return self._hand_on() if items or self._ended else []

    def _behind(self) -> bool:
        """Whether events that were taken earlier still wait to be emitted."""
        return bool(self._held) and not self._torn

    def _take(self) -> list[Arrival]:
        """Empty the inboxes, by portions, and add ticks of the host clock."""
        now, host = self._clock(), self._host()
        fresh = self._torn or not self._held
        if fresh:
            emptied = self._emptied()
            self._held = sorted([*self._held, *emptied], key=_arrival) if self._torn else emptied
            self._torn = self._standstill.began()
            if self._torn:  # a standstill between two inboxes: the second look sees the rest
                return []
        items = self._portion()
        if items:
            self._status.report_wait(host - items[0][1].rx)
        items = self._idle.fill(
            items,
            newest=self._feed.newest,
            now=now,
            host=host,
            complete=fresh and not self._held,
            waiting=bool(self._held),
        )
        for inbox in self._inboxes.values():
            for line in inbox.take_log():
                self._status.report(line)
        return items

    def _emptied(self) -> list[Arrival]:
        """Return the contents of the inboxes and the steps of the wall clock, by arrival."""
        taken = {name: items for name, inbox in self._inboxes.items() if (items := inbox.take())}
        self._status.update(taken)
        found = in_order(taken)
        steps = self._idle.steps()
        return sorted([*found, *steps], key=_arrival) if steps else found

    def _portion(self) -> list[Arrival]:
        """Take a portion of the held events that is soon processed."""
        held = self._held
        if len(held) <= _PORTION:
            self._held = []
            return held
        last = held[0][1].rx + _PORTION_S
        n = max(_PORTION, bisect_right(held, last, key=_arrival))
        self._held = held[n:]
        return held[:n]

    def _last(self) -> list[Arrival]:
        """Stop the streams; return the events received in time, and the others as losses."""
        host, requested = self._host(), self._host() - self._shutdown.age_s()
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
            if counted or (in_time and item.rx <= requested):
                taken.append((source, item))
            elif not isinstance(item, HostTick):
                dropped[source] += size(item)
        for source, events in dropped.items():
            taken += [(source, lost) for lost in losses(host, "stopped", events)]
        if count := dropped.total():
            print(f"lumen: stopped: {count} events that still waited are dropped", file=sys.stderr)
        return self._idle.bridge(taken, newest=self._feed.newest, host=host, complete=False)

    def _append(self, items: list[Arrival]) -> I64:
        """Write the items to the tape, if there is one; return their positions."""
        end = self._feed.recording
        assert isinstance(end, TapePosition)
        assert self._tape is not None
        return self._tape.append(items, end)

    def _hand_on(self) -> list[tuple[str, Batch]]:
        parts = self._feed.take_up_to(float("inf"), 0)
        if not parts and not self._ended:
            return []
        rows = Arrived.join(parts) if parts else Arrived.none(self._names)
        self._feed.used(rows)
        return self._splitter.split(rows, self._ended)

    def next_awake(self) -> datetime | None:
        """Return a past moment if the next look has to wait: `next_batch` waits by itself."""
        if self._done or self._held or isinstance(self._feed.recording, Tape):
            return None
        return AT_ONCE

    def snapshot(self) -> bytes:
        """Return the state at the tape position from which a later run resumes."""
        if self._final is not None:
            return self._final
        feed = self._feed.state([])
        if self._tape is not None:
            self._tape.sync(feed.mark.offset)
        for stream in self._streams:
            if isinstance(stream, Playback) and stream.began is not None:
                self._began[stream.name] = stream.began
        return LiveSnapshot(
            version=VERSION,
            ended=self._ended,
            tape=self._tape.run if self._tape else None,
            rigs=list(self._splitter.admitted),
            seen=list(self._splitter.seen),
            feed=feed,
            began=self._began,
            axis=self._host.axis(),
            names=self._splitter.names.snapshot(),
        ).sealed()

    def close(self) -> None:
        """Stop the streams and complete the tape."""
        self._stop()
        if self._tape is not None:
            self._tape.close(self._ended)

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
        Host times at which resumed recordings began (s).
    host : HostClock
        Of the run.
    """
    streams: list[Receiving] = []
    for stream in config.streams:
        if isinstance(stream, FileStream):
            start = began.get(stream.name)
            streams.append(Playback(stream, config.rig, _arrivals(config), start, host))
        elif not isinstance(stream, KafkaStream):  # a topic is never beside live streams
            streams.append(stream_of(stream, config))
    if config.bridge is not None:
        streams.append(CommandSocket(Path(config.output.dir), config.rig))
    return streams


def _look_s(block_s: BlockRule) -> float:
    """Return the time between two looks: a look costs as much as a block, and gives no result."""
    if block_s == "density":
        return _MAX_LOOK_S
    return min(max(_LOOK * block_s, _MIN_LOOK_S), _MAX_LOOK_S)


def _arrival(arrival: Arrival) -> float:
    return arrival[1].rx


def _arrivals(config: Config) -> Arrivals:
    """Return the arrival check of a stream."""
    return Arrivals(config.drift.max_delay_s, MAX_SILENT_TICKS / config.resample.target_hz)
