"""MIDI ports of this machine: found by name, opened, and seen to be gone.

python-rtmidi does the talking. Where it is not installed, or neither an ALSA sequencer nor a JACK
server runs, that is a reason like a missing device: the one exception that leaves is `PortError`.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Hear: TypeAlias = Callable[[Sequence[int]], None]
"""Takes the bytes of one message, in the driver's thread."""
Absent: TypeAlias = Callable[[Any, int], str | None]
"""Why an API of the driver cannot be used now; None if it can."""

CLIENT = "lumen"
ASOUND = Path("/proc/asound")
_IN_FLIGHT_S = 0.05
"""How long a message may be on its way from the driver into Python."""
_SETTLE_S = 0.2
"""A program on JACK lists a port before it can be connected to, and no failure is told."""
_ALSA_NUMBER = re.compile(r" \d+:\d+$")
_HARDWARE = re.compile(r"hw:(\w+)(?:,(\d+))?(?:,(\d+))?")
_CARD = re.compile(r"^ *(\d+) \[(\S+) *\]: .*? - (.+)$", re.M)


class PortError(OSError):
    """Why a port cannot be had, in one line."""


def fitting(device: str, present: Sequence[str], asound: Path = ASOUND) -> list[str]:
    """Return the ports that a name fits, the best first.

    The whole name, or the port's without its client's, wins over a part; the number `client:port`
    that ALSA puts behind a name changes with every connection and does not count. `hw:C,D,S` is
    the S-th port of device D of card C (a number or an id), found by the names that card and
    device have.

    Parameters
    ----------
    device : str
    present : sequence of str
        As the driver lists them.
    asound : Path
        Where the kernel tells its cards.
    """
    if hardware := _HARDWARE.fullmatch(device):
        card, number, nth = hardware[1], hardware[2] or "0", int(hardware[3] or 0)
        found = [m for m in _CARD.finditer(_read(asound / "cards")) if card in (m[1], m[2])]
        if not found:
            return []
        of_card = [port for port in present if found[0][3].strip() in port]
        named = _read(asound / f"card{found[0][1]}" / f"midi{number}").partition("\n")[0].strip()
        of_device = [port for port in of_card if f":{named}" in port] if named else []
        return (of_device or of_card)[nth : nth + 1]
    name = bare(device)
    ranked = [
        [port for port in present if port == device],
        [port for port in present if bare(port) == name],
        [port for port in present if bare(port).partition(":")[2] == name],
        [port for port in present if name and name in bare(port)],
    ]
    return list(dict.fromkeys(port for ports in ranked for port in ports))


def bare(port: str) -> str:
    """Return a port's name without the number that ALSA puts behind it."""
    return _ALSA_NUMBER.sub("", port)


def not_running(rtmidi: Any, api: int) -> str | None:
    """Say which server of Linux is missing, so that its library need not complain of it."""
    if sys.platform == "linux" and api == rtmidi.API_LINUX_ALSA:
        return None if Path("/dev/snd/seq").exists() else "no ALSA sequencer"
    if sys.platform == "linux" and api == rtmidi.API_UNIX_JACK:
        server = os.environ.get("JACK_DEFAULT_SERVER") or "default"
        # A killed server leaves its socket's file behind, but nobody who has it open.
        listening = f"/jack_{server}_" in _read(Path("/proc/net/unix"))
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
    hear : callable or None
        Gets every message but system exclusive and active sensing; None: an output.
    rtmidi, absent
        Instead of the module of that name, and of what tells that a server does not run.

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
        hear: Hear | None = None,
        rtmidi: Any = None,
        absent: Absent = not_running,
    ) -> None:
        self.device = device
        self.virtual = virtual
        self.facts: tuple[str, ...] = ()
        self.present: tuple[str, ...] = ()
        self._held = [hear] if hear else []
        self._rtmidi = rtmidi
        self._absent = absent
        # Kept while there is nothing to connect to: a server of JACK that is asked for a second
        # client of a name just let go of may leave it without a turn for ever.
        self._clients: dict[int, Any] = {}
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
            except Exception as error:  # a SystemError, or another of the driver's own
                reasons.append(f"{self._rtmidi.get_api_display_name(api)}: {error}")
                self._drop(api)
                continue
            if self.facts:
                return
            present = [*(present or ()), *ports]
        self.present = tuple(present or ())
        if present is None:
            raise PortError(" and ".join(reasons) or "no MIDI system")
        raise PortError(f"no port fits '{self.device}'; present: {', '.join(present) or 'none'}")

    def there(self) -> bool:
        """Whether what it is connected to still exists."""
        if not self.facts or self._absent(self._rtmidi, self._api):
            return False
        try:
            return self.virtual or self.facts[0] in self._clients[self._api].get_ports()
        except Exception:  # whatever the driver raises: it cannot be used
            return False

    def send(self, message: Sequence[int]) -> None:
        """Play one message.

        Raises
        ------
        PortError
        """
        try:
            self._clients[self._api].send_message(message)
        except Exception as error:
            raise PortError(f"{self.facts[0]}: {error}") from None

    def release(self) -> None:
        """Disconnect; nothing is handed over afterwards."""
        if not self.facts:
            return
        self.facts = ()
        client = self._clients[self._api]
        try:
            if self._held:
                # rtmidi lets go of the callback's arguments while its thread may be on the way
                # there, and waits for that thread with the interpreter's lock in its hand: so
                # they are kept, and the thread is let through, before the port is closed.
                kept = gc.get_referrers(self._held)
                client.cancel_callback()
                time.sleep(_IN_FLIGHT_S)
                del kept
            client.close_port()
        except Exception:  # its server may be gone
            self._drop(self._api)
        if self.virtual:  # closed with its client only
            self._drop(self._api)

    def close(self) -> None:
        """Disconnect, and leave nothing behind."""
        self.release()
        for api in list(self._clients):
            self._drop(api)

    def _connect(self, api: int) -> list[str]:
        """Connect if there is what fits; return the ports present."""
        client = self._clients.get(api)
        if client is None:
            make = self._rtmidi.MidiIn if self._held else self._rtmidi.MidiOut
            client = self._clients[api] = make(api, CLIENT)
        ports = [] if self.virtual else list(client.get_ports())
        fits = [self.device] if self.virtual else fitting(self.device, ports)
        if not fits:
            return ports
        if self._held:
            client.ignore_types(sysex=True, timing=False, active_sense=True)
            client.set_callback(_heard, self._held)
        if self.virtual:
            client.open_virtual_port(self.device)
        else:
            if api == self._rtmidi.API_UNIX_JACK:
                time.sleep(_SETTLE_S)
            client.open_port(ports.index(fits[0]), CLIENT)
        shown = self._rtmidi.get_api_display_name(api)
        others = [f"also fits: {port}" for port in fits[1:]]
        self.facts = (fits[0], f"virtual, {shown}" if self.virtual else shown, *others)
        self._api = api
        return ports

    def _drop(self, api: int) -> None:
        client = self._clients.pop(api, None)
        if client is not None:
            try:
                client.delete()
            except Exception:  # what is left goes with the object
                pass


def _heard(event: tuple[Sequence[int], float], held: Sequence[Hear]) -> None:
    held[0](event[0])


def _rtmidi() -> Any:
    try:
        return importlib.import_module("rtmidi")
    except (ImportError, OSError) as error:
        raise PortError(f"python-rtmidi cannot be used: {error}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
