"""Configuration of a Kafka topic as input."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from configs.forms import END
from configs.inputs import StreamConfig
from configs.kafka_cluster import Brokers, KafkaSecurity, Topic

MAX_PARTITIONS = 100_000
_RANGE = r"[0-9]{1,6}(-[0-9]{1,6})?"
Partitions = (
    Annotated[int, Meta(ge=0, lt=MAX_PARTITIONS)]
    | Annotated[
        str,
        Meta(
            pattern=rf"^(all|{_RANGE}(,\s?{_RANGE})*)" + END,
            extra={"expected": 'all, or partitions such as "0-3" or "0,2,5-7"'},
        ),
    ]
)


class KafkaStream(StreamConfig, frozen=True, tag="kafka", kw_only=True):
    """A topic of events by rig; needs the extra `kafka`. It is the only stream of its run.

    A message is an event, or a block of whole lines of a recording. All of a rig lies in one
    partition, murmur2 of its name modulo their number. Arrival is `meta.rx`, else the time of the
    message.
    """

    brokers: Brokers
    topic: Topic
    partitions: Annotated[
        Partitions,
        Meta(
            description="Partitions that this run reads: `all`, or numbers and ranges.",
            examples=["0-3"],
        ),
    ] = "all"
    start: Annotated[
        Literal["earliest", "latest"],
        Meta(
            description="Where a run without a recovery store begins in each partition.",
            examples=["latest"],
        ),
    ] = "earliest"
    follow: Annotated[
        bool,
        Meta(
            description="Wait for further messages; without, each partition ends where it ended"
            " at the start.",
            examples=[False],
        ),
    ] = True
    batch_lines: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Lines per batch of the flow.", examples=[1000]),
    ] = 65_536
    group: Annotated[
        str,
        Meta(
            pattern=r"^[!-~]{1,255}" + END,
            description="Group to which offsets are committed, for monitoring; they are not read.",
            examples=["lumen-stage"],
            extra={"expected": "a name of at most 255 printable characters without spaces"},
        ),
    ] = "lumen"
    security: Annotated[
        KafkaSecurity | None, Meta(description="Encryption and credentials; none by default.")
    ] = None


def ranges(partitions: int | str) -> list[tuple[int, int]] | None:
    """Return the first and last number of each range; None for all."""
    if partitions == "all":
        return None
    found = []
    for part in str(partitions).split(","):
        first, _, last = part.strip().partition("-")
        found.append((int(first), int(last or first)))
    return found


def numbers(partitions: int | str, count: int) -> list[int]:
    """Return the selected partitions among `count`, rising."""
    parts = ranges(partitions)
    if parts is None:
        return list(range(count))
    return sorted({n for a, b in parts for n in range(a, min(b, count - 1) + 1)})
