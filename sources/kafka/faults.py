"""Faults of a topic."""

from __future__ import annotations

from operators.errors import LumenError, SourceError


class TopicError(SourceError):
    """A topic that a run cannot use or go on with: one line that names it."""


class OffsetGoneError(TopicError):
    """An offset that a partition does not have any more."""


class AwayError(TopicError):
    """A broker that does not answer now, or a topic that is not there."""


class TopicStoppedError(LumenError):
    """A stop that was requested while a run waited for its topic: no failure."""

    exit_code = 0

    def lines(self) -> list[str]:
        """Return the message as it is."""
        return ["Stopped on request: the topic was not there yet, nothing was read."]
