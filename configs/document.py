"""YAML text to plain data, each value with its place; unsafe and ambiguous text is refused.

The text is read as a stream of parser events, never composed. Depth is counted before nesting, and
an alias is a fault and not an expansion, so that the cost is linear in the length of the text.
Plain scalars are numbers, `true`, `false` or `null` as in YAML 1.2 (`1e-3` is a number, `on` and
`1:30` are text, `010` is ten). `${NAME}` in a value is replaced by the environment variable; its
value is never shown in a fault. `$${NAME}` is the text `${NAME}`; `quoted` writes text from data in
this form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from operators.errors import LumenError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_FAULTS = 50

DataPath: TypeAlias = tuple[str | int, ...]
"""Path of a value in the data: keys and list positions from the root."""
Place: TypeAlias = tuple[int, int]
"""Line and column, from 1."""

BAD: Final = object()
"""Placeholder for a value with a reported fault."""

_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_VARIABLE = re.compile(r"\$?\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_PASSWORD = re.compile(r"(?<=://).*@|^[^:@]*:(?!//).*@", re.S)
"""Up to the last @, since a password may contain any character."""
_QUERY = re.compile(r"(?<=[?#])[^\s\"'<>]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff\u2028\u2029]"
)
_LITERALS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}


class Fault(NamedTuple):
    """One fault at one place of a file."""

    path: str
    line: int
    col: int
    message: str

    def __str__(self) -> str:
        return one_line(f"{self.path}:{self.line}:{self.col}: {self.message}")


class ConfigError(LumenError):
    """A configuration that cannot be used; `faults` are in order of place."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return a line a fault; beyond the first `MAX_FAULTS`, their number."""
        lines = [str(fault) for fault in self.faults[:MAX_FAULTS]]
        if len(self.faults) > MAX_FAULTS:
            lines.append(f"and {len(self.faults) - MAX_FAULTS} more")
        return lines


@dataclass
class Document:
    """Plain data of one file, with the place of each value and key.

    Attributes
    ----------
    path : str
        Path of the file, as in faults.
    data : dict, list, str, int, float, bool, None, or BAD
    places, keys : dict
        Data path to the place of the value, of its key.
    written : dict
        Data path to a scalar as the file has it, before `${NAME}` was replaced.
    verbatim : dict
        Data path of a text to the place of its first character, where the file has the text
        unchanged on one line.
    faults : list of Fault
    """

    path: str
    data: Any = None
    places: dict[DataPath, Place] = field(default_factory=dict)
    keys: dict[DataPath, Place] = field(default_factory=dict)
    written: dict[DataPath, str] = field(default_factory=dict)
    verbatim: dict[DataPath, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place(self, at: DataPath) -> Place:
        """Return the place of a value, or of the nearest value around a missing one."""
        while at and at not in self.places:
            at = at[:-1]
        return self.places.get(at, (1, 1))

    def key_place(self, at: DataPath) -> Place:
        """Return the place of a key, or of the value where it has none."""
        return self.keys.get(at) or self.place(at)

    def shown(self, at: DataPath, value: object) -> str:
        """Return a value as written, without environment variables and passwords of URLs."""
        return public_text(without_password(self.written.get(at, str(value))))

    def fault(self, place: Place, message: str) -> None:
        """Report a fault at a place."""
        self.faults.append(Fault(self.path, *place, message))


class _EndOfTrustError(LumenError):
    """The rest of the text cannot be trusted, or enough faults are reported."""


def one_line(text: str) -> str:
    """Return the text with line ends and control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def without_password(text: str) -> str:
    """Return a text with stars for the name and password of a URL in it."""
    return _PASSWORD.sub("***@", text)


def public_url(url: str) -> str:
    """Return a URL for display and storage: without its user part, query and fragment."""
    head, mark, rest = url.partition("://")
    place, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{head}{mark}{place.rpartition('@')[2]}{slash}{path}" if mark else url


def public_text(text: str) -> str:
    """Return a text with stars for users, passwords, queries and fragments of URLs in it."""

    def starred(found: re.Match[str]) -> str:
        head, mark, rest = found[0].partition("://")
        place, slash, path = rest.partition("/")
        hidden = "***@" if "@" in place else ""
        return _QUERY.sub("***", f"{head}{mark}{hidden}{place.rpartition('@')[2]}{slash}{path}")

    return _URL.sub(starred, text)


def text_of(path: str) -> str:
    """Return the text of a file.

    Raises
    ------
    ConfigError
        The file is missing, too large, or no UTF-8.
    """

    def refuse(message: str, place: Place = (1, 1)) -> ConfigError:
        return ConfigError([Fault(path, *place, message)])

    try:
        if not Path(path).is_file():
            fault = "is not a file" if Path(path).exists() else "does not exist"
            raise refuse(f"the file {path} {fault}, expected a YAML file")
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refuse(f"the file {path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise refuse(f"the file is too large, expected at most {MAX_BYTES // 1024} KiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _position(raw[: error.start].decode("utf-8", "replace"))
        raise refuse(f"byte 0x{raw[error.start]:02x}, expected UTF-8 text", place) from None


def read(path: str, environ: Mapping[str, str]) -> Document:
    """Read a file; a file that cannot be read is a fault of the document."""
    try:
        return parse(text_of(path), path, environ)
    except ConfigError as error:
        return Document(path, BAD, faults=list(error.faults))


def parse(text: str, path: str, environ: Mapping[str, str]) -> Document:
    """Parse YAML text. Faults are collected up to the first place that cannot be parsed."""
    document = Document(path)
    if found := _UNPRINTABLE.search(text):
        where = _position(text[: found.start()])
        document.fault(where, f"control character U+{ord(found[0]):04X}, expected printable text")
        return document
    try:
        _Reader(text, document, environ).read()
    except _EndOfTrustError:
        document.data = BAD
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = ", ".join(part for part in (error.context, error.problem) if part)
        document.fault(place, f"this is not YAML: {message}")
        document.data = BAD
    return document


class _Reader:
    """Builds the data of a document from parser events."""

    def __init__(self, text: str, document: Document, environ: Mapping[str, str]) -> None:
        self.events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        self.lines = _LINE_BREAK.split(text)
        self.document = document
        self.environ = environ

    def read(self) -> None:
        """Fill the document."""
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop(_place(event), "a second document begins, expected one a file")
            elif isinstance(event, yaml.NodeEvent):
                self.document.data = self._node(event, (), 0)

    def _node(self, event: yaml.Event, at: DataPath, depth: int) -> Any:
        place = _place(event)
        self.document.places[at] = place
        if depth > MAX_DEPTH:
            self._stop(place, f"nested too deeply, expected at most {MAX_DEPTH} levels")
        if len(self.document.faults) >= MAX_FAULTS:
            raise _EndOfTrustError
        if isinstance(event, yaml.AliasEvent):
            self.document.fault(place, f"alias *{event.anchor}, expected the value written out")
            return BAD
        usable = self._is_bare(event, place)
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, place, at)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._list(at, depth)
        else:
            value = self._mapping(at, depth)
        return value if usable else BAD

    def _is_bare(self, event: Any, place: Place) -> bool:
        if event.anchor is not None:
            self.document.fault(place, f"anchor &{event.anchor}, expected none: write values out")
        elif event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.document.fault(place, f"tag {tag}, expected none: types follow from the key")
        else:
            return True
        return False

    def _list(self, at: DataPath, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*at, len(items)), depth + 1))
        return items

    def _mapping(self, at: DataPath, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            place = _place(event)
            key = self._key(event, place, (*at, "?"), depth)
            path = (*at, key if key is not None else "?")
            if key is not None and key in mapping:
                line, col = self.document.keys[path]
                self.document.fault(
                    place, f"the key '{key}' is here twice, expected once: first at {line}:{col}"
                )
                self._node(next(self.events), (*at, "?"), depth + 1)
                continue
            self.document.keys[path] = place
            value = self._node(next(self.events), path, depth + 1)
            if key is not None:
                mapping[key] = value
        return mapping

    def _key(self, event: yaml.Event, place: Place, at: DataPath, depth: int) -> str | None:
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, at, depth + 1)
            self.document.fault(place, "a key that is no plain text, expected a name")
            return None
        key = str(event.value)
        if not self._is_bare(event, place):
            return None
        if key == "<<" and not event.style:
            self.document.fault(place, "merge key <<, expected the keys written out")
            return None
        if any(not found[0].startswith("$$") for found in _VARIABLE.finditer(key)):
            self.document.fault(place, "${...} in a key, expected it in values only")
            return None
        return _VARIABLE.sub(lambda found: found[0][1:], key)

    def _scalar(self, event: yaml.ScalarEvent, place: Place, at: DataPath) -> Any:
        written = str(event.value)
        self.document.written[at] = written
        line, col = place[0], place[1] + (event.style in {"'", '"'})
        if "".join(self.lines[line - 1 : line]).startswith(written, col - 1):
            self.document.verbatim[at] = (line, col)
        try:
            value = _VARIABLE.sub(self._variable, written)
            return value if event.style else _resolve(value)
        except ValueError as error:
            self.document.fault(place, str(error))
            return BAD

    def _variable(self, found: re.Match[str]) -> str:
        name = found[1]
        if found[0].startswith("$$"):
            return found[0][1:]
        if not _NAME.fullmatch(name):
            raise ValueError(f"'{found[0]}', expected ${{NAME}} of letters, digits and _")
        if name not in self.environ:
            raise ValueError(f"the environment variable {name} is not set, expected a value for it")
        if not self.environ[name].isprintable():
            raise ValueError(f"the environment variable {name}, expected printable text in it")
        return self.environ[name]

    def _stop(self, place: Place, message: str) -> None:
        self.document.fault(place, message)
        raise _EndOfTrustError


def _resolve(plain: str) -> Any:
    """Return the value of an unquoted scalar."""
    if plain in _LITERALS:
        return _LITERALS[plain]
    if _NUMBER.fullmatch(plain):
        value = int(plain) if _INTEGER.fullmatch(plain) else float(plain)
        if abs(value) == float("inf"):
            raise ValueError("a number too large to hold, expected a finite number")
        return value
    if _NOT_FINITE.fullmatch(plain):
        raise ValueError(f"{plain}, expected a finite number")
    return plain


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _position(before: str) -> Place:
    """Return the place after the text `before`."""
    lines = _LINE_BREAK.split(before)
    return len(lines), len(lines[-1]) + 1
