"""Rows of the history from lines: values, sums of minutes, hostile lines."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.lyapunov import lyapunov_v
from sinks.history.line_rows import LineRows, Taken
from sinks.history.tables import BRIDGE, DEAD, EVIDENCE, MINUTE, SIGNAL, SYNC, TICK, Table


def numbers(kind: str, texts: Sequence[str]) -> dict[str, int]:
    return {text: 100 + k for k, text in enumerate(texts)}


def tick(ts: float, value: float | None = 1.5, mode: str = "fused", **more: Any) -> dict[str, Any]:
    part = {"value": value, "sd": 0.5, "systematic_sd": None, "mode": mode, "live": 2}
    return {
        "ts": ts,
        "released": ts + 1,
        "rig": "main",
        "mode": mode,
        "live": 2,
        "signals": {"pulse": {**part, "weights": {"a:b": 0.25, "c:d": 0.75}}},
        "indicators": {
            "phase_diff": 0.015,
            "coherence": 0.9,
            "harmony": 0.8,
            "sync_quality": None,
            "entropy_ratio": 0.1,
        },
        "sync_bound_s": 0.05,
        **more,
    }


def text(*lines: dict[str, Any] | str) -> bytes:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return "".join(f"{line}\n" for line in texts).encode()


def by_name(table: Table, row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip((c.name for c in table.columns), row, strict=True))


def rows(taken: Taken, table: Table) -> list[dict[str, Any]]:
    return [by_name(table, row) for row in taken.rows[table]]


def test_a_tick_becomes_a_row_of_ticks_and_one_of_each_signal() -> None:
    taken = LineRows(1, 2, numbers).taken("fused", text(tick(10.0), tick(10.2, None, "none")))
    first, second = rows(taken, TICK)
    assert (first["run"], first["rig"], first["ts"], first["released"]) == (1, 2, 10.0, 11.0)
    assert (first["phase_diff"], first["sync_quality"], first["sync_bound_s"]) == (
        0.015,
        None,
        0.05,
    )
    assert first["v"] == pytest.approx((0.5**2 + 0.5**2) / 2) == lyapunov_v(0.015, 0.05)
    assert second["mode"] == "none"
    signal = rows(taken, SIGNAL)[0]
    assert (signal["signal"], signal["value"], signal["sd"], signal["live"]) == (100, 1.5, 0.5, 2)
    assert json.loads(signal["weights"]) == {"a:b": 0.25, "c:d": 0.75}
    assert (taken.lost, taken.released) == (0, 11.2)


def test_v_is_unknown_where_a_part_is() -> None:
    taken = LineRows(1, 2, numbers).taken("fused", text(tick(1.0, sync_bound_s=None)))
    assert rows(taken, TICK)[0]["v"] is None


@given(
    st.lists(
        st.tuples(st.floats(-10, 10) | st.none(), st.sampled_from(["fused", "degraded"])),
        min_size=1,
        max_size=40,
    ),
    st.floats(0, 1e9),
)
def test_minutes_are_the_sums_of_their_ticks(
    values: list[tuple[float | None, str]], start: float
) -> None:
    ticks = [tick(start + 7.0 * k, value, mode) for k, (value, mode) in enumerate(values)]
    found = rows(LineRows(1, 2, numbers).taken("fused", text(*ticks)), MINUTE)
    assert sum(row["ticks"] for row in found) == len(ticks)
    assert sum(row["fused"] for row in found) == sum(mode == "fused" for _, mode in values)
    for row in found:
        assert row["ts"] % 60 == 0
        of_minute = [t for t in ticks if row["ts"] <= t["ts"] < row["ts"] + 60]
        known = [v for t in of_minute if (v := t["signals"]["pulse"]["value"]) is not None]
        assert row["ticks"] == len(of_minute)
        assert row["value_count"] == len(known)
        if known:
            assert row["value_sum"] == pytest.approx(math.fsum(known), abs=1e-9)
            assert (row["value_min"], row["value_max"]) == (min(known), max(known))
        else:
            assert row["value_sum"] is None
        assert row["sync_quality_count"] == 0
        assert row["sync_bound_s_sum"] == pytest.approx(0.05 * len(of_minute))


def test_with_every_s_the_newest_of_each_span_stays_and_minutes_are_of_all() -> None:
    ticks = [tick(100.0 + 0.25 * k) for k in range(10)]
    lines = LineRows(1, 2, numbers, every_s=1.0)
    taken = lines.taken("fused", text(*ticks))
    assert [row["ts"] for row in rows(taken, TICK)] == [100.75, 101.75, 102.25]
    assert [row["ts"] for row in rows(taken, SIGNAL)] == [100.75, 101.75, 102.25]
    assert [row["ticks"] for row in rows(taken, MINUTE)] == [10]
    assert taken.replaced == (100.0, 100.75)
    assert lines.taken("fused", text(tick(102.5))).replaced == (102.0, 102.5)


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "not json",
        '{"ts": 1',
        "[" * 100_000,
        json.dumps(tick(1.0)).replace("1.5", "1e400"),
        json.dumps(tick(1.0)).replace("fused", "f\0"),
        json.dumps(tick(1.0)).replace('"live": 2', f'"live": {2**63}', 1),
        json.dumps(tick(1.0)).replace('"main"', '"\\ud800"').replace("0.25", '"\\ud800'),
        "\ud800",
    ],
)
def test_a_line_that_no_row_can_hold_is_lost_and_the_others_are_not(line: str) -> None:
    lines = text(tick(1.0)) + line.encode("utf-8", "surrogatepass") + b"\n" + text(tick(2.0))
    taken = LineRows(1, 2, numbers).taken("fused", lines)
    assert [row["ts"] for row in rows(taken, TICK)] == [1.0, 2.0]
    assert taken.lost == 1


def test_lines_without_a_sound_one_give_no_rows() -> None:
    for stem in ("fused", "sync", "evidence", "bridge", "dead"):
        taken = LineRows(1, 2, numbers).taken(stem, b"{\n{}\n")
        assert taken.lost == 2
        assert not any(taken.rows.values())


def test_sync_reports_and_evidence_become_rows() -> None:
    report = {
        "ts": 5.0, "rig": "main", "channel": "a\0b", "why": "timer", "state": "live",
        "offset_s": 0.1, "offset_sd_s": 0.01, "skew_ppm": None, "skew_sd_ppm": None,
        "clock_resets": 1, "reset_at": None, "lag_s": 0.2, "lag_sd_s": 0.02, "confidence": 0.9,
        "rate_hz": 20.0, "jitter_p95_s": 0.001, "received": 9, "used": 8, "outliers": 1,
        "late": 0, "duplicate": 0, "rejected": 0, "gaps": 0,
    }  # fmt: skip
    names: list[str] = []

    def noted(kind: str, texts: Sequence[str]) -> dict[str, int]:
        names.extend(texts)
        return numbers(kind, texts)

    (row,) = rows(LineRows(1, 2, noted).taken("sync", text(report)), SYNC)
    assert names == ["a\\x00b"]
    assert (row["channel"], row["lag_s"], row["clock_resets"], row["gain"]) == (100, 0.2, 1, None)
    finding = {
        "ts": 5.0, "rig": "main", "rule": "r", "kind": "risk", "state": "firing",
        "severity": None, "risk": "x\0", "action": None, "quote": None,
        "facts": {"coherence": 0.5}, "since": 4.0,
    }  # fmt: skip
    (row,) = rows(LineRows(1, 2, numbers).taken("evidence", text(finding)), EVIDENCE)
    assert (row["rule"], row["state"], row["kind"], row["risk"]) == (
        100,
        "firing",
        "risk",
        "x\\x00",
    )
    assert json.loads(row["facts"]) == {"coherence": 0.5}


def test_lines_of_bridge_and_dead_are_known_by_their_places() -> None:
    letter = {"ts": 1.0, "rig": "main", "stage": "collect", "reason": "late", "source": "s"}
    letter |= {"where": "w", "count": 3, "sample": "\N{SNOWMAN}" * 50}
    lines = text(letter, "bad", letter)
    found = rows(LineRows(1, 2, numbers).taken("dead", lines, 4, 1000), DEAD)
    first = len(text(letter))
    assert [(row["segment"], row["byte"]) for row in found] == [(4, 1000), (4, 1004 + first)]
    assert (found[0]["place"], found[0]["count"]) == ("w", 3)
    frame = {
        "ts": 1.0, "known": 0.9, "rig": "main", "beat": -3, "tick_ms": 20.0, "rate_hz": 2.0,
        "phase_error": None, "phase_sd": 0.1, "lock": "locked", "state": "E2", "why": None,
        "safety_gain": 1.0, "withheld": True, "slips": 0, "steps": 1, "kp": 1.0, "ki": 1.0,
        "kd": 0.0, "phase_diff": None, "sync_quality": None, "entropy_ratio": None, "applied": [],
    }  # fmt: skip
    (row,) = rows(LineRows(1, 2, numbers).taken("bridge", text(frame)), BRIDGE)
    assert (row["beat"], row["withheld"], row["why"], row["steps"]) == (-3, 1, None, 1)
