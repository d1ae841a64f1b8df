"""Detection of MIDI messages that JACK and RtMidi lose or repeat, from the messages themselves.

JACK delivers messages by period, and reports the periods in which a client was late (an xrun);
their messages are lost. `Sounding` detects a loss by the other half of a note, `RepeatedMessages`
by the copy that RtMidi delivers in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

_ALL_OFF = 120
"""First controller number that is a mode of the whole channel."""
_MIN_COUNT = 8
"""Tolerated unpaired notes: JACK does not report every missed period."""
_SYSTEM = 0xF0
_AT_ONCE_S, _STANDSTILL_S = 50e-6, 0.1
"""Duration of one driver call; longest pause of its thread within a call (s)."""
Fate: TypeAlias = Literal["sent", "lost", "shown", "again"]


class Sounding:
    """Counts notes with a lost beginning or end, detected by the other half.

    A loss requires a missed period since the previous message of the note. Devices that often end
    notes without a beginning, although no period was missed, are excluded.

    Parameters
    ----------
    missed : int
        Missed periods of the driver so far.
    """

    def __init__(self, missed: int) -> None:
        self._begun = missed
        self._notes: dict[tuple[int, int], tuple[bool, int]] = {}
        self._halves = self._strange = 0

    def lost(self, message: Sequence[int], before: int, after: int) -> int:
        """Return the number of lost messages before this one: 0 or 1.

        Parameters
        ----------
        message : sequence of int
        before, after : int
            Missed periods at the last empty queue, and at the read of the message: it arrived in
            between.
        """
        if len(message) != 3 or message[0] & 0xE0 != 0x80:
            if len(message) == 3 and message[0] & 0xF0 == 0xB0 and message[1] >= _ALL_OFF:
                channel = message[0] & 0x0F
                self._notes = {at: x for at, x in self._notes.items() if at[0] != channel}
                self._begun = after  # a device may or may not end each note too
            return 0
        begins = message[0] & 0xF0 == 0x90 and message[2] > 0
        at = (message[0] & 0x0F, message[1])
        known = self._notes.get(at)
        self._notes[at] = (begins, before)
        self._halves += 1
        sounds, then = known or (False, self._begun)
        if sounds != begins:
            return 0
        if then >= after:
            self._strange += known is not None
            return 0
        return int(self._strange <= max(_MIN_COUNT, self._halves // 10))


class RepeatedMessages:
    """Finds messages that RtMidi hands over again in place of others.

    Where a period of JACK's ends while RtMidi still reads it, the messages after that are gone,
    and RtMidi takes the last one for each of them. Such a repeat follows at once, or after as
    long as the reader stood still, and JACK names the period. A beat of the clock is the same
    message each time, and several may lie in one period: it counts as a repeat in no other case.

    State: the last message.
    """

    def __init__(self) -> None:
        self._last: list[int] = []

    def judge(self, message: Sequence[int], delta: float, missed: bool) -> Fate:
        """Return the fate of a message.

        Parameters
        ----------
        message : sequence of int
        delta : float
            Time since the previous message, by the driver's clock (s).
        missed : bool
            The driver has missed a period since.

        Returns
        -------
        {"sent", "lost", "shown", "again"}
            `lost`: it replaces a lost message; `shown`: likewise, for a note, whose other half
            shows the loss; `again`: an immediate duplicate.
        """
        last, self._last = self._last, list(message)
        if self._last != last or not last:
            return "sent"
        of_channel = last[0] < _SYSTEM
        if missed and delta < (_STANDSTILL_S if of_channel else _AT_ONCE_S):
            return "shown" if last[0] & 0xE0 == 0x80 else "lost"
        return "again" if of_channel and delta < _AT_ONCE_S else "sent"
