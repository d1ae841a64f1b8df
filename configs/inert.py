"""Text of others made inert: what a recording or the network names moves no terminal.

Control characters (C0, DEL, C1), the controls of writing direction, the separators of lines and
paragraphs, tags, what no text may hold and bytes of file names that are no UTF-8 are shown as
their escapes, such as `\\x1b` and `\\u202e`. All else stays as it is, in any script.

`guard` puts this before standard output and error, so that no way out can be forgotten; lines and
tabs pass there, and whoever moves the terminal writes to `unguarded`. A name inside of a line goes
through `inert`, where a line end is no less foreign.

Cost: one pass of a regular expression. State: none.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, TextIO, cast

_FOREIGN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f"
)
_IN_LINES = re.compile(f"[{_FOREIGN}]")
_IN_NAMES = re.compile(f"[\t\n{_FOREIGN}]")
_LOOKS_VARIABLE = re.compile(r"\$\{[^}]*\}")
_NO_UTF_8, _BYTE = re.compile("[\udc80-\udcff]"), re.compile(r"\\x([89a-f][0-9a-f])")
_IN_BYTES = re.compile(
    rb"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xaf]"
    rb"|\xef\xbb\xbf|\xef\xbf[\xb9-\xbb\xbe\xbf]|\xef\xb7[\x90-\xaf]|\xf3\xa0[\x80\x81][\x80-\xbf]"
)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def inert(text: str) -> str:
    """Return a text for the inside of a line, all that is foreign there escaped."""
    return text if text.isalnum() else _IN_NAMES.sub(_escaped, text)


def inert_lines(text: str) -> str:
    """Return a text of lines; line ends and tabs stay."""
    return _IN_LINES.sub(_escaped, text)


def literal(text: str) -> str:
    """Return a text as a configuration has it, where no `${NAME}` in it is to be replaced."""
    return _LOOKS_VARIABLE.sub(lambda found: f"${found[0]}", text)


def quoted(text: str) -> str:
    """Return a text as a configuration reads it back, whatever is in it, in double quotes."""
    return _IN_NAMES.sub(_escaped, json.dumps(literal(text), ensure_ascii=False))


def quoted_path(path: str) -> str:
    """Return a path for a configuration; bytes that are no UTF-8 stand as `\\xff` (`path_of`)."""
    return quoted(_NO_UTF_8.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", path))


def path_of(text: str) -> str:
    """Return the path that a configuration names, with bytes for `\\xff` where there is one."""
    if "\\x" not in text or Path(text).exists():
        return text
    return _BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def inert_json(data: bytes) -> bytes:
    """Return JSON whose texts mean the same, foreign characters in them as JSON escapes them."""
    return _IN_BYTES.sub(_as_json, data) if _IN_BYTES.search(data) else data


def _as_json(found: re.Match[bytes]) -> bytes:
    return json.dumps(found[0].decode())[1:-1].encode().replace(b"\x7f", b"\\u007f")


class Guarded:
    """A text stream that passes lines, and shows all that is foreign in them as escapes.

    Parameters
    ----------
    stream : text stream
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text, made inert."""
        self.stream.write(inert_lines(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard() -> None:
    """Put the guard before standard output and error, once."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Guarded):
            setattr(sys, name, cast(TextIO, Guarded(stream)))


def unguarded(stream: TextIO) -> TextIO:
    """Return the stream behind the guard, for one's own control sequences only."""
    return stream.stream if isinstance(stream, Guarded) else stream
