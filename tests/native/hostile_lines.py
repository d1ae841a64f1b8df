"""Lines for the decoder: regular ones, ones that nearly fit a layout, and damaged bytes."""

from __future__ import annotations

import numpy as np

from operators.types import F64, I64
from sources.ndjson import Decoder
from sources.rows.names import Names
from sources.rows.rows import DecodedRows

NUMBERS = (
    b"0", b"-0", b"0.0", b"-0.0", b"00", b"01", b"-01", b"1", b"-1", b"7.", b".5", b"-", b"", b"+1",
    b"1e5", b"1.5e-3", b"1E400", b"0.1", b"-12.75", b"8999999999999999", b"9000000000000000",
    b"899999999999999.9", b"900000000000000.0", b"1234567890123456", b"12345678901234567",
    b"0.1234567890123456", b"0.12345678901234567", b"0.0000000000000001", b"1.0000000000000000",
    b"1.00000000000000000", b"-9007199254740993", b"1,5", b"1 ", b" 1", b"1.2.3", b"1-2", b"--1",
    b"nan", b"NaN", b"Infinity", b"true", b"null", b'"1"', b"[1,2.5]", b"{}", b"1\x00", b"\xff",
)  # fmt: skip
"""Texts in place of a number."""


def line(ts: bytes, value: bytes, source: int, meta: bytes = b"") -> bytes:
    """Return a line with these texts as its numbers."""
    return b'{"ts": %s, "source": "s%d", "key": "x,y", "value": %s%s}' % (ts, source, value, meta)


def regular(rng: np.random.Generator) -> bytes:
    """Return a line of one of twelve layouts."""
    source = int(rng.integers(4))
    ts = b"%.6f" % (1.7e9 + rng.uniform(0, 100))
    value = b"%.5f" % rng.normal(0, 100) if source % 2 else b"%d" % rng.integers(-50, 200)
    meta = b""
    if source > 1:
        meta = b', "meta": {"rx": %.6f, "seq": %d}' % (1.7e9 + rng.uniform(0, 9), rng.integers(99))
    return line(ts, value, source, meta)


def text(rng: np.random.Generator, lines: int, harm: float) -> bytes:
    """Return whole lines, of which about a part `harm` is damaged."""
    out = []
    for _ in range(lines):
        whole = regular(rng)
        if rng.random() < harm:
            kind, other = rng.integers(5), NUMBERS[rng.integers(len(NUMBERS))]
            if kind == 0:
                whole = line(other, b"1.5", 1)
            elif kind == 1:
                whole = line(b"1700000000.5", other, int(rng.integers(4)))
            elif kind == 2:
                whole = whole[: rng.integers(len(whole) + 1)]
            elif kind == 3:
                at = int(rng.integers(len(whole)))
                whole = whole[:at] + rng.bytes(int(rng.integers(4))) + whole[at:]
            else:
                whole = bytes(rng.choice([b"", b"\r", b" ", b"{}", b"[]", b"\x00", whole * 2]))
        out.append(whole + (b"\r\n" if rng.random() < harm / 4 else b"\n"))
    return b"".join(out)


def decoded(blocks: list[bytes]) -> list[DecodedRows]:
    """Return the rows of blocks of one file."""
    decoder, names, base, out = Decoder("f"), Names("rig"), 0, []
    for block in blocks:
        out.append(decoder.decode(block, base, names))
        base += len(block)
    return out


def kernel_case(rng: np.random.Generator) -> tuple[I64, F64, F64, I64, int]:
    """Return node, cell, value, first and the number of ticks of a sum."""
    n, k = int(rng.integers(0, 60)), int(rng.integers(1, 30))
    node = np.sort(rng.integers(-90_000, 4096 * k + 90_000, n))
    cell, value = rng.uniform(0, 3, n), rng.standard_normal(n) * 10.0 ** rng.integers(-9, 9, n)
    first = np.sort(rng.integers(-3, k + 3, n))
    return node, cell, value, first, k
