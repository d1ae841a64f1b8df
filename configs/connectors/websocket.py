"""Configuration of a WebSocket input."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from configs.forms import END, Text
from configs.inputs import StreamConfig

Origin = Annotated[
    str,
    Meta(
        pattern=r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?" + END,
        extra={"expected": "an origin such as https://stage.local, without a path"},
    ),
]
ADDR = r"^(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]/]+)?:[0-9]{1,5}" + END


class WebSocketStream(StreamConfig, frozen=True, tag="websocket", kw_only=True):
    """A WebSocket server for browsers and programs; needs the extra `websocket`.

    A message is one event (`{"key": "/x", "value": 1.5, "ts": 12.25}`) or an array of events, of at
    most 8 KiB. `{"ping": t}` is answered with two stamps, for a reading of both clocks.
    """

    addr: Annotated[
        str,
        Meta(
            pattern=ADDR,
            description="Address and port to serve at.",
            examples=["127.0.0.1:9400"],
            extra={"expected": 'an address such as "127.0.0.1:9400"'},
        ),
    ]
    origins: Annotated[
        list[Origin],
        Meta(
            max_length=64,
            description="Origins of web pages that may send, beside the page of this run.",
            examples=[["https://stage.local"]],
        ),
    ] = []
    token_file: Annotated[
        Text | None,
        Meta(
            description="File with a token that each client has to send: as"
            " `Authorization: Bearer`, or as `?token=`.",
            examples=["token"],
        ),
    ] = None
