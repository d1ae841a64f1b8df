"""Devices that are played: their messages, clocks and destinations."""

from __future__ import annotations

import socket

import msgspec
import numpy as np
import pytest

from configs.inputs import FileStream, MidiStream, OscStream, UreStream
from configs.load import load
from configs.schema import Config
from operators.settings.plan import Plan
from ops.fakes.ports import free_port
from ops.simulate.devices import (
    Controller,
    DeviceClock,
    DeviceSender,
    Reading,
    UrePage,
    bundle,
    readings,
)
from ops.simulate.live import devices, expected_hz
from sources.inbox import Message
from sources.osc.datagram import Datagrams
from sources.ure.exposition import PageDecoder

NOW = 1_750_000_000.0


def planned(channels: dict[str, object], *members: str, facts: tuple[str, ...] = ()) -> Plan:
    config = msgspec.convert(
        {
            "version": 2,
            "streams": [{"name": "a", "type": "osc", "addr": "127.0.0.1:9000"}],
            "signals": {"s": {"members": {m: {} for m in members}}},
            "channels": channels,
            "facts": list(facts),
        },
        Config,
    )
    return config.plan()


def test_a_bundle_has_its_numbers_and_source_time() -> None:
    decoded = Datagrams().decode(bundle(NOW - 5.25, [("/x", (0.5,)), ("/acc", (1.0, 2.0))]), NOW)
    assert decoded == [
        Message(NOW, "/x", 0.5, NOW - 5.25),
        Message(NOW, "/acc", (1.0, 2.0), NOW - 5.25),
    ]


def test_host_time_is_source_time_and_offset_and_a_fast_clock_has_a_positive_skew() -> None:
    clock = DeviceClock(NOW, offset_s=3.0, skew_ppm=100.0)
    assert clock.at(NOW) + 3.0 == NOW
    assert clock.at(NOW + 1000.0) - clock.at(NOW) == pytest.approx(1000.1, abs=1e-5)


@pytest.mark.parametrize("value", [-3.0, 0.0, 2.0])
def test_gain_and_offset_of_the_configuration_are_undone(value: float) -> None:
    channel = {"gain": 0.5, "offset": 1.0, "range": (0.0, 12.0)}
    (reading,) = readings(planned({"a:/x": channel}, "a:/x"), "a")
    assert 0.5 * reading.of(value)[0] + 1.0 == pytest.approx(6.0 + value)


@pytest.mark.parametrize("reduce", ["sum", "mean", "norm"])
@pytest.mark.parametrize("value", [-3.0, 0.0, 2.0])
def test_an_array_reduces_to_the_measured_value(reduce: str, value: float) -> None:
    (reading,) = readings(planned({"a:/x": {"range": (0, 12), "reduce": reduce}}, "a:/x"), "a")
    numbers = np.array(reading.of(value))
    come_to = {"sum": np.sum, "mean": np.mean, "norm": np.linalg.norm}[reduce](numbers)
    assert len(numbers) == 3
    assert come_to == pytest.approx(6.0 + value)


def test_elements_of_an_array_share_one_message() -> None:
    found = readings(planned({}, "a:/acc[0]", "a:/acc[2]", facts=("a:/x",)), "a")
    assert {r.key: r.parts for r in found} == {"/acc": 3, "/x": 1}


def test_a_controller_stays_between_0_and_127_about_its_middle() -> None:
    (reading,) = readings(planned({}, "a:cc/1/74"), "a")
    assert reading.of(0.0) == (63.5,)
    assert 0 < reading.of(-3.0)[0] < reading.of(3.0)[0] < 127


def test_a_page_holds_the_series_that_are_read() -> None:
    stream = UreStream(name="ure", metrics_url="http://127.0.0.1:9305/m")
    series = [Reading("ure_pulse", 1.0, 0.5), Reading("ure_harmony_index", 1.0, 0.0)]
    page = UrePage(stream, series, DeviceClock(NOW), np.random.default_rng(0))
    page.update(NOW, 0.25)
    found = {
        x.key: x.value for x in PageDecoder().decode(page.page, NOW, "") if isinstance(x, Message)
    }
    assert found["ure_pulse"] == 0.75
    assert found["ure_harmony_index"] == pytest.approx(0.9, abs=0.05)  # a healthy value


def with_bridge(reference: dict[str, object]) -> Config:
    return msgspec.convert(
        {
            "version": 2,
            "streams": [
                {"name": "a", "type": "osc", "addr": f"127.0.0.1:{free_port()}"},
                {"name": "m", "type": "midi", "device": "pad", "virtual": True},
                {"name": "ure", "type": "ure", "metrics_url": f"http://127.0.0.1:{free_port()}/m"},
            ],
            "signals": {"s": {"members": {"a:/x": {}, "ure:pulse": {}, "m:cc/1/2": {}}}},
            "bridge": {"reference": reference, "loop": {"tick_ms": 20}},
        },
        Config,
    )


@pytest.mark.parametrize(
    ("reference", "beats"),
    [
        ({"beat": "a:/beat"}, {"a": ("/beat",), "m": (), "ure": ()}),
        ({"beat": "m:clock", "per_tick": 6}, {"a": (), "m": ("clock",), "ure": ()}),
        (
            {"stamp": "ure:t_timestamp_seconds", "rate": "ure:t_total"},
            {"a": (), "m": (), "ure": ("t_timestamp_seconds", "t_total")},
        ),
    ],
)
def test_the_reference_of_the_bridge_is_played_by_its_device(
    reference: dict[str, object], beats: dict[str, tuple[str, ...]]
) -> None:
    made, why = devices(with_bridge(reference), np.random.default_rng(1), NOW)
    assert not why
    assert {device.name: device.beats for device in made} == beats
    assert expected_hz(with_bridge(reference)) == (300.0 if "m:clock" in reference.values() else 50)


def test_beats_of_osc_are_stamped_with_their_own_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        addr = f"127.0.0.1:{receiver.getsockname()[1]}"
        clock = DeviceClock(NOW, offset_s=3.0)
        sender = DeviceSender(OscStream(name="a", addr=addr), [], clock, ["/beat"])
        sender.start()
        sender.update(NOW + 1, 0.5)  # nothing to measure: nothing is sent
        sender.beat(NOW + 2)
        receiver.settimeout(5.0)
        data = receiver.recv(1000)
        sender.stop()
    assert Datagrams().decode(data, NOW) == [Message(NOW, "/beat", 1.0, NOW - 1.0)]


class Heard:
    """A MIDI port that keeps its messages."""

    def __init__(self, facts: tuple[str, ...]) -> None:
        self.facts = facts
        self.messages: list[list[int]] = []

    def send(self, message: list[int]) -> None:
        self.messages.append(message)


def test_a_midi_clock_starts_with_its_port_and_stops_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = MidiStream(name="m", device="pad", virtual=True)
    player = Controller(stream, [], DeviceClock(NOW), ["clock", "transport"])
    port = Heard(())
    monkeypatch.setattr(player, "_out", port)
    player.beat(NOW)
    assert port.messages == []
    port.facts = ("pad",)
    player.beat(NOW)
    player.beat(NOW)
    port.facts = ()
    player.beat(NOW)
    port.facts = ("pad",)
    player.beat(NOW)
    player.stop()
    assert port.messages == [[0xFA], [0xF8], [0xF8], [0xFA], [0xF8], [0xFC]]


def test_a_tap_is_a_note() -> None:
    stream = MidiStream(name="m", device="pad", virtual=True)
    player = Controller(stream, [], DeviceClock(NOW), ["note/10/36"])
    player._out = port = Heard(("pad",))  # type: ignore[assignment]
    player.beat(NOW)
    assert port.messages == [[0x99, 36, 100]]


def test_a_page_shows_the_time_the_number_and_the_rate_of_beats() -> None:
    stream = UreStream(name="ure", metrics_url="http://127.0.0.1:9305/m")
    keys = ["t_timestamp_seconds", "t_total", "t_hz"]
    page = UrePage(stream, [], DeviceClock(NOW), np.random.default_rng(0), keys)

    def shown() -> list[float]:
        page.update(NOW, 0.0)
        items = PageDecoder().decode(page.page, NOW, "")
        return [x.value for x in items if isinstance(x, Message) and isinstance(x.value, float)]

    assert shown() == [0.0, 0.0, 0.0]
    for k in range(20):
        page.beat(NOW + k / 4)
    assert shown() == pytest.approx([NOW + 19 / 4, 20.0, 4.0])


@pytest.mark.parametrize("addr", ["192.0.2.1:9000", "[2001:db8::1]:9000", "phone.local:9000"])
def test_no_other_machine_is_a_destination(addr: str) -> None:
    with pytest.raises(ValueError, match=r"IPv4|this machine"):
        DeviceSender(OscStream(name="a", addr=addr), [], DeviceClock(NOW))


def test_all_addresses_of_this_machine_are_reached_by_loopback() -> None:
    sender = DeviceSender(OscStream(name="a", addr="0.0.0.0:9000"), [], DeviceClock(NOW))
    try:
        assert sender.start() == "osc to 127.0.0.1:9000"
    finally:
        sender.stop()


@pytest.mark.parametrize(
    ("name", "kinds", "missing"),
    [
        ("stage", [DeviceSender, DeviceSender, Controller], 0),
        ("live", [DeviceSender, UrePage], 1),  # a card's port cannot be made
    ],
)
def test_the_shipped_configurations_are_played(name: str, kinds: list[type], missing: int) -> None:
    config = load(f"configs/{name}.yaml").config
    made, why = devices(config, np.random.default_rng(1), NOW)
    assert sorted(map(type, made), key=str) == sorted(kinds, key=str)
    assert len(why) == missing
    lags = [device.clock.lag_s for device in made if isinstance(device, DeviceSender)]
    assert lags[0] == 0.0  # the reference
    assert max(lags) <= config.plan().wait_lag_s  # no one is too late to be waited for
    fits = {MidiStream: Controller, OscStream: DeviceSender, UreStream: UrePage}
    known = {fits[type(s)] for s in config.streams if not isinstance(s, FileStream)}
    assert known >= {type(d) for d in made}
