"""Findings of `lumen doctor` on the discovery of a configuration."""

from __future__ import annotations

from collections.abc import Iterator

from configs.inert import inert
from configs.outputs import ExporterConfig
from configs.schema import Config
from ops.text.diagnosis import Diagnosis
from sinks.discovery.multicast import refused
from sinks.discovery.services import services
from sinks.exporter.server import HttpPortError, bound
from sources.osc.udp import listener

_SUBJECT = "announce"
_REMEDY = "a run goes on without, and tries again"


def discovery(config: Config | None) -> Iterator[Diagnosis]:
    """Try multicast at the addresses of each service, and the port of OSCQuery."""
    if config is None or config.discovery is None:
        return
    port = config.discovery.oscquery_port
    if port is not None:
        served = ExporterConfig(host=config.discovery.host, http_port=port)
        try:
            bound(served, listener, "discovery").close()
        except HttpPortError as error:
            todo = "end it, or take another oscquery_port"
            yield Diagnosis("bad", "port", str(error), todo)
        else:
            yield Diagnosis("ok", "port", f"tcp {served.host}:{port} is free")
    found = services(config)
    if not found:
        return
    from sinks.discovery.interfaces import addresses_of  # an extra, which `load` has found

    places: dict[str, list[str]] = {}
    for record in found:
        name = f"'{inert(record.name)}' ({record.type})"
        try:
            for address in addresses_of(record.host):
                places.setdefault(address, []).append(name)
        except OSError as error:
            yield Diagnosis("warn", _SUBJECT, f"{name}: {record.host}: {error.strerror}", _REMEDY)
    for address, names in places.items():
        where = f"{', '.join(names)} at {address}"
        if why := refused(address):
            yield Diagnosis("warn", _SUBJECT, f"{where}: {why}", _REMEDY)
        else:
            yield Diagnosis("ok", _SUBJECT, f"{where}: multicast works")
