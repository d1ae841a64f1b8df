"""MIDI ports: which one a name means, and what a driver may do to us."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sources import port
from sources.port import Port, PortError, fitting, not_running

THROUGH = "Midi Through:Midi Through Port-0 14:0"
KEYS = "LPK25:LPK25 MIDI 1 20:0"
TWO = ["Launch:Launch MIDI 1 24:0", "Launch:Launch MIDI 2 24:1"]
PRESENT = [THROUGH, KEYS, *TWO]


@pytest.mark.parametrize(
    ("device", "fits"),
    [
        (KEYS, [KEYS]),
        ("LPK25:LPK25 MIDI 1 28:0", [KEYS]),
        ("LPK25:LPK25 MIDI 1", [KEYS]),
        ("LPK25 MIDI 1", [KEYS]),
        ("LPK", [KEYS]),
        ("Launch", TWO),
        ("Launch MIDI 2", TWO[1:]),
        ("14:0", []),
        ("Oxygen", []),
    ],
)
def test_a_port_is_found_by_its_name_or_a_part_of_it(device: str, fits: list[str]) -> None:
    assert fitting(device, PRESENT) == fits


def test_the_exact_name_wins_over_a_part_wherever_it_stands() -> None:
    assert fitting("Keys:A", ["Keys:A2 20:0", "Keys:A 21:0"])[0] == "Keys:A 21:0"
    assert fitting("A", ["B:A2 20:0", "C:A 21:0"])[0] == "C:A 21:0"


def test_of_two_alike_the_number_decides_if_it_is_there() -> None:
    twins = ["X:X MIDI 1 20:0", "X:X MIDI 1 24:0"]
    assert fitting(twins[1], twins)[0] == twins[1]
    assert fitting("X:X MIDI 1 99:0", twins) == twins


@pytest.fixture
def asound(tmp_path: Path) -> Path:
    (tmp_path / "cards").write_text(
        " 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n"
        "                      HDA Intel PCH at 0xf7f10000 irq 30\n"
        " 1 [LPK25          ]: USB-Audio - LPK25\n"
        "                      AKAI LPK25 at usb-0000:00:14.0-2, full speed\n"
        " 2 [MK2            ]: USB-Audio - Launch\n"
        "                      Focusrite Launch at usb-0000:00:14.0-3, full speed\n"
    )
    (tmp_path / "card2").mkdir()
    (tmp_path / "card2" / "midi0").write_text("Launch MIDI\n\nOutput 0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("device", "fits"),
    [
        ("hw:1,0,0", [KEYS]),
        ("hw:1,0", [KEYS]),
        ("hw:1", [KEYS]),
        ("hw:LPK25,0,0", [KEYS]),
        ("hw:2,0,0", TWO[:1]),
        ("hw:2,0,1", TWO[1:]),
        ("hw:2,0,2", []),
        ("hw:0,0,0", []),
        ("hw:7,0,0", []),
    ],
)
def test_a_hardware_address_is_the_port_of_its_card(
    device: str, fits: list[str], asound: Path
) -> None:
    assert fitting(device, PRESENT, asound) == fits


def test_without_cards_no_hardware_address_fits(tmp_path: Path) -> None:
    assert fitting("hw:1,0,0", PRESENT, tmp_path / "none") == []


class Client:
    """A client of a driver: `ports` that can be opened, or what it raises."""

    def __init__(self, driver: Driver) -> None:
        if driver.broken:
            raise driver.broken
        self.driver = driver
        self.opened: Any = None
        self.sent: list[Any] = []
        driver.clients.append(self)

    def get_ports(self) -> list[str]:
        return self.driver.ports

    def open_port(self, index: int, name: str) -> None:
        if self.driver.busy:
            raise self.driver.busy
        self.opened = self.driver.ports[index]

    def open_virtual_port(self, name: str) -> None:
        self.opened = f"virtual {name}"

    def ignore_types(self, sysex: bool, timing: bool, active_sense: bool) -> None:
        self.ignored = (sysex, timing, active_sense)

    def set_callback(self, callback: Any, data: Any) -> None:
        self.callback = lambda *message: callback((list(message), 0.0), data)

    def cancel_callback(self) -> None:
        self.callback = lambda *message: None

    def close_port(self) -> None:
        self.opened = None

    def delete(self) -> None:
        self.driver.clients.remove(self)

    def send_message(self, message: Any) -> None:
        if self.driver.busy:
            raise self.driver.busy
        self.sent.append(message)


class Driver(SimpleNamespace):
    """What the module rtmidi offers, on a machine of ours."""

    API_RTMIDI_DUMMY, API_LINUX_ALSA, API_UNIX_JACK = 0, 2, 3

    def __init__(self, *ports: str, broken: Exception | None = None) -> None:
        super().__init__(ports=list(ports), clients=[], broken=broken, busy=None)

    def get_compiled_api(self) -> list[int]:
        return [0, 2]

    def get_api_display_name(self, api: int) -> str:
        return {2: "ALSA"}[api]

    def MidiIn(self, api: int, name: str) -> Client:
        return Client(self)

    def MidiOut(self, api: int, name: str) -> Client:
        return Client(self)


def nothing_absent(rtmidi: Any, api: int) -> str | None:
    return None


def made(driver: Driver, device: str = "LPK", virtual: bool = False, hear: Any = print) -> Port:
    return Port(device, virtual, hear, rtmidi=driver, absent=nothing_absent)


def opened(driver: Driver, device: str = "LPK", virtual: bool = False, hear: Any = print) -> Port:
    port = made(driver, device, virtual, hear)
    port.open()
    return port


def why(driver: Driver, device: str = "LPK") -> str:
    port = made(driver, device)
    with pytest.raises(PortError) as raised:
        port.open()
    assert port.facts == ()
    assert not port.there()
    port.close()
    assert driver.clients == []
    return str(raised.value)


def test_an_input_hands_over_bytes_and_leaves_sysex_to_the_driver() -> None:
    driver, got = Driver(*PRESENT), []
    found = opened(driver, hear=got.append)
    (client,) = driver.clients
    client.callback(0x90, 60, 1)
    assert (got, client.opened) == ([[0x90, 60, 1]], KEYS)
    assert client.ignored == (True, False, True)
    assert found.facts == (KEYS, "ALSA")


def test_the_other_ports_that_a_name_fits_are_told() -> None:
    assert opened(Driver(*TWO), "Launch").facts[2:] == (f"also fits: {TWO[1]}",)


def test_a_port_that_is_pulled_out_is_not_there() -> None:
    driver = Driver(KEYS)
    found = opened(driver)
    assert found.there()
    driver.ports = []
    assert not found.there()


def test_a_device_that_comes_back_is_heard_by_the_client_that_heard_it_before() -> None:
    driver, got = Driver(KEYS), []
    found = opened(driver, hear=got.append)
    (client,) = driver.clients
    for _ in range(3):
        driver.ports = []
        found.release()
        client.callback(0x90, 60, 1)
        with pytest.raises(PortError):
            found.open()
        driver.ports = [KEYS]
        found.open()
    assert (got, driver.clients) == ([], [client])
    client.callback(0x90, 60, 1)
    assert got == [[0x90, 60, 1]]


def test_a_virtual_port_is_there_without_any_other() -> None:
    driver = Driver()
    found = opened(driver, "lumen in", virtual=True)
    assert driver.clients[0].opened == "virtual lumen in"
    assert found.there()
    assert found.facts == ("lumen in", "virtual, ALSA")
    found.release()
    assert driver.clients == []


def test_a_closed_port_hands_nothing_over_and_leaves_no_client() -> None:
    driver, got = Driver(KEYS), []
    found = opened(driver, hear=got.append)
    (client,) = driver.clients
    found.close()
    found.close()
    client.callback(0x90, 60, 1)
    assert (got, driver.clients, client.opened) == ([], [], None)


def test_where_nothing_fits_the_ports_present_are_named() -> None:
    assert why(Driver(THROUGH, KEYS), "Oxygen") == (
        f"no port fits 'Oxygen'; present: {THROUGH}, {KEYS}"
    )
    assert why(Driver()) == "no port fits 'LPK'; present: none"


def test_a_driver_that_raises_is_a_reason() -> None:
    error = SystemError("error creating ALSA sequencer client object.")
    assert why(Driver(broken=error)) == f"ALSA: {error}"


def test_a_port_that_another_has_is_a_reason() -> None:
    driver = Driver(KEYS)
    driver.busy = RuntimeError("device busy")
    assert why(driver) == "ALSA: device busy"


def test_a_driver_that_fails_later_means_that_the_port_is_gone() -> None:
    driver = Driver(KEYS)
    found = opened(driver, hear=None)
    found.send([0xB0, 1, 2])
    assert driver.clients[0].sent == [[0xB0, 1, 2]]
    driver.busy = SystemError("gone")
    with pytest.raises(PortError, match="gone"):
        found.send([0xB0, 1, 2])
    driver.ports = None
    assert not found.there()


def test_a_server_that_went_is_asked_anew_when_it_runs_again() -> None:
    driver, server = Driver(KEYS), ["no server"]
    found = Port("LPK", False, print, driver, lambda *_: server[0] if server else None)
    with pytest.raises(PortError, match=r"^no server$"):
        found.open()
    assert driver.clients == []
    server.clear()
    found.open()
    (client,) = driver.clients
    server.append("no server")
    assert not found.there()
    found.release()
    with pytest.raises(PortError):
        found.open()
    server.clear()
    found.open()
    assert client not in driver.clients


def test_a_server_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port.sys, "platform", "linux")
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody-runs-this")
    assert not_running(Driver, Driver.API_UNIX_JACK) == "no JACK server 'nobody-runs-this'"


def test_without_the_package_it_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(port.sys.modules, "rtmidi", None)
    with pytest.raises(PortError, match="python-rtmidi cannot be used"):
        Port("LPK").open()
