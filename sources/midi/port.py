"""MIDI ports of this machine: found by name, opened, verified, and monitored.

python-rtmidi is the driver. A missing package, or neither an ALSA sequencer nor a JACK server, is
handled like a missing device: `MidiPortError` is the only exception that leaves this module.

RtMidi opens a port by its position in a list, which changes whenever a device appears or
disappears. Therefore JACK ports are connected by name. On ALSA the opened port is looked up;
elsewhere the lists before and after are compared. A wrong port is closed, and opening is retried.

Messages are read from RtMidi's queue, which its own thread fills: no Python runs in a driver
thread, where it would wait for the interpreter while JACK continues without it.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from operators.errors import InUseError
from sources.inbox import stamp
from sources.midi.jack import JackClient
from sources.midi.port_name import ASOUND, connected, fitting, number, read

Absent: TypeAlias = Callable[[Any, int], str | None]
"""Returns the reason why a driver API cannot be used now, None if it can."""

CLIENT = "lumen"
QUEUE = 65_536
"""Capacity of the driver's queue (messages, 2 MiB): 20 s of a cable's maximum rate."""
_TRIES = 20
_PERIODS = 3
_SETTLE_S = 0.05
"""Pause before a retry (s): JACK programs list a port before it accepts connections."""
_taken: dict[tuple[int, str], str] = {}
"""Ports that this process receives from, by API and name, and the own port of each."""
_taking = threading.Lock()
_numbers = itertools.count(1)


class MidiPortError(InUseError, OSError):
    """A MIDI port that is not available: the reason in one line."""


class Taken(NamedTuple):
    """Messages read from the driver's queue.

    Attributes
    ----------
    messages : list
        The bytes of each, and the time since the previous one by the driver's clock (s).
    empty : float or None
        Host time just before the queue was found empty; None if it was not.
    overrun : bool
        The queue was full: at least one message was lost.
    """

    messages: list[tuple[Sequence[int], float]]
    empty: float | None
    overrun: bool


def not_running(rtmidi: Any, api: int) -> str | None:
    """Return the missing server on Linux; the check avoids error output of its library."""
    if sys.platform == "linux" and api == rtmidi.API_LINUX_ALSA:
        return None if Path("/dev/snd/seq").exists() else "no ALSA sequencer"
    if sys.platform == "linux" and api == rtmidi.API_UNIX_JACK:
        server = os.environ.get("JACK_DEFAULT_SERVER") or "default"
        # A killed server leaves the file of its socket behind, but no process has it open.
        listening = f"/jack_{server}_" in read(Path("/proc/net/unix"))
        return None if listening else f"no JACK server '{server}'"
    return None


class Port:
    """An own port, and its connection to a device while that exists.

    Parameters
    ----------
    device : str
        See `fitting`.
    virtual : bool
        Create a port of that name, for other programs to connect to.
    is_input : bool
        An input, which receives every message but system exclusive; else an output.
    rtmidi, absent
        Replacements for the module `rtmidi` and for `not_running`.

    Attributes
    ----------
    facts : tuple of str
        Description of the connected device, its name first; empty while disconnected.
    present : tuple of str
        The ports that existed at the last search.
    """

    def __init__(
        self,
        device: str,
        virtual: bool = False,
        is_input: bool = False,
        rtmidi: Any = None,
        absent: Absent = not_running,
        asound: Path = ASOUND,
    ) -> None:
        self.device = device
        self.virtual = virtual
        self.is_input = is_input
        self.facts: tuple[str, ...] = ()
        self.present: tuple[str, ...] = ()
        self._rtmidi = rtmidi
        self._absent = absent
        self._asound = asound
        self._ours = f"{CLIENT} {os.getpid()}-{next(_numbers)}"
        # Clients are kept while disconnected: JACK may never schedule a second client whose name
        # was released just before.
        self._clients: dict[int, Any] = {}
        self._jack: JackClient | None = None
        self._api = 0

    def open(self) -> None:
        """Connect.

        Raises
        ------
        MidiPortError
        """
        self._rtmidi = self._rtmidi or _rtmidi()
        present: list[str] | None = None
        reasons: list[str] = []
        for api in self._rtmidi.get_compiled_api():
            if api == self._rtmidi.API_RTMIDI_DUMMY:
                continue
            if reason := self._absent(self._rtmidi, api):
                reasons.append(reason)
                self._drop(api)
                continue
            try:
                ports = self._connect(api)
            except MidiPortError:
                raise
            except Exception as error:  # SystemError, or another exception of the driver
                reasons.append(f"{self._rtmidi.get_api_display_name(api)}: {error}")
                self._drop(api)
                continue
            if self.facts:
                return
            present = [*(present or ()), *ports]
        self.present = tuple(present or ())
        if present is None:
            raise MidiPortError(" and ".join(reasons) or "no MIDI system")
        raise MidiPortError(
            f"no port fits '{self.device}'; present: {', '.join(present) or 'none'}"
        )

    def there(self) -> bool:
        """Whether the connected device still exists, and is still connected."""
        if not self.facts or self._absent(self._rtmidi, self._api):
            return False
        if self.virtual:
            return True
        try:
            if self._jack is not None and (own := self._jack.own(self._ours)):
                return self.facts[0] in self._jack.connected(own)
            return self.facts[0] in self._clients[self._api].get_ports()
        except Exception:  # any exception of the driver: unusable
            return False

    def take(self, host: Callable[[], float] = stamp) -> Taken:
        """Read all messages of the driver's queue, at most its capacity.

        Parameters
        ----------
        host : callable
            Host time (s).
        """
        get = self._clients[self._api].get_message
        messages: list[tuple[Sequence[int], float]] = []
        while len(messages) < QUEUE:
            read_at = host()
            message = get()
            if message is None:
                return Taken(messages, read_at, len(messages) >= QUEUE - 1)
            messages.append(message)
        return Taken(messages, None, True)

    def missed(self) -> int:
        """Return the number of missed periods, 0 if the driver does not count them."""
        return self._jack.missed() if self._jack is not None else 0

    def send(self, message: Sequence[int]) -> None:
        """Send one message.

        Raises
        ------
        MidiPortError
        """
        try:
            self._clients[self._api].send_message(message)
        except Exception as error:
            raise MidiPortError(f"{self.facts[0]}: {error}") from None

    def release(self) -> None:
        """Disconnect from the device."""
        if not self.facts:
            return
        port, self.facts = self.facts[0], ()
        try:
            if self._jack is not None and (own := self._jack.own(self._ours)):
                if not self.is_input:  # the last message takes a period to arrive
                    time.sleep(_PERIODS * self._jack.period_s)
                self._jack.disconnect(own, port)
            else:
                self._clients[self._api].close_port()
        except Exception:  # the server may have ended
            self._drop(self._api)
        if self.virtual:  # only closing the client closes it
            self._drop(self._api)
        self._unregister(self._api, port)

    def close(self) -> None:
        """Disconnect, and delete all clients."""
        self.release()
        for api in list(self._clients):
            self._drop(api)

    def _connect(self, api: int) -> list[str]:
        """Connect to a matching port, if there is one; return the ports present."""
        client = self._clients.get(api)
        if client is None:
            client = self._clients[api] = self._client(api)
        if api == self._rtmidi.API_UNIX_JACK and self._jack is None:
            with suppress(OSError):  # else ports are verified by their list
                self._jack = JackClient(self._rtmidi, f"{CLIENT}-watch")
        ports = [] if self.virtual else self._listed(client, api)
        fits = [self.device] if self.virtual else fitting(self.device, ports, self._asound)
        if not fits:
            return ports
        if self.is_input:
            while client.get_message() is not None:  # discard messages from before
                pass
        self._register(api, fits[0])
        try:
            if self.virtual:
                client.open_virtual_port(self.device)
            else:
                self._join(client, api, fits[0])
        except BaseException:
            self._unregister(api, fits[0])
            raise
        shown = self._rtmidi.get_api_display_name(api)
        others = [f"also fits: {port}" for port in fits[1:]]
        self.facts = (fits[0], f"virtual, {shown}" if self.virtual else shown, *others)
        self._api = api
        return ports

    def _client(self, api: int) -> Any:
        if not self.is_input:
            return self._rtmidi.MidiOut(api, CLIENT)
        client = self._rtmidi.MidiIn(api, CLIENT, QUEUE)
        # Ignored messages are not counted, and shorten the time sums of the driver.
        client.ignore_types(sysex=True, timing=False, active_sense=False)
        return client

    def _listed(self, client: Any, api: int) -> list[str]:
        """Return the ports present, except those of this process."""
        ours = f":{CLIENT} {os.getpid()}-"
        by_name = self._jack if api == self._rtmidi.API_UNIX_JACK else None
        found = _names(client) if by_name is None else by_name.ports(self.is_input)
        return [port for port in found if ours not in port]

    def _join(self, client: Any, api: int, port: str) -> None:
        """Connect to a port, and to no other."""
        by_name = self._jack if api == self._rtmidi.API_UNIX_JACK else None
        for _ in range(_TRIES):
            if by_name is not None:
                own = by_name.own(self._ours)
                if own is None:  # once: RtMidi opens no second one
                    client.open_virtual_port(self._ours)
                elif by_name.connect(*((port, own) if self.is_input else (own, port))):
                    return
                else:
                    time.sleep(_SETTLE_S)
                continue
            before = _names(client)
            if port not in before:
                break
            client.open_port(before.index(port), self._ours)
            if self._is_joined(client, api, port, before):
                return
            client.close_port()
            time.sleep(_SETTLE_S)
        raise MidiPortError(f"'{port}' went, or changed its place, while it was opened")

    def _is_joined(self, client: Any, api: int, port: str, before: list[str]) -> bool:
        """Whether the port opened by position is the requested one."""
        if api == self._rtmidi.API_LINUX_ALSA:
            clients = read(self._asound / "seq" / "clients")
            if found := connected(clients, self._ours):
                return found == [number(port)]
        after = _names(client)
        return after[: before.index(port) + 1] == before[: before.index(port) + 1]

    def _register(self, api: int, port: str) -> None:
        """Register a port of this process, so that no two streams receive its messages.

        Raises
        ------
        MidiPortError
            Another stream receives from it.
        """
        if not self.is_input:
            return
        with _taking:
            other = _taken.setdefault((api, port), self._ours)
            if other != self._ours:
                reason = f"'{port}' is the port of another stream of this run"
                raise MidiPortError(
                    f"{reason}: name each port, such as '{self.device}#2' for the second"
                )

    def _unregister(self, api: int, port: str) -> None:
        with _taking:
            if _taken.get((api, port)) == self._ours:
                del _taken[api, port]

    def _drop(self, api: int) -> None:
        client = self._clients.pop(api, None)
        if client is not None:
            try:
                client.delete()
            except Exception:  # the object frees the rest
                pass
        if self._jack is not None and api == self._rtmidi.API_UNIX_JACK:
            self._jack.close()
            self._jack = None


def _names(client: Any) -> list[str]:
    """Return the ports present; RtMidi queries them one by one, while they may change."""
    for _ in range(_TRIES):
        with suppress(ValueError):  # the last port disappeared meanwhile
            return list(client.get_ports())
    return list(client.get_ports())


def _rtmidi() -> Any:
    try:
        return importlib.import_module("rtmidi")
    except (ImportError, OSError) as error:
        raise MidiPortError(f"python-rtmidi cannot be used: {error}") from None
