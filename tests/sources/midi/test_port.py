"""MIDI ports: which one a name means, and what a driver may do to us."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sources.midi import port
from sources.midi.port import QUEUE, MidiPortError, Port, not_running
from sources.midi.port_name import connected, fitting

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


NANO = ["nanoKONTROL2-01:out", "nanoKONTROL2:out", "X:X MIDI 1 20:0", "X:X MIDI 1 24:0"]


@pytest.mark.parametrize(
    ("device", "fits"),
    [
        ("nanoKONTROL2", [NANO[1], NANO[0]]),
        ("nanoKONTROL2#1", NANO[1:2]),
        ("nanoKONTROL2#2", NANO[0:1]),
        ("nanoKONTROL2#3", []),
        ("nanoKONTROL2:out#2", NANO[0:1]),
        ("nanoKONTROL2-01", [NANO[0]]),
        ("nanoKONTROL2-01:out", [NANO[0]]),
        ("X#2", NANO[3:]),
        ("X:X MIDI 1 77:0#2", NANO[3:]),
        ("X MIDI 1#1", NANO[2:3]),
    ],
)
def test_of_ports_of_one_name_the_second_can_be_meant(device: str, fits: list[str]) -> None:
    assert fitting(device, NANO) == fits


def test_a_port_that_is_really_called_so_wins_over_the_second() -> None:
    assert fitting("A#2", ["A:x", "B:y", "A#2:out", "C:A"])[0] == "A#2:out"
    assert fitting("A:1#2", ["A:1", "A:1 5:0", "A:1#2"]) == ["A:1#2"]


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
        self.queue: list[Any] = []
        driver.clients.append(self)

    def get_ports(self) -> list[str]:
        self.driver.vanishing -= 1
        if self.driver.vanishing >= 0:
            raise ValueError("the 'portNumber' argument (2) is invalid.")
        return self.driver.ports

    def open_port(self, index: int, name: str) -> None:
        if self.driver.busy:
            raise self.driver.busy
        if self.driver.changes:
            self.driver.ports = self.driver.changes.pop(0)
        self.name = name
        self.opened = self.driver.ports[index]

    def open_virtual_port(self, name: str) -> None:
        self.opened = f"virtual {name}"

    def ignore_types(self, sysex: bool, timing: bool, active_sense: bool) -> None:
        self.ignored = (sysex, timing, active_sense)

    def get_message(self) -> Any:
        return self.queue.pop(0) if self.queue else None

    def deliver(self, *message: int) -> None:
        if self.opened is not None:
            self.queue.append((list(message), 0.0))

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
        super().__init__(
            ports=list(ports), clients=[], broken=broken, busy=None, changes=[], vanishing=0
        )

    def get_compiled_api(self) -> list[int]:
        return [0, 2]

    def get_api_display_name(self, api: int) -> str:
        return {2: "ALSA"}[api]

    def MidiIn(self, api: int, name: str, queue_size_limit: int) -> Client:
        self.queue_size = queue_size_limit
        return Client(self)

    def MidiOut(self, api: int, name: str) -> Client:
        return Client(self)


def nothing_absent(rtmidi: Any, api: int) -> str | None:
    return None


def made(driver: Driver, device: str = "LPK", virtual: bool = False, is_input: bool = True) -> Port:
    port = Port(device, virtual, is_input, driver, nothing_absent, Path("/nowhere"))
    ports.append(port)
    return port


def opened(
    driver: Driver, device: str = "LPK", virtual: bool = False, is_input: bool = True
) -> Port:
    port = made(driver, device, virtual, is_input)
    port.open()
    return port


def received(port: Port) -> list[Any]:
    return [message for message, _ in port.take().messages]


ports: list[Port] = []


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(port, "_SETTLE_S", 0.0)
    yield
    while ports:
        ports.pop().close()


def why(driver: Driver, device: str = "LPK") -> str:
    port = made(driver, device)
    with pytest.raises(MidiPortError) as raised:
        port.open()
    assert port.facts == ()
    assert not port.there()
    port.close()
    assert driver.clients == []
    return str(raised.value)


def test_an_input_hands_over_bytes_and_leaves_sysex_to_the_driver() -> None:
    driver = Driver(*PRESENT)
    found = opened(driver)
    (client,) = driver.clients
    client.deliver(0x90, 60, 1)
    assert (received(found), received(found), client.opened) == ([[0x90, 60, 1]], [], KEYS)
    assert client.ignored == (True, False, False), "active sensing is in the account"
    assert found.facts == (KEYS, "ALSA")
    assert driver.queue_size == QUEUE


def test_the_queue_is_read_without_python_in_the_driver_s_thread() -> None:
    assert not hasattr(Client, "set_callback"), "a port that sets one would raise here"
    driver = Driver(KEYS)
    found = opened(driver)
    driver.clients[0].queue = [([0xF8], 0.02)] * 3
    before = time.time()
    taken = found.take()
    assert taken.messages == [([0xF8], 0.02)] * 3
    assert not taken.overrun
    assert taken.empty is not None
    assert before - 1e-5 <= taken.empty <= time.time()


def test_a_full_queue_is_an_overrun() -> None:
    driver = Driver(KEYS)
    found = opened(driver)
    for n, overrun in ((QUEUE - 2, False), (QUEUE - 1, True), (QUEUE + 5, True)):
        driver.clients[0].queue = list(range(n))
        driver.clients[0].queue.reverse()
        driver.clients[0].get_message = iter([([0xF8], 0.0)] * n + [None] * 9).__next__
        taken = found.take()
        assert (len(taken.messages), taken.overrun) == (min(n, QUEUE), overrun)
        assert (taken.empty is None) == (n >= QUEUE)


def test_a_list_that_changes_while_it_is_opened_leads_to_no_other_device() -> None:
    other, last = "Alpha:out", "Zeta:out"
    driver = Driver(KEYS, last)
    driver.changes = [[other, KEYS, last], [KEYS, last], [KEYS, last]]
    found = opened(driver)
    (client,) = driver.clients
    assert client.opened == KEYS
    assert found.facts[0] == KEYS
    found.release()
    driver.ports = [KEYS, last]
    driver.changes = [[other, KEYS], [KEYS, other]] * 10
    with pytest.raises(
        MidiPortError, match=f"'{KEYS}' went, or changed its place, while it was op"
    ):
        found.open()
    assert client.opened is None


CLIENTS = """Client info
  cur  clients : 3
Client  20 : "LPK25" [Kernel]
  Port   0 : "LPK25 MIDI 1" (RWeX)
    Connecting To: 129:0[real:0], 131:0
Client 129 : "lumen" [User]
  Port   0 : "{ours}" (-We-)
    Connected From: {number}
Client 130 : "lumen" [User]
  Port   0 : "lumen 99-9" (-We-)
    Connected From: 14:0
"""


def test_of_alsa_it_is_asked_what_was_really_opened(tmp_path: Path) -> None:
    assert connected(CLIENTS.format(ours="ours", number="20:0[real:0]"), "ours") == ["20:0"]
    assert connected(CLIENTS.format(ours="ours", number="20:0"), "LPK25 MIDI 1") == [
        "129:0", "131:0"
    ]  # fmt: skip
    assert connected(CLIENTS, "nobody") == []
    (tmp_path / "seq").mkdir()
    driver = Driver(KEYS)
    for number, refused in (("24:0", True), ("20:0", False)):
        found = Port("LPK", False, True, driver, nothing_absent, tmp_path)
        ports.append(found)
        text = CLIENTS.format(ours=found._ours, number=number)
        (tmp_path / "seq" / "clients").write_text(text)
        if refused:
            with pytest.raises(MidiPortError, match="changed its place"):
                found.open()
        else:
            found.open()
            assert found.facts[0] == KEYS
            assert driver.clients[-1].name == found._ours


def test_a_list_whose_last_port_goes_while_it_is_asked_for_is_asked_for_again() -> None:
    driver = Driver(KEYS)
    found = made(driver)
    driver.vanishing = 3
    found.open()
    assert found.facts[0] == KEYS


def test_two_streams_never_have_one_port() -> None:
    driver = Driver(*TWO)
    first, second = opened(driver, "Launch"), made(driver, "Launch MIDI 1")
    with pytest.raises(
        MidiPortError, match=r"is the port of another stream of this run.*#2' for the"
    ):
        second.open()
    assert second.facts == ()
    other = opened(driver, "Launch#2")
    assert (first.facts[0], other.facts[0]) == tuple(TWO)
    assert opened(driver, "Launch", is_input=False).facts[0] == TWO[0], "an output shares it"
    first.release()
    second.open()
    assert second.facts[0] == TWO[0]


def test_the_other_ports_that_a_name_fits_are_reported() -> None:
    assert opened(Driver(*TWO), "Launch").facts[2:] == (f"also fits: {TWO[1]}",)


def test_a_port_that_is_pulled_out_is_not_there() -> None:
    driver = Driver(KEYS)
    found = opened(driver)
    assert found.there()
    driver.ports = []
    assert not found.there()


def test_a_device_that_comes_back_is_received_by_the_client_that_had_it_before() -> None:
    driver = Driver(KEYS)
    found = opened(driver)
    (client,) = driver.clients
    for _ in range(3):
        client.deliver(0x80, 60, 1)
        driver.ports = []
        found.release()
        client.deliver(0x90, 60, 1)
        with pytest.raises(MidiPortError):
            found.open()
        driver.ports = [KEYS]
        found.open()
    assert (received(found), driver.clients) == ([], [client]), "what is left is of the time before"
    client.deliver(0x90, 60, 1)
    assert received(found) == [[0x90, 60, 1]]


def test_a_virtual_port_is_there_without_any_other() -> None:
    driver = Driver()
    found = opened(driver, "lumen in", virtual=True)
    assert driver.clients[0].opened == "virtual lumen in"
    assert found.there()
    assert found.facts == ("lumen in", "virtual, ALSA")
    found.release()
    assert driver.clients == []


def test_a_closed_port_hands_nothing_over_and_leaves_no_client() -> None:
    driver = Driver(KEYS)
    found = opened(driver)
    (client,) = driver.clients
    found.close()
    found.close()
    client.deliver(0x90, 60, 1)
    assert (client.queue, driver.clients, client.opened) == ([], [], None)


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
    found = opened(driver, is_input=False)
    found.send([0xB0, 1, 2])
    assert driver.clients[0].sent == [[0xB0, 1, 2]]
    driver.busy = SystemError("gone")
    with pytest.raises(MidiPortError, match="gone"):
        found.send([0xB0, 1, 2])
    driver.ports = None
    assert not found.there()


def test_a_server_that_went_is_asked_anew_when_it_runs_again() -> None:
    driver, server = Driver(KEYS), ["no server"]
    found = Port("LPK", False, True, driver, lambda *_: server[0] if server else None)
    with pytest.raises(MidiPortError, match=r"^no server$"):
        found.open()
    assert driver.clients == []
    server.clear()
    found.open()
    (client,) = driver.clients
    server.append("no server")
    assert not found.there()
    found.release()
    with pytest.raises(MidiPortError):
        found.open()
    server.clear()
    found.open()
    assert client not in driver.clients


def test_a_server_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port.sys, "platform", "linux")
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody-runs-this")
    assert not_running(Driver, Driver.API_UNIX_JACK) == "no JACK server 'nobody-runs-this'"


def test_without_the_package_it_is_reported_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(port.sys.modules, "rtmidi", None)
    with pytest.raises(MidiPortError, match="python-rtmidi cannot be used"):
        Port("LPK").open()
