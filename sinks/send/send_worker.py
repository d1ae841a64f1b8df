"""The thread that sends to one destination, at its own rate.

It uses the standard library alone: it runs in the run's process (MIDI) or in one of its own (OSC).
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
    """The thread that sends to one destination.

    Parameters
    ----------
    name : str
    rate_hz : float
    device : OutputDevice
    repeat_s : float
        Duration for which values are repeated while no newer ones exist; 0: they are sent once.
    """

    def __init__(
        self, name: str, rate_hz: float, device: OutputDevice, repeat_s: float = 0.0
    ) -> None:
        self.name = name
        self._period = 1 / rate_hz
        self._device = device
        self._repeat_s = repeat_s
        self._changed = threading.Condition()
        self._newest: dict[str, float] = {}
        self._fresh = False
        self._until = -inf
        self._stopped = self._notes_end = False
        self._up: bool | None = None
        self._again = self._opened = -inf
        self._pause = _FIRST_PAUSE_S
        self._thread = threading.Thread(target=self.run, name=f"send {name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, values: dict[str, float]) -> None:
        """Replace the values to send next; an empty dict ends a repetition."""
        if not values and not self._repeat_s:
            return
        with self._changed:
            self._newest, self._fresh = values, True
            self._until = time.monotonic() + self._repeat_s
            self._changed.notify()

    def end_notes(self) -> None:
        """End all notes; values that are not sent yet begin none, later ones do."""
        with self._changed:
            self._notes_end = True
            self._fresh = False
            self._changed.notify()

    def stop(self) -> None:
        """End all notes and the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def run(self) -> None:
        """Send until the end; `start` does so in a thread."""
        try:
            self._play()
        finally:  # every exit of this thread ends all notes
            self._device.close()

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
                    self._device.play(values, now)
                ends = self._device.rest(inf if self._taken_end() else now)
            except OSError as error:
                self._lose(str(error))

    def _next(self, due: float, ends: float) -> dict[str, float] | None:
        """Return the values that are due; an empty dict after a wait; None at the end."""
        with self._changed:
            started = now = time.monotonic()
            while not (self._stopped or self._notes_end) and now < min(ends, started + _POLL_S):
                pending = self._pending(now)
                if pending and now >= due:
                    break
                wake = min(ends, started + _POLL_S, due if pending else inf)
                self._wait(wake - now)
                now = time.monotonic()
            if self._stopped:
                return None
            if now < due or not self._pending(now):
                return {}
            self._fresh = False
            return self._newest

    def _taken_end(self) -> bool:
        """Return whether all notes are to end, once."""
        with self._changed:
            taken, self._notes_end = self._notes_end, False
            return taken

    def _wait(self, seconds: float) -> None:
        """Wait for a change, for at most this long (s)."""
        self._changed.wait(seconds)

    def _pending(self, now: float) -> bool:
        """Whether values wait to be sent: new ones, or ones to repeat."""
        return bool(self._newest) and (self._fresh or now < self._until)

    def _ready(self, now: float) -> bool:
        """Whether the device is open; if not, try to open it, with growing pauses."""
        if self._up and now >= self._again:
            self._again = now + _POLL_S
            if not self._device.there():
                self._lose("it is gone")
        if self._up or now < self._again:
            return bool(self._up)
        try:
            to = self._device.open()
        except OSError as error:
            self._lose(str(error))
            return False
        self._again, self._opened = now + _POLL_S, now
        self._set_up(True, to)
        return True

    def _lose(self, why: str) -> None:
        """Try again after a pause, which grows unless the destination was open for long."""
        now = time.monotonic()
        if self._up and now >= self._opened + _MAX_PAUSE_S:
            self._pause = _FIRST_PAUSE_S
        self._set_up(False, why)
        self._again = now + self._pause
        self._pause = min(2 * self._pause, _MAX_PAUSE_S)

    def _set_up(self, up: bool, why: str) -> None:
        if up != self._up:
            state = "plays" if up else "is silent"
            # One write, so that lines of other threads do not cut it.
            sys.stderr.write(f"lumen: {self.name} {state}: {why}\n")
        if self._up and not up:
            self._device.release()
        self._up = up
