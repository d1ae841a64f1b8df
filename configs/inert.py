"""Text from data made inert: names from a recording or the network cannot control a terminal.

Escaped are control characters (C0, DEL, C1), the controls of writing direction, the separators of
lines and paragraphs, tags, noncharacters, and bytes of file names that are not UTF-8. The escapes
are such as `\\x1b` and `\\u202e`. All other characters stay, in any script.

`guard` filters standard output and error, so that every output is covered. Line ends and tabs pass
there; a program that controls the terminal writes to `unguarded`. A name inside a line goes through
`inert`, which escapes line ends too.

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
    """Return a text for the inside of a line, with control characters and line ends escaped."""
    return text if text.isalnum() else _IN_NAMES.sub(_escaped, text)


def inert_lines(text: str) -> str:
    """Return a text of several lines with control characters escaped; line ends and tabs stay."""
    return _IN_LINES.sub(_escaped, text)


def literal(text: str) -> str:
    """Return a text for a configuration, with `$${NAME}` for `${NAME}`: it is not replaced."""
    return _LOOKS_VARIABLE.sub(lambda found: f"${found[0]}", text)


def quoted(text: str) -> str:
    """Return a text in double quotes that a configuration parses to the same text."""
    return _IN_NAMES.sub(_escaped, json.dumps(literal(text), ensure_ascii=False))


def quoted_path(path: str) -> str:
    """Return a path for a configuration; bytes that are not UTF-8 become `\\xff` (`path_of`)."""
    return quoted(_NO_UTF_8.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", path))


def path_of(text: str) -> str:
    """Return the path of a configuration's text; `\\xff` is a byte unless a file has that name."""
    if "\\x" not in text or Path(text).exists():
        return text
    return _BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def inert_json(data: bytes) -> bytes:
    """Return equivalent JSON, with control characters in texts as JSON escapes."""
    # JSON escapes the controls of ASCII but for DEL. These tests cost 1/60 of the expression.
    if data.isascii() and b"\x7f" not in data:
        return data
    return _IN_BYTES.sub(_as_json, data)


def _as_json(found: re.Match[bytes]) -> bytes:
    return json.dumps(found[0].decode())[1:-1].encode().replace(b"\x7f", b"\\u007f")


class Guarded:
    """A text stream that escapes control characters in the lines written.

    Parameters
    ----------
    stream : text stream
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text with control characters escaped."""
        self.stream.write(inert_lines(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard() -> None:
    """Wrap standard output and error, once."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Guarded):
            setattr(sys, name, cast(TextIO, Guarded(stream)))


def unguarded(stream: TextIO) -> TextIO:
    """Return the wrapped stream, for control sequences of this program only."""
    return stream.stream if isinstance(stream, Guarded) else stream
