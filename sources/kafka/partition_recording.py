"""One partition of a topic, read as a growing file is.

A place is the offset of a message and a byte in it (`places`). Blocks that an edge sent twice are
dropped by the place on its tape (`tape_places`).

Cost: about 1 us a message beside its lines. State: the messages of the client, and the places of 64
tapes. Losses: a value over 1 MiB, a message without a value, offsets that retention deleted: each
a dead letter with its count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.limits import MAX_SAMPLE
from operators.topic_place import MAX_VALUE, byte_of, offset_of, place_of
from sources.kafka.faults import OffsetGoneError
from sources.kafka.messages_piece import LostPiece, MessagesPiece, Value
from sources.kafka.tape_places import TapePlaces
from sources.ndjson import Decoder
from sources.recordings.recording import ColumnPiece, Mark, TopicMark

if TYPE_CHECKING:
    from confluent_kafka import Message

    from sources.kafka.client import TopicClient

_TAKEN = 1 << 19
"""Bytes of values in one call, and one value more."""
_NO_TIME = 0


class PartitionRecording:
    """Reads one partition from a place on, as `Recording` reads a file.

    Parameters
    ----------
    client : TopicClient
        Not read yet.
    partition : int
    mark : Mark
        Place to begin at, with the number of partitions.
    low, high : int
        The earliest offset that is there, and the one behind the newest message.
    follow : bool
        Without, the partition ends where it ends at the first answer, or at the mark's end.
    from_earliest : bool
        Go on behind offsets that were deleted, and count them.

    Attributes
    ----------
    ended : bool
        The partition was read to its end.
    idle : bool
        No message was there.
    size : int
        Messages up to the end, at the start.
    twice : int
        Blocks that an edge sent a second time.

    Raises
    ------
    OffsetGoneError
        The offset of the mark was deleted.
    """

    before = 0

    def __init__(
        self,
        client: TopicClient,
        partition: int,
        mark: Mark,
        low: int,
        high: int,
        *,
        follow: bool,
        from_earliest: bool = False,
    ) -> None:
        assert mark.topic is not None
        self.path = f"{client.topic}/{partition}"
        self.follow = follow
        self.ended = self.idle = False
        self._client = client
        self._count, self._end = mark.topic.count, mark.topic.end
        self._places = TapePlaces(mark.topic.places)
        self._partition, self._from_earliest = partition, from_earliest
        self._begin = self._next = offset_of(mark.offset)
        self._skip = byte_of(mark.offset)
        self._gap: list[ColumnPiece] = []
        if self._next < low:
            self._pass_over(low)
        self._decoder = Decoder(self.path)
        self._waiting: list[Message] = []
        self.size = max((high if self._end is None else self._end) - self._begin, 0)
        self.twice = 0
        client.begin(partition, self._next)

    def read(self) -> list[ColumnPiece]:
        """Return the next messages; none if there are none now, or the partition ended."""
        pieces, self._gap = self._gap, []
        self.ended = self._end is not None and self._next >= self._end
        if self.ended:
            return pieces
        if not self._waiting:
            try:
                self._waiting = self._client.messages()
            except OffsetGoneError:
                self._go_on()
            if self._waiting and self._end is None and not self.follow:
                self._end = max(self._client.newest(), self._next)
        values: list[Value] = []
        taken = used = 0
        for message in self._waiting:
            used += 1
            offset = message.offset()
            assert offset is not None
            if message.error() is not None:  # the end of what is there
                self._next = max(self._next, offset)
                continue
            if self._end is not None and offset >= self._end:
                self._next = self._end
                continue
            self._next = offset + 1
            place = place_of(offset, self._skip)
            lines, self._skip = message.value(), 0
            if self._is_known(message, offset):
                continue
            if lines is None or len(lines) > MAX_VALUE:
                pieces += self._piece(values)
                values = []
                pieces.append(_lost(self.path, place, lines))
                continue
            if byte_of(place):
                lines = lines[byte_of(place) :]
            kind, time_ms = message.timestamp()
            values.append(Value(place, time_ms / 1e3 if kind != _NO_TIME else float("nan"), lines))
            taken += len(lines)
            if taken >= _TAKEN:
                break
        del self._waiting[:used]
        pieces += self._piece(values)
        self.ended = self._end is not None and self._next >= self._end
        self.idle = not used and not self.ended
        return pieces

    def _go_on(self) -> None:
        """Read on at the earliest offset, or refuse to."""
        low, high = self._client.limits(self._partition)
        if self._next >= low:
            raise OffsetGoneError(
                f"topic {self._client.topic}, partition {self._partition}: offset {self._next} is"
                f" wanted, and the end is {high}: the topic was made anew;"
                " begin with an empty recovery directory and output.dir"
            )
        self._pass_over(low)
        self._client.begin(self._partition, self._next)

    def _pass_over(self, low: int) -> None:
        """Count the offsets before the earliest one that is there, or refuse to go on."""
        first = self._next
        if not self._from_earliest:
            raise OffsetGoneError(
                f"topic {self._client.topic}, partition {self._partition}: offset {first} was"
                f" deleted, the earliest is {low}; lumen run CONFIG --from earliest goes on and"
                " counts the gap"
            )
        why = f"{self.path}: offsets {first} to {low - 1} were deleted".encode()
        place = place_of(first, self._skip)
        self._gap = [LostPiece(self.path, place, "offset_gone", why, low - first)]
        self._next, self._skip = low, 0

    def _piece(self, values: list[Value]) -> list[ColumnPiece]:
        return [MessagesPiece(self.path, values, self._decoder)] if values else []

    def _is_known(self, message: Message, offset: int) -> bool:
        """Whether a block of a tape was read before; it is counted then."""
        known = self._places.is_known(message.headers() or (), offset)
        self.twice += known
        return known

    def finish(self) -> list[ColumnPiece]:
        """End the partition after the messages read so far."""
        self.ended = True
        return []

    def mark(self, line: int | None) -> Mark:
        """Return the place to resume from: a line, or behind all messages read."""
        place = place_of(self._next, self._skip) if line is None else line
        places = self._places.before(offset_of(place))
        return Mark(offset=place, topic=TopicMark(self._count, self._end, places))

    def settle(self, mark: Mark) -> None:
        """Note that no run resumes before a mark; its offset is committed for monitoring."""
        self._places.settle(offset_of(mark.offset))
        self._client.commit(offset_of(mark.offset))

    def position(self) -> int:
        """Return the number of messages read, with those that are gone."""
        return self._next - self._begin

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def _lost(partition: str, place: int, value: bytes | None) -> LostPiece:
    """Return a message without lines, or with too many, as a reject."""
    if value is None:
        return LostPiece(partition, place, "value", b"a message without a value")
    return LostPiece(partition, place, "too_long", value[:MAX_SAMPLE])
