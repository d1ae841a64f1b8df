"""LSL streams on the network as streams of a configuration."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from configs.connectors.lsl import LslStream
from configs.inert import inert
from sources.header.channel_keys import unique_name

if TYPE_CHECKING:
    from pylsl import StreamInfo

_PLAIN = re.compile(r"[^\w.+-]+")
"""Characters that a name in a configuration should not have."""
MAX_STREAMS = 32
_ENVIRONMENT = "${"
"""Text that a configuration replaces by a variable."""


class LslStreams:
    """The streams that are announced, each returned once."""

    def __init__(self) -> None:
        from pylsl import ContinuousResolver  # an extra

        self._resolver = ContinuousResolver(pred="true()")
        self._taken = Counter[str]()
        self._known: set[tuple[str, str]] = set()

    def look(self) -> list[LslStream]:
        """Return the streams that are new, at most 32 of all.

        A stream is named by its identifier only where its name is not its own: senders make up a
        new one with each start.
        """
        present = self._resolver.results()
        alike = Counter(info.name() for info in present)
        fresh = []
        for info in sorted(present, key=lambda info: (info.name(), info.source_id())):
            known = info.name(), info.source_id()
            if known not in self._known and len(self._known) < MAX_STREAMS and _is_writable(info):
                self._known.add(known)
                fresh.append(self._stream(info, alike[info.name()] > 1))
        return fresh

    def _stream(self, info: StreamInfo, alike: bool) -> LslStream:
        name = unique_name(_PLAIN.sub("_", info.name()), self._taken, "lsl")
        return LslStream(
            name=name,
            stream=None if name == info.name() else info.name(),
            source_id=info.source_id() or None if alike else None,
        )


def _is_writable(info: StreamInfo) -> bool:
    texts = info.name(), info.source_id()
    return all(inert(text) == text and _ENVIRONMENT not in text for text in texts)
