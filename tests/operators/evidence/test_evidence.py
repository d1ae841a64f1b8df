"""The evidence station: when a rule fires and resolves, and what it then writes."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from operators.conditions import Rule, names
from operators.conditions.expression import ExpressionError
from operators.evidence import Evidence
from operators.lines import EvidenceRecord
from operators.records import INDICATORS, Fused, FusedSignal, Packet
from operators.settings.plan import Member, Plan, Signal

FIRST = 8_650_000_000  # 1 730 000 000 s at 5 Hz
PLAN = Plan(
    rig="studio",
    signals=(Signal("pulse", (Member("pulse", "osc_1:/ure/velocity", "sensors"),), "auto"),),
    facts=("ure:ure_coherence_level", "midi_1:cc/1/1"),
)
RISK = Rule(
    when="phase_diff > 0.025 and entropy_ratio > 0.18",
    risk="sync_degradation",
    severity="warn",
    action="increase kd by 0.02; alert warn",
)
QUOTE = Rule(
    name="clarity",
    when="slope(coherence, 60s) > 0 and slope(entropy_ratio, 60s) < 0",
    quote="Stability favors clarity; clarity invites harmony.",
)


def fused(first: int = FIRST, plan: Plan = PLAN, **given: Any) -> Fused:
    """Return ticks of which only what is `given` is known."""
    count = max(len(values) for values in given.values())
    columns = {name: np.array(values, float) for name, values in given.items()}

    def column(name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return columns.get(name, np.full(count, np.nan))

    ts = np.arange(first, first + count) / plan.tick_hz
    indicators = np.stack([column(name) for name in INDICATORS], axis=1)
    signals = tuple(
        FusedSignal(
            s.name,
            tuple(m.channel for m in s.members),
            column(s.name),
            column(f"{s.name}_sd"),
            np.full(count, np.nan),
            np.zeros(count, np.int64),
            np.ones(count, np.int64),
            np.ones((count, len(s.members))),
        )
        for s in plan.signals
    )
    return Fused(
        ts=ts,
        released=ts + 2.1,
        mode=np.zeros(count, np.int64),
        live=np.nan_to_num(column("live")).astype(np.int64),
        signals=signals,
        indicators=indicators,
        measured=indicators,
        reported=np.full((count, 5), np.nan),
        facts=np.stack([column(fact) for fact in plan.facts], axis=1),
        fact_names=plan.facts,
        sync_bound_s=column("sync_bound_s"),
        sync_estimate_bound_s=column("sync_estimate_bound_s"),
    )


def packet(ticks: Fused | None, end: bool = False) -> Packet:
    return Packet(rig="studio", watermark=0.0, end=end, arrivals=np.empty(0), fused=ticks)


def found(rule: Rule, ticks: Fused, plan: Plan = PLAN) -> tuple[EvidenceRecord, ...]:
    return Evidence(plan, (rule,)).update(packet(ticks)).evidence


def changes(
    pattern: str, for_s: float = 0.0, keep_for_s: float = 0.0, piece: int = 1000
) -> list[tuple[str, int, int]]:
    """Return (state, tick, tick of since) of a condition: + true, - false, ? unknown."""
    values = [{"+": 1.0, "-": 0.0, "?": math.nan}[c] for c in pattern]
    station = Evidence(PLAN, (Rule(when="coherence > 0.5", for_s=for_s, keep_for_s=keep_for_s),))
    return [
        (r.state, round(r.ts * 5) - FIRST, round(r.since * 5) - FIRST)
        for at in range(0, len(values), piece)
        for r in station.update(
            packet(fused(FIRST + at, coherence=values[at : at + piece]))
        ).evidence
    ]


# -- when -------------------------------------------------------------------------------------


def test_a_rule_fires_at_once_and_resolves_at_once_by_default() -> None:
    assert changes("--+++--+-") == [
        ("firing", 2, 2),
        ("resolved", 5, 2),
        ("firing", 7, 7),
        ("resolved", 8, 7),
    ]


def test_a_rule_fires_once_the_condition_was_true_for_for_s() -> None:
    assert changes("-+++++++", for_s=1.0) == [("firing", 6, 1)]  # five ticks after tick 1
    assert changes("-+++++-", for_s=1.0) == []
    assert changes("-+++++-++++++", for_s=1.0) == [("firing", 12, 7)]


def test_for_s_between_ticks_waits_for_the_next_tick() -> None:
    assert changes("++++++", for_s=0.5) == [("firing", 3, 0)]
    assert changes("++++++", for_s=0.6) == [("firing", 3, 0)]
    assert changes("++++++", for_s=0.61) == [("firing", 4, 0)]


def test_a_rule_keeps_firing_for_keep_for_s_after_the_last_true_tick() -> None:
    assert changes("++------", keep_for_s=1.0) == [("firing", 0, 0), ("resolved", 6, 0)]
    assert changes("++----+----------", keep_for_s=1.0) == [("firing", 0, 0), ("resolved", 11, 0)]


def test_an_unknown_condition_interrupts_the_wait() -> None:
    assert changes("+++?++++++", for_s=1.0) == [("firing", 9, 4)]


def test_missing_ticks_interrupt_the_wait() -> None:
    for jump in (100, -100):
        station = Evidence(PLAN, (Rule(when="coherence > 0.5", for_s=1.0),))
        assert station.update(packet(fused(coherence=[1.0] * 3))).evidence == ()
        ticks = fused(FIRST + jump, coherence=[1.0] * 7)
        (record,) = station.update(packet(ticks)).evidence
        assert (record.ts, record.since) == (ticks.ts[5], ticks.ts[0])


def test_an_unknown_condition_neither_fires_nor_resolves() -> None:
    assert changes("??????") == []
    assert changes("+????????????????", keep_for_s=0.4) == [("firing", 0, 0)]
    assert changes("+????????-", keep_for_s=0.4) == [("firing", 0, 0), ("resolved", 9, 0)]
    assert changes("+???++", for_s=0.0) == [("firing", 0, 0)]


def test_the_end_of_the_data_resolves_no_rule() -> None:
    station = Evidence(PLAN, (RISK,))
    ticks = fused(phase_diff=[0.1], entropy_ratio=[0.3])
    assert [r.state for r in station.update(packet(ticks, end=True)).evidence] == ["firing"]
    assert station.update(packet(None, end=True)).evidence == ()


def by_the_tick(pattern: str, for_ticks: int, keep_ticks: int) -> list[tuple[str, int, int]]:
    """The same, written as a machine that sees one tick after another."""
    since = begun = last = None
    written = []
    for tick, sign in enumerate(pattern):
        begun = None if sign != "+" else tick if begun is None else begun
        last = tick if sign == "+" else last
        if since is None and begun is not None and tick - begun >= for_ticks:
            since = begun
            written.append(("firing", tick, since))
        elif since is not None and sign == "-" and last is not None and tick - last >= keep_ticks:
            written.append(("resolved", tick, since))
            since = None
    return written


@settings(max_examples=300, deadline=None)
@given(
    st.text("+++--?", min_size=1, max_size=60),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(1, 20),
)
def test_columns_give_the_changes_of_a_tick_by_tick_machine(
    pattern: str, wait: int, keep: int, piece: int
) -> None:
    assert changes(pattern, wait / 5, keep / 5, piece) == by_the_tick(pattern, wait, keep)


# -- contents -----------------------------------------------------------------------------------


def test_the_risk_of_the_seed() -> None:
    ticks = fused(phase_diff=[0.02, 0.03, 0.03, 0.03], entropy_ratio=[0.3, 0.2, 0.2, 0.1])
    firing, resolved = found(RISK, ticks)
    assert msgspec.to_builtins(firing) == {
        "ts": 1730000000.2,
        "rig": "studio",
        "rule": "sync_degradation",
        "kind": "risk",
        "state": "firing",
        "severity": "warn",
        "risk": "sync_degradation",
        "action": "increase kd by 0.02; alert warn",
        "quote": None,
        "facts": {"phase_diff": 0.03, "entropy_ratio": 0.2},
        "since": 1730000000.2,
    }
    assert (resolved.state, resolved.ts, resolved.since) == ("resolved", 1730000000.6, firing.ts)
    assert resolved.facts == {"phase_diff": 0.03, "entropy_ratio": 0.1}


def test_the_quote_of_the_seed_fires_once_coherence_improves_with_lower_entropy() -> None:
    t = np.arange(900) / 5  # 60 s at rest, 60 s better, 60 s worse
    better = np.interp(t, [0, 60, 120, 180], [0.7, 0.7, 0.9, 0.5])
    firing, resolved = found(QUOTE, fused(coherence=better, entropy_ratio=1 - better))
    assert (firing.rule, firing.kind, firing.quote) == ("clarity", "quote", QUOTE.quote)
    assert firing.ts == pytest.approx(1730000060.2)
    # A least-squares slope weighs the last share s of its window by 3 s^2 - 2 s^3; falling twice
    # as fast as it rose, it turns where that is a third: s = 0.387.
    assert resolved.ts == pytest.approx(1730000120 + 0.387 * 60, abs=0.4)
    assert list(firing.facts) == ["coherence", "entropy_ratio"]


def test_unknown_facts_are_written_as_null() -> None:
    rule = Rule(when="pulse > 1 or live >= 2 and cc_1_1 > 0")
    (record,) = found(rule, fused(pulse=[2.0], live=[3.0]))
    assert record.facts == {"pulse": 2.0, "live": 3.0, "cc_1_1": None}
    assert record.rule == "pulse_1_or_live_2_and_cc_1_1_0"


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *((name, name) for name in INDICATORS),
        ("pulse", "pulse"),
        ("pulse_sd", "pulse_sd"),
        ("ure_coherence_level", "ure:ure_coherence_level"),
        ("cc_1_1", "midi_1:cc/1/1"),
        ("sync_bound_s", "sync_bound_s"),
        ("sync_estimate_bound_s", "sync_estimate_bound_s"),
        ("live", "live"),
    ],
)
def test_each_name_reads_its_own_column(name: str, column: str) -> None:
    assert name in names(PLAN)
    (record,) = found(Rule(when=f"{name} > 6"), fused(**{column: [7.0]}))
    assert record.facts == {name: 7.0}


def test_an_entry_with_a_taken_name_gets_a_longer_one() -> None:
    plan = Plan(
        rig="studio",
        signals=(
            Signal("coherence", (), "auto"),
            Signal("1 2", (), "auto"),
            Signal("or", (), "auto"),
        ),
        facts=("a:level", "b:level", "b:level!"),
    )
    assert names(plan)[8:] == (
        "signal_coherence",
        "coherence_sd",
        "_1_2",
        "_1_2_sd",
        "signal_or",
        "or_sd",
        "level",
        "b_level",
        "level_",
        "coherence_level",
        "harmony_index",
        "phase_diff_mean",
    )
    ticks = fused(plan=plan, **{"a:level": [1.0], "b:level": [2.0]})
    (record,) = found(Rule(when="level < b_level"), ticks, plan)
    assert record.facts == {"level": 1.0, "b_level": 2.0}


def test_records_come_by_tick_then_by_rule() -> None:
    rules = (
        Rule(name="first", when="coherence > 0.5", for_s=0.2),
        Rule(name="second", when="coherence > 0.5"),
        Rule(name="third", when="harmony > 0.5"),
    )
    ticks = fused(coherence=[1.0, 1.0, 0.0], harmony=[0.0, 1.0, 1.0])
    records = Evidence(PLAN, rules).update(packet(ticks)).evidence
    assert [(r.rule, r.state) for r in records] == [
        ("second", "firing"),
        ("first", "firing"),
        ("third", "firing"),
        ("first", "resolved"),
        ("second", "resolved"),
    ]


def test_an_illegal_rule_or_a_number_is_refused() -> None:
    for when in ("coherance > 1", "coherence", "mode == 1", "coherence > 1 &&"):
        with pytest.raises(ExpressionError):
            Evidence(PLAN, (Rule(when=when),))


# -- the laws of every station ----------------------------------------------------------------

RULES = (RISK, QUOTE, Rule(name="slow", when="mean(pulse, 2s) > 0.1", for_s=1.4, keep_for_s=0.9))


def wandering(seed: int, count: int) -> Fused:
    rng = np.random.default_rng(seed)
    columns = {
        name: np.cumsum(rng.normal(size=count)) * 0.05 + level
        for name, level in {
            "phase_diff": 0.02,
            "entropy_ratio": 0.2,
            "coherence": 0.8,
            "pulse": 0,
        }.items()
    }
    for values in columns.values():
        values[rng.random(count) < 0.1] = np.nan
    return fused(**columns)


def cut(ticks: Fused, begin: int, end: int) -> Fused:
    """Return the rows from begin to end of every array."""

    def rows(whole: Any) -> Any:
        arrays = {
            f.name: getattr(whole, f.name)[begin:end]
            for f in dataclasses.fields(whole)
            if isinstance(getattr(whole, f.name), np.ndarray)
        }
        return dataclasses.replace(whole, **arrays)

    signals = tuple(rows(signal) for signal in ticks.signals)
    return dataclasses.replace(rows(ticks), signals=signals)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 700), max_size=10).map(sorted))
def test_records_do_not_depend_on_packets_or_a_resume(seed: int, cuts: list[int]) -> None:
    ticks = wandering(seed, 700)
    whole = Evidence(PLAN, RULES).update(packet(ticks)).evidence
    assume(whole)
    station = Evidence(PLAN, RULES)
    pieces: list[EvidenceRecord] = []
    for begin, end in zip([0, *cuts], [*cuts, 700], strict=True):
        station = Evidence.from_snapshot(copy.deepcopy(station.snapshot()), PLAN, RULES)
        pieces += station.update(packet(cut(ticks, begin, end))).evidence
    assert tuple(pieces) == whole


def test_the_input_is_untouched_and_the_snapshot_is_a_copy() -> None:
    ticks = wandering(5, 400)
    before = copy.deepcopy(ticks)
    station, twin = Evidence(PLAN, RULES), Evidence(PLAN, RULES)
    station.update(packet(cut(ticks, 0, 200)))
    twin.update(packet(cut(ticks, 0, 200)))
    for watch in station.snapshot()["states"]:
        for tail in watch["windows"]["tails"]:
            tail[:] = 1e9
    rest = packet(cut(ticks, 200, 400))
    assert station.update(rest).evidence == twin.update(rest).evidence
    assert all(
        np.array_equal(getattr(ticks, name), getattr(before, name), equal_nan=True)
        for name in ("ts", "indicators", "facts", "sync_bound_s", "sync_estimate_bound_s")
    )


def test_a_snapshot_is_plain_and_of_bounded_size() -> None:
    station = Evidence(PLAN, (Rule(when="slope(pulse, 10m) > 0"), *RULES))
    for begin in range(0, 6000, 1500):
        station.update(packet(fused(FIRST + begin, pulse=np.ones(1500))))
    first, *_ = station.snapshot()["states"]
    assert [len(tail) for tail in first["windows"]["tails"]] == [600]
    assert {type(v) for v in first.values()} <= {int, float, bool, type(None), dict}


def test_a_snapshot_of_other_rules_is_refused() -> None:
    state = Evidence(PLAN, (RISK,)).snapshot()
    with pytest.raises(ValueError, match="of other rules"):
        Evidence.from_snapshot(state, PLAN, (QUOTE,))


def test_a_station_raises_on_no_data() -> None:
    station = Evidence(PLAN, RULES)
    odd = [math.inf, -math.inf, math.nan, 1e308, -1e308, 0.0]
    for first in (FIRST, FIRST + 6, FIRST + 5 * 10**9, 3, -(10**12)):
        ticks = fused(first, phase_diff=odd, entropy_ratio=odd, coherence=odd, pulse=odd)
        station.update(packet(ticks))
    nothing = fused(coherence=[])
    assert station.update(packet(nothing)).evidence == ()
