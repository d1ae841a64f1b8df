"""Configuration of discovery: OSC inputs and OSCQuery, announced by multicast DNS."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from configs.forms import END, HostName, Port, Text
from operators.settings.config_part import ConfigPart

ServiceName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=48,
        pattern=r"^[^.\x00-\x1f\x7f-\x9f]+" + END,
        extra={"expected": "a name of at most 48 characters, without dots and control characters"},
    ),
]


class DiscoveryConfig(ConfigPart, frozen=True, kw_only=True):
    """The OSC inputs of a run found by name, and the addresses of its OSC described by OSCQuery.

    `announce` needs the extra `zeroconf`. Each input is announced on the interfaces on which it
    receives: one at 127.0.0.1 to programs on this machine only.
    """

    name: Annotated[
        ServiceName | None,
        Meta(
            description="Name that others see; `Lumen` and the rig by default.",
            examples=["Stage left"],
        ),
    ] = None
    announce: Annotated[
        bool,
        Meta(
            description="Announce OSC inputs (`_osc._udp`, `_osc._tcp`) and OSCQuery"
            " (`_oscjson._tcp`).",
            examples=[False],
        ),
    ] = True
    oscquery_port: Annotated[
        Port | None,
        Meta(description="TCP port of OSCQuery; without one it is not served.", examples=[9350]),
    ] = None
    host: Annotated[Text, Meta(description="Address of OSCQuery.", examples=["0.0.0.0"])] = (
        "127.0.0.1"
    )
    allow_hosts: Annotated[
        list[HostName],
        Meta(
            max_length=64,
            description="Further host names under which OSCQuery is served.",
            examples=[["stage.local"]],
        ),
    ] = []
    allow: Annotated[
        list[str],
        Meta(
            max_length=256,
            description="Addresses or networks of clients of OSCQuery; all where the list is"
            " empty, others are refused (403).",
            examples=[["10.0.0.0/8", "127.0.0.1"]],
        ),
    ] = []
    max_qps: Annotated[
        float,
        Meta(
            ge=0.1,
            le=100_000,
            description="Requests a second of one address to OSCQuery; more are refused (429).",
            examples=[20],
        ),
    ] = 100.0
