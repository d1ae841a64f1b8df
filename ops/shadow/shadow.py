"""The shadow of a running flow: its candidate beside it, and the comparison of both.

Each rig of either side is read to `wait_s / 8` beyond the other side, so that a tick is missed only
where its counterpart does not come. A side without a line for `wait_s` of wall time, or whose run
has ended, is not waited for.

Files, in the shadow's folder: `candidate/`, the candidate's own results; `diff.jsonl`, the first
1,000 ticks that differ, an earlier one kept as `diff.<time>.jsonl`; `share`, the share of the rigs
to compare, read again at each look.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ops.shadow.comparer import CANDIDATE, RUNNING, Comparer, Difference, Side
from ops.shadow.line_tail import LineTail, RunTail

MAX_DIFFERENCES = 1_000
LEAD = 8
"""Part of `wait_s` by which a side is read ahead of the other."""
LOOK_S = 0.2
"""Interval of looks at files that have not grown (s)."""
SHARE = "share"
DIFF = "diff.jsonl"
OUT = "candidate"


class DifferenceFile:
    """The first ticks that differ, with both lines beside one another.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / DIFF
        self._left = MAX_DIFFERENCES
        if self._path.exists():
            made = datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
            self._path.rename(folder / f"diff.{made:%Y%m%dT%H%M%SZ}.jsonl")
        self._path.touch(mode=0o600)

    def add(self, found: list[Difference]) -> None:
        """Write the lines of ticks, as long as there is room."""
        lines = []
        for each in found[: self._left]:
            line = {
                "rig": each.rig,
                "ts": each.ts,
                "verdict": each.verdict,
                "running": None if each.running is None else msgspec.Raw(each.running),
                "candidate": None if each.candidate is None else msgspec.Raw(each.candidate),
            }
            lines.append(msgspec.json.encode(line) + b"\n")
        if lines:
            self._left -= len(lines)
            with self._path.open("ab") as file:
                file.writelines(lines)


class Shadow:
    """The comparison of a running flow's folder with a candidate's.

    Parameters
    ----------
    running : Path
        Output folder of the running flow.
    folder : Path
        Of the shadow; the candidate writes into `candidate/` in it.
    wait_s, settle_s, share : float
        See `Comparer`.
    clock : callable
        Monotonic seconds.

    Attributes
    ----------
    comparer : Comparer
    """

    def __init__(
        self,
        running: Path,
        folder: Path,
        wait_s: float = 60.0,
        settle_s: float = 120.0,
        share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.comparer = Comparer(wait_s, settle_s, share)
        self._runs = (RunTail(running), RunTail(folder / OUT))
        self._folder, self._wait_s, self._clock = folder, wait_s, clock
        self._start = self._looked = clock()
        self._went_on = False
        self._heard: dict[tuple[int, bytes], float] = {}
        self._began: dict[bytes, float] = {}
        self._differences = DifferenceFile(folder)

    def step(self, ended: tuple[bool, bool] = (False, False)) -> bool:
        """Compare the lines that are there; return whether there were any.

        Parameters
        ----------
        ended : (bool, bool)
            Whether the running flow and the candidate have ended, before this look.

        Raises
        ------
        ReplacedError
            The running flow began anew.
        """
        now, taken = self._clock(), False
        look = now - self._looked >= LOOK_S or not self._went_on
        if look:
            self._looked = now
            self._read_share()
        tails = [run.tails(look) for run in self._runs]
        for side, other in ((RUNNING, CANDIDATE), (CANDIDATE, RUNNING)):
            # Of a side that has ended, the lines that wait here still come.
            left = any(tail.fill() for tail in tails[other])
            for tail in tails[side]:
                taken |= self._drain(side, tail, ended[other] and not left)
        self._went_on = taken
        return taken

    def finish(self) -> None:
        """End both sides."""
        self._differences.add(self.comparer.finish())

    def running_ended(self) -> bool:
        """Whether the running flow has ended."""
        return self._runs[RUNNING].ended()

    def silent(self) -> bool:
        """Whether no line of either side has come for `wait_s` of wall time."""
        return self._clock() - max(self._heard.values(), default=self._start) > self._wait_s

    def _drain(self, side: Side, tail: LineTail, other_ended: bool) -> bool:
        """Compare the lines of one rig up to the limit of its lead."""
        comparer, taken, limit = self.comparer, False, None
        lines = tail.lines
        while tail.fill():
            while lines:
                tick = comparer.read(lines[0])
                if tick is not None:
                    if limit is None:
                        limit = self._limit(side, tick.rig, tick.released, other_ended)
                    if tick.released > limit:
                        return taken
                    found = comparer.take(side, tick)
                    if found:
                        self._differences.add(found)
                    if not taken:
                        self._heard[side, tick.rig] = self._clock()
                        taken = True
                lines.popleft()
        return taken

    def _limit(self, side: Side, rig: bytes, released: float, other_ended: bool) -> float:
        """Return the newest release (s) to which a side of a rig may be read now."""
        now = self._clock()
        began = self._began.setdefault(rig, now)
        other: Side = CANDIDATE if side == RUNNING else RUNNING
        if other_ended or now - self._heard.get((other, rig), began) > self._wait_s:
            return float("inf")
        newest = self.comparer.released(other, rig)
        if newest == float("-inf"):
            newest = released if self.comparer.released(side, rig) == newest else newest
        return newest + self._wait_s / LEAD

    def _read_share(self) -> None:
        with suppress(OSError, ValueError):
            self.comparer.share = float((self._folder / SHARE).read_text("ascii"))


def compare(
    shadow: Shadow,
    candidate: subprocess.Popen[bytes],
    stopped: Callable[[], bool],
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Compare until both sides have ended, or until a stop; return the candidate's exit code.

    A running flow without `run.json` has ended when the candidate has, and nothing has come for
    `wait_s` of wall time.

    Parameters
    ----------
    shadow : Shadow
    candidate : Popen
    stopped : callable
        Whether to end now.
    sleep : callable
        Waits for a time (s).
    """
    while not stopped():
        # Both before the look: lines that come later are not the last.
        done = candidate.poll() is not None
        ended = (shadow.running_ended() or (done and shadow.silent()), done)
        if shadow.step(ended):
            continue
        if candidate.returncode or all(ended):
            shadow.finish()
            return candidate.returncode
        sleep(LOOK_S)
    return 0  # ticks that wait at a stop are not missed
