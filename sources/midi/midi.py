"""MIDI: the messages of a port as channels, stamped at their receipt by the driver.

A message of the standard (MIDI 1.0, M1 v4.2.1) is a channel and a number: `note/<channel>/<n>`
(velocity, 0 at its end), `cc/<channel>/<n>`, `pressure/<channel>` (with `/<n>`: of one note),
`program/<channel>`, `pitch/<channel>` (-8192 to 8191), `clock` (1 at each of its pulses), and
`transport` (Start 1, Continue 2, Stop 0); channels 1 to 16. With `pair`, numbers of 14 bits too:
see `controller_pairs.Fine`. There is no source time: the time of a message is its receipt by the
driver, see `arrival_times.ArrivalTimes`.

The thread of the stream reads the driver's queue every 2 ms. It checks four times a second that
the port still exists, and reconnects if not. Sounding notes of a removed device are not ended:
its stream is down, and so stale.

Losses: incomplete messages (`midi`). Messages without a channel, such as MIDI time code, active
sensing or the song position, are ignored, and so are immediate duplicates (`filtered`). Losses of
the driver are counted as `kernel_full`: at least one for a full queue, and on JACK those found by
`losses`; periods missed by JACK are reported on standard error. System exclusive is discarded by
the driver, so that an endless one takes no memory; it is not counted. On JACK, RtMidi holds back
the messages after an unfinished one until its end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from configs.inputs import MidiStream
from operators.limits import MAX_SAMPLE
from sources.inbox import Listener, Message, Unread
from sources.midi.arrival_times import ArrivalTimes
from sources.midi.controller_pairs import Fine
from sources.midi.losses import RepeatedMessages, Sounding
from sources.midi.port import MidiPortError, Port

_POLL_S = 0.002
_LOOK_S = 0.25
_REPORT_EVERY_S = 60.0
"""Of missed periods: a busy machine without real-time scheduling misses some constantly."""
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 4.0
_SYSTEM: dict[int, tuple[str, float]] = {
    0xF8: ("clock", 1.0),
    0xFA: ("transport", 1.0),
    0xFB: ("transport", 2.0),
    0xFC: ("transport", 0.0),
}
"""Messages of the whole system by status: key and value."""
_ONE_BYTE = {0xC0: "program", 0xD0: "pressure"}
_TWO_BYTES = {0x80: "note", 0x90: "note", 0xA0: "pressure", 0xB0: "cc", 0xE0: "pitch"}


def decoded(message: Sequence[int], rx: float, where: str) -> Message | Unread:
    """Return a MIDI message as an inbox message, or its rejection.

    Parameters
    ----------
    message : sequence of int
        One message as bytes, status first.
    rx : float
        Arrival (s).
    where : str
        The port, for dead letters.
    """
    status, data = (message[0], message[1:]) if message else (0, ())
    if status >= 0xF0:
        if status in _SYSTEM and not data:
            return Message(rx, *_SYSTEM[status])
        return _refused(message, rx, where, whole=True)
    kind, channel = status & 0xF0, (status & 0x0F) + 1
    name = _ONE_BYTE.get(kind) or _TWO_BYTES.get(kind)
    if name is None or len(data) != (1 if kind in _ONE_BYTE else 2) or max(data) > 0x7F:
        return _refused(message, rx, where, whole=False)
    if kind in _ONE_BYTE:
        return Message(rx, f"{name}/{channel}", float(data[0]))
    low, high = data
    if name == "pitch":
        return Message(rx, f"pitch/{channel}", float((high << 7 | low) - 8192))
    return Message(rx, f"{name}/{channel}/{low}", 0.0 if kind == 0x80 else float(high))


def _refused(message: Sequence[int], rx: float, where: str, whole: bool) -> Unread:
    return Unread(rx, "filtered" if whole else "midi", where, bytes(message[:MAX_SAMPLE]))


class MidiReceiver(Listener):
    """One MIDI input.

    Parameters
    ----------
    config : MidiStream
    port : callable
        Factory of its port.
    """

    def __init__(self, config: MidiStream, port: Callable[[str, bool, bool], Port] = Port) -> None:
        super().__init__(config.name)
        self.config = config
        self._port = port(config.device, config.virtual, True)
        self._stamps, self._fine, self._repeats = ArrivalTimes(), Fine(), RepeatedMessages()
        self._sounding = Sounding(0)
        self._empty = self._last_report = self._last_check = 0.0
        self._missed = self._missed_before = 0

    def facts(self) -> Sequence[str]:
        """Return the port, and the other matching ones."""
        return self._port.facts

    def _run(self) -> None:
        """Open the port and receive; retry while it is missing; close it at the stop."""
        port, pause = self._port, _FIRST_PAUSE_S
        while not self._stop.is_set():
            before = self._inbox.host()
            try:
                port.open()
            except MidiPortError as error:
                self._inbox.turn(False, str(error))
                self._stop.wait(pause)
                pause = min(2 * pause, _MAX_PAUSE_S)
                continue
            pause = _FIRST_PAUSE_S
            name = port.facts[0]
            self._inbox.turn(True, ", ".join(port.facts))
            self._begin(before)
            while self._is_there() and not self._stop.wait(_POLL_S):
                self._take()
            self._take()
            port.release()
            if not self._stop.is_set():
                self._inbox.turn(False, f"{name} is gone")
        port.close()

    def _begin(self, now: float) -> None:
        self._stamps, self._fine, self._repeats = ArrivalTimes(), Fine(), RepeatedMessages()
        self._empty, self._last_check = now, time.monotonic()
        self._missed = self._port.missed()
        self._sounding, self._missed_before = Sounding(self._missed), self._missed

    def _is_there(self) -> bool:
        """Whether the port existed at the last check."""
        now = time.monotonic()
        if now - self._last_check < _LOOK_S:
            return True
        self._last_check = now
        missed = self._port.missed()
        if missed > self._missed and now - self._last_report >= _REPORT_EVERY_S:
            self._last_report = now
            report = f"JACK missed {missed - self._missed} of its periods"
            sys.stderr.write(f"lumen: {self.name}: {report}: their messages may be lost\n")
            self._missed = missed
        return self._port.there()

    def _take(self) -> None:
        """Read the driver's queue; each message gets its arrival time."""
        before, self._missed_before = self._missed_before, self._port.missed()
        try:
            messages, empty, overrun = self._port.take(self._inbox.host)
        except Exception:  # any exception of the driver: the next check finds the port missing
            return
        now = self._inbox.host()
        items: list[Message | Unread] = []
        if messages:
            after = self._port.missed()
            moments = self._stamps.at([delta for _, delta in messages], self._empty, now)
            for (message, delta), rx in zip(messages, moments, strict=True):
                fate = self._repeats.judge(message, delta, after > before)
                if fate == "again":
                    items.append(_refused(message, rx, self.config.device, whole=True))
                if fate == "lost":
                    self._inbox.lose(1)
                if fate != "sent":
                    continue
                items.append(decoded(message, rx, self.config.device))
                if lost := self._sounding.lost(message, before, after):
                    self._inbox.lose(lost)
                if self.config.pair:
                    items += [Message(*each) for each in self._fine.take(message, rx)]
        if self.config.pair:
            items += [Message(*each) for each in self._fine.due(now)]
        if overrun:
            self._inbox.lose(1)
        if empty is not None:
            self._empty = empty
        if items:
            self._inbox.put(items)
        if empty is not None:
            self._inbox.settle(empty)
