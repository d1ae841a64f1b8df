"""Adapter between the stations and the engine (Bytewax)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import bytewax.operators as op
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators.records import Packet
from operators.snapshot import decode_state, encode_state
from operators.station import Core, updated
from operators.types import State

X = TypeVar("X")
_MASK = (1 << 64) - 1


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


@lru_cache(maxsize=1 << 14)
def route(key: str) -> int:
    """Return the engine's hash of a key: the stations of a rig are in worker `route(rig) % n`.

    SipHash-1-3 with a zero key over the text and a byte 0xff, as Rust hashes a string
    (Aumasson & Bernstein 2012). With as many parts as workers, the output part of a rig is in the
    worker of its stations. Another hash would deal differently, with equal results.
    """
    data = key.encode("utf-8", "surrogatepass") + b"\xff"
    v0, v1, v2, v3 = (
        0x736F6D6570736575,
        0x646F72616E646F6D,
        0x6C7967656E657261,
        0x7465646279746573,
    )
    whole = len(data) - len(data) % 8
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    for word in words:
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _sip_round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0, v2 = (v0 + v1) & _MASK, (v2 + v3) & _MASK
    v1, v3 = _rotated(v1, 13) ^ v0, _rotated(v3, 16) ^ v2
    v0 = _rotated(v0, 32)
    v0, v2 = (v0 + v3) & _MASK, (v2 + v1) & _MASK
    v3, v1 = _rotated(v3, 21) ^ v0, _rotated(v1, 17) ^ v2
    return v0, v1, _rotated(v2, 32), v3


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> (64 - by)) & _MASK
