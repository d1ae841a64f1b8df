"""LSL: a thread receives one stream of the Lab Streaming Layer into the inbox.

A stream is resolved by its properties. Without any, or with several that fit, the input is down
and tries again after 0.5 to 5 s; so it does when the stream is gone, with or without an identifier.
A stream that is silent for 10 s is asked for: one that is no longer announced is gone, too. What
comes back may have other channels or another format: its keys are those of its new description.

Every 5 s the newest reading of the sender's clock becomes an event `clock_offset`: host - source
(s) at its source time, and the largest error of that. It is a two-way reading, which an equal delay
of both ways does not shift.

Cost: 40 us a pull and 1 us an event. State: LSL's buffer of 360 s. Losses: those of
`SampleDecoder`; samples that LSL discarded from a full buffer (`kernel_full`), counted by the hole
in the stamps.

Source: Kothe et al. 2024, https://doi.org/10.1162/IMAG.a.136.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from configs.connectors.lsl import LslStream
from configs.inert import inert
from operators.events import READING_KEY
from sources.inbox import Listener, Message
from sources.lsl.full_buffer import FullBuffer
from sources.lsl.network import StillThere, ambiguous, resolved
from sources.lsl.samples import SampleDecoder
from sources.lsl.stream_inlet import BUFFER_S, InletError, LslInlet

READING_S = 5.0
SILENT_S = 10.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 5.0
_WAIT_S = 0.1
_LOOK_S = 0.25
_MAX_SHOWN = 8
_FIRST_READINGS = 3
"""Readings that are sent as soon as they are made, so that the clock is known early."""


class LslReceiver(Listener):
    """The receiver of one LSL stream.

    Parameters
    ----------
    config : LslStream
    used : collection of str
        Keys that the configuration uses.
    is_held : callable
        Whether a key is a held channel.
    buffer_s : int
        Length of LSL's buffer (s).
    silent_s : float
        Silence after which the stream is asked for (s).
    """

    def __init__(
        self,
        config: LslStream,
        used: Collection[str] = (),
        is_held: Callable[[str], bool] = lambda _: True,
        *,
        buffer_s: int = BUFFER_S,
        silent_s: float = SILENT_S,
    ) -> None:
        super().__init__(config.name)
        self.config = config
        self._used, self._is_held = used, is_held
        self._buffer_s, self._silent_s = buffer_s, silent_s
        self._what = ""

    def facts(self) -> Sequence[str]:
        """Return the stream on the network."""
        return (self._what or self._query,)

    @property
    def _query(self) -> str:
        wanted = (f"{name} '{text}'" for name, text in self.config.wanted.items())
        return f"LSL {', '.join(wanted)}"

    def _run(self) -> None:
        """Stay connected; retry with growing pauses while the stream is not there."""
        pause = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                inlet = self._connected()
            except InletError as error:
                self._inbox.turn(False, str(error))
            else:
                pause = _FIRST_PAUSE_S
                self._what = inlet.what
                self._inbox.turn(True, f"LSL {inlet.what}")
                self._advise(inlet)
                try:
                    self._receive(inlet)
                except InletError as error:
                    self._inbox.turn(False, str(error))
                finally:
                    inlet.close()
            self._stop.wait(pause)
            pause = min(2 * pause, _MAX_PAUSE_S)

    def _connected(self) -> LslInlet:
        """Return a connection to the one stream that fits.

        Raises
        ------
        InletError
            There is none, or there are several, or it cannot be received.
        """
        found = resolved(self.config.wanted)
        if not found:
            raise InletError(f"{self._query}: no stream on the network")
        if len(found) > 1:
            raise InletError(f"{self._query}: {ambiguous(found)}")
        return LslInlet(found[0], self._inbox.host, self._buffer_s)

    def _advise(self, inlet: LslInlet) -> None:
        """Log used channels that the stream has not, and used ones that should be held."""
        keys = {*inlet.keys, READING_KEY}
        if absent := sorted(set(self._used) - keys):
            has = _listed(inlet.keys)
            self._inbox.log(f"{self.name} has no channel {_listed(absent)}; it has {has}")
        if inlet.rate_hz > 0 or inlet.is_text:
            return
        if any(key in inlet.keys and not self._is_held(key) for key in self._used):
            self._inbox.log(
                f"{self.name} is irregular, expected its channels to be held:"
                f' channels: {{"{self.name}:*": {{kind: held}}}}'
            )

    def _receive(self, inlet: LslInlet) -> None:
        """Receive until the run ends.

        Raises
        ------
        InletError
            The stream is gone.
        """
        samples, buffer = SampleDecoder(inlet.keys, self.config.name), FullBuffer(inlet.rate_hz > 0)
        next_reading = last = time.monotonic()
        readings = 0
        silence: StillThere | None = None
        while not self._stop.is_set():
            fullness = inlet.fullness
            values, stamps = inlet.pull(_WAIT_S)
            now = time.monotonic()
            if len(stamps):
                if lost := buffer.lost(stamps, fullness):
                    self._inbox.lose(lost * len(inlet.keys))
                decode = samples.texts if inlet.is_text else samples.numbers
                self._inbox.put(decode(values, stamps, self._inbox.host()))
                last, silence = now, None
            elif now - last > self._silent_s:
                silence = silence or StillThere(inlet.uid, now)
                answer = silence.answer(now)
                if answer is False:
                    raise InletError(f"{inlet.what}: the stream is gone")
                if answer:
                    last, silence = now, None
            if now >= next_reading:
                readings += self._read_clock(inlet)
                next_reading = now + (READING_S if readings > _FIRST_READINGS else _LOOK_S)

    def _read_clock(self, inlet: LslInlet) -> bool:
        """Put a reading of the sender's clock into the inbox; return whether there is a new one."""
        reading = inlet.reading()
        if reading is None:
            return False
        rx = self._inbox.host()
        value = reading.offset, reading.error
        self._inbox.put([Message(rx, READING_KEY, value, reading.source)])
        return True


def _listed(keys: Sequence[str]) -> str:
    more = ", ..." if len(keys) > _MAX_SHOWN else ""
    return ", ".join(map(inert, keys[:_MAX_SHOWN])) + more
