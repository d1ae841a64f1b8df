"""The watch: two rounds for GO, one command a crossing, none by a Prometheus that is away."""

from __future__ import annotations

import sys
import time

import pytest

from ops.fakes.prometheus_server import FAULTS, FakePrometheus
from ops.gate.bounds import REDUCED_SHARE
from ops.gate.gates import ACTIONS
from ops.gate.queries import InstantSample
from ops.gate.watch import REST_S, Commands, Crossings, TwoRounds, firing, look
from tests.support.waiting import until


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def alert(action, rig="studio"):
    return {"__name__": "ALERTS", "alertname": "A", "alertstate": "firing", "action": action,
            "rig": rig}  # fmt: skip


def sample(action):
    return {action: InstantSample(alert(action), (0.0, "1"))}


def test_go_needs_two_rounds_running():
    rounds = TwoRounds()
    verdicts = ["GO", "GO", "GO", "UNKNOWN", "GO", "GO", "NO-GO", "GO", "GO"]
    assert [rounds.update(v) for v in verdicts] == [
        "UNKNOWN", "GO", "GO", "UNKNOWN", "UNKNOWN", "GO", "NO-GO", "UNKNOWN", "GO",
    ]  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS)
def test_a_command_is_due_once_per_crossing_and_at_most_once_in_ten_minutes(action):
    clock = Clock()
    crossings, fires = Crossings(clock), sample(action)
    assert crossings.update({}) == []
    assert crossings.update(fires) == [action]
    assert crossings.update(fires) == []
    assert crossings.update({}) == []
    clock.now = REST_S - 1
    assert crossings.update(fires) == []
    assert crossings.update({}) == []
    clock.now = REST_S
    assert crossings.update(fires) == [action]


def test_actions_are_apart():
    crossings = Crossings(Clock())
    a, b = ACTIONS[:2]
    assert crossings.update(sample(a)) == [a]
    assert crossings.update(sample(a) | sample(b)) == [b]


def test_only_firing_alerts_with_a_known_action_count():
    with FakePrometheus() as fake:
        fake.firing = [alert("promotion_stop"), alert("rm -rf"), {"alertname": "Other"}]
        assert list(firing(fake.url, time.time)) == ["promotion_stop"]


@pytest.mark.parametrize("fault", ["HTTP 500", "empty", "a warning", 'value "NaN"'])
def test_a_prometheus_that_is_away_ends_no_crossing(fault, tmp_path):
    crossings = Crossings(Clock())
    with FakePrometheus() as fake:
        fake.firing = [alert("canary_freeze")]
        commands = Commands({})
        assert look(fake.url, time.time, crossings, commands) == [
            "canary_freeze: action=canary_freeze alertname=A alertstate=firing rig=studio"
        ]
        fake.fault = FAULTS[fault]
        (line,) = look(fake.url, time.time, crossings, commands)
        assert line.startswith("triggers unknown: ")
        fake.fault = None
        assert look(fake.url, time.time, crossings, commands) == []


def test_a_command_has_the_crossing_in_its_environment(tmp_path):
    program = (
        "import os, pathlib; "
        "pathlib.Path('ran').write_text(' '.join(os.environ[f'LUMEN_{k}'] for k in"
        " ('ACTION', 'ALERT', 'RIG', 'SHARE')))"
    )
    (tmp_path / "program.py").write_text(f"import os; os.chdir({str(tmp_path)!r}); {program}")
    commands = Commands({"promotion_stop": f"{sys.executable} {tmp_path / 'program.py'}"})
    line = commands.run("promotion_stop", InstantSample(alert("promotion_stop"), (0.0, "1")))
    assert "runs as process" in line
    until(lambda: (tmp_path / "ran").exists() and (tmp_path / "ran").read_text())
    assert (tmp_path / "ran").read_text() == "promotion_stop A studio 0.2"
    until(lambda: commands.ended())


def test_a_command_is_not_given_to_a_shell(tmp_path):
    commands = Commands({"canary_freeze": f"nothing-of-this-name > {tmp_path / 'x'}"})
    line = commands.run("canary_freeze", InstantSample(alert("canary_freeze"), (0.0, "1")))
    assert "nothing-of-this-name: No such file or directory" in line
    assert not (tmp_path / "x").exists()


def test_a_stop_of_promotions_reduces_the_share(tmp_path):
    commands = Commands({}, tmp_path)
    line = commands.run("promotion_stop", InstantSample(alert("promotion_stop"), (0.0, "1")))
    assert float((tmp_path / "share").read_text()) == REDUCED_SHARE
    assert f"share 0.2 in {tmp_path}" in line
    commands = Commands({}, tmp_path / "nowhere")
    line = commands.run("promotion_stop", InstantSample(alert("promotion_stop"), (0.0, "1")))
    assert "No such file or directory" in line
