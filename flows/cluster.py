"""Place of this process in a cluster of the engine, which `-i` and `-a` of its command give."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from typing import NamedTuple

from flows.engine_command import is_engine_command


class Place(NamedTuple):
    """Place of a process.

    Attributes
    ----------
    number : int
        Of this process; 0 without a cluster.
    addresses : str
        Of all processes, as given; empty without a cluster.
    """

    number: int = 0
    addresses: str = ""

    def all(self) -> list[str]:
        """Return the addresses by number."""
        return [address for address in self.addresses.split(";") if address]

    def named(self, number: int) -> str:
        """Return number and address of a process, for messages."""
        addresses = self.all()
        at = f" ({addresses[number]})" if number < len(addresses) else ""
        return f"process {number}{at}"


ALONE = Place()


def place_of_command() -> Place:
    """Return the place by the environment and the arguments of the engine's command."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-i", "--process-id", default=os.environ.get("BYTEWAX_PROCESS_ID"))
    parser.add_argument("-a", "--addresses", default=os.environ.get("BYTEWAX_ADDRESSES"))
    argv = sys.argv[1:] if is_engine_command() else []
    with suppress(argparse.ArgumentError, ValueError):
        found = parser.parse_known_args(argv)[0]
        return Place(int(found.process_id or 0), found.addresses or "")
    return ALONE
