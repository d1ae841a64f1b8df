"""Names of MIDI ports: the present ports that match a configured name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

ASOUND = Path("/proc/asound")
_ALSA_NUMBER = re.compile(r" (\d+:\d+)$")
_NTH = re.compile(r"(.+)#([1-9]\d?)")
_TWIN = re.compile(r"-\d\d(?=:|$)")
"""Suffix that JACK adds to the second client of a name."""
_HARDWARE = re.compile(r"hw:(\w+)(?:,(\d+))?(?:,(\d+))?")
_CARD = re.compile(r"^ *(\d+) \[(\S+) *\]: .*? - (.+)$", re.M)
_SEQUENCER_PORT = re.compile(r'^  Port +\d+ : "(.*)" \(.*\)$')
_ADDRESS = re.compile(r"\b(\d+:\d+)\b")


def fitting(device: str, present: Sequence[str], asound: Path = ASOUND) -> list[str]:
    """Return the ports that match a name, the best first.

    The whole name, or the port name without its client, ranks above a part of it. The suffix
    `client:port` of ALSA changes with every connection and is ignored. `name#2` is the second port
    that matches `name`, unless a port has exactly that name. Equal matches keep the order of the
    driver, with JACK's `name-01` after `name`. `hw:C,D,S` is the S-th port of device D of card C
    (a number or an id), found by the names of card and device.

    Parameters
    ----------
    device : str
    present : sequence of str
        In the order of the driver.
    asound : Path
        Folder in which the kernel lists its cards.
    """
    nth = _NTH.fullmatch(device)
    if nth and not any(bare(device) in _whole(port) for port in present):
        position = int(nth[2]) - 1
        return fitting(nth[1], present, asound)[position : position + 1]
    if hardware := _HARDWARE.fullmatch(device):
        card, number, subdevice = hardware[1], hardware[2] or "0", int(hardware[3] or 0)
        found = [m for m in _CARD.finditer(read(asound / "cards")) if card in (m[1], m[2])]
        if not found:
            return []
        of_card = [port for port in present if found[0][3].strip() in port]
        named = read(asound / f"card{found[0][1]}" / f"midi{number}").partition("\n")[0].strip()
        of_device = [port for port in of_card if f":{named}" in port] if named else []
        return (of_device or of_card)[subdevice : subdevice + 1]
    name = bare(device)
    alike = sorted(present, key=lambda port: _TWIN.sub("", bare(port)) != bare(port))
    ranked = [
        _exact(device, present),
        [port for port in alike if name in (_TWIN.sub("", each) for each in _whole(port))],
        [port for port in alike if name and name in bare(port)],
    ]
    return list(dict.fromkeys(port for ports in ranked for port in ports))


def bare(port: str) -> str:
    """Return a port name without the number suffix of ALSA."""
    return _ALSA_NUMBER.sub("", port)


def number(port: str) -> str:
    """Return the suffix `client:port` of ALSA; empty if there is none."""
    found = _ALSA_NUMBER.search(port)
    return found[1] if found else ""


def connected(clients: str, ours: str) -> list[str]:
    """Return the numbers `client:port` of the ports connected to an own port on ALSA.

    Parameters
    ----------
    clients : str
        Text of `/proc/asound/seq/clients`.
    ours : str
        Unique name of the own port.
    """
    found: list[str] = []
    inside = False
    for line in clients.splitlines():
        if line.startswith("Client") or _SEQUENCER_PORT.match(line):
            named = _SEQUENCER_PORT.match(line)
            inside = bool(named and named[1] == ours)
        elif inside:
            found += _ADDRESS.findall(line.partition(": ")[2])
    return found


def read(path: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _exact(device: str, present: Sequence[str]) -> list[str]:
    """Return the ports with the whole name, first the one with its number."""
    name = bare(device)
    whole = [port for port in present if port == device]
    whole += [port for port in present if name in _whole(port)[:2]]
    return list(dict.fromkeys(whole))


def _whole(port: str) -> tuple[str, str, str]:
    """Return the name of a port: complete, without its client, client only."""
    name = bare(port)
    client, _, own = name.partition(":")
    return name, own, client
