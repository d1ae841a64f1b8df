"""Ports for programs that a test starts."""

import socket
from itertools import count

import pytest

from ops.fakes import ports
from ops.fakes.ports import FIRST, LAST, free_port


def test_no_port_is_given_twice_and_all_lie_in_the_range():
    given = [free_port() for _ in range(200)]
    assert len(set(given)) == 200
    assert FIRST <= min(given) <= max(given) < LAST


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_that_one_protocol_uses_is_passed_over(kind, monkeypatch):
    taken = free_port()
    monkeypatch.setattr(ports, "_next", count(taken - FIRST))
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", taken))
        assert free_port() != taken
