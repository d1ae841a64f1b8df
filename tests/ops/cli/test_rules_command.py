"""`lumen rules test`: firings beside the expected times, and faults at their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.__main__ import main
from ops.simulate.recording import make
from ops.simulate.scenario import Scenario, Sensor

ROOT = Path(__file__).parents[3]
RULES = """- {name: high, when: x > 1, for_s: 2, keep_for_s: 3}
- {name: low, when: x < -1}
"""


def answer_of(place: Path, cases: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    (place / "rules.yaml").write_text(RULES, "utf-8")
    (place / "cases.yaml").write_text(cases.replace("RULES", str(place / "rules.yaml")), "utf-8")
    code = main(["rules", "test", str(place / "cases.yaml")])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_shipped_cases_are_met(monkeypatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["rules", "test", "ops/examples/rule_cases.yaml"]) == 0
    assert "3 of 3 cases met" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("series", "expect"),
    [
        ("[[0, 0], [10, 2], [20, 0]]", "{rule: high, fires: [12, 12], resolves: [22.8, 22.8]}"),
        ("{ramp: [[0, 0], [10, 2]]}", "{rule: high, fires: [7.2, 7.2]}"),
        ("[[0, 2], [1, null], [5, 2]]", "{rule: high, fires: [7, 7]}"),
        ("[[0, 2], [5, 0], [20, 2]]", "{rule: high, fires: [2, 2]}, {rule: high, fires: [22, 22]}"),
    ],
)
def test_firings_are_exact_to_a_tick(tmp_path, capsys, series, expect) -> None:
    cases = f"- {{rules: RULES, series: {{x: {series}}}, expect: [{expect}], never: [low]}}\n"
    code, out, err = answer_of(tmp_path, cases, capsys)
    assert (code, err) == (0, ""), out


@pytest.mark.parametrize(
    ("judged", "expected", "seen"),
    [
        ("expect: [{rule: high, fires: [3, 9]}]", "3 to 9 s", "12 s"),
        ("expect: [{rule: high, fires: [12, 12], resolves: [23, 30]}]", "23 to 30 s", "22.8 s"),
        ("expect: [{rule: low, fires: [0, 60]}]", "0 to 60 s", "never"),
        ("never: [high]", "never", "12 s"),
    ],
)
def test_the_seen_is_beside_the_expected(tmp_path, capsys, judged, expected, seen) -> None:
    series = "{x: [[0, 0], [10, 2], [20, 0]]}"
    code, out, _ = answer_of(
        tmp_path, f"cases: [{{rules: RULES, series: {series}, {judged}}}]", capsys
    )
    assert code == 1
    bad = next(line for line in out.splitlines() if line.endswith("BAD"))
    assert expected in bad and seen in bad
    assert out.endswith("0 of 1 cases met\n")


def test_a_second_firing_that_no_one_expects_fails(tmp_path, capsys) -> None:
    cases = (
        "- {rules: RULES, series: {x: [[0, 2], [5, 0], [20, 2]]},"
        " expect: [{rule: high, fires: [2, 2]}]}"
    )
    code, out, _ = answer_of(tmp_path, cases, capsys)
    assert code == 1 and "no more" in out


@pytest.mark.parametrize(
    ("case", "place", "message"),
    [
        ("{rules: RULES, never: [low]}", "1:3", "no form of data"),
        ("{rules: RULES, series: {x: [[0, 1]]}}", "1:3", "nothing to judge"),
        ("{rules: RULES, recording: no, never: [low]}", "", "does not exist"),
        ("{rules: RULES, series: {x: [[1, 1], [0, 1]]}, never: [low]}", "", "rising times"),
        ("{rules: RULES, series: {x: [[0, y]]}, never: [low]}", "", "each a number"),
        ("{rules: RULES, series: {x: [[0, 1]]}, never: [lo]}", "", "did you mean 'low'?"),
        ("{rules: RULES, series: {y: [[0, 1]]}, never: [low]}", "1:22", "unknown name 'x'"),
        ("{rules: RULES, series: {x: [[0, 1]]}, expect: [{rule: low, fires: [2, 1]}]}", "", "from"),
        ("{rules: RULES, series: {x: [[0, 1]]}, rig: a, never: [low]}", "", "without a recording"),
        ("{rules: none.yaml, series: {x: [[0, 1]]}, never: [low]}", "1:1", "does not exist"),
        ("{rules: RULES, series: {x: [[0, 1]]}, tick_hz: 1000, seconds: 86400, never: [low]}",
         "1:3", "too many ticks"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_at_its_place(tmp_path, capsys, case, place, message) -> None:
    code, out, err = answer_of(tmp_path, f"- {case}\n", capsys)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[0] and f":{place}" in err.splitlines()[0]


@pytest.mark.parametrize("config", ["", ", config: CONFIG"])
def test_a_recording_is_replayed(tmp_path, capsys, config) -> None:
    path = tmp_path / "r.ndjson"
    sensors = (Sensor("a", "x", 20.0), Sensor("b", "x", 15.0))
    make(Scenario(seconds=60.0, sensors=sensors)).write(path)
    (tmp_path / "c.yaml").write_text(
        f"version: 2\nstreams: [{{name: r, type: file, path: {path}}}]\n"
        'signals: {x: {members: {"a:x": {}, "b:x": {}}}}\n'
    )
    (tmp_path / "quality.yaml").write_text("- {name: begun, when: live > 0}\n")
    config = config.replace("CONFIG", str(tmp_path / "c.yaml"))
    rules = tmp_path / "quality.yaml"
    data = f"recording: {path}{config}"
    cases = f"- {{rules: {rules}, {data}, expect: [{{rule: begun, fires: [5, 30]}}]}}"
    code, out, err = answer_of(tmp_path, cases, capsys)
    assert (code, err) == (0, ""), out
