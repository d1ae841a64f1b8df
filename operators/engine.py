"""Adapter between the stations and the engine (Bytewax)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import bytewax.operators as op
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators.records import Packet
from operators.snapshot import decode_state, encode_state
from operators.station import Core, updated
from operators.types import State

X = TypeVar("X")


class _Logic(StatefulBatchLogic[X, Packet, bytes]):
    """The state of one rig at one station."""

    def __init__(self, core: Core[X], save: Callable[[State], bytes], name: str) -> None:
        self.core = core
        self.save = save
        self.name = name

    def on_batch(self, values: list[X]) -> tuple[list[Packet], bool]:
        out = [packet for value in values for packet in updated(self.core, value, self.name)]
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        return self.save(self.core.snapshot())


class _Unsaved(_Logic[X]):
    """Logic without recovery: the engine requests snapshots here too, and gets empty ones."""

    def snapshot(self) -> bytes:
        return b""


def step(
    step_id: str,
    stream: KeyedStream[X],
    make: Callable[[State | None], Core[X]],
    fingerprint: str,
    *,
    keep: bool,
) -> KeyedStream[Packet]:
    """Add a station to the flow, one core a rig.

    Parameters
    ----------
    step_id : str
        The station's name, and the address of its state: it must never change.
    stream : KeyedStream
        Items of all rigs, keyed by rig.
    make : callable
        Builds a core from a snapshot, or from None at the start.
    fingerprint : str
        Of the configuration: a state of another configuration is refused.
    keep : bool
        Whether recovery is on; without it no state is encoded.

    Raises
    ------
    StationError
        While the flow runs: a core raised. Its exception is the cause.
    StateRefusedError
        While the flow starts: a stored state is not this station's own.
    """
    logic = _Logic if keep else _Unsaved

    def save(state: State) -> bytes:
        return encode_state(state, step_id, fingerprint)

    def build(stored: bytes | None) -> StatefulBatchLogic[X, Packet, bytes]:
        state = None if stored is None else decode_state(stored, step_id, fingerprint)
        return logic(make(state), save, step_id)

    return op.stateful_batch(step_id, stream, build)
