"""Lines of a recording as an MCAP file, of which the same lines are read again.

Each message is one line, so that nothing is lost; its topic is `/<source>/<key>`, its times are
those of the event. Lines without an event (ticks, losses, commands) have the topic `/lumen`. Needs
the extra `mcap`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

import msgspec
from mcap.writer import CompressionType, Writer

from operators.limits import MAX_NAMES
from sources.mcap.mcap_lines import OWN

_OTHERS = "/lumen"
_MAX_NS = (1 << 64) - 1


class _Meta(msgspec.Struct, gc=False):
    rx: float | None = None


class _LineParts(msgspec.Struct, gc=False):
    """The parts of a line that a message has beside its content."""

    ts: float | None = None
    source: str = ""
    key: str = ""
    tick: float | None = None
    rx: float | None = None
    meta: _Meta = msgspec.field(default_factory=_Meta)

    def topic(self) -> str:
        return f"/{self.source}/{self.key.removeprefix('/')}" if self.source else _OTHERS


_LINES = msgspec.json.Decoder(_LineParts)


def write(file: IO[bytes], parts: Iterable[bytes]) -> None:
    """Write whole lines as messages.

    Parameters
    ----------
    file : binary file
    parts : iterable of bytes
        Lines in the canonical form (`lines_of_rows`).
    """
    writer = Writer(file, compression=CompressionType.ZSTD)
    writer.start(profile="lumen-fusion", library="lumen-fusion")
    schema = writer.register_schema("lumen.line", "jsonschema", b'{"type":"object"}')
    channels: dict[str, int] = {}
    newest = 0
    for part in parts:
        for line in part.splitlines():
            found = _LINES.decode(line)
            topic = found.topic()
            if topic not in channels:
                if len(channels) >= MAX_NAMES - 1:
                    topic = _OTHERS
                if topic not in channels:
                    channels[topic] = writer.register_channel(topic, "json", schema, {OWN: "1"})
            arrival = next(
                (x for x in (found.meta.rx, found.tick, found.rx, found.ts) if x is not None), None
            )
            newest = newest if arrival is None else _nanoseconds(arrival)
            published = newest if found.ts is None else _nanoseconds(found.ts)
            writer.add_message(channels[topic], newest, line, published)
    writer.finish()  # type: ignore[no-untyped-call]


def _nanoseconds(seconds: float) -> int:
    """Return a time as MCAP has it; one before 1970 is 1970."""
    return min(max(round(seconds * 1e9), 0), _MAX_NS)
