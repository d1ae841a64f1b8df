"""Slow HTTP clients of three kinds in equal parts.

    python -m ops.fakes.slow_clients PORT N [--renew-s S] [--idle]

The first kind sends its header one byte at a time, the second sends nothing, the third requests the
metrics forty times and never reads. With `--idle` no client sends, and the limit of open files is
raised. The program prints `ready` when all are connected, and runs until it is ended.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import time
from typing import NoReturn

KINDS = (
    b"GET / HTTP/1.1\r\nX: ",
    b"",
    b"GET /metrics_fusion HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40,
)
"""First bytes of each kind; the first kind continues byte by byte."""
_DRIP_S = 0.1


def connect(port: int, k: int) -> socket.socket:
    """Return the k-th client, connected."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.setblocking(False)
    client.send(KINDS[k % len(KINDS)])
    return client


def idle(port: int, clients: int) -> NoReturn:
    """Connect up to the hard limit of open files, and send nothing."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]
    print("ready", flush=True)
    while held:
        time.sleep(60)
    raise SystemExit


def main() -> None:
    """Connect the clients and keep them busy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("clients", type=int)
    parser.add_argument("--renew-s", type=float, help="lifetime of a client; default unlimited")
    parser.add_argument("--idle", action="store_true", help="no client sends")
    args = parser.parse_args()
    if args.idle:
        idle(args.port, args.clients)
    held = [connect(args.port, k) for k in range(args.clients)]
    print("ready", flush=True)
    renewed = 0.0
    while True:
        for client in held[:: len(KINDS)]:
            with contextlib.suppress(OSError):
                client.send(b"x")
        before = int(renewed)
        renewed += args.clients * _DRIP_S / args.renew_s if args.renew_s else 0.0
        for k in (n % args.clients for n in range(before, int(renewed))):
            held[k].close()
            with contextlib.suppress(OSError):
                held[k] = connect(args.port, k)
        time.sleep(_DRIP_S)


if __name__ == "__main__":
    main()
