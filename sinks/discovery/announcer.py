"""Services announced by multicast DNS (RFC 6762, 6763), with the extra `zeroconf`.

Each service is announced on the interfaces of its own addresses. Interfaces that appear, and those
that refused multicast, are tried again at the next look. A name in use gets a number (`-2`).

State: the package holds all names that the network announces. Beyond `MAX_CACHED` names they are
dropped, and everything is announced anew.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from zeroconf import DNSQuestionType, Zeroconf
from zeroconf import Error as ZeroconfError
from zeroconf import ServiceInfo as Announcement

from configs.inert import inert
from sinks.discovery.interfaces import addresses_of
from sinks.discovery.service_record import DOMAIN, ServiceRecord

MAX_CACHED = 4_096
_ASK_MS = 1_500
_MAX_NUMBER = 999


class _Placed(NamedTuple):
    """Services of the same own addresses, and the responder on their interfaces."""

    responder: Zeroconf
    records: list[ServiceRecord]


class Announcer:
    """The services of a run.

    Parameters
    ----------
    records : list of ServiceRecord
    server : str
        Host name to announce, without the domain; nobody else has it.
    log : callable
        Called with a line.
    stopped : callable
        Whether the run has ended, asked between two services.
    """

    def __init__(
        self,
        records: list[ServiceRecord],
        server: str,
        log: Callable[[str], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._records, self._server = records, server + DOMAIN
        self._log, self._stopped = log, stopped
        self._placed: dict[tuple[str, ...], _Placed] = {}
        self._refused: dict[tuple[str, ...], str] = {}
        logging.getLogger("zeroconf").setLevel(logging.CRITICAL)

    def look(self) -> None:
        """Announce the services not announced yet, at the present addresses; takes seconds."""
        wanted = self._wanted()
        for place in list(self._placed):
            placed = self._placed[place]
            full = len(placed.responder.cache.names()) > MAX_CACHED
            if full or wanted.get(place) != placed.records:
                self._withdraw(place)
        for place, records in wanted.items():
            if place not in self._placed and not self._stopped():
                self._announce(place, records)

    def close(self) -> None:
        """Withdraw all services."""
        for place in list(self._placed):
            self._withdraw(place)

    def _wanted(self) -> dict[tuple[str, ...], list[ServiceRecord]]:
        """Return the services by their own addresses."""
        wanted: dict[tuple[str, ...], list[ServiceRecord]] = {}
        for record in self._records:
            try:
                place = addresses_of(record.host)
            except OSError as error:
                self._refuse((record.host,), error.strerror or str(error))
                continue
            wanted.setdefault(place, []).append(record)
        return wanted

    def _announce(self, place: tuple[str, ...], records: list[ServiceRecord]) -> None:
        responder = None
        try:
            responder = Zeroconf(interfaces=list(place))
            self._placed[place] = _Placed(responder, records)
            for record in records:
                if self._stopped():
                    return
                self._register(responder, record, place)
        except (OSError, ZeroconfError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._refuse(place, reason)
            self._withdraw(place)
        else:
            self._refused.pop(place, None)

    def _register(self, responder: Zeroconf, record: ServiceRecord, place: tuple[str, ...]) -> None:
        type_ = record.type + DOMAIN
        addresses = [
            socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a) for a in place
        ]
        name = self._free_name(responder, record.name, type_)
        if name is None:
            return
        announcement = Announcement(
            type_,
            f"{name}.{type_}",
            port=record.port,
            addresses=addresses,
            properties=record.properties,
            server=self._server,
        )
        responder.register_service(announcement, allow_name_change=True)
        given = announcement.name.removesuffix(f".{type_}")
        another = "" if given == record.name else f" ('{inert(record.name)}' is taken)"
        where = f"{record.type} port {record.port}, at {', '.join(place)}"
        self._log(f"announced as '{inert(given)}'{another}, {where}")

    def _free_name(self, responder: Zeroconf, name: str, type_: str) -> str | None:
        """Return the first free one of a name and its numbered forms; None at the end of the run.

        The package's own search misses responders of this machine: it asks for answers to its
        port, which all of them share.
        """
        free = name
        for number in range(2, _MAX_NUMBER + 2):
            if self._stopped():
                return None
            found = responder.get_service_info(
                type_, f"{free}.{type_}", _ASK_MS, DNSQuestionType.QM
            )
            if found is None or found.server == self._server:
                return free
            free = f"{name}-{number}"
        return None

    def _refuse(self, place: tuple[str, ...], reason: str) -> None:
        if self._refused.get(place) != reason:
            self._refused[place] = reason
            self._log(f"nothing is announced at {', '.join(map(inert, place))}: {inert(reason)}")

    def _withdraw(self, place: tuple[str, ...]) -> None:
        placed = self._placed.pop(place, None)
        if placed is None:
            return
        with suppress(OSError, ZeroconfError, RuntimeError):
            placed.responder.unregister_all_services()
        with suppress(OSError, ZeroconfError, RuntimeError):
            placed.responder.close()
