"""Compiled forms of the dearest loops, for machines that have built them; Python is the reference.

`make native` compiles the C sources of this folder into `compiled`, an extension of Python's stable
ABI. Each function has its Python form beside its caller. Both forms give the same bytes:
tests/native holds them to it. Without the extension Python runs, and nothing else changes.

- `fit`: lines of known layouts into columns (sources/ndjson.py)
- `spread_runs`: kernel sums of samples for runs of ticks, each with its kernel
  (operators/numeric/sinc.py)
- `search`: places of numbers in a rising array (operators/numeric/search.py)
- `cells`: rows gathered into cells of a grid (operators/align/coarse_grid.py)
- `fill`: kernel averages of those cells on the grid (operators/align/coarse_grid.py)
- `trend`: filter and smoother of several motions of a lag (operators/align/lag_trend.py)
- `render`: columns into lines (sinks/files/encode.py)
- `follow`, `lowest`, `read`: a clock's stamps, bins and readings (operators/drift/clock.py,
  clock_bin.py, offset_filter.py)
- `grid`, `window`: the grid of stamps and the packets of samples (operators/drift/stamp_grain.py,
  packet_window.py)
- `decide`: the final rows of a channel, and those that differ from their neighbours
  (operators/guard/guard.py)

`LUMEN_NATIVE=0` in the environment switches the extension off. A damaged extension is refused, and
one from other sources than those of this folder.

Losses: none; an argument of a wrong shape or type raises, and a bad line is left to Python.
"""

from __future__ import annotations

import os
import zlib
from array import array
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from operators.types import F64, I32, I64

SWITCH = "LUMEN_NATIVE"
NAME = "compiled.abi3.so"
REFUSED = "python (the extension is refused:"
Layout = tuple[tuple[bytes, ...], tuple[int, ...], tuple[bool, ...]]
"""Pieces of text, the column of each number between them (-1: none), and whether it has a point."""


class Kernels(Protocol):
    """Functions of the extension; arrays are C-contiguous, those that are filled are outputs."""

    def fit(
        self,
        text: bytes,
        layouts: tuple[Layout, ...],
        start: I64,
        stop: I64,
        which: I32,
        columns: F64,
        /,
    ) -> int:
        """Find the lines of a text that are not empty, and read those that fit a layout.

        Parameters
        ----------
        text : bytes
            Ends with a newline.
        layouts : tuple of Layout
            1 to 64; a line is read by one that fits.
        start, stop : int64 (room,)
            Filled: offset of each line's first byte, and of its newline.
        which : int32 (room,)
            Filled: the line's layout; -1 where none fits.
        columns : float64 (4, room)
            Filled where a layout has a number for the column.

        Returns
        -------
        int
            Number of lines.

        Raises
        ------
        ValueError, TypeError
            A layout or an array has a wrong shape or type, or there are more than `room` lines.
        """

    def cells(
        self,
        part: F64,
        first: int,
        later: int,
        width: int,
        fine: int,
        before: int,
        held: I64,
        edge: I64,
        at: F64,
        value: F64,
        /,
    ) -> int:
        """Gather rows into the cells `first` to before `first + width`; keep those from `later` on.

        Parameters
        ----------
        part : float64 (5, n)
            Lane, cell, number of rows, place in the cell, value; the latter three as sums. Its
            first 5 * kept numbers are filled with the rows that are kept, (5, kept).
        fine, before : int
            Cells a tick; ticks of the stretch before tick 0.
        held : int64 (lanes,)
            Whether a cell has its latest row instead of the mean.
        edge : int64 (lanes + 1,)
            Filled: lane i has the cells from edge[i] to before edge[i + 1].
        at, value : float64 (room,)
            Filled: mean time (ticks) and mean value of each cell that is not empty.

        Returns
        -------
        int
            Number of kept rows.

        Raises
        ------
        ValueError, TypeError
            An array has a wrong shape or type, a row no lane, or there are more than `room` cells.
        """

    def fill(
        self,
        bank: F64,
        bits: int,
        at: F64,
        value: F64,
        edge: I64,
        widest: F64,
        margin: float,
        out: F64,
        /,
    ) -> None:
        """Write the kernel averages of the cells of each lane, NaN in holes and beyond the cells.

        Parameters
        ----------
        bank : float64 (2^bits, width)
            That of `spread`.
        at, value : float64 (n,)
            Times of the cells (ticks) and their values, lane after lane.
        edge : int64 (lanes + 1,)
            Lane i has the cells from edge[i] to before edge[i + 1].
        widest : float64 (lanes,)
            Widest gap that is no hole (ticks).
        margin : float
            Ticks without a value at the edges of a hole.
        out : float64 (lanes, ticks)
            Filled.

        Raises
        ------
        ValueError, TypeError
            An array has a wrong shape or type, or a cell lies far off the grid.
        """

    def trend(
        self,
        step: F64,
        lag: F64,
        var: F64,
        ahead: float,
        level: float,
        walk: F64,
        rate: F64,
        drift: F64,
        state: F64,
        spread: F64,
        off: F64,
        path: F64,
        /,
    ) -> None:
        """Filter and smooth a lag under k motions; operators/align/lag_trend.py has the formula.

        Parameters
        ----------
        step, lag, var : float64 (m,)
            Time since the previous reading (s), the reading (s) and its variance (s^2).
        ahead, level : float
            Time from the last reading to the end (s); variance of the lag at first (s^2).
        walk, rate, drift : float64 (k,)
            q (s^2/s), B^2 and p (1/s) of each motion.
        state : float64 (5, k)
            Filled: lag (s) and rate (s/s) at the end, and their covariance.
        spread, off, path : float64 (m, k)
            Filled: S (s^2), e / S (1/s) and the smoothed lag (s) of each reading.

        Raises
        ------
        ValueError, TypeError
            An array has a wrong shape or type.
        """

    def render(
        self,
        k: int,
        pieces: tuple[bytes, ...],
        values: tuple[int, ...],
        numbers: F64,
        codes: I64,
        texts: tuple[tuple[bytes, ...], ...],
        /,
    ) -> bytes:
        """Return k lines: pieces of text with a value between each two.

        Parameters
        ----------
        pieces : tuple of bytes
            One more than `values`.
        values : tuple of int
            j is row j of `numbers`, ~j is row j of `codes`.
        numbers : float64 (rows, k)
            May be columns of a wider array, as `codes`. Written as the shortest decimal that
            parses to the same number; NaN as `null`.
        codes : int64 (rows, k)
            Index of a text.
        texts : tuple of tuples of bytes
            The texts of each row of `codes`.

        Raises
        ------
        ValueError, TypeError
            A number is infinite, or an argument has a wrong shape or type.
        IndexError
            A code has no text.
        """

    def follow(
        self,
        source: F64,
        delay: F64,
        host: F64,
        first: int,
        line: tuple[float, float, float],
        low: float,
        high: float,
        due: float,
        room: int,
        /,
    ) -> int:
        """Map stamps with a line up to one that is in doubt, past an edge, or without room.

        Parameters
        ----------
        source, delay : float64 (n,)
            Source time, and arrival - source (s).
        host : float64 (n,)
            Filled from `first` on: host time of the mapped stamps (s).
        first : int
            The first stamp.
        line : (offset, slope, at)
            The predicted delay is offset + slope * (source - at) (s).
        low, high : float
            Distances below and above it that are not in doubt (s).
        due : float
            Source time of the edge (s).
        room : int
            The most stamps; no limit where it is negative.

        Returns
        -------
        int
            Index of the first stamp that is not mapped.

        Raises
        ------
        ValueError, TypeError
            An array has a wrong shape or type, or `first` is no index.
        """

    def lowest(
        self, source: array[float], delay: array[float], line: tuple[float, float, float], /
    ) -> tuple[int, float, float, float, float, float, bool] | None:
        """Return the figures of `operators.drift.clock_bin.Bin`, None where a stamp is not finite.

        Parameters
        ----------
        source, delay : array of float
            Source time and delay (s) of 1 to 1024 stamps.
        line : (offset, slope, at)
            The predicted delay is offset + slope * (source - at) (s).

        Raises
        ------
        ValueError, TypeError
            An argument has a wrong shape or type.
        """

    def read(
        self, bank: object, at: float, least: float, own: float, r: float, rounding: float, /
    ) -> None:
        """Update a bank as `operators.drift.offset_filter.OffsetFilterBank.read` does.

        Raises
        ------
        ValueError, TypeError, AttributeError
            An argument has a wrong type, or the bank has no filters or more than six.
        """

    def grid(self, stamps: F64 | array[float], first: int, repeated: int, /) -> tuple[float, int]:
        """Return the grid of a window of sixteen stamps (s), 0 for none, and the evidence of it.

        The evidence is 0 for none, 1 for a strong one, 2 where the array form has to decide.

        Parameters
        ----------
        stamps : float64 (n,)
            Distinct stamps (s).
        first : int
            The first stamp of the window.
        repeated : int
            Repetitions of its stamps.

        Raises
        ------
        ValueError, TypeError
            An argument has a wrong shape or type.
        """

    def window(
        self,
        arrival: F64,
        host: F64,
        first: int,
        stop: int,
        past: int,
        head: tuple[float, float, int],
        packets: list[list[float]],
        seconds: list[list[float]],
        origin: float,
        /,
    ) -> tuple[tuple[float, float, int], tuple[float, float, float] | None]:
        """Process a window of samples as `operators.drift.packet_window.window` does.

        Parameters
        ----------
        arrival, host : float64 (n + 1,), (n,)
            Running arrivals from the sample before the first on, and host times (s).
        first, stop : int
            The samples of the window, at most 64.
        past, head, packets, seconds, origin
            As there; `packets` and `seconds` are changed.

        Raises
        ------
        ValueError, TypeError
            An argument has a wrong shape or type.
        """

    def decide(
        self,
        time: F64,
        mark: F64,
        value: F64,
        past: array[float],
        scale: array[float],
        moment: F64,
        settle_s: float,
        decide_s: float,
        known: float,
        ready: float,
        end: bool,
        /,
    ) -> tuple[int, list[tuple[int, int]]]:
        """Date a channel's first rows that are final, and find those that may be outliers.

        Parameters
        ----------
        time, mark, value, scale : float64 (n,)
            Host time and watermark (s), value and least scale of the undecided rows.
        past : array of float (5,)
            The values before them.
        moment : float64 (n,)
            Filled: the watermark of each final row's decision (s).
        settle_s, decide_s : float
            As in the plan (s).
        known, ready : float
            Watermark of the packet, and that of the last decision (s).
        end : bool
            The data end here: all rows are final.

        Returns
        -------
        (int, list of (int, int))
            Number of final rows; place and number of successors of each that differs.

        Raises
        ------
        ValueError, TypeError
            An array has a wrong shape or type.
        """

    def spread_runs(
        self,
        banks: tuple[F64, ...],
        bits: int,
        runs: I64,
        node: I64,
        cell: F64,
        value: F64,
        known: I64 | None,
        below: F64,
        top: F64,
        /,
    ) -> None:
        """Sum K D and K D x at ticks 0 to k - 1, each run of ticks with samples of its own.

        Parameters
        ----------
        banks : tuple of float64 (2^bits, width)
            Row r, column q: K of a sample r / 2^bits past tick m at tick m + q - width / 2 + 1.
        bits : int
        runs : int64 (r, 5)
            First tick, the tick behind the last, index of the bank, first sample, the sample
            behind the last. Ticks of no run keep their sums.
        node : int64 (n,)
            Times of the samples in 2^-bits tick.
        cell, value : float64 (n,)
            Their D and x.
        known : int64 (k,) or None
            Number of samples that each tick may use, rising in a run; None: all.
        below, top : float64 (k,)
            Filled with the sums.

        Raises
        ------
        ValueError, TypeError
            An array has a wrong shape or type, or a run exceeds the ticks, samples or banks.
        """

    def search(self, rising: F64, at: F64, right: bool, out: I64, /) -> None:
        """Count the items of a rising array before each number.

        Parameters
        ----------
        rising : float64 (n,)
        at : float64 (k,)
        right : bool
            Items equal to the number count too.
        out : int64 (k,)
            Filled with the counts.

        Raises
        ------
        ValueError, TypeError
            An array has a wrong shape or type.
        """


def is_whole(extension: Path) -> bool:
    """Return whether an extension is as it was built, from the C sources in its folder.

    The file beside it, of suffix `.sum`, has the checksums of the sources and of the extension.
    """
    try:
        stored = extension.with_suffix(".sum").read_text("ascii")
        return stored == checksums(extension)
    except (OSError, UnicodeDecodeError):
        return False


def checksums(extension: Path) -> str:
    """Return the CRC-32 of the C sources in an extension's folder, and that of the extension."""
    sources = b"".join(path.read_bytes() for path in sorted(extension.parent.glob("*.[ch]")))
    return f"{zlib.crc32(sources):08x} {zlib.crc32(extension.read_bytes()):08x}\n"


def _loaded() -> tuple[Kernels | None, str]:
    if os.environ.get(SWITCH) == "0":
        return None, f"python ({SWITCH}=0)"
    extension = Path(__file__).with_name(NAME)
    if not extension.exists():
        return None, "python (not built)"
    # Before it is loaded: a damaged library may end the process.
    if not is_whole(extension):
        return None, f"{REFUSED} it is damaged, or of other sources)"
    try:
        found = import_module("operators.native.compiled")
    except ImportError as error:
        return None, f"{REFUSED} {error})"
    return cast(Kernels, found), "compiled"


kernels, form = _loaded()
"""The extension, or None; the form that runs, with the reason for Python."""
