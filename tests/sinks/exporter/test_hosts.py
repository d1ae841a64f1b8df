import pytest

from sinks.exporter.hosts import HostFilter

HOSTS = HostFilter(("stage.local", "Mixer"))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9310", "192.168.1.7", "[::1]:9310", "[fe80::1%eth0]:80", "localhost",
     "LocalHost:9310", "localhost.", "stage.local:9310", "STAGE.local.", "mixer"],
)  # fmt: skip
def test_literal_addresses_localhost_and_configured_names_are_admitted(host):
    assert HOSTS.admits(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9310", "127.0.0.1.evil.example", "localhost.evil.example",
     "evil.stage.local", "stage.local@evil.example", "127.0.0.1:9310, localhost", "::1", "[::1",
     "[localhost]", "127.0.0.1:x", "stage.local:9310\n", " localhost", "2130706433", "a" * 9000],
)  # fmt: skip
def test_any_other_name_is_refused(host):
    assert not HOSTS.admits(host)


@pytest.mark.parametrize("absent", [None, ""])
def test_only_http_1_0_may_omit_the_host(absent):
    assert HOSTS.admits(absent, "HTTP/1.0")
    assert not HOSTS.admits(absent, "HTTP/1.1")
