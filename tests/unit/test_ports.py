"""Ports for programs that a test starts."""

import socket
from pathlib import Path

from ops.bench.ports import free_port


def test_no_port_is_given_twice_and_none_lies_where_outgoing_connections_are():
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports) < first


def test_a_port_in_use_by_either_protocol_is_passed_over():
    taken = free_port() + 1
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
    ):
        datagram.bind(("127.0.0.1", taken))
        stream.bind(("127.0.0.1", taken + 1))
        assert free_port() not in (taken, taken + 1)
