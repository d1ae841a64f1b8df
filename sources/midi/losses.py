"""What JACK and RtMidi lose of MIDI or make up, as far as the messages themselves show it.

JACK hands messages over by the period, and names the periods in which a client was late (an
xrun); what was in them is gone. `Sounding` finds it by the other half of a note, `RepeatedMessages` by
what RtMidi puts in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

_ALL_OFF = 120
"""From here on controllers are modes of the whole channel."""
_MIN_COUNT = 8
"""Strange notes that prove nothing: JACK does not name every period that it misses."""
_SYSTEM = 0xF0
_AT_ONCE_S, _STANDSTILL_S = 50e-6, 0.1
"""Within one call of the driver; as long as its thread may stand still in the midst of one."""
Fate: TypeAlias = Literal["sent", "lost", "shown", "again"]


class Sounding:
    """Counts notes whose beginning or end was lost, as far as the other half shows it.

    Only where the driver has missed a period since that note's message before; and not for a
    device that again and again ends notes which never began although no period was missed.

    Parameters
    ----------
    missed : int
        Periods that the driver has missed so far.
    """

    def __init__(self, missed: int) -> None:
        self._begun = missed
        self._notes: dict[tuple[int, int], tuple[bool, int]] = {}
        self._halves = self._strange = 0

    def lost(self, message: Sequence[int], before: int, after: int) -> int:
        """Return how many messages are known to be lost before this one: 0 or 1.

        Parameters
        ----------
        message : sequence of int
        before, after : int
            Periods that the driver had missed when the queue was last found empty, and when the
            message was taken: it came in between.
        """
        if len(message) != 3 or message[0] & 0xE0 != 0x80:
            if len(message) == 3 and message[0] & 0xF0 == 0xB0 and message[1] >= _ALL_OFF:
                channel = message[0] & 0x0F
                self._notes = {at: x for at, x in self._notes.items() if at[0] != channel}
                self._begun = after  # whether each is ended too is the device's own affair
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
        """Return whether a message was sent.

        Parameters
        ----------
        message : sequence of int
        delta : float
            Time since the one before, by the driver's clock (s).
        missed : bool
            The driver has missed a period meanwhile.

        Returns
        -------
        {"sent", "lost", "shown", "again"}
            `lost`: it stands for one that is lost; `shown`: likewise, of a note, whose other half
            shows it; `again`: the same was sent twice at once, which says nothing new.
        """
        last, self._last = self._last, list(message)
        if self._last != last or not last:
            return "sent"
        of_channel = last[0] < _SYSTEM
        if missed and delta < (_STANDSTILL_S if of_channel else _AT_ONCE_S):
            return "shown" if last[0] & 0xE0 == 0x80 else "lost"
        return "again" if of_channel and delta < _AT_ONCE_S else "sent"
