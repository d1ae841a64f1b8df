"""Drawing with matplotlib: the only importer of that package, which is imported on use.

The palette is that of Okabe & Ito (safe for colour-blind readers); further channels are grey.
Equal input gives equal bytes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from configs.document import one_line
from operators.types import F64

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHITE = "#FFFFFF"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F00")
INK, GREY, GRID, BAND = "#1B1F24", "#8A9199", "#DDE1E6", "#B9BFC6"
WIDTH_IN, DPI = 9.6, 150
NAMES_IN = 2.05
"""Width (in) of names beside the axes."""
_TOP_IN, _BOTTOM_IN = 0.62, 0.55
MAX_LENGTH, MAX_WIDE = 26, 14
MAX_POINTS = 2000
_STYLE: dict[Any, Any] = {
    "figure.facecolor": WHITE,
    "axes.facecolor": WHITE,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.formatter.useoffset": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "path",
    "svg.hashsalt": "lumen",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


_NIGHT = {
    WHITE: "#16191D", INK: "#E8EAED", GRID: "#333A42", BAND: "#4D555E", COLOURS[0]: "#6FC0FF",
    COLOURS[1]: "#FF8A3D", COLOURS[2]: "#2FCF9F", COLOURS[3]: "#E79CC5", COLOURS[5]: "#2F7FB0",
    COLOURS[6]: "#BFA76A",
}  # fmt: skip
"""Colours on dark paper that differ from those on white."""


class Picture(NamedTuple):
    """A picture: name, finding, numbers as text, reading note, and the two images."""

    name: str
    finding: str
    description: str
    note: str
    png: bytes
    svg: bytes


class TimeAxis(NamedTuple):
    """Time axis: seconds, minutes or hours since the first tick."""

    begin: float
    scale: float
    label: str

    @staticmethod
    def of(begin: float, end: float) -> TimeAxis:
        """Return the axis for the length of a run."""
        for unit, scale, most in (("s", 1.0, 600.0), ("min", 60.0, 10_800.0)):
            if end - begin <= most:
                return TimeAxis(begin, scale, f"time since the first tick ({unit})")
        return TimeAxis(begin, 3600.0, "time since the first tick (h)")

    def __call__(self, time: F64 | float) -> Any:
        """Return host times on this axis."""
        return (np.asarray(time) - self.begin) / self.scale


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style; characters missing from the font are left blank."""
    from matplotlib import rc_context

    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def sheet(
    title: str,
    heights: Sequence[float],
    columns: int = 1,
    *,
    left_in: float = 0.75,
    right_in: float = 0.15,
) -> tuple[Figure, Any]:
    """Return a figure and its axes (rows, columns) on a shared time axis; sizes in inches."""
    from matplotlib.figure import Figure

    between_in = 0.5
    height_in = _TOP_IN + _BOTTOM_IN + sum(heights) + between_in * (len(heights) - 1)
    figure = Figure((WIDTH_IN, height_in), dpi=DPI)
    axes = figure.subplots(
        len(heights), columns, squeeze=False, sharex="all", height_ratios=list(heights)
    )
    wide_in = (WIDTH_IN - left_in - right_in - left_in * (columns - 1)) / columns
    figure.subplots_adjust(
        left=left_in / WIDTH_IN,
        right=1 - right_in / WIDTH_IN,
        bottom=_BOTTOM_IN / height_in,
        top=1 - _TOP_IN / height_in,
        hspace=between_in * len(heights) / sum(heights),
        wspace=left_in / wide_in,
    )
    x, y = 0.1 / WIDTH_IN, 1 - 0.12 / height_in
    figure.text(x, y, title, va="top", fontsize=12, fontweight="bold")
    return figure, axes


def drawn(figure: Figure) -> tuple[bytes, bytes]:
    """Return the figure as PNG and SVG, without date or creator.

    The SVG follows the light or dark colour scheme of the viewer.
    """
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    blank = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(svg, format="svg", metadata=blank)
    return png.getvalue(), svg.getvalue().replace(b"</style>", _night() + b"</style>", 1)


def _night() -> bytes:
    """Return the style rules for dark paper; viewers without colour schemes ignore them."""
    rules = "".join(
        f'[style*="{style}: {day.lower()}"]{{{style}: {night} !important}}\n'
        for day, night in _NIGHT.items()
        for style in ("fill", "stroke")
    )
    return f"\n@media (prefers-color-scheme: dark) {{\n{rules}}}\n".encode()


def legend(axes: Any, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Draw a legend beside the axes."""
    if handles:
        axes.legend(
            handles,
            names,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.04),
            fontsize=8.5,
            handlelength=1.2,
            borderaxespad=0.3,
            handletextpad=0.5,
        )


def label(name: str) -> str:
    """Return a name as a label: one line, bounded length, no markup."""
    name = one_line(name)
    most = MAX_LENGTH if name.isascii() else MAX_WIDE
    short = name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"
    return f" {short}" if short.startswith("_") else short


def colour(place: int) -> str:
    """Return the colour of the channel at an index."""
    return COLOURS[place] if place < len(COLOURS) else GREY


def unit(size_s: float) -> tuple[float, str]:
    """Return the scale and name of the unit for a time of this size."""
    if size_s < 1e-3:
        return 1e6, "µs"
    return (1e3, "ms") if size_s < 1.0 else (1.0, "s")


def thinned(time: F64, value: F64) -> tuple[F64, F64]:
    """Return a series of at most `MAX_POINTS` points: minimum and maximum of each stretch."""
    if len(time) <= MAX_POINTS:
        return time, value
    first = np.linspace(0, len(time), MAX_POINTS // 2, endpoint=False).astype(np.int64)
    edges = np.minimum.reduceat(value, first), np.maximum.reduceat(value, first)
    return np.repeat(time[first], 2), np.column_stack(edges).ravel()


def limits(low: F64, high: F64, sd: F64) -> tuple[float, float] | None:
    """Return the axis limits of a band, without points whose sd is above 4 medians."""
    known = np.isfinite(low) & np.isfinite(high)
    if known.any() and np.isfinite(sd[known]).any():
        known &= ~(sd > 4 * np.nanmedian(sd[known]))
    if not known.any():
        return None
    least, most = float(low[known].min()), float(high[known].max())
    room = 0.08 * (most - least) or max(abs(most), 1e-9) * 0.05
    return least - room, most + room
