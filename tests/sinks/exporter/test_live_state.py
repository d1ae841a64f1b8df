import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from operators.records import DeadLetter
from sinks.exporter.metrics import MetricsPage
from sinks.exporter.rig_state import MAX_WAITING
from sinks.exporter.state_json import state
from tests.support.shown import Time, events, packet, report, ticks


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_what_is_shown_is_the_same_however_often_somebody_asks(every):
    rng = np.random.default_rng(1)
    quality = rng.uniform(0.8, 1.0, 3000)
    cuts = np.sort(rng.choice(np.arange(1, 3000), 300, replace=False)).tolist()

    def shown(asks):
        board = Time().board()
        for n, (a, b) in enumerate(zip([0, *cuts], [*cuts, 3000], strict=True)):
            fused = ticks(a, b - a, hz=100.0, sync_quality=quality[a:b], mode=n // 40 % 2)
            board.update([packet(fused)])
            if n % asks == 0:
                state(board)
        told = json.loads(state(board, since=0))
        return told["history"], told["rigs"]["r"]["changes"], MetricsPage(board).text()

    assert shown(every) == shown(400)


def test_what_waits_to_be_judged_is_bounded():
    board = Time().board()
    for n in range(300):
        board.update([packet(ticks(10 * n, 10, hz=100.0))])
    (panel,) = board.panels.values()
    assert panel.slo.ticks["sync"] > 3000 - MAX_WAITING


def letters(source: str, n: int, reason: Any = "no_type_tags") -> tuple[DeadLetter, ...]:
    return (DeadLetter(1.0, "receive", reason, source, "10.0.0.7:9", "/a", n),)


def test_a_stream_of_which_most_is_refused_says_so_in_the_state_until_it_is_over():
    time = Time()
    board = time.board()

    def told(**more: Any) -> dict[str, Any]:
        for _ in range(20):  # two windows
            time.now += 0.5
            board.update([packet(ticks(0), **more)])
        (rig,) = json.loads(state(board))["rigs"].values()
        return {s["stream"]: s["refused"] for s in rig["streams"]}

    said = told(letters=letters("osc_1", 5))["osc_1"]
    assert "no_type_tags from 10.0.0.7:9 (there is no type tag string" in said
    assert said.partition(" of ")[0] == said.partition(" of ")[2].partition(" ")[0]
    assert told(letters=letters("osc_1", 5))["ure"] is None
    assert told(letters=letters("osc_1", 5), ends=events("osc_1", 6))["osc_1"] is None
    assert "late" in told(ends=events("osc_1", 9, "late"))["osc_1"]


def test_a_member_whose_stream_is_refused_is_not_said_to_be_silent():
    time = Time()
    board = time.board()
    for _ in range(10):
        time.now += 0.5
        alone = replace(ticks(0), sync_bound_s=np.array([np.nan]))
        board.update([packet(alone, letters=letters("osc_1", 5), sync=(report("ure:p"),))])
    (line,) = board.uncompared()
    assert "events of osc_1:p cannot be used" in line
    assert "nothing came" not in line


def test_one_sender_of_several_is_shown_as_its_stream():
    time = Time()
    board = time.board()
    board.update([packet(ticks(0), ends=events("osc_1@10.0.0.7", 3))])
    (panel,) = board.panels.values()
    assert panel.ends["osc_1"]["received"] == 3
    assert panel.ends["*"]["received"] == 0
