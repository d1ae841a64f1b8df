"""Compiled forms of the dearest loops, for machines that have built them; Python is the reference.

`make native` compiles the C sources of this folder into `compiled`, an extension of Python's stable
ABI. Each function has its Python form beside its caller. Both forms give the same bytes:
tests/native holds them to it. Without the extension Python runs, and nothing else changes.

- `fit`: lines of known layouts into columns (sources/ndjson.py)
- `spread`: kernel sums of samples on a grid (operators/align/coarse_grid.py)
- `spread_runs`: the same sums for runs of ticks, each with its kernel (operators/numeric/sinc.py)
- `search`: places of numbers in a rising array (operators/numeric/search.py)
- `render`: columns into lines (sinks/files/encode.py)

`LUMEN_NATIVE=0` in the environment switches the extension off. A damaged extension is refused, and
one from other sources than those of this folder.

Losses: none; an argument of a wrong shape or type raises, and a bad line is left to Python.
"""

from __future__ import annotations

import os
import zlib
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

    def spread(
        self,
        bank: F64,
        bits: int,
        node: I64,
        cell: F64,
        value: F64,
        first: I64 | None,
        below: F64,
        top: F64,
        /,
    ) -> None:
        """Sum K D and K D x at ticks 0 to k - 1, over the samples in their order.

        Parameters
        ----------
        bank : float64 (2^bits, width)
            Row r, column q: K of a sample r / 2^bits past tick m at tick m + q - width / 2 + 1.
        node : int64 (n,)
            Times of the samples in 2^-bits tick.
        cell, value : float64 (n,)
            Their D and x.
        first : int64 (n,) or None
            The first tick that may use each sample; None: every tick.
        below, top : float64 (k,)
            Filled with the sums.

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
        """Sum as `spread`, each run of ticks with a bank and samples of its own.

        Parameters
        ----------
        banks : tuple of float64 (2^bits, width)
        bits : int
        runs : int64 (r, 5)
            First tick, the tick behind the last, index of the bank, first sample, the sample
            behind the last. Ticks of no run keep their sums.
        node, cell, value : as `spread`
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
