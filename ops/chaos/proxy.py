"""Proxies that disturb live streams: OSC by UDP, and URE by HTTP.

Outside the window bytes pass unchanged. UDP goes one way, from the sender to the receiver, which
sees the proxy's address as that of the sender. A connection of HTTP is relayed; a fault is on its
requests. In `spike` and `step` a request goes on by itself, and the answer is written anew with the
changed page. A proxy holds 8 MiB at most.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from selectors import EVENT_READ, DefaultSelector
from typing import NamedTuple, Protocol

from operators.errors import SourceError
from ops.chaos.fault import Disturbance
from ops.chaos.gate import Gate, GateCounts
from ops.chaos.osc_values import OscValues
from ops.chaos.page_values import PageValues

SLICE_S = 0.1
"""Longest wait before the stop request is checked (s)."""
MAX_DATAGRAM = 1 << 16
MAX_HEAD = 1 << 16
MAX_PAGE = 1 << 20
MAX_CONNECTIONS = 32
TIMEOUT_S = 30.0
LOOPBACK = "127.0.0.1"
_DROPPED = {"connection", "accept-encoding", "keep-alive", "proxy-connection"}
"""Fields of a request that are replaced."""


class Address(NamedTuple):
    """Host and port."""

    host: str
    port: int

    @staticmethod
    def of(text: str) -> Address:
        """Return the address of a text: `port`, `host:port`, each after `http://` too.

        Raises
        ------
        ProxyError
            It is none.
        """
        bare = text.removeprefix("http://").rstrip("/")
        host, _, port = bare.rpartition(":")
        if not port.isdecimal() or not 0 <= int(port) <= 65535 or "/" in host:
            raise ProxyError(f"{text}: expected a port, or host:port")
        return Address(host.strip("[]") or LOOPBACK, int(port))


class ProxyError(SourceError):
    """An address that cannot be used."""


class RunningProxy(Protocol):
    """A proxy; `address` is its own."""

    address: Address

    @property
    def counts(self) -> GateCounts:
        """Numbers of messages."""

    def run(self, stopped: Callable[[], bool]) -> None:
        """Forward until a stop is requested."""


class UdpProxy:
    """Forwards datagrams.

    Parameters
    ----------
    fault : Disturbance
    own, to : Address
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        fault: Disturbance,
        own: Address,
        to: Address,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate, self._to, self._clock = Gate(fault), to, clock
        self._values = OscValues(fault, self._gate.rng)
        self._spoils = fault.mode in ("spike", "step")
        self._in = _bound(own, socket.SOCK_DGRAM)
        self._out = socket.socket(_family(to), socket.SOCK_DGRAM)
        self.address = Address(*self._in.getsockname()[:2])
        self._start = clock()

    @property
    def counts(self) -> GateCounts:
        """Numbers of datagrams."""
        return self._gate.counts

    def run(self, stopped: Callable[[], bool]) -> None:
        """Forward until a stop is requested."""
        self._in.setblocking(False)
        with self._in, self._out, DefaultSelector() as selector:
            selector.register(self._in, EVENT_READ)
            while not stopped():
                now = self._clock() - self._start
                selector.select(min(self._gate.wait_s(now), SLICE_S))
                self._receive()
                for data in self._gate.due(self._clock() - self._start):
                    # A receiver that is away refuses; datagrams to it are lost.
                    with suppress(OSError):
                        self._out.sendto(data, self._to)

    def _receive(self) -> None:
        for _ in range(256):
            try:
                data = self._in.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue
            now = self._clock() - self._start
            if self._spoils:
                active = self._gate.active(now)
                changed = self._values.changed(data, active)
                self._gate.counts.changed += changed != data
                data = changed
            self._gate.put(now, data)


class HttpProxy:
    """Forwards connections of HTTP; parameters as of `UdpProxy`."""

    def __init__(
        self,
        fault: Disturbance,
        own: Address,
        to: Address,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate, self._to, self._clock = Gate(fault), to, clock
        self._values = PageValues(fault, self._gate.rng)
        self._spoils = fault.mode in ("spike", "step")
        self._listener = _bound(own, socket.SOCK_STREAM)
        self._listener.listen(MAX_CONNECTIONS)
        self.address = Address(*self._listener.getsockname()[:2])
        self._start = clock()
        self._lock, self._stop = threading.Lock(), threading.Event()

    @property
    def counts(self) -> GateCounts:
        """Numbers of requests, or of their parts."""
        return self._gate.counts

    def run(self, stopped: Callable[[], bool]) -> None:
        """Forward until a stop is requested."""
        threads: list[threading.Thread] = []
        with self._listener:
            self._listener.settimeout(SLICE_S)
            while not stopped():
                try:
                    client = self._listener.accept()[0]
                except OSError:
                    continue
                threads = [thread for thread in threads if thread.is_alive()]
                if len(threads) >= MAX_CONNECTIONS:
                    with self._lock:
                        self.counts.overflow += 1
                    client.close()
                    continue
                threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                threads[-1].start()
        self._stop.set()
        for thread in threads:
            thread.join()

    def _serve(self, client: socket.socket) -> None:
        """Relay one connection."""
        with client, suppress(OSError, HTTPException, ValueError):
            client.settimeout(SLICE_S)
            first = self._read(client)
            if not first:
                return
            server = socket.create_connection(self._to, TIMEOUT_S)
            with server:
                server.settimeout(SLICE_S)
                self._relay(client, server, first)

    def _relay(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        """Relay both ways; `data` is the beginning of a request."""
        with DefaultSelector() as selector:
            selector.register(client, EVENT_READ)
            selector.register(server, EVENT_READ)
            asking, page = True, bytearray()
            while not self._stop.is_set():
                if data:
                    if not self._admitted():
                        return
                    if self._spoils and self._gate.active(self._now()):
                        self._answer(client, data)
                        return
                    _send(server, data, self._stop)
                    with self._lock:
                        self.counts.forwarded += 1
                    data, page = b"", bytearray()
                for key, _ in selector.select(SLICE_S):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    more = self._read(sock)
                    if sock is client:
                        if not more:
                            if not asking:
                                return
                            asking = False
                            selector.unregister(client)
                            server.shutdown(socket.SHUT_WR)
                        data = more
                        continue
                    if self._spoils and len(page) < MAX_PAGE:
                        page += more
                    if not more:
                        with self._lock:
                            self._values.changed(bytes(page), active=False)
                        return
                    _send(client, more, self._stop)

    def _admitted(self) -> bool:
        """Wait for as long as the fault holds a request; return whether it is not lost."""
        with self._lock:
            self.counts.received += 1
            delay = self._gate.delay(self._now())
            if delay == float("inf"):
                self.counts.removed += 1
                return False
            self.counts.changed += delay > 0
        return not self._stop.wait(delay) if delay else True

    def _answer(self, client: socket.socket, data: bytes) -> None:
        """Answer a request with the changed page."""
        while b"\r\n\r\n" not in data and len(data) < MAX_HEAD:
            more = self._read(client)
            if not more:
                return
            data += more
        lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        fields = {name: value for name, value in fields.items() if name.lower() not in _DROPPED}
        with self._lock:
            if not self._gate.room(2 * MAX_PAGE):
                return
        asked = HTTPConnection(*self._to, timeout=TIMEOUT_S)
        try:
            asked.request(method, path, headers={**fields, "Connection": "close"})
            answer = asked.getresponse()
            page = answer.read(MAX_PAGE)
            with self._lock:
                made = self._values.changed(page, active=True)
                self.counts.forwarded += 1
                self.counts.changed += made != page
            kind = answer.getheader("Content-Type") or "text/plain"
            head = (
                f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(made)}\r\nConnection: close\r\n\r\n"
            )
            _send(client, head.encode("latin-1") + made, self._stop)
        finally:
            asked.close()
            with self._lock:
                self._gate.free(2 * MAX_PAGE)

    def _read(self, sock: socket.socket) -> bytes:
        """Return the next bytes; none at the end, or where a stop is requested."""
        end = time.monotonic() + TIMEOUT_S
        while not self._stop.is_set() and time.monotonic() < end:
            try:
                return sock.recv(MAX_DATAGRAM)
            except TimeoutError:
                continue
        return b""

    def _now(self) -> float:
        return self._clock() - self._start


def proxy(fault: Disturbance, own: str, to: str) -> RunningProxy:
    """Return a proxy: of HTTP if `to` begins with http://, else of UDP.

    Raises
    ------
    ProxyError
        An address is none, or cannot be bound.
    """
    made = HttpProxy if to.startswith("http://") else UdpProxy
    return made(fault, Address.of(own), Address.of(to))


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _bound(own: Address, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(_family(own), kind)
    try:
        if kind is socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(own)
    except OSError as error:
        made.close()
        raise ProxyError(f"{own.host}:{own.port}: {error.strerror or error}") from None
    return made


def _send(sock: socket.socket, data: bytes, stop: threading.Event) -> None:
    """Send all, or up to a stop request."""
    view = memoryview(data)
    while view and not stop.is_set():
        with suppress(TimeoutError):
            view = view[sock.send(view) :]
