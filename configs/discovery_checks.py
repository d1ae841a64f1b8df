"""Checks of `discovery`: something to be found, the extra, and a port of its own."""

from __future__ import annotations

from configs import stream_checks
from configs.address import Listen, endpoint, overlap
from configs.connectors.websocket import WebSocketStream
from configs.document import Document
from configs.extras import missing
from configs.inputs import OscStream
from configs.schema import Config


def check(document: Document, config: Config) -> None:
    """Report a discovery by which nothing can be found."""
    discovery = config.discovery
    if discovery is None:
        return
    place = document.key_place(("discovery",))
    inputs = any(isinstance(s, OscStream) for s in config.streams)
    if discovery.oscquery_port is None and not (discovery.announce and inputs):
        message = "'discovery' without anything to find, expected an OSC stream to announce"
        document.fault(place, f"{message}, or oscquery_port")
    if discovery.announce and (why := missing("zeroconf")):
        document.fault(place, f"discovery {why.removeprefix('type zeroconf ')}")
    stream_checks.networks(document, ("discovery", "allow"), discovery.allow, "network")
    if discovery.oscquery_port is None:
        return
    own = Listen(True, discovery.host, discovery.oscquery_port)
    holder = next((name for name, other in _ports(config) if overlap(own, other)), None)
    if holder is not None:
        message = f"the port {discovery.oscquery_port} is that of {holder}, expected another port"
        document.fault(document.place(("discovery", "oscquery_port")), message)


def _ports(config: Config) -> list[tuple[str, Listen]]:
    """Return the TCP ports of a run, with their owners."""
    found: list[tuple[str, Listen]] = []
    shared = config.exporter
    if shared is not None:
        found.append(("the exporter", Listen(True, shared.host, shared.http_port)))
    if config.bridge is not None and config.bridge.exporter is not None:
        host = shared.host if shared is not None else "127.0.0.1"
        port = config.bridge.exporter.http_port
        found.append(("the bridge's exporter", Listen(True, host, port)))
    for stream in config.streams:
        if isinstance(stream, WebSocketStream):
            where = endpoint(stream.addr)._replace(tcp=True)
        elif isinstance(stream, OscStream):
            where = endpoint(stream.addr)
        else:
            continue
        found.append((f"stream '{stream.name}'", where))
    return found
