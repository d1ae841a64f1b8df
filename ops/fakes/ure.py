"""A URE on loopback with all known faults of an HTTP endpoint.

`Hostile` serves a page; its `mode`, one of `MODES`, selects the answer. A mode writes raw bytes
after the request, so that it can violate HTTP.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from ops.fakes.ports import free_port

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_ZEROS = bytes(1 << 20)
_MIB = 1 << 20


def answer(
    body: bytes,
    status: bytes = b"200 OK",
    kind: bytes = TEXT,
    length: int | None = None,
    *more: bytes,
) -> bytes:
    """Return an answer in wire format; `length` replaces its true length."""
    stated = len(body) if length is None else length
    size = b"Content-Length: %d" % stated
    head = (b"HTTP/1.1 " + status, b"Content-Type: " + kind, size, *more)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def unsized(body: bytes, *more: bytes) -> bytes:
    """Return an answer without a length, which ends with its connection."""
    head = (b"HTTP/1.1 200 OK", b"Content-Type: " + TEXT, *more)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    """Return a chunked answer; the chunks include their sizes."""
    return unsized(b"".join(chunks), b"Transfer-Encoding: chunked")


def chunk(data: bytes) -> bytes:
    """Return a chunk with its size in front."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def bomb(size: int) -> bytes:
    """Return `size` zeros in gzip: one repeated block, without a trailer."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(_ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + block * (size // len(_ZEROS))


def packed(body: bytes) -> bytes:
    """Return a body in gzip."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


def _drip(data: bytes, first: int) -> Iterator[bytes]:
    yield data[:first]
    for i in range(first, len(data)):
        time.sleep(1.0)
        yield data[i : i + 1]


def _flood(head: bytes, block: bytes, size: int = 200 * _MIB) -> Iterator[bytes]:
    yield head
    for _ in range(size // len(block)):
        yield block


_GZIP = b"Content-Encoding: gzip"
_NEWS = b"# HELP u_level A level.\n# TYPE u_level gauge\n"
_BLOCK = b"".join(b"u_%d 1\n" % i for i in range(100_000))[:_MIB]

Answer = bytes | Iterator[bytes]
MODES: dict[str, Callable[[bytes], Answer]] = {
    "well": answer,
    "in chunks": lambda p: chunked(chunk(p[:9]), chunk(p[9:]), b"0\r\n\r\n"),
    "in gzip": lambda p: answer(packed(p), b"200 OK", TEXT, None, _GZIP),
    "500": lambda p: answer(p, b"500 Internal Server Error"),
    "404": lambda p: answer(p, b"404 Not Found"),
    "204": lambda p: answer(b"", b"204 No Content"),
    "206": lambda p: answer(p, b"206 Partial Content"),
    "html": lambda p: answer(b"<html>502</html>\n", kind=b"text/html"),
    "html as text": lambda p: answer(b"<!DOCTYPE html>\n<html>\n502\n</html>\n"),
    "protobuf": lambda p: answer(p, kind=b"application/vnd.google.protobuf"),
    "cut": lambda p: unsized(p[: len(p) - 3]),
    "cut OpenMetrics": lambda p: answer(p, kind=b"application/openmetrics-text"),
    "length too long": lambda p: answer(p, length=len(p) + 100),
    "length too short": lambda p: answer(p, length=len(p) - 3),
    "length beyond belief": lambda p: answer(p, length=10**19),
    "drip": lambda p: _drip(answer(p), len(answer(p)) - len(p)),
    "drip in the headers": lambda p: _drip(answer(p), 20),
    "200 MB": lambda p: _flood(unsized(b""), _BLOCK),
    "200 MB announced": lambda p: _flood(answer(b"", length=200 * _MIB), _BLOCK),
    "gzip bomb": lambda p: answer(bomb(1 << 30), b"200 OK", TEXT, None, _GZIP),
    "cut gzip": lambda p: unsized(packed(p)[:-4], _GZIP),
    "gzip and more": lambda p: answer(packed(p) + p, b"200 OK", TEXT, None, _GZIP),
    "no gzip": lambda p: answer(p, b"200 OK", TEXT, None, _GZIP),
    "brotli": lambda p: answer(p, b"200 OK", TEXT, None, b"Content-Encoding: br"),
    "redirect": lambda p: answer(b"", b"302 Found", TEXT, None, b"Location: /elsewhere"),
    "cut chunks": lambda p: chunked(chunk(p)),
    "chunk of negative size": lambda p: chunked(b"-1\r\n" + p),
    "chunk beyond belief": lambda p: chunked(b"f" * 16 + b"\r\n" + p),
    "endless headers": lambda p: _flood(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 90 + b"\r\n"),
    "one endless header": lambda p: _flood(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * _MIB),
    "endless continue": lambda p: _flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "no HTTP": lambda p: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "page without headers": lambda p: p,
    "half bad": lambda p: answer(p + b"u_other {\n"),
    "twice": lambda p: answer(p + p),
    "bad UTF-8": lambda p: answer(p + b'u_other{a="\xff\xfe"} 1\n'),
    "NUL": lambda p: answer(p + b"u_other 1\0\n"),
    "empty": lambda p: answer(b""),
    "comments only": lambda p: answer(_NEWS),
    "too many series": lambda p: answer(p + b"".join(b"u_%d 1\n" % i for i in range(20_000))),
    "4 MiB in a line": lambda p: answer(p + b"u{a=" + b"a" * (4 * _MIB - 1_000) + b"\n"),
    "empty lines": lambda p: answer(p + b"\n" * (4 * _MIB - 1_000)),
    "NaN": lambda p: answer(p.replace(p.split()[-1], b"NaN")),
    "infinite": lambda p: answer(p.replace(p.split()[-1], b"1e999")),
    "renamed": lambda p: answer(p.replace(b"u_level", b"u_volume")),
}  # fmt: skip
"""Answer to a request for a page, by mode."""
RESET, MUTE, DEAF, DOWN, FLAPPING = "reset", "mute", "deaf", "down", "flapping"
"""Modes of the connection rather than of the answer; `flapping`: reset and well in turn."""


class Hostile:
    """A server of one page, in one `mode` at a time: of `MODES` or one of the five others.

    Parameters
    ----------
    page : callable
        Returns the current page.

    Attributes
    ----------
    served : float
        Time of the last complete page (s since 1970).
    requests : list of bytes
        The request lines, in order of arrival.
    """

    def __init__(self, page: Callable[[], bytes]) -> None:
        self._page = page
        self._mode = self._is = "well"
        self.served = 0.0
        self.requests: list[bytes] = []
        self._done = threading.Event()
        self._open: set[socket.socket] = set()
        self.port = free_port()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def mode(self) -> str:
        """Mode of new connections; a change takes effect at once."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
        self._settle()

    def _settle(self) -> None:
        while self._is != (self._mode if self._mode in (DOWN, DEAF) else "listening"):
            time.sleep(0.001)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.port}/metrics_ure"

    def __enter__(self) -> Self:
        self._thread.start()
        self._settle()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while not self._done.is_set():
            if self.mode == DOWN:
                self._is = DOWN
                time.sleep(0.01)
            elif self.mode == DEAF:
                self._listen_without_accepting()
            else:
                self._listen()

    def _listen(self) -> None:
        with socket.create_server(("127.0.0.1", self.port)) as listening:
            listening.settimeout(0.01)
            self._is = "listening"
            while not self._done.is_set() and self.mode not in (DOWN, DEAF):
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                self._open.add(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _listen_without_accepting(self) -> None:
        """Fill the queue of connections, so that none can be made."""
        with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", self.port))
            listening.listen(0)
            for waiting in (first, second):
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", self.port))
            self._is = DEAF
            while not self._done.is_set() and self.mode == DEAF:
                time.sleep(0.01)

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.requests.append(connection.recv(65_536).partition(b"\r\n")[0])
            self._send(connection, self.mode, self._page())
        self._open.discard(connection)

    def _send(self, connection: socket.socket, mode: str, page: bytes) -> None:
        if mode == FLAPPING:
            mode = RESET if len(self.requests) % 2 else "well"
        if mode == MUTE:
            connection.recv(1)
        elif mode == RESET:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(answer(page)[: -len(page) // 2])
            time.sleep(0.1)  # the client reads it before the reset discards it
        elif mode in MODES:
            reply = MODES[mode](page)
            for part in (reply,) if isinstance(reply, bytes) else reply:
                connection.sendall(part)
            if mode == "well":
                self.served = time.time()
