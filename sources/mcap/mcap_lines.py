"""An MCAP file as lines of a recording: each number of a JSON message is a line.

A message of the topic `/arm` with `{"pose": {"x": 1.5}}` is an event of the key `/arm/pose/x`;
`ts` is its publish time, `rx` its log time, the source the name of the file. The elements of an
array have their index as a name. Files that `lumen convert` wrote hold whole lines, which are
handed on as they are. The interface is that of `Unpacker`, so that such a file is read, resumed
and cut like an archive of lines.

Cost: about 5 us a message. State: a chunk; 65,536 channels. Losses, as lines of their own: messages
that are no JSON (`json`) or too long (`too_long`); damaged chunks (`archive`); messages of other
encodings, and numbers of a message beyond 64 (`filtered`), merged by chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import Any, BinaryIO

import msgspec

from operators.limits import MAX_LINE, MAX_NAME_LENGTH, MAX_NAMES, MAX_SAMPLE
from operators.types import Reason
from sources.inbox import MAX_LOST
from sources.mcap.records import (
    CutError,
    Damaged,
    McapChannel,
    McapMessage,
    Record,
    channels,
    records,
)
from sources.rows.line_forms import NO_TIME, EventForm, LineMeta, UnreadForm
from sources.rows.one_line import BROKEN, UnreadLine

OWN = "lumen.lines"
"""Key of a channel's metadata: its messages are whole lines of a recording."""
MAX_NUMBERS = 64
"""Numbers of a message."""
_MAX_DEPTH = 32
_PORTION = 1 << 18
_RECORDS = 4096
"""Lines of so many bytes, or of so many records, are made at once."""
_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder()


class McapLines:
    """Reads one file from its beginning.

    Parameters
    ----------
    raw : binary file
    source : str
        Of the events.

    Attributes
    ----------
    fault : str or None
        The reason why the rest cannot be read.
    """

    def __init__(self, raw: BinaryIO, source: str) -> None:
        self._over = False
        self.fault: str | None = None
        self._source = source
        # A damaged chunk may have held the channels; the summary at the end has them again.
        self._channels = {channel.number: channel for channel in channels(raw)}
        raw.seek(0)
        self._records = records(raw)
        self._ignored: Counter[tuple[str, str]] = Counter()
        self._rest = b""

    @property
    def ended(self) -> bool:
        """Whether there is no more readable content."""
        return self._over and not self._rest

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of content; an empty result is not the end."""
        if not self._rest and not self._over:
            self._rest = self._portion()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _portion(self) -> bytes:
        """Return the next lines. Their number does not depend on the sizes of the reads."""
        parts: list[bytes] = []
        length = 0
        for _ in range(_RECORDS):
            try:
                record = next(self._records, None)
            except CutError as error:
                self.fault, record = str(error), None
            if record is None:
                self._over = True
                break
            if text := self._lines(record):
                parts.append(text)
                length += len(text)
            if length >= _PORTION:
                break
        return b"".join(parts) + _encoder.encode_lines(self._losses())

    def _lines(self, record: Record) -> bytes:
        """Return the lines of a record."""
        if isinstance(record, McapMessage):
            channel = self._channels.get(record.channel)
            if channel is not None and OWN in channel.metadata and b"\n" not in record.data:
                return record.data + b"\n"
        return _encoder.encode_lines(list(self._forms(record)))

    def _forms(self, record: Record) -> Iterator[EventForm | UnreadForm]:
        if isinstance(record, Damaged):
            yield self._lost("archive", "", record.why.encode())
        elif isinstance(record, McapChannel):
            if len(self._channels) < MAX_NAMES:
                self._channels[record.number] = record
        else:
            yield from self._events(record)

    def _events(self, message: McapMessage) -> Iterator[EventForm | UnreadForm]:
        """Yield the numbers of a message, or its loss."""
        channel = self._channels.get(message.channel)
        if channel is None:
            yield self._lost("schema", f"channel {message.channel}", message.data)
            return
        if channel.encoding != "json":
            self._ignored[channel.topic, f"its encoding is {channel.encoding}"] += 1
            return
        if len(message.data) > MAX_LINE:
            yield self._lost("too_long", channel.topic, message.data)
            return
        try:
            content = _decoder.decode(message.data)
        except BROKEN:
            yield self._lost("json", channel.topic, message.data)
            return
        rx, ts = message.log_ns / 1e9, message.publish_ns / 1e9
        meta = LineMeta(rx=rx) if message.publish_ns else NO_TIME
        own = ts if message.publish_ns else rx
        for count, (key, value) in enumerate(numbers(content, channel.topic), 1):
            if count > MAX_NUMBERS:
                self._ignored[channel.topic, f"more than {MAX_NUMBERS} numbers"] += 1
            elif not isfinite(value):
                yield self._lost("value", key, message.data)
            else:
                yield EventForm(own, self._source, key, value, meta=meta)

    def _losses(self) -> list[UnreadForm]:
        """Return the messages ignored since the last call, merged by topic and reason."""
        lost = [
            self._lost("filtered", topic, why.encode(), min(MAX_LOST, count - n))
            for (topic, why), count in self._ignored.items()
            for n in range(0, count, MAX_LOST)
        ]
        self._ignored.clear()
        return lost

    def _lost(self, reason: Reason, where: str, sample: bytes, count: int = 1) -> UnreadForm:
        text = sample[:MAX_SAMPLE]
        return UnreadForm(UnreadLine(reason, self._source, where[-MAX_NAME_LENGTH:], text, count))


def numbers(content: Any, name: str, depth: int = 0) -> Iterator[tuple[str, float]]:
    """Yield the numbers in the content of a message, each with its path behind a name.

    Texts, truth values and nulls are no numbers; content nested deeper than 32 is not read.
    """
    if isinstance(content, bool) or depth > _MAX_DEPTH:
        return
    if isinstance(content, int | float):
        yield name, _as_float(content)
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from numbers(value, f"{name}/{key}", depth + 1)
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from numbers(value, f"{name}/{place}", depth + 1)


def _as_float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf")
