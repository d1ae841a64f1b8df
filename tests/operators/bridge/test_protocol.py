"""The five states: every way between them, dwells to one tick, and no other way."""

from __future__ import annotations

import itertools
import json
import math
import pickle

import numpy as np
import pytest

from operators.bridge.bridge_config import ProtocolConfig, SafetyConfig
from operators.bridge.hard_stop import HardStop
from operators.bridge.protocol import (
    RELEASE,
    ROLLBACK,
    TABLE,
    TRANSITIONS,
    Judged,
    Protocol,
    bounds,
)
from operators.types import BRIDGE_STATES
from ops.bench.bridge_protocol import (
    COHERENCE,
    WITHOUT_DWELLS,
    changes,
    estimated,
    red_noise,
    silences,
    wandering,
)
from tests.operators.bridge.judged_ticks import CONFIG, GOOD, NAN, SAFETY, UNKNOWN, Fed

TINY = ProtocolConfig(idle_s=2, syncing_s=3, bridged_s=3, guard_s=2, calm_s=2, guarded_s=3)
SPECIFIED = {
    ("E0", "E1"), ("E1", "E2"), ("E1", "E0"), ("E2", "E4"), ("E2", "E1"), ("E2", "E3"),
    ("E3", "E4"), ("E3", "E1"), ("E3", "E2"), ("E4", "E1"), ("E0", "E4"), ("E1", "E4"),
}  # fmt: skip
"""The pairs of SPEC 10.5."""
INPUTS = [
    Judged(*each)
    for each in itertools.product(
        (False, True), (NAN, 0.5, 0.82, 0.9), (NAN, 0.3, 0.01), (NAN, 0.1, 0.2), (NAN, 0.02, 0.2),
        (NAN, 0.0, 0.2),
    )
]  # fmt: skip
"""Every side of every threshold, and unknown."""


def test_the_table_has_the_transitions_of_the_specification() -> None:
    assert set(TRANSITIONS) == SPECIFIED
    assert len(TRANSITIONS) == 12


def explored() -> dict[str, set[tuple[str, str, str, bool]]]:
    """Return (state, next state, next configuration, by hand) for every tick and command.

    A configuration is a snapshot without its times and counts of transitions.
    """

    def key(core: Protocol) -> str:
        state = core.snapshot()
        return json.dumps([state["state"], state["counts"]])

    first = Protocol(TINY, SAFETY, 1.0)
    first.tick(0.0, UNKNOWN)
    first.command(ROLLBACK, 0.0)
    first.command(RELEASE, 0.0)
    todo, found = {key(first): first.snapshot()}, {}
    while todo:
        name, state = todo.popitem()
        found[name] = set()
        for each in (*INPUTS, RELEASE, ROLLBACK):
            core = Protocol.from_snapshot(state, TINY, SAFETY, 1.0)
            before = core.state
            if isinstance(each, str):
                core.command(each, state["newest"])
            else:
                core.tick(state["newest"] + 1, each)
            found[name].add((before, core.state, key(core), isinstance(each, str)))
            if key(core) not in found:
                todo[key(core)] = core.snapshot()
    return found


def test_all_transitions_are_reached_and_no_other() -> None:
    found = explored()
    changes = {(a, b) for ways in found.values() for a, b, *_ in ways if a != b}
    assert changes == SPECIFIED
    assert len(found) == 19

    def reached(start: str) -> set[str]:
        """The states that ticks alone reach."""
        seen, todo = {start}, [start]
        while todo:
            for _, _, following, by_hand in found[todo.pop()]:
                if not by_hand and following not in seen:
                    seen.add(following)
                    todo.append(following)
        return {json.loads(each)[0] for each in seen}

    for start in found:
        inside = json.loads(start)[0]
        assert reached(start) == ({"E4"} if inside == "E4" else set(BRIDGE_STATES)), start


# -- dwells -----------------------------------------------------------------------------------

DWELLS = [
    ("E0", "E1", "present", CONFIG.idle_s, {}),
    ("E1", "E2", "good", 0, {}),
    ("E1", "E0", "unmet", CONFIG.syncing_s, {"sync": 0.79}),
    ("E2", "E4", "ratio", 0, {"ratio": 0.051}),
    ("E2", "E1", "unmet", CONFIG.bridged_s, {"phase": 0.021}),
    ("E2", "E3", "entropy", CONFIG.guard_s, {"entropy": 0.151}),
    ("E3", "E4", "ratio", 0, {"ratio": 0.051}),
    ("E3", "E1", "residual", CONFIG.guarded_s, {"residual": 0.031, "entropy": 0.2}),
    ("E3", "E2", "calm", CONFIG.calm_s, {}),
]


@pytest.mark.parametrize("tick_hz", [1.0, 5.0, 100.0, 0.3, 7.3])
@pytest.mark.parametrize(("state", "to", "why", "dwell_s", "given"), DWELLS)
def test_a_dwell_is_exact_to_one_tick(state, to, why, dwell_s, given, tick_hz) -> None:
    ticks = max(1, math.ceil(dwell_s * tick_hz - 1e-6))
    fed = Fed.in_state(state, tick_hz=tick_hz)
    assert fed.feed(ticks - 1, **given) == []
    (change,) = fed.feed(1, **given)
    assert change == (fed.ts, state, to, why)
    assert (fed.core.state, fed.core.since) == (to, fed.ts)
    assert sum(fed.core.transitions.values()) == 1 + {"E0": 0, "E1": 2, "E2": 3, "E3": 4}[state]


@pytest.mark.parametrize(
    ("state", "to", "why", "dwell_s", "given"),
    [row for row in DWELLS if row[3] and row[2] != "present"],
)
def test_one_tick_otherwise_begins_a_dwell_anew(state, to, why, dwell_s, given) -> None:
    otherwise = {"calm": {"entropy": 0.2}}.get(why, {"sync": 0.82} if state == "E1" else {})
    fed, ticks = Fed.in_state(state), round(dwell_s * 5)
    for _ in range(2):
        assert fed.feed(ticks - 1, **given) == []
        assert fed.feed(1, **otherwise) == []
    assert fed.feed(ticks - 1, **given) == []
    assert [change.after for change in fed.feed(1, **given)] == [to]


def test_an_idle_bridge_waits_for_presence_and_no_longer() -> None:
    fed = Fed()
    assert fed.feed(500, present=False) == []
    assert [change.why for change in fed.feed(1)] == ["present"]


def test_the_first_row_of_a_state_goes_first() -> None:
    fed = Fed.in_state("E2")
    fed.feed(1499, sync=0.1)
    (change,) = fed.feed(1, sync=0.1, ratio=0.2)
    assert change.why == "ratio"


def test_missing_ticks_interrupt_a_met_dwell_and_count_in_none() -> None:
    for jump in (2, 100, -100, 10**9):
        fed = Fed.in_state("E2")
        fed.feed(299, entropy=0.2)
        fed.at += jump
        assert fed.feed(299, entropy=0.2) == []
        assert [change.after for change in fed.feed(1, entropy=0.2)] == ["E3"]
        fed = Fed.in_state("E2")
        fed.feed(1498, sync=NAN)
        fed.at += jump
        assert fed.feed(1, sync=NAN) == []
        assert [change.after for change in fed.feed(1, sync=NAN)] == ["E1"]


@pytest.mark.parametrize(("state", "to"), [("E1", "E0"), ("E2", "E1"), ("E3", "E1")])
def test_the_unknown_is_unmet(state: str, to: str) -> None:
    fed = Fed.in_state(state)
    changes = [change for _ in range(1500) if (change := fed.tick(UNKNOWN))]
    assert changes[0].after == to
    assert not any(change.after in ("E2", "E3", "E4") for change in changes)


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_what_is_not_finite_is_unknown(value: float) -> None:
    fed = Fed.in_state("E1")
    assert fed.feed(500, sync=value, phase=value) == fed.feed(99, phase=value) == []
    assert Fed.in_state("E2").feed(400, entropy=value, ratio=value) == []
    fed = Fed.in_state("E3")
    assert fed.feed(899, residual=value, entropy=value, ratio=value) == []
    assert [change.why for change in fed.feed(1, residual=value, entropy=value)] == ["residual"]


# -- commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", BRIDGE_STATES)
def test_commands_lead_as_the_table_says(state: str) -> None:
    released = Fed.in_state(state).core.command(RELEASE, 3e5)
    rolled_back = Fed.in_state(state).core.command(ROLLBACK, 3e5)
    if state == "E4":
        assert (released, rolled_back) == ((3e5, "E4", "E1", "release"), None)
    else:
        assert (released, rolled_back) == (None, (3e5, state, "E4", "rollback"))
    assert Fed.in_state(state).core.command("bridge.unmet", 7.5) is None


def test_rollback_has_no_way_out_without_a_hand() -> None:
    fed = Fed.in_state("E4")
    assert fed.feed(20_000) == []


# -- silence ----------------------------------------------------------------------------------


def test_the_safety_gain_follows_the_state() -> None:
    gains = {state: Fed.in_state(state).core.safety_gain for state in BRIDGE_STATES}
    assert gains == {"E0": 0.0, "E1": 0.0, "E2": 1.0, "E3": 0.9, "E4": 0.0}
    withheld = {state for state in BRIDGE_STATES if Fed.in_state(state).core.withheld}
    assert withheld == {"E0", "E1", "E4"}


@pytest.mark.parametrize("state", ["E2", "E3"])
def test_the_hard_stop_withholds_in_any_state(state: str) -> None:
    core = Fed.in_state(state).core
    core.hard_stop.update(0.0, 1)
    assert (core.withheld, core.safety_gain, core.state) == (True, 0.0, state)


def stops(pattern: str, keep_s: float) -> str:
    """Return the verdicts at 5 Hz: + true, - false, ? unknown; # silent, . not."""
    stop = HardStop(keep_s)
    truths = [{"+": 1, "-": -1, "?": 0}[each] for each in pattern]
    return "".join(
        "#" if stop.update(1_730_000_000 + i / 5, truth) else "." for i, truth in enumerate(truths)
    )


def test_a_hard_stop_keeps_after_its_last_true_tick() -> None:
    assert stops("--++-------", 1.0) == "..######..."
    assert stops("+----+-----", 1.0) == "##########."
    assert stops("+-+-", 0.0) == "#.#."


def test_an_unknown_condition_keeps_the_verdict() -> None:
    assert stops("-??+????????-", 1.0) == "...#########."


def test_a_jump_of_time_holds_no_hard_stop_for_ever() -> None:
    for jump in (-1e9, NAN, math.inf, -math.inf):
        stop = HardStop(10.0)
        stop.update(1e9, 1)
        stop.update(jump, -1)
        assert not [stop.update(1e6 + i, -1) for i in range(12)][-1]


# -- sentences --------------------------------------------------------------------------------


def test_sentences_name_the_dwell_and_the_state_that_follows() -> None:
    fed = Fed.in_state("E2")
    fed.feed(1070, sync=0.7)
    assert fed.core.sentences() == ("E2, 214 s of 300 s below sync 0.85; then E1",)
    fed.feed(1, sync=NAN, phase=0.3, entropy=0.2)
    assert fed.core.sentences() == (
        "E2, 214 s of 300 s with sync unknown and above phase 0.02; then E1",
        "E2, 0 s of 60 s above entropy 0.15; then E3",
    )


def test_sentences_name_the_unmet_condition() -> None:
    fed = Fed.in_state("E1")
    fed.feed(5, sync=0.83)
    assert fed.core.sentences() == ("E1 below sync 0.85; E2 once met",)
    fed = Fed.in_state("E3")
    fed.feed(50, residual=0.2, entropy=0.2)
    assert fed.core.sentences() == (
        "E3, 10 s of 180 s above residual 0.03; then E1",
        "E3 above entropy 0.15; E2 once met",
    )
    fed = Fed()
    fed.feed(20, present=False)
    assert fed.core.sentences() == ("E0, 4 s of 10 s with nothing present; then E1",)
    assert Fed.in_state("E4").core.sentences() == ("E4 until `lumen bridge release`; then E1",)
    assert Fed.in_state("E2").core.sentences() == ()
    fed = Fed.in_state("E2")
    fed.core.hard_stop.update(0.0, 1)
    assert fed.core.sentences() == ("hard stop until its conditions are false, and 10 s longer",)


# -- histories --------------------------------------------------------------------------------


def history(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return judged ticks (count, 6): each quantity jumps now and then, or is unknown."""
    levels = (
        (0, 1, 1, 1), (NAN, 0.5, 0.82, 0.9, 0.9), (NAN, 0.3, 0.01, 0.01), (NAN, 0.1, 0.2),
        (NAN, 0.02, 0.2), (NAN, 0.0, 0.0, 0.0, 0.0, 0.2),
    )  # fmt: skip
    columns = []
    for choices in levels:
        # Runs of 10 to 1,000 ticks, some of them with odd ticks in them.
        lengths = np.exp(rng.uniform(np.log(10), np.log(1000), count // 10)).astype(int)
        runs = np.repeat(rng.choice(choices, len(lengths)), lengths)[:count]
        odd = rng.random(count) < rng.choice([0.0, 1e-4, 1e-2])
        columns.append(np.where(odd, rng.choice(choices, count), runs))
    return np.column_stack(columns)


def run_lengths(true: np.ndarray) -> np.ndarray:
    """Return the true ticks in a row up to each tick."""
    at = np.arange(len(true))
    return at - np.maximum.accumulate(np.where(true, -1, at))


def expected(ticks: np.ndarray, commands: dict[int, str]) -> list[tuple[int, str, str]]:
    """Return (tick, state, next) by the words of SPEC 10.5, over whole columns, at 1 Hz.

    Commands come before their tick.
    """
    present, sync, phase, entropy, residual, ratio = ticks.T
    good = (sync >= 0.85) & (phase <= 0.02)
    runs = {
        "good": run_lengths(good), "not good": run_lengths(~good),
        "not held": run_lengths(~(sync >= 0.8)), "high": run_lengths(entropy > 0.15),
        "calm": run_lengths((entropy <= 0.15) & good), "restless": run_lengths(~(residual <= 0.03)),
        "ratio": run_lengths(ratio > 0.05), "any": run_lengths(np.ones(len(ticks), bool)),
    }  # fmt: skip
    ways = {
        "E0": [("any", 10, "E1")],
        "E1": [("good", 1, "E2"), ("not held", 120, "E0")],
        "E2": [("ratio", 1, "E4"), ("not good", 300, "E1"), ("high", 60, "E3")],
        "E3": [("ratio", 1, "E4"), ("restless", 180, "E1"), ("calm", 60, "E2")],
        "E4": [],
    }
    by_hand = sorted(commands.items())
    state, begin, found = "E0", 0, []
    while begin < len(ticks):
        ends = [at for at, word in by_hand if at >= begin and (word == RELEASE) == (state == "E4")]
        end = min([len(ticks), *ends])
        at = np.arange(begin, end)
        first, following = end, ""
        for name, dwell, to in ways[state]:
            reached = np.minimum(runs[name][begin:end], at - begin + 1) >= dwell
            if state == "E0":
                reached &= present[begin:end] > 0
            hits = np.flatnonzero(reached)
            if len(hits) and begin + hits[0] < first:
                first, following = begin + int(hits[0]), to
        if following:
            found.append((first, state, following))
            state, begin = following, first + 1
        elif end < len(ticks):
            following = "E1" if state == "E4" else "E4"
            found.append((end, state, following))
            state, begin = following, end
            by_hand = [each for each in by_hand if each[0] > end]
        else:
            break
    return found


def test_random_histories_follow_the_words_of_the_specification() -> None:
    rng = np.random.default_rng(10)
    seen: set[tuple[str, str]] = set()
    for _ in range(25):
        ticks = history(rng, 40_000)
        places = rng.choice(40_000, 80, replace=False).tolist()
        commands = {at: RELEASE if rng.random() < 0.8 else ROLLBACK for at in places}
        core, found = Protocol(CONFIG, SAFETY, 1.0), []
        for i, row in enumerate(ticks.tolist()):
            if i in commands and (change := core.command(commands[i], float(i))):
                found.append((i, change.before, change.after))
            change = core.tick(float(i), Judged._make(row))
            if change:
                found.append((i, change.before, change.after))
        assert found == expected(ticks, commands)
        seen |= {change[1:] for change in found}
    assert seen >= SPECIFIED


@pytest.mark.parametrize("correlation_s", [2.0, 20.0, 120.0])
def test_indicators_about_every_threshold_change_the_state_ten_times_an_hour(correlation_s) -> None:
    hours, tick_hz = 6, 1.0
    rng = np.random.default_rng(3)
    ticks = wandering(rng, round(hours * 3600 * tick_hz), correlation_s, tick_hz)
    found, _ = changes(ticks, tick_hz, CONFIG)
    undelayed, _ = changes(ticks, tick_hz, WITHOUT_DWELLS)
    assert found <= 10 * hours
    assert undelayed > 100 * hours, "the indicators do hover at the thresholds"


@pytest.mark.parametrize("correlation_s", [2.0, 20.0, 120.0])
def test_coherence_about_its_threshold_silences_three_times_in_five_minutes(correlation_s) -> None:
    noise = red_noise(np.random.default_rng(4), (6 * 18_000, 1), 5 * correlation_s)
    coherence = (0.72 + 0.01 * noise[:, 0]).tolist()
    kept, most = silences(coherence, 5.0, 10.0)
    at_once, _ = silences(coherence, 5.0, 0.0)
    assert 1 <= most <= 3
    assert 5 * kept < at_once


# -- the laws of every core -------------------------------------------------------------------


def test_a_snapshot_at_any_tick_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    rows = [Judged._make(row) for row in history(rng, 6000).tolist()]
    whole, pieces = Protocol(CONFIG, SAFETY, 1.0), Protocol(CONFIG, SAFETY, 1.0)
    for i, row in enumerate(rows):
        if i % 97 == 0:
            state = pickle.loads(pickle.dumps(pieces.snapshot()))
            pieces.tick(float(i), UNKNOWN)  # the snapshot is a copy
            pieces = Protocol.from_snapshot(state, CONFIG, SAFETY, 1.0)
        assert whole.tick(float(i), row) == pieces.tick(float(i), row)
        assert whole.sentences() == pieces.sentences()
        if whole.state == "E4" and i % 50 == 0:
            assert whole.command(RELEASE, float(i)) == pieces.command(RELEASE, float(i))
    assert str(whole.snapshot()) == str(pieces.snapshot())
    assert sum(whole.transitions.values()) > 10


def test_nothing_raises_on_data() -> None:
    odd = (NAN, math.inf, -math.inf, 1e300, -1e300, 0.0, 5e-324)
    core = Protocol(CONFIG, SAFETY, 5.0)
    for ts, value in itertools.product(odd, odd):
        core.tick(ts, Judged(True, value, value, value, value, value))
        core.hard_stop.update(ts, 0)
        core.command("", ts)
        assert core.sentences() is not None
        assert core.state in BRIDGE_STATES


def test_the_table_reads_fields_of_the_configuration() -> None:
    known = bounds(ProtocolConfig(), SafetyConfig(), 0.02)
    assert {limit.key for row in TABLE for limit in row.condition} <= known.keys()
    assert {row.key for row in TABLE if row.key} <= known.keys()
    moved = Protocol(ProtocolConfig(sync_bridged=0.5), SAFETY, 5.0, drift_budget=0.2)
    moved.command(ROLLBACK, 0.0)
    moved.command(RELEASE, 0.0)
    change = moved.tick(0.2, GOOD._replace(sync=0.5, phase=0.2))
    assert change is not None and change.after == "E2"


@pytest.mark.parametrize("members", [2, 5])
def test_coherence_at_the_threshold_with_its_own_noise_mutes_at_most_thrice(members: int) -> None:
    coherence = estimated(1.0, members, 5.0)
    below = np.array(coherence) < COHERENCE
    kept, most = silences(coherence, 5.0, SafetyConfig().hard_stop_keep_s)

    assert 0.2 < below.mean() < 0.8
    assert kept > 0
    assert most <= 3
