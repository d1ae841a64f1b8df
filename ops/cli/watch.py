"""`lumen watch`: what the live page shows, drawn in a terminal once a second.

It asks the flow as a browser does, so that it can come and go, and the flow too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from types import FrameType
from typing import TextIO

from configs.inert import inert, unguarded
from ops.cli.state_client import URL, USUAL, NoAnswerError, State, address, ask
from ops.cli.terminal_view import Kind, TextLine, Trace, dimmed, frame

_STYLES: dict[Kind, str] = {
    "plain": "", "soft": "\x1b[2m", "good": "\x1b[32m", "warn": "\x1b[33m", "crit": "\x1b[1;31m",
    "wait": "\x1b[36m",
}  # fmt: skip
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""To a screen of its own, without cursor and line breaks, and back."""
_HOME, _LINE_END, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_PLAIN = str.maketrans({"±": "+", "·": ".", "•": "*", "░": ":", "≥": ">", "≤": "<", "…": "~"})
"""For terminals that have ASCII only; each takes one column, as what it stands for."""


class Screen:
    """Where frames are drawn: one over the other in a terminal, else one after the other.

    Parameters
    ----------
    out : TextIO
    moving : bool
        Draw over the frame before, where `out` is a terminal.
    """

    def __init__(self, out: TextIO, moving: bool) -> None:
        terminal = out.isatty() and os.environ.get("TERM") != "dumb"
        self._out = unguarded(out)
        self._moving = moving and terminal
        self._coloured = terminal and not os.environ.get("NO_COLOR")
        self._ascii = not (out.encoding or "").lower().replace("-", "").startswith("utf8")

    def __enter__(self) -> Screen:
        if self._moving:
            self._out.write(_ENTER)
        return self

    def __exit__(self, *error: object) -> None:
        if self._moving:
            self._out.write(_LEAVE)
            self._out.flush()

    @property
    def width(self) -> int:
        """Columns."""
        return max(shutil.get_terminal_size().columns, 40)

    def draw(self, lines: Iterable[TextLine]) -> None:
        """Draw a frame; what does not fit in height is said."""
        shown = list(lines)
        if self._moving:
            height = shutil.get_terminal_size().lines
            if (more := len(shown) - height + 1) > 1:
                shown[height - 1 :] = [
                    TextLine(f"... {more} more lines, in a higher window", "soft")
                ]
            ends = f"{_LINE_END}\n".join(map(self._painted, shown))
            self._out.write(f"{_HOME}{ends}{_LINE_END}{_BELOW}")
        else:
            self._out.write("".join(f"{self._painted(line)}\n" for line in shown))
        self._out.flush()

    def _painted(self, line: TextLine) -> str:
        text = inert(line.text)
        if self._ascii:
            text = text.translate(_PLAIN).encode("ascii", "replace").decode()
        style = _STYLES[line.kind] if self._coloured else ""
        return f"{style}{text}\x1b[0m" if style and text else text


def look(url: str, trace: Trace) -> State:
    """Return what a flow shows, and take what is new of each rig's lines into the trace."""
    state = ask(url)
    for name in state.names:
        trace.add(ask(url, rig=name, since=trace.versions.get(name, 0)))
    return state


def watch(url: str, screen: Screen, every_s: float) -> None:
    """Draw what a flow shows until Ctrl-C; wait for it where it is not there."""
    trace = Trace()
    state: State | None = None
    answered = time.monotonic()
    while True:
        begun = time.monotonic()
        try:
            state = look(url, trace)
            answered, told = begun, TextLine(url, "soft")
        except NoAnswerError as error:
            old = f"; what is shown is {begun - answered:.0f} s old" if state else ""
            told = TextLine(f"{error}; asking again each {every_s:g} s{old}", "crit")
        width = screen.width
        shown = frame(state, trace, width) if state else iter(())
        if told.kind == "crit":
            shown = dimmed(shown)
        screen.draw([TextLine(told.text[:width], told.kind), *shown])
        time.sleep(max(begun + every_s - time.monotonic(), 0.1))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `lumen watch` takes."""
    parser.add_argument(
        "url", nargs="?", metavar="URL",
        help=f"where the flow shows itself; default ${URL}, else {USUAL}",
    )  # fmt: skip
    parser.add_argument("--once", action="store_true", help="print one frame and end")
    parser.add_argument(
        "--every-s", type=_seconds, default=1.0, metavar="S",
        help="seconds between two frames; default %(default)g",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Watch a flow; 1 where `--once` finds none, 2 where the address is none."""
    try:
        url = address(args.url)
    except NoAnswerError as error:
        print(f"lumen watch: {error}", file=sys.stderr)
        return 2
    screen = Screen(sys.stdout, moving=not args.once)
    if args.once:
        return _once(url, screen)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with screen:
            watch(url, screen, args.every_s)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Nobody reads any more; nor is there anyone to flush to at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _once(url: str, screen: Screen) -> int:
    trace = Trace()
    try:
        state = look(url, trace)
    except NoAnswerError as error:
        print(f"lumen watch: {error}", file=sys.stderr)
        return 1
    screen.draw(frame(state, trace, screen.width))
    return 0


def _interrupt(number: int, where: FrameType | None) -> None:
    raise KeyboardInterrupt


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("has to lie between 0.1 and 3600")
    return seconds
