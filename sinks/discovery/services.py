"""The services that a run announces by DNS-SD (RFC 6763): its OSC inputs, and OSCQuery.

Several inputs of one type have the stream's name behind that of the run. A multicast group has no
address of its own and is not announced.
"""

from __future__ import annotations

from collections import Counter

from configs.address import endpoint
from configs.discovery import DiscoveryConfig
from configs.inputs import OscStream
from configs.schema import Config
from sinks.discovery.service_record import OSC_TCP, OSC_UDP, OSCQUERY, ServiceRecord, cut

_TXT_VERSION = {"txtvers": "1"}
_OSC_TYPES = "ifhdTF"
"""Type tags of numbers, which an input takes."""


def run_name(config: Config, discovery: DiscoveryConfig) -> str:
    """Return the name that others see."""
    return cut(discovery.name or f"Lumen {config.rig}")


def services(config: Config) -> list[ServiceRecord]:
    """Return the services of a run."""
    discovery = config.discovery
    if discovery is None or not discovery.announce:
        return []
    name = run_name(config, discovery)
    inputs = [(s, endpoint(s.addr)) for s in config.streams if isinstance(s, OscStream)]
    single = [(stream, where) for stream, where in inputs if not where.group]
    count = Counter(where.tcp for _, where in single)
    found = []
    for stream, where in single:
        own = name if count[where.tcp] == 1 else cut(f"{name} {stream.name}".replace(".", "-"))
        properties = {**_TXT_VERSION, "version": "1.1" if where.tcp else "1.0", "types": _OSC_TYPES}
        type_ = OSC_TCP if where.tcp else OSC_UDP
        found.append(ServiceRecord(type_, own, where.host, where.port, properties))
    if (port := discovery.oscquery_port) is not None:
        found.append(ServiceRecord(OSCQUERY, name, discovery.host, port, _TXT_VERSION))
    return found
