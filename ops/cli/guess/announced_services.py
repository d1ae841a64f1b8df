"""OSC services that others announce by multicast DNS, for `lumen listen --announced`.

Names and texts are those of strangers: they are escaped and cut. At most `MAX_SERVICES` are kept;
further ones are counted. The package holds all names that the network announces: the search
ends beyond `MAX_CACHED` names.

State: a record a service.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from configs.inert import inert
from ops.text.table import table
from sinks.discovery.service_record import DOMAIN, OSC_TCP, OSC_UDP, OSCQUERY

if TYPE_CHECKING:
    from zeroconf import ServiceInfo

MAX_SERVICES = 128
MAX_CACHED = 4_096
TYPES = (OSC_UDP, OSC_TCP, OSCQUERY)
_ASK_MS, _POLL_S, _END_S = 500, 0.2, 2.0
_MAX_NAME, _MAX_TEXT, _MAX_ADDRESSES = 48, 60, 4
_HEAD = ("announced as", "service", "at", "text")


class FoundService(NamedTuple):
    """Where a service is; empty until it has answered."""

    place: str = ""
    text: str = ""


class AnnouncedServices:
    """The services that are announced now, as far as they have been found.

    Parameters
    ----------
    log : callable
        Called with a line.
    interfaces : list of str, optional
        Own addresses on whose interfaces to ask; all by default.
    """

    def __init__(self, log: Callable[[str], None], interfaces: list[str] | None = None) -> None:
        self._log, self._interfaces = log, interfaces
        self._found: dict[tuple[str, str], FoundService] = {}
        self._lock = threading.Lock()
        self._more = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announced", daemon=True)

    def start(self) -> None:
        """Begin to ask, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End; the services found are kept."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def report(self) -> list[str]:
        """Return a table of the services, and the number of those left out."""
        with self._lock:
            found = sorted(self._found.items())
        if not found:
            return ["No OSC service is announced."]
        rows = [(_cut(name), type_, place, text) for (name, type_), (place, text) in found]
        lines = table(_HEAD, rows).splitlines()
        if self._more:
            lines.append(f"and {self._more} further announcements")
        return lines

    def _run(self) -> None:
        from zeroconf import Error, InterfaceChoice, ServiceBrowser, Zeroconf  # an extra

        logging.getLogger("zeroconf").setLevel(logging.CRITICAL)
        try:
            asker = Zeroconf(interfaces=self._interfaces or InterfaceChoice.All)
        except (OSError, Error, RuntimeError) as error:
            self._log(f"announcements cannot be received: {inert(str(error))}")
            return
        with suppress(OSError, Error, RuntimeError):
            types = [type_ + DOMAIN for type_ in TYPES]
            ServiceBrowser(asker, types, handlers=[self._changed])
            while not self._stopped.wait(_POLL_S):
                self._resolve(asker)
                if len(asker.cache.names()) > MAX_CACHED:
                    self._log(f"more than {MAX_CACHED} names are announced: not searched further")
                    break
        with suppress(OSError, Error, RuntimeError):
            asker.close()

    def _changed(self, zeroconf: object, service_type: str, name: str, state_change: Any) -> None:
        key = name.removesuffix(f".{service_type}"), service_type.removesuffix(DOMAIN)
        with self._lock:
            if state_change.name == "Removed":
                self._found.pop(key, None)
            elif key in self._found:
                self._found[key] = FoundService()  # asked again
            elif len(self._found) < MAX_SERVICES:
                self._found[key] = FoundService()
            else:
                self._more += 1

    def _resolve(self, asker: Any) -> None:
        """Ask where the services are that have not answered."""
        from zeroconf import ServiceInfo

        with self._lock:
            waiting = [key for key, found in self._found.items() if not found.place]
        for name, type_ in waiting:
            if self._stopped.is_set():
                return
            try:
                info = ServiceInfo(type_ + DOMAIN, f"{name}.{type_}{DOMAIN}")
                found = _found(info) if info.request(asker, _ASK_MS) else None
            except Exception:  # a name that the package refuses
                found = FoundService("-")
            with self._lock:
                if found is not None and (name, type_) in self._found:
                    self._found[name, type_] = found


def _found(info: ServiceInfo) -> FoundService:
    addresses = sorted(info.parsed_addresses())
    port = "" if info.port is None else f":{info.port}"
    places = [f"[{a}]{port}" if ":" in a else f"{a}{port}" for a in addresses[:_MAX_ADDRESSES]]
    if len(addresses) > _MAX_ADDRESSES:
        places.append("...")
    texts = (
        key.decode(errors="replace")
        + ("" if value is None else "=" + value[:_MAX_TEXT].decode(errors="replace"))
        for key, value in list(info.properties.items())[:8]
    )
    return FoundService(", ".join(places) or "-", _cut(" ".join(texts), _MAX_TEXT))


def _cut(text: str, most: int = _MAX_NAME) -> str:
    """Return a text for the terminal, cut to a number of characters."""
    clean = inert(text[: most + 1])
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."
