"""OSC packets in a byte stream: length-prefixed (OSC 1.0) or SLIP (OSC 1.1).

The first byte determines the framing. A length below 16 MiB begins with NUL; a SLIP packet begins
with END, or with `/` or `#` if its sender writes END after packets only. A packet longer than a
datagram may be is cut to one byte more; the decoder rejects it by its length. A SLIP packet with an
invalid escape is returned with an END in front, so that the decoder rejects it. Bytes without valid
framing are returned as they are, likewise, and the stream is `broken`.

Pure. State: one packet. Losses: none here.
"""

from __future__ import annotations

from typing import Literal

END, ESC = 0xC0, 0xDB
_ESCAPED = {0xDC: END, 0xDD: ESC}
_PLAIN = (ord("/"), ord("#"))
MAX_SKIPPED = 1 << 24
"""Maximum length (bytes); a larger one is invalid framing."""
_SAMPLE = 256


class Frames:
    """Packet framing of one connection.

    Parameters
    ----------
    longest : int
        Maximum size of a packet (bytes).

    Attributes
    ----------
    kind : str or None
        None before the first byte.
    broken : bool
        The framing is invalid: the connection cannot be read on.
    """

    def __init__(self, longest: int) -> None:
        self.kind: Literal["length", "slip"] | None = None
        self.broken = False
        self._longest = longest
        self._held = bytearray()
        self._left = 0
        """Missing bytes of a length-prefixed packet; 0: the length comes next."""
        self._escaped = self._torn = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the packets completed by these bytes."""
        if self.broken or not data:
            return []
        if self.kind is None:
            if data[0] == 0:
                self.kind = "length"
            elif data[0] == END or data[0] in _PLAIN:
                self.kind = "slip"
            else:
                self.broken = True
                return [data[:_SAMPLE]]
        return self._prefixed(data) if self.kind == "length" else self._slip(data)

    def rest(self) -> list[bytes]:
        """Return the incomplete packet at the end of the connection, to be rejected."""
        held, self._held = bytes(self._held), bytearray()
        if not (held or self._left or self._escaped):
            return []
        begin = b"\0" if self.kind == "length" else bytes((END,))
        return [(begin + held)[:_SAMPLE]]

    def _prefixed(self, data: bytes) -> list[bytes]:
        found: list[bytes] = []
        at = 0
        while at < len(data):
            if not self._left:
                part = data[at : at + 4 - len(self._held)]
                self._held += part
                at += len(part)
                if len(self._held) < 4:
                    break
                length = int.from_bytes(self._held, "big")
                if not 0 < length <= MAX_SKIPPED:
                    self.broken = True
                    found.append(bytes(self._held))
                    self._held.clear()
                    return found
                self._held.clear()
                self._left = length
            part = data[at : at + self._left]
            at += len(part)
            self._left -= len(part)
            self._hold(part)
            if not self._left:
                found.append(bytes(self._held))
                self._held.clear()
        return found

    def _slip(self, data: bytes) -> list[bytes]:
        found: list[bytes] = []
        *whole, last = data.split(bytes((END,)))
        for part in whole:
            self._unescape(part)
            if self._torn or self._escaped:
                found.append((bytes((END,)) + self._held)[:_SAMPLE])
            elif self._held:
                found.append(bytes(self._held))
            self._held.clear()
            self._escaped = self._torn = False
        self._unescape(last)
        return found

    def _unescape(self, part: bytes) -> None:
        """Append a part of a packet without its escapes."""
        if self._escaped and part:
            self._hold(self._meant(part[0]))
            part, self._escaped = part[1:], False
        first, *others = part.split(bytes((ESC,)))
        self._hold(first)
        for n, other in enumerate(others):
            if other:
                self._hold(self._meant(other[0]) + other[1:])
            elif n == len(others) - 1:
                self._escaped = True
            else:  # ESC after ESC
                self._torn = True

    def _meant(self, code: int) -> bytes:
        """Return the byte of an escape; an invalid one makes the packet invalid."""
        self._torn |= code not in _ESCAPED
        return bytes((_ESCAPED.get(code, code),))

    def _hold(self, part: bytes) -> None:
        self._held += part[: max(self._longest + 1 - len(self._held), 0)]
