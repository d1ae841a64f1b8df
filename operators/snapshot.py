"""Encoding of a station's state: msgpack with arrays, under a header with checksum and origin.

The engine pickles its states and checks nothing. The stations therefore pass bytes only. These
carry the format version, the station, the fingerprint of the configuration and a checksum.

Format: magic (4 bytes), CRC-32 of the body (4 bytes, big endian), body: msgpack of
[version, station, fingerprint, state]. Tuples are decoded as lists. Positions in the input have
their own format and are sealed: another magic, the CRC-32, and their bytes.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Any

import msgspec
import numpy as np

from operators.errors import LumenError
from operators.types import State

VERSION = 11
_MAGIC = b"LUMN"
_SEALED = b"LUMS"
_REMEDY = "start again with an empty recovery directory"
_PICKLED = re.compile(
    rb"\x80[\x03-\x05](?:\x95.{8})?(?:C(?P<short>.)|B(?P<long>.{4})|\x8e(?P<longest>.{8}))", re.S
)
_END = re.compile(rb"(?:\x94|q.)?\.", re.S)
_HEAD = struct.Struct(">4sI")
_ARRAY = 1
_KINDS = "biuf"


class StateRefusedError(LumenError, ValueError):
    """A stored state of another station or configuration, or an altered one."""


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
        Station and configuration of the state.
    """
    body = _encoder.encode((VERSION, step_id, fingerprint, state))
    return _HEAD.pack(_MAGIC, zlib.crc32(body)) + body


def decode_state(data: object, step_id: str, fingerprint: str) -> State:
    """Return the state from `encode_state`; its arrays are writable.

    Raises
    ------
    StateRefusedError
        Not bytes, another format, altered, of another station or of another configuration.
    """
    version, owner, origin, state = _parts(_body(data, _MAGIC, step_id), step_id)
    _refuse_foreign(version, owner, origin, step_id, fingerprint)
    return state


def _parts(body: bytes, step_id: str) -> tuple[int, str, str, State]:
    try:
        return _decoder.decode(body)
    except (ValueError, TypeError, struct.error) as error:
        raise StateRefusedError(
            f"{step_id}: the stored state cannot be read ({error}); {_REMEDY}"
        ) from error


def _refuse_foreign(
    version: int, owner: str, origin: str, step_id: str | None, fingerprint: str
) -> None:
    """Raise for another version, station (None: any is accepted) or configuration."""
    for name, found, expected in (
        ("version", version, VERSION),
        ("station", owner, owner if step_id is None else step_id),
        ("configuration", origin, fingerprint),
    ):
        if found != expected:
            raise StateRefusedError(
                f"{step_id or owner}: the stored state is of another {name} ({found}, not "
                f"{expected}); {_REMEDY}, or go back to that {name}"
            )


def seal(body: bytes) -> bytes:
    """Return bytes with a checksum in front."""
    return _HEAD.pack(_SEALED, zlib.crc32(body)) + body


def unseal(data: object, step_id: str) -> bytes:
    """Return the bytes that were sealed by `seal`.

    Raises
    ------
    StateRefusedError
        Not sealed, or altered since.
    """
    return _body(data, _SEALED, step_id)


def origin_of(data: bytes, fingerprint: str | None) -> None:
    """Check a stored state of any station without loading it.

    Parameters
    ----------
    data : bytes
    fingerprint : str, optional
        Of the expected configuration.

    Raises
    ------
    StateRefusedError
        Not of one of the two formats, altered, of another version or configuration.
    """
    if data[:4] == _SEALED:
        unseal(data, "the input")
        return
    body = _body(data, _MAGIC, "a station")
    if fingerprint is not None:
        _refuse_foreign(*_parts(body, "a station")[:3], None, fingerprint)


def pickled_bytes(data: bytes) -> bytes | None:
    """Return the bytes object in a pickle, None if it holds anything else. It never unpickles."""
    found = _PICKLED.match(data)
    if not found:
        return None
    size = int.from_bytes(found["short"] or found["long"] or found["longest"], "little")
    end = found.end() + size
    return data[found.end() : end] if _END.fullmatch(data, end) else None


def _body(data: object, magic: bytes, step_id: str) -> bytes:
    """Return the body behind the header."""
    if not isinstance(data, bytes) or len(data) < _HEAD.size or data[:4] != magic:
        raise StateRefusedError(f"{step_id}: the stored state is not Lumen Fusion's; {_REMEDY}")
    body = data[_HEAD.size :]
    if _HEAD.unpack_from(data)[1] != zlib.crc32(body):
        raise StateRefusedError(f"{step_id}: the stored state was altered or damaged; {_REMEDY}")
    return body
