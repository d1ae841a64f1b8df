"""One HTTP GET under one deadline for name look-up, connection, headers and body.

The timeouts of HTTP clients do not bound a whole exchange: slowly dripping bytes restart each of
them. Here every wait is for a non-blocking socket, and ends at the deadline or at a stop request.
A body is rejected if it is shorter than its length field, compressed other than with gzip, or
longer than a page may be, compressed or not. Redirects are not followed, so that credentials
reach no other server. `https://` uses the certificates of the system; a body without a length
that ends without the end of TLS is cut.

Cost: 0.3 ms on loopback. State: none, except a running name look-up.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from errno import EINPROGRESS
from functools import partial
from http.client import HTTPException, HTTPResponse
from os import strerror
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import Any, TypeVar
from urllib.parse import urlsplit

from operators.errors import SourceError
from operators.types import Reason
from sources.ure.credentials import Credentials
from sources.ure.exposition import MAX_PAGE, PageError

_SLICE_S = 0.1
"""Longest wait before the deadline and the stop request are checked (s)."""
_READ = 1 << 16
_MAX_WIRE = MAX_PAGE + _READ
"""Maximum size of a response with its headers (bytes)."""
_SAMPLE = 256
_TYPES = {"": False, "text/plain": False, "application/openmetrics-text": True}
"""Accepted content types, and whether each is OpenMetrics; none means plain text."""
_ACCEPT = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5"


_Result = TypeVar("_Result")


class StoppedError(SourceError):
    """A stop was requested before the end of the exchange."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A page, and whether it is OpenMetrics."""

    page: bytes
    openmetrics: bool


class Deadline:
    """A deadline that a stop request cuts short."""

    def __init__(self, seconds: float, stopping: Callable[[], bool]) -> None:
        self._until = time.monotonic() + seconds
        self._stopping = stopping

    def slice(self) -> float:
        """Return the longest wait before the next check (s).

        Raises
        ------
        TimeoutError, StoppedError
            The deadline has passed; a stop was requested.
        """
        if self._stopping():
            raise StoppedError
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, _SLICE_S)

    def ready(self, sock: socket.socket, event: int) -> None:
        """Wait until a socket can be read or written."""
        with DefaultSelector() as selector:
            selector.register(sock, event)
            while not selector.select(self.slice()):
                pass

    def until(self, sock: socket.socket, event: int, call: Callable[[], _Result]) -> _Result:
        """Call until the socket no longer blocks; TLS may need either direction."""
        while True:
            self.slice()
            try:
                return call()
            except ssl.SSLWantReadError:
                self.ready(sock, EVENT_READ)
            except ssl.SSLWantWriteError:
                self.ready(sock, EVENT_WRITE)
            except BlockingIOError:
                self.ready(sock, event)


class HttpEndpoint:
    """The address of a page.

    Parameters
    ----------
    url : str
        `http://host[:port][/path]` or `https://...`.
    credentials : Credentials or None
        Sent with each request.
    """

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self._tls = parts.scheme == "https"
        self._trust: ssl.SSLContext | None = None
        self._credentials = credentials
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._tls else 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request = (
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: lumen-fusion\r\n"
            f"Accept: {_ACCEPT}\r\nAccept-Encoding: identity\r\nConnection: close\r\n"
        ).encode("ascii")
        self._looking: Future[list[Any]] | None = None

    def get(self, deadline: Deadline) -> HttpResponse:
        """Get the page.

        Raises
        ------
        PageError
            There is no page; `reason` is None if no byte was received.
        StoppedError
        """
        wire = None
        try:
            own = self._credentials.header() if self._credentials else b""
            with self._connect(deadline) as sock:
                self._send(sock, deadline, self._request + own + b"\r\n")
                wire = _Wire(sock, deadline)
                return _read(wire)
        except (OSError, HTTPException, ValueError, zlib.error) as error:
            received = wire.received if wire else b""
            reason: Reason = "timeout" if isinstance(error, TimeoutError) else "http"
            raise PageError(_why(error), reason if received else None, received) from error
        except PageError as error:
            error.sample = error.sample or (wire.received if wire else b"")
            raise

    def _connect(self, deadline: Deadline) -> socket.socket:
        failed: OSError | None = None
        for family, kind, protocol, _, address in self._addresses(deadline):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                error = sock.connect_ex(address)
                if error == EINPROGRESS:
                    deadline.ready(sock, EVENT_WRITE)
                    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not error:
                    return self._secured(sock, deadline) if self._tls else sock
                failed = OSError(error, strerror(error))
            except BaseException:
                sock.close()
                raise
            sock.close()
        raise failed or OSError(0, "the name has no address")

    def _secured(self, sock: socket.socket, deadline: Deadline) -> ssl.SSLSocket:
        """Do the TLS handshake; the certificate must be trusted and name the host."""
        if self._trust is None:
            self._trust = ssl.create_default_context()
        secured = self._trust.wrap_socket(
            sock,
            server_hostname=self._host,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
        )
        try:
            deadline.until(secured, EVENT_READ, secured.do_handshake)
        except BaseException:
            secured.close()
            raise
        return secured

    def _addresses(self, deadline: Deadline) -> list[Any]:
        """Resolve the host; a name in a thread, since the look-up has no timeout."""
        try:
            return _look_up(self._host, self._port, socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass
        looking = self._looking
        if looking is None:
            looking = self._looking = Future()
            threading.Thread(target=self._look, args=(looking,), daemon=True).start()
        while not looking.done():
            wait([looking], deadline.slice())
        self._looking = None
        return looking.result()

    def _look(self, looking: Future[list[Any]]) -> None:
        try:
            looking.set_result(_look_up(self._host, self._port))
        except (OSError, UnicodeError) as error:
            looking.set_exception(OSError(0, str(error)))

    def _send(self, sock: socket.socket, deadline: Deadline, request: bytes) -> None:
        left = request
        while left:
            left = left[deadline.until(sock, EVENT_WRITE, partial(sock.send, left)) :]


class _Wire(io.RawIOBase):
    """The incoming bytes, as the response reads them; `received` holds the first of them."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.received = b""
        self._sock = sock
        self._deadline = deadline
        self._left = _MAX_WIRE

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return itself, buffered: the interface that a response expects of a socket."""
        return io.BufferedReader(self, _READ)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the available bytes; wait for the first."""
        count = self._deadline.until(self._sock, EVENT_READ, partial(self._sock.recv_into, buffer))
        if len(self.received) < _SAMPLE:
            self.received += bytes(buffer[: min(count, _SAMPLE)])
        self._left -= count
        if self._left < 0:
            raise PageError("the page is too long", "too_long")
        return count


def _read(wire: _Wire) -> HttpResponse:
    """Read a whole response."""
    response = HTTPResponse(wire)  # type: ignore[arg-type]
    try:
        response.begin()
        if 300 <= response.status < 400:
            raise PageError(f"answered {response.status}: redirects are not followed", "http")
        if response.status == 401:
            raise PageError("answered 401, expected basic_auth or bearer_token_file", "http")
        if response.status != 200:
            raise PageError(f"answered {response.status}", "http")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _TYPES:
            raise PageError(f"answered with {kind[:40]!a}, not with text/plain", "http")
        page = _body(response, response.headers.get("content-encoding", "").strip().lower())
        if response.length:
            raise PageError(f"the page is cut: {response.length} bytes are missing", "http")
        return HttpResponse(page, _TYPES[kind])
    finally:
        response.close()


def _body(response: HTTPResponse, packing: str) -> bytes:
    if packing not in ("", "identity", "gzip", "x-gzip"):
        raise PageError(f"packed as {packing[:40]!a}", "http")
    if (response.length or 0) > MAX_PAGE:
        raise PageError(f"the page is too long: {response.length} bytes", "too_long")
    gzip = zlib.decompressobj(31) if "gzip" in packing else None
    page = bytearray()
    while data := response.read(_READ):
        if gzip is not None:
            if gzip.eof:
                raise PageError("the page has data after its gzip", "http")
            data = gzip.decompress(data, MAX_PAGE + 1 - len(page))
        page += data
        if len(page) > MAX_PAGE:
            raise PageError("the page is too long", "too_long")
    if gzip is not None and (not gzip.eof or gzip.unused_data):
        raise PageError("the page is cut: its gzip has no end", "http")
    return bytes(page)


def _look_up(host: str, port: int, flags: int = 0) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no whole answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "the page is cut: TLS has no end"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or type(error).__name__}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"no HTTP: {type(error).__name__}"
