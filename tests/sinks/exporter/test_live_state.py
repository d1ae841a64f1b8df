import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from operators.records import DeadLetter, Fused
from sinks.exporter.metrics import MetricsPage
from sinks.exporter.rig_state import MAX_WAITING
from sinks.exporter.state_json import state
from tests.support.shown import Time, events, packet, report, rig_of, ticks


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_the_state_does_not_depend_on_the_rate_of_requests(every):
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
        shown = json.loads(state(board, since=0))
        return shown["history"], shown["rigs"]["r"]["changes"], MetricsPage(board).text()

    assert shown(every) == shown(400)


def test_waiting_ticks_are_bounded():
    board = Time().board()
    for n in range(300):
        board.update([packet(ticks(10 * n, 10, hz=100.0))])
    (panel,) = board.panels.values()
    assert panel.slo.ticks["sync"] > 3000 - MAX_WAITING


def test_an_update_visits_no_earlier_packet(monkeypatch):
    visits = []
    length = Fused.__len__
    monkeypatch.setattr(Fused, "__len__", lambda fused: visits.append(fused) or length(fused))
    board = Time().board()

    for n in range(1_000):
        board.update([packet(ticks(n))])
    assert 0 < len(visits) < 10_000


def letters(source: str, n: int, reason: Any = "no_type_tags") -> tuple[DeadLetter, ...]:
    return (DeadLetter(1.0, "receive", reason, source, "10.0.0.7:9", "/a", n),)


def test_a_mostly_refused_stream_is_marked_until_it_recovers():
    time = Time()
    board = time.board()

    def refused(**more: Any) -> dict[str, Any]:
        for _ in range(20):  # two windows
            time.now += 0.5
            board.update([packet(ticks(0), **more)])
        (rig,) = json.loads(state(board))["rigs"].values()
        return {s["stream"]: s["refused"] for s in rig["streams"]}

    text = refused(letters=letters("osc_1", 5))["osc_1"]
    assert "no_type_tags from 10.0.0.7:9 (there is no type tag string" in text
    assert text.partition(" of ")[0] == text.partition(" of ")[2].partition(" ")[0]
    assert refused(letters=letters("osc_1", 5))["ure"] is None
    assert refused(letters=letters("osc_1", 5), ends=events("osc_1", 6))["osc_1"] is None
    assert "late" in refused(ends=events("osc_1", 9, "late"))["osc_1"]


def test_a_member_of_a_refused_stream_is_not_called_silent():
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
    assert rig_of(board).ends["osc_1"]["received"] == 3
    assert rig_of(board).ends["*"]["received"] == 0
