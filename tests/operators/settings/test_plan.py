"""The plan: settings of channels, and properties of the run."""

from __future__ import annotations

from typing import Any

import pytest

from operators.settings.channels import ChannelConfig
from operators.settings.plan import Member, Plan, Signal

PULSE = Signal("pulse", (Member("pulse", "osc_1:/pulse", "sensors"),), "auto")
CHANNEL = "osc_1:/ure/velocity"


def plan(*patterns: tuple[str, dict[str, Any]], **given: Any) -> Plan:
    made = tuple((name, ChannelConfig(**fields)) for name, fields in patterns)
    return Plan("studio", (PULSE,), patterns=made, **given)


def gain(p: Plan, name: str = CHANNEL) -> float | None:
    return p.channel(name).gain


def test_an_unconfigured_channel_has_no_settings() -> None:
    assert plan().channel(CHANNEL) == ChannelConfig()


def test_an_exact_name_beats_a_pattern_in_any_order() -> None:
    exact, pattern = (CHANNEL, {"gain": 1.0}), ("osc_1:*", {"gain": 2.0})
    assert gain(plan(exact, pattern)) == gain(plan(pattern, exact)) == 1.0


def test_the_later_of_two_patterns_wins() -> None:
    wide, narrow = ("*", {"gain": 1.0}), ("osc_1:*", {"gain": 2.0})
    assert gain(plan(wide, narrow)) == 2.0
    assert gain(plan(narrow, wide)) == 1.0


def test_settings_of_several_patterns_are_merged() -> None:
    found = plan(
        ("*", {"gain": 1.0, "kind": "held", "offset": 5.0}),
        ("osc_1:*", {"gain": 2.0, "range": (0, 1)}),
        (CHANNEL, {"offset": 0.0}),
    ).channel(CHANNEL)
    assert found == ChannelConfig(gain=2.0, kind="held", offset=0.0, range=(0, 1))


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("osc_1:*", "osc_1:/a/b", True),
        ("osc_1:*", "osc_11:/a", False),
        ("osc_?:/a", "osc_1:/a", True),
        ("osc_?:/a", "osc_12:/a", False),
        ("*:/a", "x:/a/b", False),
        ("osc_1:/a[*]", "osc_1:/a[0]", True),
        ("osc_1:/[ab]*", "osc_1:/a", False),
        ("osc_1:/[ab]*", "osc_1:/[ab]c", True),
        ("osc_1:/a[0]", "osc_1:/a[0]", True),
        ("osc_1:/a[0]", "osc_1:/a0", False),
        ("osc.1:*", "osc_1:/a", False),
        ("OSC_1:*", "osc_1:/a", False),
        ("osc_1:*", "osc_1:/a\nb", True),
    ],
)
def test_only_star_and_question_mark_are_special(pattern: str, name: str, fits: bool) -> None:
    assert (gain(plan((pattern, {"gain": 3.0})), name) == 3.0) is fits


def test_a_fact_is_held_and_a_member_is_sampled_by_default() -> None:
    assert plan(facts=("ure:level",)).is_held("ure:level")
    assert not plan().is_held("osc_1:/pulse")
    configured = plan(
        ("ure:level", {"kind": "sampled"}), ("osc_1:*", {"kind": "held"}), facts=("ure:level",)
    )
    assert not configured.is_held("ure:level")
    assert configured.is_held("osc_1:/pulse")


@pytest.mark.parametrize(
    ("key", "held"),
    [
        ("note/1/60", True),
        ("cc/16/127", True),
        ("pitch/1", True),
        ("pressure/2", True),
        ("pressure/2/60", True),
        ("program/3", True),
        ("clock", False),
        ("cc/0/1", False),
        ("cc/17/1", False),
        ("cc/1/128", False),
        ("/cc/1/1", False),
        ("cc/1/1/x", False),
    ],
)
def test_midi_keys_are_held_except_the_clock(key: str, held: bool) -> None:
    assert plan().is_held(f"midi_1:{key}") is held
    assert not plan(("midi_1:*", {"kind": "sampled"})).is_held(f"midi_1:{key}")


def test_the_place_of_a_row_is_file_and_byte_offset() -> None:
    p = plan(files=("a.ndjson", "b.ndjson.gz"))
    assert [p.where(n) for n in (0, 1, 24, 25)] == [
        "a.ndjson:0",
        "b.ndjson.gz:0",
        "a.ndjson:12",
        "b.ndjson.gz:12",
    ]


def test_a_row_without_a_file_has_no_place() -> None:
    assert plan().where(12) == ""


def test_lanes_are_members_then_facts_then_other_named_channels() -> None:
    p = plan(
        ("z:/x", {}),
        ("a:/x", {}),
        ("b:*", {}),
        ("osc_1:/pulse", {}),
        ("ure:level", {}),
        facts=("ure:level",),
    )
    assert [m.channel for m in p.lanes] == ["osc_1:/pulse", "ure:level", "a:/x", "z:/x"]
    assert [m.signal for m in p.lanes] == ["pulse", "", "", ""]


def test_a_channel_is_used_if_named_but_not_by_a_pattern() -> None:
    p = plan(("b:*", {}), ("a:/x", {}), facts=("ure:level",))
    assert p.used == {"osc_1:/pulse", "ure:level", "a:/x"}
