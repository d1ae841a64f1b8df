"""A JACK client beside that of RtMidi: connects by name, and counts missed periods.

RtMidi opens a port by its position in a fresh list: a device that appears or disappears meanwhile
shifts the positions. RtMidi reports neither the connections of a port nor periods in which JACK
found a client late (an xrun). Therefore this module calls the JACK library of RtMidi directly. No
Python runs in a JACK thread: the callback is `sem_post` of libc, and its count is read on demand.

Losses: the content of a missed period is unknown; the periods are counted.
"""

from __future__ import annotations

import ctypes
import errno
import re
import sys
from typing import Any

_NO_START = 0x01
"""Do not start a server."""
_IS_PLAYED, _PLAYS = 0x01, 0x02
"""Direction of a port, as seen by JACK."""
_MIDI = b"8 bit raw midi"
_SEMAPHORE = 64
"""Size of a buffer for any `sem_t` (bytes)."""
_MAX_PORTS = 2**30


class JackClient:
    """A client without ports.

    Parameters
    ----------
    rtmidi : module
        The binding; its JACK library is used.
    name : str
        Of the client.

    Attributes
    ----------
    period_s : float
        Duration of a period, after which JACK delivers messages (s).

    Raises
    ------
    OSError
        The library or the server is missing.
    """

    def __init__(self, rtmidi: Any, name: str) -> None:
        self._library, self._semaphores = _library(rtmidi)
        jack = self._library
        client = jack.jack_client_open(name.encode(), _NO_START, ctypes.byref(ctypes.c_int()))
        if not client:
            raise OSError(errno.ECONNREFUSED, "JACK refuses a client")
        self._client: int | None = client
        self._missed = ctypes.create_string_buffer(_SEMAPHORE)
        self._semaphores.sem_init(self._missed, 0, 0)
        post = ctypes.cast(self._semaphores.sem_post, ctypes.c_void_p)
        jack.jack_set_xrun_callback(client, post, self._missed)
        rate, frames = jack.jack_get_sample_rate(client), jack.jack_get_buffer_size(client)
        self.period_s = frames / rate if rate else 0.0
        if jack.jack_activate(client):
            self.close()
            raise OSError(errno.ECONNREFUSED, "JACK refuses a client")

    def missed(self) -> int:
        """Return the number of missed periods since the start."""
        value = ctypes.c_int()
        self._semaphores.sem_getvalue(self._missed, ctypes.byref(value))
        return value.value

    def ports(self, sources: bool) -> list[str]:
        """Return the names of MIDI outputs (`sources`), or of MIDI inputs."""
        flags = _PLAYS if sources else _IS_PLAYED
        return self._names(self._library.jack_get_ports(self._client, None, _MIDI, flags))

    def own(self, port: str) -> str | None:
        """Return the full name of an own port, given its unique part."""
        pattern = f":{re.escape(port)}$".encode()
        found = self._names(self._library.jack_get_ports(self._client, pattern, _MIDI, 0))
        return found[0] if found else None

    def connect(self, source: str, sink: str) -> bool:
        """Connect two ports by name; return whether they are connected."""
        failed = self._library.jack_connect(self._client, source.encode(), sink.encode())
        return failed in (0, errno.EEXIST) and source in self.connected(sink)

    def disconnect(self, own: str, other: str) -> None:
        """Disconnect an own port from another one."""
        for ends in ((own, other), (other, own)):
            if ends[1] in self.connected(ends[0]):
                self._library.jack_disconnect(self._client, *(end.encode() for end in ends))

    def connected(self, port: str) -> list[str]:
        """Return the names of the ports connected to a port."""
        known = self._library.jack_port_by_name(self._client, port.encode())
        if not known:
            return []
        return self._names(self._library.jack_port_get_all_connections(self._client, known))

    def close(self) -> None:
        """Leave the server; may be called twice."""
        client, self._client = self._client, None
        if client:
            self._library.jack_client_close(client)

    def _names(self, listed: Any) -> list[str]:
        if not listed:
            return []
        names = []
        for i in range(_MAX_PORTS):
            if listed[i] is None:
                break
            names.append(listed[i].decode("utf-8", "replace"))
        self._library.jack_free(listed)
        return names


def _library(rtmidi: Any) -> tuple[Any, Any]:
    """Return the JACK library of a binding, and the library with semaphores."""
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, "no semaphores that another thread may post")
    try:
        # Linked libraries are searched too, independent of their file name.
        jack, libc = ctypes.CDLL(rtmidi._rtmidi.__file__), ctypes.CDLL(None)
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        names = ctypes.POINTER(text)
        for name, result, arguments in (
            ("jack_client_open", pointer, (text, ctypes.c_int, pointer)),
            ("jack_set_xrun_callback", ctypes.c_int, (pointer, pointer, pointer)),
            ("jack_get_sample_rate", ctypes.c_uint32, (pointer,)),
            ("jack_get_buffer_size", ctypes.c_uint32, (pointer,)),
            ("jack_activate", ctypes.c_int, (pointer,)),
            ("jack_get_ports", names, (pointer, text, text, ctypes.c_ulong)),
            ("jack_connect", ctypes.c_int, (pointer, text, text)),
            ("jack_disconnect", ctypes.c_int, (pointer, text, text)),
            ("jack_port_by_name", pointer, (pointer, text)),
            ("jack_port_get_all_connections", names, (pointer, pointer)),
            ("jack_client_close", ctypes.c_int, (pointer,)),
            ("jack_free", None, (pointer,)),
        ):
            function = getattr(jack, name)
            function.restype, function.argtypes = result, arguments
        for name in ("sem_init", "sem_post", "sem_getvalue"):
            getattr(libc, name)
    except AttributeError as error:
        raise OSError(errno.ENOSYS, str(error)) from None
    return jack, libc
