"""Accepted connections without any received bytes, the oldest first.

They wait in the kernel: thousands of them cost the server's loop one file to poll. A system whose
selector is no file (Windows) has none of them: each connection is opened at once.

State: a socket and a time for each connection.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from itertools import islice
from typing import Any


class SilentConnections:
    """Connections, as one member of waitress's map of sockets.

    Parameters
    ----------
    opened : callable
        Takes a connection and its peer once bytes have been received.
    """

    accepting = False

    def __init__(self, opened: Callable[[socket.socket, Any], None]) -> None:
        self._opened = opened
        self._selector = selectors.DefaultSelector()
        self._clients: dict[socket.socket, tuple[Any, float]] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def enter(self, sockets: dict[int, Any]) -> None:
        """Enter the file that is readable once bytes have been received, if there is one."""
        if hasattr(self._selector, "fileno"):
            sockets[self._selector.fileno()] = self

    def add(self, client: socket.socket, peer: Any, now: float) -> None:
        """Add a connection."""
        client.setblocking(False)
        if not hasattr(self._selector, "fileno"):
            self._opened(client, peer)
            return
        self._selector.register(client, selectors.EVENT_READ)
        self._clients[client] = peer, now

    def oldest(self, limit: int) -> list[tuple[float, socket.socket]]:
        """Return the first few connections with their times of acceptance (s)."""
        first = islice(self._clients.items(), limit)
        return [(since, client) for client, (_, since) in first]

    def drop(self, client: socket.socket) -> None:
        """Close a connection."""
        self._remove(client)
        client.close()

    def readable(self) -> bool:
        """Whether waitress's loop polls this file."""
        return bool(self._clients)

    def writable(self) -> bool:
        """Return False: nothing is written to a silent connection."""
        return False

    def handle_read_event(self) -> None:
        """Hand on the connections with received bytes."""
        for key, _ in self._selector.select(0):
            client: Any = key.fileobj
            self._opened(client, self._remove(client))

    def handle_close(self) -> None:
        """Close all connections."""
        for client in list(self._clients):
            self.drop(client)

    handle_error = handle_close
    """Waitress's loop calls it on a fault."""

    def close(self) -> None:
        """Close all connections for good."""
        self.handle_close()
        self._selector.close()

    def _remove(self, client: socket.socket) -> Any:
        self._selector.unregister(client)
        return self._clients.pop(client)[0]
