"""The station: its ticks follow the beats, and sound only as the protocol and persons allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as with_fields
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from flows.pipeline import makers
from flows.stations import Settings
from operators.bridge import Bridge, BridgeConfig
from operators.bridge.bridge_config import (
    ReferenceConfig,
    SafetyConfig,
)
from operators.bridge.gains_in_force import Gains
from operators.bridge.loop_energy import LoopDeviation, limits, loop_energy
from operators.conditions import Rule
from operators.events import Batch
from operators.lines import BridgeFrame
from operators.records import BRIDGE_NAMES, Control, Packet
from operators.settings.plan import Plan
from tests.support.signals import feed
from tests.support.struck_clock import CONFIG, PLAN, START, packets, station


def commanded(items: Iterable[Packet], at: float, command: str) -> list[Packet]:
    """Return the packets with a command `at` seconds after START."""
    arrival = START + at
    before = -np.inf
    out = []
    for packet in items:
        if before < arrival <= packet.watermark:
            control = Control(arrival, command, "me")
            packet = msgspec.structs.replace(packet, controls=(*packet.controls, control))
        before = packet.watermark
        out.append(packet)
    return out


def frames(made: Iterable[Packet]) -> list[BridgeFrame]:
    return [frame for packet in made for frame in packet.bridge]


def ticks(made: Iterable[Packet]) -> list[BridgeFrame]:
    return [frame for frame in frames(made) if frame.why is None]


def changes(made: Iterable[Packet]) -> list[tuple[str, str | None]]:
    return [(frame.state, frame.why) for frame in frames(made) if frame.why is not None]


def test_ticks_follow_the_strikes_of_a_pad_and_not_their_ends() -> None:
    made = feed(station(), packets())

    late = [tick for tick in ticks(made) if tick.ts > START + 30]
    off = [(tick.ts - START) * 5 for tick in late]
    assert max(abs(x - round(x)) for x in off) < 0.01
    assert changes(made) == [("E1", "present"), ("E2", "good")]
    assert not any(tick.withheld for tick in late)


def test_each_tick_is_settled_a_lead_before_it_and_counted_once() -> None:
    made = ticks(feed(station(), packets()))

    assert [tick.beat for tick in made] == list(range(1, len(made) + 1))
    assert all(b.known >= a.known for a, b in pairwise(made))
    assert all(tick.ts - tick.known >= 0.15 for tick in made)
    spans = [b.ts - a.ts for a, b in pairwise(made)]
    assert min(spans) >= 0.12 - 1e-6 and max(spans) <= 0.4 + 1e-6


@pytest.mark.parametrize("block_s", [0.05, 7.0])
def test_the_frames_do_not_depend_on_the_packets(block_s: float) -> None:
    one, other = (ticks(feed(station(), packets(block_s=b))) for b in (1.0, block_s))

    def moments(made: list[BridgeFrame]) -> list[tuple[float, float, str, bool]]:
        return [(tick.ts, tick.known, tick.state, tick.withheld) for tick in made]

    assert moments(one) == moments(other)


def test_a_rollback_by_hand_withholds_until_a_release() -> None:
    items = commanded(packets(), 25.0, "bridge.rollback")
    items = commanded(items, 35.0, "bridge.release")
    made = feed(station(), items)

    assert changes(made)[2:4] == [("E4", "rollback"), ("E1", "release")]
    silent = [tick for tick in ticks(made) if START + 25.05 <= tick.known < START + 35]
    assert silent and all(tick.withheld and tick.safety_gain == 0 for tick in silent)
    assert changes(made)[-1] == ("E2", "good")


def test_a_release_outside_of_rollback_changes_nothing() -> None:
    plain = feed(station(), packets())
    made = feed(station(), commanded(packets(), 25.0, "bridge.release"))

    assert frames(made) == frames(plain)


def test_a_hard_stop_silences_at_once_and_for_some_seconds_more() -> None:
    items = packets(level=lambda t: np.where((t > 30) & (t < 33), 9.0, 0.0))
    made = feed(station(), items)

    released = next(
        released
        for packet in items
        if packet.fused is not None
        for ts, released in zip(packet.fused.ts, packet.fused.released, strict=True)
        if ts > START + 30.5
    )
    silent = [tick.known for tick in ticks(made) if tick.withheld and tick.known > START + 25]
    assert silent[0] <= released + 0.25
    assert silent[-1] - silent[0] == pytest.approx(5.5, abs=1.0)  # 2.5 s of it, and 3 s more
    assert made[-1].bridge_status is not None
    assert 0 < made[-1].bridge_status.rollback_ratio_5m < 0.2


def test_too_much_silence_is_a_rollback() -> None:
    strict = msgspec.structs.replace(CONFIG.safety, rollback_ratio_5m_max=0.05)
    config = msgspec.structs.replace(CONFIG, safety=strict)
    items = packets(config, level=lambda t: np.where((t > 30) & (t < 33), 9.0, 0.0))
    made = feed(station(config), items)

    assert changes(made)[-1] == ("E4", "ratio")
    assert all(tick.withheld for tick in ticks(made) if tick.state == "E4")


def test_a_rule_changes_a_gain_and_gives_it_back() -> None:
    rule = Rule(name="loud", when="level > 0.5", apply=("decrease kp by 0.05", "safety gain 0.5"))
    items = packets(level=lambda t: np.where((t > 30) & (t < 40), 1.0, 0.0))
    made = feed(station(rules=(rule,)), items)

    records = [record for packet in made for record in packet.evidence if record.rule == "loud"]
    assert [record.state for record in records] == ["firing", "resolved"]
    assert records[0].facts["kp"] == 0.35
    assert records[0].facts["kp_after"] == pytest.approx(0.3)
    changed = [tick for tick in ticks(made) if tick.applied]
    assert {(round(tick.kp, 9), tick.safety_gain) for tick in changed} == {(0.3, 0.5)}
    assert changed[0].applied == ["decrease kp by 0.05", "safety gain 0.5"]
    assert ticks(made)[-1].kp == 0.35


def test_a_pulled_cable_is_hold_over() -> None:
    beats = np.concatenate((np.arange(0, 30, 0.2), np.arange(50, 60, 0.2)))
    made = ticks(feed(station(), packets(beats=beats)))

    held = [tick for tick in made if START + 33 < tick.known < START + 50]
    assert {tick.lock for tick in held} == {"holdover"}
    assert max(abs((tick.ts - START) * 5 - round((tick.ts - START) * 5)) for tick in held) < 0.05
    assert held[-1].phase_sd is not None and held[0].phase_sd is not None
    assert held[-1].phase_sd >= held[0].phase_sd


def test_after_an_hour_without_events_no_step_is_made_up() -> None:
    items = packets(seconds=20.0)
    later = [
        msgspec.structs.replace(
            packet, watermark=packet.watermark + 7200, arrivals=packet.arrivals + 7200,
            beats=(), fused=None,
        )
        for packet in packets(seconds=20.0)
    ]  # fmt: skip
    made = feed(station(), items + later)

    known = sorted({tick.known for tick in ticks(made)})
    assert max(b - a for a, b in pairwise(known)) > 7000
    assert len(known) < 20 * 2 * 6 + 20


def test_without_a_reference_there_are_states_and_no_ticks() -> None:
    config = msgspec.structs.replace(CONFIG, reference=None)
    made = feed(station(config), packets(config))

    assert not ticks(made)
    assert changes(made)[0] == ("E1", "present")


def test_rules_read_the_state_as_of_the_newest_step() -> None:
    made = feed(station(), packets())
    column = BRIDGE_NAMES.index("bridge_state")

    states = [x for p in made if p.fused is not None for x in p.fused.bridge[:, column].tolist()]
    assert states == sorted(states)
    assert set(states) == {0.0, 1.0, 2.0}


def test_a_station_without_a_bridge_hands_packets_on() -> None:
    items = packets(seconds=10.0)

    assert feed(Bridge(PLAN, BridgeConfig(), 0.2), items) == items


def test_the_rises_of_a_fused_signal_are_beats_too() -> None:
    t = np.arange(0, 60, 0.05)
    plan = with_fields(Plan.of(pulse=["ure:pulse", "osc_1:/pulse"], tick_hz=20.0), bridge=True)
    config = msgspec.structs.replace(
        CONFIG,
        reference=ReferenceConfig(signal="pulse", per_tick=0.25),
        safety=SafetyConfig(hard_stop_on=()),
    )
    wave = np.sin(2.4 * np.pi * t) + 0.1 * np.sin(0.3 * t)
    items: list[Any] = [
        Batch.of(dict.fromkeys(sorted(plan.used), (START + t, START + t + 0.01, wave)))
    ]
    for make in makers(Settings(plan=plan, block_s=1.0, bridge=config, lead_s=0.2)).values():
        items = feed(make(None), items)

    assert changes(items)[-1] == ("E2", "good")
    late = [tick for tick in ticks(items) if tick.ts > START + 40]
    assert {tick.lock for tick in late} == {"locked"}
    assert 1 / np.mean(np.diff([tick.ts for tick in late])) == pytest.approx(4.8, rel=0.01)


def test_changes_are_dated_in_order_though_grid_ticks_are_older_than_a_command() -> None:
    items = commanded(packets(), 25.0, "bridge.rollback")
    items = commanded(items, 25.3, "bridge.release")
    dated = [frame.ts for frame in frames(feed(station(), items)) if frame.why is not None]

    assert len(dated) == 5
    assert dated == sorted(dated)


def test_the_energy_of_the_loop_rises_at_a_jump_of_the_reference_and_falls_again() -> None:
    taps = np.concatenate((np.arange(0, 40, 0.2), np.arange(40.06, 70, 0.2)))
    made = feed(station(), packets(seconds=70.0, beats=taps))
    loop = limits(CONFIG.loop)
    energy = {
        round(packet.watermark - START): loop_energy(
            LoopDeviation(*status.loop_deviation), Gains(status.kp, status.ki, status.kd), loop
        )
        for packet in made
        if (status := packet.bridge_status) is not None
    }

    calm, shaken, after = energy[39], max(energy[s] for s in range(41, 50)), energy[68]
    assert calm < 0.01 and after < 0.01
    assert shaken > 1.0


def test_a_silent_reference_has_no_loop_error() -> None:
    made = feed(station(), packets(seconds=60.0, beats=np.arange(0, 30, 0.2)))
    status = made[-1].bridge_status

    assert status is not None and status.lock == "holdover"
    assert np.isnan(status.loop_deviation).all()
