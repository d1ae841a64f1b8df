"""A partition without a broker: messages that are handed out, and what the reader makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from operators.events import Reject
from operators.topic_place import place_of
from sources.kafka.client import TopicClient
from sources.kafka.faults import OffsetGoneError
from sources.kafka.partition_recording import PartitionRecording
from sources.recordings.recording import Mark, TopicMark
from sources.rows.names import Names
from sources.rows.rows import DecodedRows

COUNT = 4


@dataclass
class ScriptedMessage:
    """A message as the client gives it."""

    place: int
    content: bytes | None
    named: list[tuple[str, bytes]] = field(default_factory=list)
    time: tuple[int, int] = (1, 1_730_000_000_500)

    def offset(self) -> int:
        """Return the offset."""
        return self.place

    def error(self) -> None:
        """Return no error."""

    def value(self) -> bytes | None:
        """Return the value."""
        return self.content

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Return the headers."""
        return self.named or None

    def timestamp(self) -> tuple[int, int]:
        """Return kind and time (ms)."""
        return self.time


class ScriptedClient:
    """Hands out messages from the offset at which it was begun."""

    topic = "events"

    def __init__(self, messages: list[ScriptedMessage], low: int = 0) -> None:
        self.all, self.low = messages, low
        self.committed: list[int] = []
        self._at = 0

    def begin(self, offset: int) -> None:
        """Begin at an offset."""
        self._at = offset

    def messages(self) -> list[ScriptedMessage]:
        """Return all messages that are left."""
        if self._at < self.low:
            raise OffsetGoneError("gone")
        found = [m for m in self.all if m.place >= self._at]
        self._at = found[-1].place + 1 if found else self._at
        return found

    def newest(self) -> int:
        """Return the end."""
        return self.limits(0)[1]

    def limits(self, partition: int) -> tuple[int, int]:
        """Return the earliest offset and the end."""
        return self.low, self.all[-1].place + 1 if self.all else 0

    def commit(self, offset: int) -> None:
        """Note the committed offset."""
        self.committed.append(offset)

    def close(self) -> None:
        """End."""


def values(*contents: bytes | None) -> list[ScriptedMessage]:
    """Return messages with values, from offset 0 on."""
    return [ScriptedMessage(n, content) for n, content in enumerate(contents)]


def partition(
    messages: list[ScriptedMessage], mark: Mark | None = None, low: int = 0, **options: Any
) -> PartitionRecording:
    """Return a partition over messages."""
    client = cast(TopicClient, ScriptedClient(messages, low))
    mark = mark or Mark(place_of(0), topic=TopicMark(COUNT))
    options = {"follow": True} | options
    return PartitionRecording(client, 3, mark, low, len(messages), **options)


def rows_of(recording: PartitionRecording) -> DecodedRows:
    """Return the rows of one read."""
    names = Names("stage")
    pieces = recording.read()
    return DecodedRows.join([piece.rows_and_details(names)[0] for piece in pieces])


def rejects_of(rows: DecodedRows) -> list[Reject]:
    """Return the rejects among rows."""
    notes = [] if rows.notes is None else rows.notes.tolist()
    return [note for note in notes if isinstance(note, Reject)]
