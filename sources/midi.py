"""MIDI: what a driver's thread hands over, stamped at once, as channels.

A message of the standard (MIDI 1.0, M1 v4.2.1) is a channel and a number: `note/<channel>/<n>`
(velocity, 0 when it ends), `cc/<channel>/<n>`, `pressure/<channel>` (with `/<n>`: of one note),
`program/<channel>`, `pitch/<channel>` (-8192 to 8191), and `clock` (1 at each of its pulses);
channels 1 to 16. Nobody stamps them: the moment of the callback is their time.

A watch opens the port, looks four times a second whether it is still there, and tries again when
it is not. What sounds when a device goes is not ended by us: its stream is down, and so stale.

Losses: what is no whole message (`midi`); what is no channel, such as the song position, is
ignored (`filtered`). System exclusive is left to the driver, which lets it go unread, so that an
endless one takes no memory; it is in no account. RtMidi holds back what follows an unfinished one
on JACK until it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from configs.schema import MidiStream
from sources.inbox import Heard, Refused, stamp
from sources.listener import Listener
from sources.port import Hear, Port, PortError

MAX_SAMPLE = 256
_LOOK_S = 0.25
"""Shorter than a device needs to go and come back unseen."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 4.0
_CLOCK = 0xF8
_ONE_BYTE = {0xC0: "program", 0xD0: "pressure"}
_TWO_BYTES = {0x80: "note", 0x90: "note", 0xA0: "pressure", 0xB0: "cc", 0xE0: "pitch"}


def understood(message: Sequence[int], rx: float, where: str) -> Heard | Refused:
    """Return what a message of the wire says.

    Parameters
    ----------
    message : sequence of int
        One message as bytes, status first.
    rx : float
        Arrival (s).
    where : str
        The port, for what cannot be used.
    """
    status, data = (message[0], message[1:]) if message else (0, ())
    if status >= 0xF0:
        if status == _CLOCK and not data:
            return Heard(rx, "clock", 1.0)
        return _refused(message, rx, where, whole=True)
    kind, channel = status & 0xF0, (status & 0x0F) + 1
    name = _ONE_BYTE.get(kind) or _TWO_BYTES.get(kind)
    if name is None or len(data) != (1 if kind in _ONE_BYTE else 2) or max(data) > 0x7F:
        return _refused(message, rx, where, whole=False)
    if kind in _ONE_BYTE:
        return Heard(rx, f"{name}/{channel}", float(data[0]))
    low, high = data
    if name == "pitch":
        return Heard(rx, f"pitch/{channel}", float((high << 7 | low) - 8192))
    return Heard(rx, f"{name}/{channel}/{low}", 0.0 if kind == 0x80 else float(high))


def _refused(message: Sequence[int], rx: float, where: str, whole: bool) -> Refused:
    return Refused(rx, "filtered" if whole else "midi", where, bytes(message[:MAX_SAMPLE]))


class Midi(Listener):
    """One MIDI input.

    Parameters
    ----------
    config : MidiStream
    port : callable
        What makes its port.
    """

    def __init__(self, config: MidiStream, port: Callable[[str, bool, Hear], Port] = Port) -> None:
        super().__init__(config.name)
        self.config = config
        self._port = port(config.device, config.virtual, self._hear)

    def facts(self) -> Sequence[str]:
        """Return the port, and which others would have done."""
        return self._port.facts

    def _run(self) -> None:
        """Open the port and hear; try again where it is not there; close it at the stop."""
        port, pause = self._port, _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                port.open()
            except PortError as error:
                self._inbox.turn(False, str(error))
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            pause = _FIRST_PAUSE_S
            name = port.facts[0]
            self._inbox.turn(True, ", ".join(port.facts))
            while port.there() and not self._stop.wait(_LOOK_S):
                pass
            port.release()
            if not self._stop.is_set():
                self._inbox.turn(False, f"{name} is gone")
        port.close()

    def _hear(self, message: Sequence[int]) -> None:
        rx = stamp()
        self._inbox.put((understood(message, rx, self.config.device),))
