"""A relay of TCP connections on 127.0.0.1 that can be cut: a server that goes away and is back."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self

from ops.fakes.ports import free_port

_LOOK_S = 0.02
_READ = 1 << 16


class TcpRelay:
    """Relays to a port, within a `with`.

    Attributes
    ----------
    port : int
        That clients connect to.
    to : int or None
        Port of the server; None while there is none yet.
    """

    def __init__(self, to: int | None = None) -> None:
        self.port, self.to = free_port(), to
        self._listener: socket.socket | None = None
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._wanted = True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        self._wanted = False

    def mend(self) -> None:
        """Accept connections again."""
        self._wanted = True

    def _run(self) -> None:
        while not self._ended.is_set():
            self._follow_wish()
            if not self._selector.get_map():
                self._ended.wait(_LOOK_S)
                continue
            for key, _ in self._selector.select(_LOOK_S):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._pass_on(key.fileobj)
        self._wanted = False
        self._follow_wish()

    def _follow_wish(self) -> None:
        if self._wanted and self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._selector.register(self._listener, selectors.EVENT_READ)
        elif not self._wanted and self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            for one in list(self._pairs):
                self._end(one)

    def _accept(self) -> None:
        assert self._listener is not None
        client, _ = self._listener.accept()
        try:
            assert self.to is not None
            server = socket.create_connection(("127.0.0.1", self.to))
        except (OSError, AssertionError):
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        if one not in self._pairs:
            return
        with suppress(OSError):
            if data := one.recv(_READ):
                self._pairs[one].sendall(data)
                return
        self._end(one)

    def _end(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        for each in (one, other):
            if each is not None:
                self._pairs.pop(each, None)
                with suppress(KeyError, ValueError):
                    self._selector.unregister(each)
                each.close()
