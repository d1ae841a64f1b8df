"""A recording beside live streams: a thread plays it at its recorded rate.

The first arrival is mapped to the start of playback; all others keep their distance to it, within
the delays of a busy machine. Source times are unchanged, so that its clocks are estimated as those
of a device. Events keep their recorded sources and belong to the rig of the run. At its end its
sources go down, as devices that were unplugged.

A resumed run resumes the recording as well. Events due during the pause are not played, as with
any device.

State: two blocks of the file (2 MiB) and their columns. Losses: as in a replay, as `Unread`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from configs.inputs import FileStream
from operators import events
from operators.events import Reject
from sources import inbox
from sources.inbox import FromSource, Listener, Message, Unread, stamp
from sources.opening import open_recording, reader_of
from sources.replay.arrival_check import Arrivals
from sources.replay.recording_reader import RecordingReader
from sources.rows.names import Names
from sources.rows.rows import Arrived

_POLL_S = 0.004
_AHEAD_S = 1.0
"""How far the reader is ahead of the due events."""
_STILL_S = 1.0
"""A pause of this length between two looks is a standstill of the process."""
_UNKNOWN = float("-inf")


class Playback(Listener):
    """One recording.

    Parameters
    ----------
    config : FileStream
    rig : str
        Of the run.
    arrivals : Arrivals
        Arrival check of the file.
    began : float or None
        Host time at which it began, in a resumed run (s).
    host : callable
        Host time (s).

    Attributes
    ----------
    began : float or None
        Host time of its first arrival (s); None before that is known.
    """

    def __init__(
        self,
        config: FileStream,
        rig: str,
        arrivals: Arrivals,
        began: float | None = None,
        host: Callable[[], float] = stamp,
    ) -> None:
        super().__init__(config.name)
        self.config, self.began = config, began
        self._host, self._arrivals = host, arrivals
        self._names = Names(rig)
        self._sources: set[str] = set()

    def facts(self) -> Sequence[str]:
        """Return the path and the manner of playback."""
        return self.config.path, "as recorded"

    def _run(self) -> None:
        """Play the recording to its end."""
        try:
            reader = reader_of(self.config)
            recording = open_recording(
                self.config.path,
                stopped=self._stop.is_set,
                columns=self.config.columns,
                unit=self.config.ts_unit,
            )
        except (OSError, ValueError) as error:
            self._inbox.turn(False, str(error))
            return
        feed = RecordingReader(0, recording, self._arrivals, None, reader)
        self._inbox.turn(True, ", ".join(self.facts()))
        try:
            self._play(feed)
        except OSError as error:
            self._inbox.turn(False, f"{self.config.path}: {error.strerror}")
        finally:
            recording.close()
        if not self._stop.is_set():
            rx = self._host()
            self._inbox.put(
                FromSource(s, inbox.StreamChange(rx, False, "played"))
                for s in sorted(self._sources)
            )
            self._inbox.turn(False, f"{self.config.path}: played to its end")

    def _play(self, feed: RecordingReader) -> None:
        shift, skips = self._shift(feed)
        looked = self._host()
        while not self._stop.is_set():
            now = self._host()
            since = looked if now - looked >= _STILL_S else now
            looked, due = now, now - shift
            while not feed.ended and feed.frontier()[0] < due + _AHEAD_S:
                feed.fill(self._names)
            for rows in feed.take_up_to(due, 0):
                if not skips:
                    self._inbox.put(self._items(rows, shift, since))
            self._inbox.settle(now)
            skips = False
            if feed.ended and not feed.ready:
                return
            self._stop.wait(_POLL_S)

    def _shift(self, feed: RecordingReader) -> tuple[float, bool]:
        """Return the shift from recorded to host time (s), and whether events due are past ones."""
        while not feed.ended and feed.frontier()[0] == _UNKNOWN:
            feed.fill(self._names)
        times = np.concatenate([rows.merge_time for rows in feed.ready] or [np.empty(0)])
        known = times[np.isfinite(times)]
        resumed = self.began is not None
        if self.began is None:
            self.began = self._host()
        return self.began - (float(known[0]) if len(known) else 0.0), resumed

    def _items(self, rows: Arrived, shift: float, since: float) -> Iterator[FromSource]:
        """Yield the items of rows under their sources.

        Parameters
        ----------
        rows : Arrived
        shift : float
            From recorded to host time (s).
        since : float
            Rows due after this host time (s) arrive at their due time: in a standstill of the
            process nothing else was taken.
        """
        channels = self._names.channels
        notes = [None] * len(rows) if rows.notes is None else rows.notes.tolist()
        # A reject has no arrival of its own; a row that is played late arrives late.
        # arrival = rx + shift, rounded to microseconds
        arrival = np.round(np.where(np.isnan(rows.rx), rows.merge_time, rows.rx) + shift, 6)
        now = self._host()
        arrival[~(arrival > since - 2 * _POLL_S) & ~rows.wild] = now
        columns = (rows.name, rows.ts, arrival, rows.value, rows.seq, rows.stamped)
        lists = (column.tolist() for column in columns)
        for name, ts, rx, value, seq, stamped, note in zip(*lists, notes, strict=True):
            if name >= 0:
                source, key = channels[name]
                self._sources.add(source)
                content = note if isinstance(note, str) else value
                own = ts if stamped else inbox.NO_TIME
                yield FromSource(source, Message(rx, key, content, own, seq))
            elif isinstance(note, Reject):
                where = note.where or self.config.path
                yield FromSource(
                    note.source or self.name,
                    Unread(rx, note.reason, where, note.sample, note.count),
                )
            elif isinstance(note, events.StreamStatus):
                yield FromSource(note.source, inbox.StreamChange(rx, note.up, "as recorded"))
            elif isinstance(note, events.CommandRow):
                yield FromSource(self.name, inbox.Commanded(rx, note.command, note.by))
