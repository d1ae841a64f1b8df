"""MIDI ports of this machine: found by name, opened, verified, and seen to be gone.

python-rtmidi does the talking. Where it is not installed, or neither an ALSA sequencer nor a JACK
server runs, that is a reason like a missing device: the one exception that leaves is `MidiPortError`.

RtMidi opens by place in a list of its own making, which is another one as soon as a device comes
or goes. So on JACK ports are connected by name; elsewhere what was really opened is looked up
(ALSA), or the list compared before and after, and what is wrong is let go of and tried again.

What comes is read from RtMidi's queue, which its own thread fills: no Python runs in a thread of
the driver's, where it would wait for the interpreter while JACK goes on without it.
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
"""Why an API of the driver cannot be used now; None if it can."""

CLIENT = "lumen"
QUEUE = 65_536
"""Messages that the driver's queue holds, 2 MiB of them: 20 s of what a wire can carry at most."""
_TRIES = 20
_PERIODS = 3
_SETTLE_S = 0.05
"""A program on JACK lists a port before it can be connected to."""
_taken: dict[tuple[int, str], str] = {}
"""What this process listens to, and under which name."""
_taking = threading.Lock()
_numbers = itertools.count(1)


class MidiPortError(InUseError, OSError):
    """Why a port cannot be had, in one line."""


class Taken(NamedTuple):
    """Messages out of the driver's queue.

    Attributes
    ----------
    messages : list
        The bytes of each, and the time since the one before by the driver's clock (s).
    empty : float or None
        The host's time just before the queue was found empty; None where it was not.
    overrun : bool
        The queue was full: at least one message was lost.
    """

    messages: list[tuple[Sequence[int], float]]
    empty: float | None
    overrun: bool


def not_running(rtmidi: Any, api: int) -> str | None:
    """Say which server of Linux is missing, so that its library need not complain of it."""
    if sys.platform == "linux" and api == rtmidi.API_LINUX_ALSA:
        return None if Path("/dev/snd/seq").exists() else "no ALSA sequencer"
    if sys.platform == "linux" and api == rtmidi.API_UNIX_JACK:
        server = os.environ.get("JACK_DEFAULT_SERVER") or "default"
        # A killed server leaves its socket's file behind, but nobody who has it open.
        listening = f"/jack_{server}_" in read(Path("/proc/net/unix"))
        return None if listening else f"no JACK server '{server}'"
    return None


class Port:
    """A port of ours, and what it is connected to while that is there.

    Parameters
    ----------
    device : str
        See `fitting`.
    virtual : bool
        Make a port of that name, for others to connect to.
    listens : bool
        An input, which gets every message but system exclusive; else an output.
    rtmidi, absent
        Instead of the module of that name, and of what finds out that a server does not run.

    Attributes
    ----------
    facts : tuple of str
        What it is connected to, the name first; empty while it is not.
    present : tuple of str
        The ports that were there when it last looked for one that fits.
    """

    def __init__(
        self,
        device: str,
        virtual: bool = False,
        listens: bool = False,
        rtmidi: Any = None,
        absent: Absent = not_running,
        asound: Path = ASOUND,
    ) -> None:
        self.device = device
        self.virtual = virtual
        self.listens = listens
        self.facts: tuple[str, ...] = ()
        self.present: tuple[str, ...] = ()
        self._rtmidi = rtmidi
        self._absent = absent
        self._asound = asound
        self._ours = f"{CLIENT} {os.getpid()}-{next(_numbers)}"
        # Kept while there is nothing to connect to: a server of JACK that is asked for a second
        # client of a name just let go of may leave it without a turn for ever.
        self._clients: dict[int, Any] = {}
        self._jack: JackClient | None = None
        self._api = 0

    def open(self) -> None:
        """Connect.

        Raises
        ------
        PortError
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
            except Exception as error:  # a SystemError, or another of the driver's own
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
        """Whether what it is connected to still exists, and is still connected."""
        if not self.facts or self._absent(self._rtmidi, self._api):
            return False
        if self.virtual:
            return True
        try:
            if self._jack is not None and (own := self._jack.own(self._ours)):
                return self.facts[0] in self._jack.connected(own)
            return self.facts[0] in self._clients[self._api].get_ports()
        except Exception:  # whatever the driver raises: it cannot be used
            return False

    def take(self, host: Callable[[], float] = stamp) -> Taken:
        """Take out of the driver's queue all there is, at most as much as it holds.

        Parameters
        ----------
        host : callable
            Host time (s).
        """
        get = self._clients[self._api].get_message
        messages: list[tuple[Sequence[int], float]] = []
        while len(messages) < QUEUE:
            looked = host()
            message = get()
            if message is None:
                return Taken(messages, looked, len(messages) >= QUEUE - 1)
            messages.append(message)
        return Taken(messages, None, True)

    def missed(self) -> int:
        """Return how many periods the driver has missed, as far as it can be asked."""
        return self._jack.missed() if self._jack is not None else 0

    def send(self, message: Sequence[int]) -> None:
        """Play one message.

        Raises
        ------
        PortError
        """
        try:
            self._clients[self._api].send_message(message)
        except Exception as error:
            raise MidiPortError(f"{self.facts[0]}: {error}") from None

    def release(self) -> None:
        """Disconnect; nothing more comes."""
        if not self.facts:
            return
        port, self.facts = self.facts[0], ()
        try:
            if self._jack is not None and (own := self._jack.own(self._ours)):
                if not self.listens:  # what was sent last is on its way for a period
                    time.sleep(_PERIODS * self._jack.period_s)
                self._jack.disconnect(own, port)
            else:
                self._clients[self._api].close_port()
        except Exception:  # its server may be gone
            self._drop(self._api)
        if self.virtual:  # closed with its client only
            self._drop(self._api)
        self._let_go(self._api, port)

    def close(self) -> None:
        """Disconnect, and leave nothing behind."""
        self.release()
        for api in list(self._clients):
            self._drop(api)

    def _connect(self, api: int) -> list[str]:
        """Connect if there is what fits; return the ports present."""
        client = self._clients.get(api)
        if client is None:
            client = self._clients[api] = self._client(api)
        if api == self._rtmidi.API_UNIX_JACK and self._jack is None:
            with suppress(OSError):  # without, ports are verified by their list
                self._jack = JackClient(self._rtmidi, f"{CLIENT}-watch")
        ports = [] if self.virtual else self._listed(client, api)
        fits = [self.device] if self.virtual else fitting(self.device, ports, self._asound)
        if not fits:
            return ports
        if self.listens:
            while client.get_message() is not None:  # of the time before
                pass
        self._take_hold(api, fits[0])
        try:
            if self.virtual:
                client.open_virtual_port(self.device)
            else:
                self._join(client, api, fits[0])
        except BaseException:
            self._let_go(api, fits[0])
            raise
        shown = self._rtmidi.get_api_display_name(api)
        others = [f"also fits: {port}" for port in fits[1:]]
        self.facts = (fits[0], f"virtual, {shown}" if self.virtual else shown, *others)
        self._api = api
        return ports

    def _client(self, api: int) -> Any:
        if not self.listens:
            return self._rtmidi.MidiOut(api, CLIENT)
        client = self._rtmidi.MidiIn(api, CLIENT, QUEUE)
        # What is ignored there is in no account, and shortens the driver's own sums of time.
        client.ignore_types(sysex=True, timing=False, active_sense=False)
        return client

    def _listed(self, client: Any, api: int) -> list[str]:
        """Return the ports present, but for those of this process."""
        ours = f":{CLIENT} {os.getpid()}-"
        by_name = self._jack if api == self._rtmidi.API_UNIX_JACK else None
        found = _names(client) if by_name is None else by_name.ports(self.listens)
        return [port for port in found if ours not in port]

    def _join(self, client: Any, api: int, port: str) -> None:
        """Connect to a port, and to no other."""
        by_name = self._jack if api == self._rtmidi.API_UNIX_JACK else None
        for _ in range(_TRIES):
            if by_name is not None:
                own = by_name.own(self._ours)
                if own is None:  # made once: RtMidi makes no second one
                    client.open_virtual_port(self._ours)
                elif by_name.connect(*((port, own) if self.listens else (own, port))):
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
        """Whether what was opened by its place is the port that was meant."""
        if api == self._rtmidi.API_LINUX_ALSA:
            clients = read(self._asound / "seq" / "clients")
            if found := connected(clients, self._ours):
                return found == [number(port)]
        after = _names(client)
        return after[: before.index(port) + 1] == before[: before.index(port) + 1]

    def _take_hold(self, api: int, port: str) -> None:
        """Note what this process listens to: a message is heard once.

        Raises
        ------
        PortError
            Another stream listens to it.
        """
        if not self.listens:
            return
        with _taking:
            other = _taken.setdefault((api, port), self._ours)
            if other != self._ours:
                said = f"'{port}' is the port of another stream of this run"
                raise MidiPortError(
                    f"{said}: name each port, such as '{self.device}#2' for the second"
                )

    def _let_go(self, api: int, port: str) -> None:
        with _taking:
            if _taken.get((api, port)) == self._ours:
                del _taken[api, port]

    def _drop(self, api: int) -> None:
        client = self._clients.pop(api, None)
        if client is not None:
            try:
                client.delete()
            except Exception:  # what is left goes with the object
                pass
        if self._jack is not None and api == self._rtmidi.API_UNIX_JACK:
            self._jack.close()
            self._jack = None


def _names(client: Any) -> list[str]:
    """Return the ports that there are, which RtMidi asks for one by one while they may change."""
    for _ in range(_TRIES):
        with suppress(ValueError):  # the last of them went meanwhile
            return list(client.get_ports())
    return list(client.get_ports())


def _rtmidi() -> Any:
    try:
        return importlib.import_module("rtmidi")
    except (ImportError, OSError) as error:
        raise MidiPortError(f"python-rtmidi cannot be used: {error}") from None
