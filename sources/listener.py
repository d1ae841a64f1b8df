"""A live stream that hears in a thread of its own, from start to stop."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence

from sources.inbox import Inbox

_STOP_S = 2.0


class Listener(ABC):
    """A `Stream` with one thread.

    Parameters
    ----------
    name : str
        Of the stream.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._inbox = Inbox(name)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, inbox: Inbox) -> None:
        """Begin to hear, into an inbox."""
        self._inbox = inbox
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name=f"stream {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Hear no more; what was heard is in the inbox."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None

    @abstractmethod
    def _run(self) -> None:
        """Hear until `_stop` is set."""

    @abstractmethod
    def facts(self) -> Sequence[str]:
        """Return what is worth telling once it is up."""
