"""`lumen watch`: the content of the live page in a terminal, drawn once a second.

It polls the flow over HTTP like a browser. Either of the two may start, stop or restart first.
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
    "plain": "",
    "soft": "\x1b[2m",
    "good": "\x1b[32m",
    "warn": "\x1b[33m",
    "crit": "\x1b[1;31m",
    "wait": "\x1b[36m",
}
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Enter and leave the alternate screen, without cursor and line wrap."""
_HOME, _LINE_END, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_PLAIN = str.maketrans(
    {"±": "+", "·": ".", "•": "*", "░": ":", "≥": ">", "≤": "<", "…": "~", "°": " "}
)
"""Substitutes for ASCII terminals; each is one column wide, as its original."""


class Screen:
    """Output of frames: overdrawn in a terminal, else appended.

    Parameters
    ----------
    out : TextIO
    moving : bool
        Overdraw the previous frame if `out` is a terminal.
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
        """Draw a frame; the last row counts the lines beyond the height of the window."""
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
    """Return the state of a flow, and add the new points of each rig to the trace."""
    state = ask(url)
    for name in state.names:
        trace.add(ask(url, rig=name, since=trace.versions.get(name, 0)))
    return state


def watch(url: str, screen: Screen, every_s: float) -> None:
    """Draw the state of a flow until Ctrl-C; retry while there is no answer."""
    trace = Trace()
    state: State | None = None
    answered = time.monotonic()
    while True:
        begun = time.monotonic()
        try:
            state = look(url, trace)
            answered, header = begun, TextLine(url, "soft")
        except NoAnswerError as error:
            old = f"; the figures below are {begun - answered:.0f} s old" if state else ""
            header = TextLine(f"{error}; retry every {every_s:g} s{old}", "crit")
        width = screen.width
        shown = frame(state, trace, width) if state else iter(())
        if header.kind == "crit":
            shown = dimmed(shown)
        screen.draw([TextLine(header.text[:width], header.kind), *shown])
        time.sleep(max(begun + every_s - time.monotonic(), 0.1))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen watch`."""
    parser.add_argument(
        "url",
        nargs="?",
        metavar="URL",
        help=f"address of the exporter of the flow; default ${URL}, else {USUAL}",
    )
    parser.add_argument("--once", action="store_true", help="print one frame and exit")
    parser.add_argument(
        "--judge",
        action="store_true",
        help="with --once: print three indicators beside their thresholds, and exit with 1 if one"
        f" is not met; without URL and ${URL}, judge a replay of the shipped recording",
    )
    parser.add_argument(
        "--every-s",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="seconds between two frames; default %(default)g",
    )


def main(args: argparse.Namespace) -> int:
    """Watch a flow; 1 if `--once` gets no answer or `--judge` fails, 2 for an invalid call."""
    try:
        url = address(args.url)
    except NoAnswerError as error:
        print(f"lumen watch: {error}", file=sys.stderr)
        return 2
    if args.judge and not args.once:
        print("lumen watch: --judge needs --once", file=sys.stderr)
        return 2
    if args.judge:
        from ops.cli.judge import report_on

        return report_on(url if args.url or os.environ.get(URL) else None)
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
        # The reader is gone: flushing at the exit would fail again.
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
