"""Streaming parser for the XML header of an XDF stream.

Only the texts of a few known paths are kept. Depth, number of elements and length of a text are
bounded, so that memory is bounded by the header's size: as a tree, 16 MiB of `<a/>` take 600 MiB.
A document type or an entity is rejected.

Cost: 1 us an element. State: the kept texts.

Source: XDF 1.0, https://github.com/sccn/xdf/wiki/Specifications.
"""

from __future__ import annotations

from typing import NoReturn
from xml.parsers import expat

from operators.errors import SourceError

MAX_DEPTH, MAX_ELEMENTS, MAX_TEXT = 64, 1 << 19, 1 << 16
"""Nested elements; elements of a header; characters of a kept text."""
_ONE = {
    ("info", name) for name in ("name", "type", "channel_count", "nominal_srate", "channel_format")
} | {("info", "desc", "synchronization", "can_drop_samples")}
_CHANNEL = ("info", "desc", "channels", "channel")
_OF_EACH = ("label", "unit")


class HeaderError(SourceError, ValueError):
    """An invalid stream header."""


class HeaderTexts:
    """The kept texts of one header.

    Parameters
    ----------
    content : bytes
        XML.

    Attributes
    ----------
    channels : list of dict
        Label and unit, if present, of the channels of the first description.

    Raises
    ------
    HeaderError
        The content is not XML, has another root element, or exceeds a limit.
    """

    def __init__(self, content: bytes) -> None:
        self._texts: dict[str, str] = {}
        self.channels: list[dict[str, str]] = []
        self._path: list[str] = []
        self._into: tuple[dict[str, str], str] | None = None
        self._parts: list[str] = []
        self._length = self._elements = self._described = 0
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.StartDoctypeDeclHandler = self._declared
        try:
            parser.Parse(content.decode("utf-8", "replace").encode(), True)
        except expat.ExpatError as error:
            raise HeaderError(str(error)) from None

    def __getitem__(self, name: str) -> str:
        """Return the text of an element, empty if absent."""
        return self._texts.get(name, "")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        self._elements += 1
        if len(self._path) > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise HeaderError("nested too deep, or too many elements")
        if self._path[0] != "info":
            raise HeaderError(f"<{name}> is no header")
        self._into = None  # a text ends where an element begins
        path = tuple(self._path)
        if path == _CHANNEL[:-1]:
            self._described += 1
        elif path == _CHANNEL and self._described == 1:
            self.channels.append({})
        elif path in _ONE and name not in self._texts:
            self._into = self._texts, name
        elif path[:-1] == _CHANNEL and name in _OF_EACH and self._described == 1:
            self._into = self.channels[-1], name
        if self._into:
            self._into[0][name] = ""
            self._parts, self._length = [], 0

    def _data(self, text: str) -> None:
        if self._into:
            self._length += len(text)
            if self._length > MAX_TEXT:
                raise HeaderError("a text is too long")
            self._parts.append(text)
            self._into[0][self._into[1]] = "".join(self._parts)

    def _end(self, name: str) -> None:
        self._path.pop()
        self._into = None

    def _declared(self, *arguments: object) -> NoReturn:
        raise HeaderError("a document type")
