"""Packets out of a stream of bytes, however it is cut."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bench.osc_fuzz import bundle, message
from sources.inbox import Message, Unread
from sources.osc.datagram import Datagrams
from sources.osc.frames import END, ESC, Frames

MAX_LENGTH = 8_192
PACKETS = [
    message("/a", "f", struct.pack(">f", 0.5)),
    message("/b", "i", bytes((0, END, ESC, 0xDC))),
    bundle(message("/c", "f", bytes(4)), seconds=END, fraction=ESC),
]


def prefixed(packet: bytes) -> bytes:
    return struct.pack(">i", len(packet)) + packet


def slipped(packet: bytes, before: bytes = bytes((END,))) -> bytes:
    body = packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return before + body + bytes((END,))


FRAMED = {
    "length": b"".join(map(prefixed, PACKETS)),
    "slip": b"".join(map(slipped, PACKETS)),
    "slip that ends only": b"".join(slipped(p, b"") for p in PACKETS),
}


@pytest.mark.parametrize("kind", FRAMED)
@given(cuts=st.lists(st.integers(0, 200)))
def test_both_framings_are_found_and_give_the_packets_however_cut(
    kind: str, cuts: list[int]
) -> None:
    data, frames, found = FRAMED[kind], Frames(MAX_LENGTH), []
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    for a, b in pairwise(edges):
        found += frames.feed(data[a:b])
    assert found == PACKETS
    assert frames.kind == kind.partition(" ")[0]
    assert frames.rest() == []
    assert not frames.broken


@pytest.mark.parametrize("wrap", [prefixed, slipped])
def test_a_packet_beyond_the_bound_costs_itself_only_and_no_room(wrap: object) -> None:
    assert callable(wrap)
    frames = Frames(MAX_LENGTH)
    long = message("/a", "b", struct.pack(">i", 1 << 20) + bytes(1 << 20))
    found = frames.feed(wrap(PACKETS[0]))
    data = wrap(long) + wrap(PACKETS[0])
    for i in range(0, len(data), 65_536):
        found += frames.feed(data[i : i + 65_536])
        assert len(frames._held) <= MAX_LENGTH + 1
    assert [len(p) for p in found] == [len(PACKETS[0]), MAX_LENGTH + 1, len(PACKETS[0])]
    (refused,) = Datagrams().decode(found[1], 1.0)
    assert isinstance(refused, Unread)
    assert refused.reason == "too_long"


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x80\0\0\0", b"\0\0\0\0", b"\xff" * 9])
def test_what_is_neither_framing_is_refused_and_ends_the_connection(data: bytes) -> None:
    frames = Frames(MAX_LENGTH)
    (packet,) = frames.feed(data)
    assert frames.broken
    assert isinstance(Datagrams().decode(packet, 1.0)[0], Unread)
    assert frames.feed(prefixed(PACKETS[0])) == []


@pytest.mark.parametrize("framed", [prefixed, slipped])
def test_a_packet_that_was_cut_off_is_refused_even_where_its_part_is_sound(framed: object) -> None:
    assert callable(framed)
    frames = Frames(MAX_LENGTH)
    whole = bundle(PACKETS[0], PACKETS[0])
    part = len(framed(whole)) - len(PACKETS[0]) - 4 - (framed is slipped)
    assert frames.feed(framed(whole)[:part]) == []
    (packet,) = frames.rest()
    assert isinstance(Datagrams().decode(packet, 1.0)[0], Unread)
    assert isinstance(Datagrams().decode(whole[: -len(PACKETS[0]) - 4], 1.0)[0], Message)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_nothing_raises_on_bytes(parts: list[bytes]) -> None:
    frames = Frames(64)
    for part in parts:
        for packet in frames.feed(part):
            assert len(packet) <= 256
    frames.rest()
