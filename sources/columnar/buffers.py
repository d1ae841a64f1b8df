"""Columns of the Arrow library as numpy arrays.

The library copies a column without nulls into an array. The validity of one with nulls is read
through Arrow's C data interface, a stable layout of structures.

Source: Arrow columnar format 1.4, "The Arrow C data interface".
"""

from __future__ import annotations

import ctypes

import numpy as np
from arro3.core import Array, DataType

from operators.types import Bool


class _ArrowArray(ctypes.Structure):
    _fields_ = [
        ("length", ctypes.c_int64),
        ("null_count", ctypes.c_int64),
        ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("buffers", ctypes.POINTER(ctypes.c_void_p)),
        ("children", ctypes.c_void_p),
        ("dictionary", ctypes.c_void_p),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    ]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def validity(array: Array) -> Bool:
    """Return the mask (n,) of the elements that are not null."""
    n = len(array)
    if not array.null_count:
        return np.ones(n, np.bool_)
    if array.null_count == n:
        return np.zeros(n, np.bool_)
    _, capsule = array.__arrow_c_array__()
    exported = _ArrowArray.from_address(_pointer(capsule, b"arrow_array"))
    bits = exported.offset + n
    data = ctypes.string_at(exported.buffers[0], -(-bits // 8))
    unpacked = np.unpackbits(np.frombuffer(data, np.uint8), count=bits, bitorder="little")
    return unpacked[exported.offset :].astype(np.bool_)


def numbers(array: Array, valid: Bool, dtype: type[np.generic], missing: float) -> np.ndarray:
    """Return a column of plain numbers, with a number in place of nulls.

    Parameters
    ----------
    array : Array
        Of 64 or 32 bits a number.
    valid : bool (n,)
        Its `validity`.
    dtype : type
        That of the array.
    missing : float
    """
    n = len(array)
    if not array.null_count:
        return array.to_numpy().astype(dtype)
    if array.null_count == n:
        return np.full(n, missing, dtype)
    _, capsule = array.__arrow_c_array__()
    exported = _ArrowArray.from_address(_pointer(capsule, b"arrow_array"))
    size = np.dtype(dtype).itemsize
    begin = exported.buffers[1] + exported.offset * size
    found = np.frombuffer(ctypes.string_at(begin, n * size), dtype).copy()
    found[~valid] = missing
    return found


def with_nulls(column: np.ndarray, missing: np.ndarray) -> Array:
    """Return a column with nulls at a mask (n,)."""
    array = Array.from_numpy(np.ascontiguousarray(column))
    if not missing.any():
        return array
    return array.take(indices(np.where(missing, -1, np.arange(len(column)))))


def indices(number: np.ndarray) -> Array:
    """Return indices for `Array.take`; below 0: null."""
    # The cast of the library makes null of NaN.
    return Array.from_numpy(np.where(number < 0, np.nan, number)).cast(DataType.uint32())
