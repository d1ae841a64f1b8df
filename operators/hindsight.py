"""hindsight: findings of a first pass over a whole recording, used by a second pass.

A station with estimates (`drift` clocks, `align` lags, `scale` lines) returns its findings as
plain values by `shown()` after the first pass. In the second pass the same station takes them from
a `Hindsight` and uses them from the first tick on, in place of its own estimates.

The file has the format of a station's state (operators/snapshot.py) under the name `hindsight`,
with the fingerprint of the configuration and a checksum. It holds the format version, the SHA-256
of each recording, and the findings by rig and station.

State: the findings, about 100 B a second of a source with a clock and a hop of a member.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from operators.snapshot import StateRefusedError, decode_state, encode_state
from operators.types import State

VERSION = 1
NAME = "hindsight"


@runtime_checkable
class Learner(Protocol):
    """A station with findings after a first pass."""

    def shown(self) -> State:
        """Return the findings as plain values, at the end of the data."""


@dataclass(frozen=True)
class Hindsight:
    """Findings of a first pass, by rig and station."""

    rigs: Mapping[str, Mapping[str, State]] = field(default_factory=dict)

    def of(self, rig: str, station: str) -> State:
        """Return the findings of a station in a rig; empty without findings."""
        return dict(self.rigs.get(rig, {}).get(station, {}))


def encode(found: Hindsight, fingerprint: str, recordings: Sequence[str | None]) -> bytes:
    """Return findings as the bytes of a file.

    Parameters
    ----------
    found : Hindsight
    fingerprint : str
        Of the configuration.
    recordings : sequence of str
        SHA-256 of each recording, in the order of the configuration.
    """
    rigs = {rig: dict(stations) for rig, stations in found.rigs.items()}
    state = {"version": VERSION, "recordings": list(recordings), "rigs": rigs}
    return encode_state(state, NAME, fingerprint)


def decode(data: bytes, fingerprint: str, recordings: Sequence[str | None]) -> Hindsight:
    """Return the findings that `encode` wrote.

    Raises
    ------
    StateRefusedError
        Another format, altered, of another configuration or of other recordings.
    """
    state = decode_state(data, NAME, fingerprint)
    if state.get("version") != VERSION or state.get("recordings") != list(recordings):
        raise StateRefusedError(f"{NAME}: of other recordings or of another version")
    return Hindsight(state["rigs"])
