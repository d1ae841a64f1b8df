"""Progress of a replay on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from configs.inert import inert, unguarded

_ON_A_TERMINAL_S = 0.2
_ELSEWHERE_S = 5.0


class Progress:
    """One line that is rewritten on a terminal, a line every 5 s elsewhere.

    Parameters
    ----------
    total : int
        Bytes of all files.
    out : text stream
    clock : callable
        Monotonic seconds.
    heading : str
        Prefix of each line.

    Attributes
    ----------
    total : int
        Bytes of all files; each partition adds those of its own.
    """

    def __init__(
        self,
        total: int = 0,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        heading: str = "",
    ) -> None:
        self.total = total
        self._heading = heading and f"{inert(heading)}  "
        self._out = unguarded(out or sys.stderr)
        self._clock = clock
        self._rewrite = self._out.isatty()
        self._begin = self._shown = clock()
        self._events = 0
        self._read: dict[int, float] = {}

    def show(
        self, read: float, events: int, data_time: float, end: bool = False, part: int = 0
    ) -> None:
        """Show the progress, if a line is due.

        Parameters
        ----------
        read : float
            Bytes read by this part.
        events : int
            Since the last call.
        data_time : float
            Newest arrival (s since 1970).
        end : bool
            This is the last call of this part.
        part : int
            Partition of the source.
        """
        self._events += events
        self._read[part] = read
        now = self._clock()
        if not end and now - self._shown < (_ON_A_TERMINAL_S if self._rewrite else _ELSEWHERE_S):
            return
        self._shown = now
        percent = min(100 * sum(self._read.values()) / self.total, 100.0) if self.total else 100.0
        rate = self._events / max(now - self._begin, 1e-9)
        counted = f"{self._events:,} events  {rate:,.0f}/s  {_clock_time(data_time)}"
        line = f"{self._heading}{percent:5.1f} %  {counted}"
        if self._rewrite:
            self._out.write(f"\r\x1b[K{line}" + "\n" * end)
        else:
            self._out.write(f"{line}\n")
        self._out.flush()


def _clock_time(data_time: float) -> str:
    try:
        return datetime.fromtimestamp(data_time, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "-"
