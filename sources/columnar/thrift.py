"""Thrift's compact protocol, as far as Parquet uses it: structures by field number.

A structure is a dict of field number to `Field`; lists are Python lists. Reading and writing are
inverse, so that a footer with other row groups can be made from the one of a file.

Source: apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from operators.errors import SourceError

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
"""Types of values."""
_MAX_DEPTH = 16
_INTEGERS = (I16, I32, I64)


class Field(NamedTuple):
    """A value with its type; of a list also the type of its elements."""

    type: int
    value: Any
    element: int = 0


Structure: TypeAlias = dict[int, Field]


class ThriftError(SourceError, ValueError):
    """Bytes that are no structure."""


class ThriftReader:
    """Reads structures from bytes.

    Parameters
    ----------
    data : bytes

    Attributes
    ----------
    at : int
        Offset of the next byte.

    Raises
    ------
    ThriftError
        From every method, for bytes that are no such value.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def structure(self, depth: int = 0) -> Structure:
        """Return the next structure."""
        if depth > _MAX_DEPTH:
            raise ThriftError("nested too deep")
        fields: Structure = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._zigzag()
            fields[number] = self._field(kind, depth)
        return fields

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise ThriftError("cut off")
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise ThriftError("a number of more than 64 bits")

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _bytes(self, size: int) -> bytes:
        if size > len(self._data) - self.at:
            raise ThriftError("cut off")
        self.at += size
        return self._data[self.at - size : self.at]

    def _field(self, kind: int, depth: int) -> Field:
        if kind in (TRUE, FALSE):
            return Field(kind, kind == TRUE)
        return self._value(kind, depth)

    def _value(self, kind: int, depth: int) -> Field:
        if kind in _INTEGERS:
            return Field(kind, self._zigzag())
        if kind in (BYTE, TRUE, FALSE):
            return Field(kind, self._byte())
        if kind == DOUBLE:
            return Field(kind, self._bytes(8))
        if kind == BINARY:
            return Field(kind, self._bytes(self._varint()))
        if kind in (LIST, SET):
            head = self._byte()
            size, element = head >> 4, head & 15
            size = self._varint() if size == 15 else size
            if size > len(self._data) - self.at:
                raise ThriftError("a list longer than the data")
            return Field(
                kind, [self._value(element, depth + 1).value for _ in range(size)], element
            )
        if kind == STRUCT:
            return Field(kind, self.structure(depth + 1))
        raise ThriftError(f"a value of type {kind}")


def encoded(structure: Structure) -> bytes:
    """Return the bytes of a structure."""
    out = bytearray()
    _write_structure(structure, out)
    return bytes(out)


def _write_structure(structure: Structure, out: bytearray) -> None:
    last = 0
    for number, field in sorted(structure.items()):
        delta = number - last
        if 0 < delta < 16:
            out.append(delta << 4 | field.type)
        else:
            out.append(field.type)
            _write_varint(number << 1, out)
        if field.type not in (TRUE, FALSE):
            _write_value(field.type, field.value, field.element, out)
        last = number
    out.append(0)


def _write_value(kind: int, value: Any, element: int, out: bytearray) -> None:
    if kind in _INTEGERS:
        _write_varint((value << 1) ^ (value >> 63), out)
    elif kind in (BYTE, TRUE, FALSE):
        out.append(value)
    elif kind == DOUBLE:
        out += value
    elif kind == BINARY:
        _write_varint(len(value), out)
        out += value
    elif kind == STRUCT:
        _write_structure(value, out)
    else:
        size = len(value)
        out.append(min(size, 15) << 4 | element)
        if size >= 15:
            _write_varint(size, out)
        for one in value:
            _write_value(element, one, 0, out)


def _write_varint(number: int, out: bytearray) -> None:
    number &= (1 << 64) - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
