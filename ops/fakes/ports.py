"""Free ports for the programs of benches and tests.

The kernel assigns port 0 from the range of outgoing connections, where a connection can take the
port before the program binds it. The ports given here lie below that range.
"""

from __future__ import annotations

import random
import socket
from itertools import count

FIRST, LAST = 10_000, 32_000
_next = count(random.SystemRandom().randrange(LAST - FIRST))


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free for UDP and TCP, a new one with every call.

    Raises
    ------
    OSError
        All ports of the range are in use.
    """
    for _ in range(LAST - FIRST):
        address = ("127.0.0.1", FIRST + next(_next) % (LAST - FIRST))
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        ):
            try:
                stream.bind(address)
                datagram.bind(address)
            except OSError:
                continue
            return address[1]
    raise OSError(f"no port from {FIRST} to {LAST} is free")
