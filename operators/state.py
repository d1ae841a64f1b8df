"""A station's state as bytes: msgpack with arrays, under a header that refuses what is foreign.

The engine pickles what it is given and checks nothing. So it is given bytes only, which carry
the version of this form, the station, the fingerprint of the configuration and a checksum.

Form: magic (4 bytes), CRC-32 of what follows (4 bytes, big endian), msgpack of
[version, station, fingerprint, state]. A tuple comes back as a list.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import msgspec
import numpy as np

from operators.records import State

VERSION = 5
_MAGIC = b"LUMN"
_HEAD = struct.Struct(">4sI")
_ARRAY = 1
_KINDS = "biuf"


class StateRefusedError(ValueError):
    """A stored state that is not this station's own, or not as it was written."""


def _encode(value: object) -> object:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _KINDS:
            raise TypeError(f"a state cannot hold an array of {value.dtype}")
        form = msgspec.msgpack.encode((value.dtype.str, value.shape))
        return msgspec.msgpack.Ext(_ARRAY, struct.pack(">H", len(form)) + form + value.tobytes())
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a state cannot hold a {type(value).__name__}")


def _decode(code: int, data: memoryview) -> object:
    if code != _ARRAY:
        raise ValueError(f"unknown extension {code}")
    (length,) = struct.unpack_from(">H", data)
    kind, shape = msgspec.msgpack.decode(data[2 : 2 + length], type=tuple[str, tuple[int, ...]])
    dtype = np.dtype(kind)
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of {dtype}")
    return np.frombuffer(data[2 + length :], dtype).reshape(shape).copy()


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode)
_decoder = msgspec.msgpack.Decoder(tuple[int, str, str, dict[str, Any]], ext_hook=_decode)


def encode_state(state: State, step_id: str, fingerprint: str) -> bytes:
    """Return a station's state as bytes.

    Parameters
    ----------
    state : dict
        Plain values: numbers, text, bytes, lists, dicts, numpy arrays of numbers.
    step_id, fingerprint : str
        Whose state it is, and under which configuration.
    """
    body = _encoder.encode((VERSION, step_id, fingerprint, state))
    return _HEAD.pack(_MAGIC, zlib.crc32(body)) + body


def decode_state(data: object, step_id: str, fingerprint: str) -> State:
    """Return the state that `encode_state` wrote; its arrays may be written to.

    Raises
    ------
    StateRefusedError
        Not bytes, not this form, altered, of another station, or made under another
        configuration.
    """
    remedy = "start again with an empty recovery directory"
    if not isinstance(data, bytes) or len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise StateRefusedError(f"{step_id}: the stored state is not Lumen Fusion's; {remedy}")
    body = data[_HEAD.size :]
    if _HEAD.unpack_from(data)[1] != zlib.crc32(body):
        raise StateRefusedError(f"{step_id}: the stored state was altered or damaged; {remedy}")
    try:
        version, owner, origin, state = _decoder.decode(body)
    except (ValueError, TypeError, struct.error) as error:
        raise StateRefusedError(
            f"{step_id}: the stored state cannot be read ({error}); {remedy}"
        ) from error
    for what, found, expected in (
        ("version", version, VERSION),
        ("station", owner, step_id),
        ("configuration", origin, fingerprint),
    ):
        if found != expected:
            raise StateRefusedError(
                f"{step_id}: the stored state is of another {what} ({found}, not {expected}); "
                f"{remedy}, or go back to that {what}"
            )
    return state
