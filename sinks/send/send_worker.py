"""The thread that plays one destination, at a rate of its own.

It takes standard library alone: it runs in the run's process (MIDI) or in one of its own (OSC).
"""

from __future__ import annotations

import sys
import threading
import time
from math import inf

from sinks.send.destination import OutputDevice

_POLL_S = 0.25
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 4.0


class SendWorker:
    """The thread that plays one destination.

    Parameters
    ----------
    name : str
    rate_hz : float
    instrument : Instrument
    stands_s : float
        For so long values are played again while there are no newer ones; 0: they are played once.
    """

    def __init__(
        self, name: str, rate_hz: float, instrument: OutputDevice, stands_s: float = 0.0
    ) -> None:
        self.name = name
        self._period = 1 / rate_hz
        self._instrument = instrument
        self._stands_s = stands_s
        self._changed = threading.Condition()
        self._newest: dict[str, float] = {}
        self._fresh = False
        self._until = -inf
        self._stopped = False
        self._up: bool | None = None
        self._again = -inf
        self._pause = _FIRST_PAUSE_S
        self._thread = threading.Thread(target=self.run, name=f"send {name}", daemon=True)

    def start(self) -> None:
        """Begin to play."""
        self._thread.start()

    def put(self, values: dict[str, float]) -> None:
        """Let these be what is played next; none end what is played again and again."""
        if not values and not self._stands_s:
            return
        with self._changed:
            self._newest, self._fresh = values, True
            self._until = time.monotonic() + self._stands_s
            self._changed.notify()

    def stop(self) -> None:
        """End what sounds."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def run(self) -> None:
        """Play until the end; `start` does so in a thread."""
        try:
            self._play()
        finally:  # whatever ends this thread, nothing is left sounding
            self._instrument.close()

    def _play(self) -> None:
        due, ends = -inf, inf
        while (values := self._next(due, ends)) is not None:
            now = time.monotonic()
            ends = inf
            if not self._ready(now):
                continue
            try:
                if values:
                    # Even on average, and never two at once after a gap.
                    due = max(due + self._period, now + self._period / 2)
                    self._instrument.play(values, now)
                ends = self._instrument.rest(now)
            except OSError as error:
                self._turn(False, str(error))

    def _next(self, due: float, ends: float) -> dict[str, float] | None:
        """Return what is to be played once it is due; nothing at times; None at the end."""
        with self._changed:
            started = now = time.monotonic()
            while not self._stopped and now < min(ends, started + _POLL_S):
                there = self._there(now)
                if there and now >= due:
                    break
                wake = min(ends, started + _POLL_S, due if there else inf)
                self._wait(wake - now)
                now = time.monotonic()
            if self._stopped:
                return None
            if now < due or not self._there(now):
                return {}
            self._fresh = False
            return self._newest

    def _wait(self, seconds: float) -> None:
        """Wait until something has changed, for so long at most."""
        self._changed.wait(seconds)

    def _there(self, now: float) -> bool:
        """Whether there is anything to play: new, or standing still."""
        return bool(self._newest) and (self._fresh or now < self._until)

    def _ready(self, now: float) -> bool:
        """Whether the instrument can be played; if not, try to open it, ever more seldom."""
        if self._up and now >= self._again:
            self._again = now + _POLL_S
            if not self._instrument.there():
                self._turn(False, "it is gone")
        if self._up or now < self._again:
            return bool(self._up)
        try:
            to = self._instrument.open()
        except OSError as error:
            self._turn(False, str(error))
            self._again = now + self._pause
            self._pause = min(2 * self._pause, _MAX_PAUSE_S)
            return False
        self._again, self._pause = now + _POLL_S, _FIRST_PAUSE_S
        self._turn(True, to)
        return True

    def _turn(self, up: bool, why: str) -> None:
        if up != self._up:
            said = "plays" if up else "is silent"
            sys.stderr.write(f"lumen: {self.name} {said}: {why}\n")  # whole, among other threads'
        if self._up and not up:
            self._instrument.release()
        self._up = up
