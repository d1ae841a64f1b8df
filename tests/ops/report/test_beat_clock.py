"""Beat clock of a report: states, causes, hard stops, hold-over and phase error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ops.report import beat_clock, bridge_picture
from ops.report.beat_clock import PLAYED_MS, BeatClock, BridgeStay
from ops.report.plotting import TimeAxis, style
from ops.results.lines import BridgeLine
from tests.ops.report.run_lines import START, SYNC, TICKS, fill, written

CAUSES = {50: ("E1", "present"), 60: ("E2", "good")}


def frame(at, **more):
    """Return a played tick of 200 ms, `at` s after the start."""
    return {
        "ts": START + at, "known": START + at - 0.2, "rig": "r", "beat": round(5 * at),
        "tick_ms": 200.0, "rate_hz": 5.0, "phase_error": 0.01, "phase_sd": 0.005,
        "lock": "locked", "state": "E2", "why": None, "safety_gain": 1.0, "withheld": False,
        "slips": 0, "steps": 1, "kp": 0.35, "ki": 0.08, "kd": 0.1, "applied": [],
    } | more  # fmt: skip


def course(ticks=200):
    """Return 40 s of a clock that plays from 12 s on, with a hard stop and a hold-over."""
    lines, state = [], "E0"
    for i in range(ticks):
        at = i / 5
        if i in CAUSES:
            state, why = CAUSES[i]
            lines.append(frame(at - 2, known=START + at, state=state, why=why))
        withheld = state != "E2" or 100 <= i < 110
        error = 0.3 if state == "E1" else -0.01
        lock = "holdover" if 150 <= i < 160 else "locked"
        lines.append(frame(at + 0.2, state=state, withheld=withheld, phase_error=error, lock=lock))
    return lines


def read(lines):
    return BeatClock(BridgeLine(**line) for line in lines)


def since(spans):
    return [tuple(round(x - START, 3) for x in span[:2]) for span in spans]


def test_stays_begin_where_their_state_comes_into_force():
    beats = read(course())
    assert [(stay.state, stay.why) for stay in beats.stays] == [
        ("E0", ""),
        ("E1", "present"),
        ("E2", "good"),
    ]
    assert since(beats.stays) == [(0.2, 10.0), (10.0, 12.0), (12.0, 40.0)]
    assert (beats.ticks, beats.played, beats.changes) == (200, 130, 2)


def test_a_hard_stop_is_withheld_where_the_state_plays():
    beats = read(course())
    assert since(beats.stopped.spans) == [(20.2, 22.2)]
    assert since(beats.alone.spans) == [(30.2, 32.2)]


def test_the_phase_error_is_judged_on_played_ticks_in_ms_of_their_tick():
    lines = course()
    for line in lines[160:]:
        line["tick_ms"] = 400.0
    beats = read(lines)
    assert beats.error_ms.maximum == pytest.approx(4.0)
    assert beats.cycles.maximum == pytest.approx(0.01)
    played = beats.points.mean[:, PLAYED_MS]
    assert np.isnan(played[:60]).all()
    assert played[60] == pytest.approx(-2.0)
    assert played[-1] == pytest.approx(-4.0)


def test_memory_is_bounded_however_often_the_state_changes(monkeypatch):
    monkeypatch.setattr(beat_clock, "MAX_STAYS", 3)
    flaps = [
        frame(i, state=f"E{1 + i % 2}", lock=("locked", "holdover")[i % 2], withheld=True)
        for i in range(9)
    ]
    beats = read(flaps)
    assert since(beats.stays) == [(0, 0.8), (0.8, 1.8), (1.8, 2.0)]
    assert beats.changes == 8
    assert since(beats.alone.spans) == [(1, 2), (3, 4), (5, 6)]
    assert (beats.alone.begun, beats.stopped.begun) == (4, 4)


def test_broken_lines_leave_finite_figures():
    broken = [
        frame(0, phase_error=1e300, tick_ms=1e300, rate_hz=None),
        frame(1, state="E9", lock="x", slips=None),
        {"ts": START + 2},
        frame(-1e6, withheld=None, known=None),
    ]
    beats = read(broken)
    assert math.isfinite(beats.error_ms.maximum)
    assert beats.stays == [BridgeStay(START, START, "E2", "")]
    assert beats.stopped.spans == []
    with style():
        assert bridge_picture.bridge(beats, TimeAxis.of(START, START + 2)).png


def test_causes_that_would_overlap_share_one_text():
    turns = [(1.0, "present"), (1.1, "good"), (50.0, "entropy"), (50.1, ""), (50.2, "calm"),
             (50.3, "entropy")]  # fmt: skip
    assert list(bridge_picture._causes(turns, 0.0, 100.0)) == [
        (1.0, "present, good "),
        (50.0, "entropy, -, calm +1 "),
    ]


def test_a_run_with_a_clock_has_its_section(tmp_path):
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC, bridge=course())
    page, _ = written(out)
    section = page.partition("<h2>Beat clock</h2>")[2].partition("<h2>")[0]
    assert "The phase error stayed within 2.0 ms in 95 % of 130 played ticks" in section
    assert "<td>65 % of 200 ticks</td>" in section
    assert "E1 syncing</td><td>present</td>" in section
    assert "1 silence" in section
    assert section.count("<img") == 1
    assert {path.name for path in (tmp_path / "out.report").glob("bridge.*")} == {
        "bridge.png",
        "bridge.svg",
    }
    (out / "bridge.jsonl").unlink()
    page, _ = written(out)
    assert "Beat clock" not in page
    assert not list((tmp_path / "out.report").glob("bridge.*"))


@pytest.mark.parametrize(
    "lines",
    [
        [frame(0)],
        [frame(0), frame(0)],
        [frame(0, state="E1", why="present")],
        [{"ts": START}],
        [frame(0, withheld=True, phase_error=None, rate_hz=None, state="E0", lock="none")],
        [frame(0), frame(1e9), frame(-1e9)],
        [frame(0, why="<b>$x$"), frame(1, why="<script>", state="E3"), frame(2)],
    ],
    ids=["one", "twice", "change alone", "null", "nothing known", "time that leaps", "markup"],
)
def test_every_clock_has_a_section(tmp_path, lines):
    page, _ = written(fill(tmp_path / "out", fused=TICKS, sync=SYNC, bridge=lines))
    assert "<h2>Beat clock</h2>" in page
    assert "<script" not in page
    section = page.partition("<h2>Beat clock</h2>")[2].partition("<h2>")[0]
    assert " nan" not in section


def test_each_rig_has_its_own_clock(tmp_path):
    fill(tmp_path / "out/left", fused=TICKS, sync=SYNC, bridge=course())
    fill(tmp_path / "out/right", fused=TICKS, sync=SYNC)
    page, _ = written(tmp_path / "out")
    assert page.count("<h2>Beat clock</h2>") == 1
    section = page.partition("<h2>Beat clock</h2>")[2].partition("<h2>")[0]
    assert "left.bridge.svg" in section
    assert [p.name for p in (tmp_path / "out.report").glob("*bridge.png")] == ["left.bridge.png"]
