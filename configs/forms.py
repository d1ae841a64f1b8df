"""Forms of texts in a configuration: addresses, ports, names of hosts and streams."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

END = r"$(?!\n)"
"""The end of a text: `$` alone also matches before a final line feed."""
URL = r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[!-\"$-~]*)?" + END
Text = Annotated[str, Meta(min_length=1)]
Address = Annotated[
    str,
    Meta(
        pattern=r"^(tcp://)?(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]/]+):[0-9]{1,5}" + END,
        extra={
            "expected": 'an address such as "192.168.1.7:9000", "[::1]:9000" or'
            ' "tcp://192.168.1.7:9000"'
        },
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535, extra={"expected": "a port from 1 to 65535"})]
Listening = (
    Port
    | Annotated[
        str,
        Meta(
            pattern=r"^(tcp://)?(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]/]+)?:[0-9]{1,5}" + END,
            extra={
                "expected": "an address such as"
                ' ":9000", "192.168.1.5:9000", "[::]:9000" or "tcp://0.0.0.0:9000"'
            },
        ),
    ]
)
HostName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\.?" + END,
        extra={"expected": "a host name without a port, such as stage.local"},
    ),
]
StreamName = Annotated[
    str,
    Meta(
        min_length=1,
        pattern=r"^[^:\s]+" + END,
        description="Name of the stream, unique in the run; it is the source of live channels.",
        examples=["osc_1"],
        extra={"expected": "a name without colons and spaces, such as osc_1"},
    ),
]
