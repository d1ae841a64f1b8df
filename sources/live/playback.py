"""A recording beside live streams: a thread that plays it as it was recorded.

Its first arrival is laid on the moment at which it begins, and all others follow at their
distance, as far as a busy machine lets them; source times are left as they are, for its clocks to
be found as those of a device. Events keep the sources that they were recorded under, and belong to
the run's rig. At its end its sources go down, as devices that were unplugged.

A run that is gone on with goes on in it too: what would have been played in between is not, as
with any device.

State: two blocks of the file (2 MiB) and their columns. Losses: as in a replay, told as `Unread`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from configs.schema import FileStream
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
"""What is read ahead of what is due."""
_STILL_S = 1.0
"""So long without a look, the process stood still."""
_UNKNOWN = float("-inf")


class Playback(Listener):
    """One recording.

    Parameters
    ----------
    config : FileStream
    rig : str
        Of the run.
    arrivals : Arrivals
        Judges the file's.
    began : float or None
        Host time at which it began, where a run goes on in it (s).
    host : callable
        Host time (s).

    Attributes
    ----------
    began : float or None
        Host time at which its first arrival is laid (s); None before that is known.
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
        """Return the path, and how it is played."""
        return self.config.path, "as recorded"

    def _run(self) -> None:
        """Play what is due, to the end."""
        try:
            reader = reader_of(self.config)
            recording = open_recording(self.config.path)
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
        """Return how much later than recorded it plays, and whether what is due is past."""
        while not feed.ended and feed.frontier()[0] == _UNKNOWN:
            feed.fill(self._names)
        keys = np.concatenate([rows.merge_time for rows in feed.ready] or [np.empty(0)])
        known = keys[np.isfinite(keys)]
        goes_on = self.began is not None
        if self.began is None:
            self.began = self._host()
        return self.began - (float(known[0]) if len(known) else 0.0), goes_on

    def _items(self, rows: Arrived, shift: float, since: float) -> Iterator[FromSource]:
        """Yield what the rows say, each as of the source that it is of.

        Parameters
        ----------
        rows : Arrived
        shift : float
            How much later than recorded they are played (s).
        since : float
            Rows that were due after this host time arrive when they were due (s): the process
            stood still meanwhile, and nothing else was taken.
        """
        pairs = self._names.channels
        notes = [None] * len(rows) if rows.notes is None else rows.notes.tolist()
        # A reject has no arrival of its own; what is played late arrives late.
        arrival = np.round(np.where(np.isnan(rows.rx), rows.merge_time, rows.rx) + shift, 6)
        now = self._host()
        arrival[~(arrival > since - 2 * _POLL_S) & ~rows.wild] = now
        for name, ts, rx, value, seq, stamped, note in zip(
            rows.name.tolist(), rows.ts.tolist(), arrival.tolist(), rows.value.tolist(),
            rows.seq.tolist(), rows.stamped.tolist(), notes, strict=True,
        ):  # fmt: skip
            if name >= 0:
                source, key = pairs[name]
                self._sources.add(source)
                said = note if isinstance(note, str) else value
                own = ts if stamped else inbox.NO_TIME
                yield FromSource(source, Message(rx, key, said, own, seq))
            elif isinstance(note, Reject):
                where = note.where or self.config.path
                yield FromSource(
                    note.source or self.name,
                    Unread(rx, note.reason, where, note.sample, note.count),
                )
            elif isinstance(note, events.StreamStatus):
                yield FromSource(note.source, inbox.StreamChange(rx, note.up, "as recorded"))
