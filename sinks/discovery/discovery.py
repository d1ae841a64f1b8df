"""A run that is found: its services are announced, and OSCQuery is served, beside the flow.

Import it only where the configuration has a `discovery`.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable

from configs.outputs import ExporterConfig
from configs.schema import Config
from operators.records import Packet
from sinks.discovery.announce_process import AnnounceProcess
from sinks.discovery.osc_tree import NewestValues
from sinks.discovery.oscquery import OscQueryRoutes
from sinks.discovery.service_record import DOMAIN
from sinks.discovery.services import run_name, services
from sinks.exporter.server import Server, bound
from sinks.send.send import paced


class Discovery:
    """The consumer that announces a run and serves OSCQuery; it takes no packets.

    Parameters
    ----------
    announcer : AnnounceProcess, optional
    server : Server, optional
        Of OSCQuery.
    """

    missed = 0

    def __init__(self, announcer: AnnounceProcess | None, server: Server | None) -> None:
        self._announcer, self._server = announcer, server

    def start(self, rig: str | None = None) -> None:
        """Serve, then announce.

        Raises
        ------
        HttpPortError
            The port of OSCQuery cannot be bound.
        """
        if self._server is not None:
            self._server.start(rig)
        if self._announcer is not None:
            self._announcer.start()

    def consume(self, packets: list[Packet]) -> None:
        """Do nothing: values are read where they are sent."""

    def abort(self) -> None:
        """Do nothing: the services are withdrawn when the process has ended."""

    def stop(self) -> None:
        """Withdraw the services, and close the port; may be called twice."""
        if self._announcer is not None:
            self._announcer.stop()
        if self._server is not None:
            self._server.stop()


def discovered(
    config: Config, newest: NewestValues, holder: Callable[[int], str]
) -> Discovery | None:
    """Return the discovery of a run; None where nothing can be found.

    Parameters
    ----------
    config : Config
    newest : callable
        Returns the newest values by destination and address.
    holder : callable
        Returns the name of the process that holds a TCP port.

    Raises
    ------
    HttpPortError
        The port of OSCQuery is taken, and its holder is named; or the address cannot be bound.
    """
    discovery = config.discovery
    if discovery is None:
        return None
    if not paced(config):
        why = "a replay at speed 0 is over too soon"
        print(f"lumen: discovery: nothing is announced: {why}", file=sys.stderr)
        return None
    host = f"lumen-{secrets.token_hex(4)}"
    server = None
    if discovery.oscquery_port is not None:
        served = ExporterConfig(
            host=discovery.host,
            http_port=discovery.oscquery_port,
            # Clients that found the service ask under the announced name.
            allow_hosts=[*discovery.allow_hosts, (host + DOMAIN).removesuffix(".")],
            allow=discovery.allow,
            max_qps=discovery.max_qps,
        )
        routes = OscQueryRoutes(config, run_name(config, discovery), newest)
        bound(served, holder, routes.part).close()
        server = Server(served, None, holder, routes)
    found = services(config)
    return Discovery(AnnounceProcess(found, host) if found else None, server)
