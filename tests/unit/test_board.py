import json

import numpy as np
import pytest

from sinks.board import MOST_WAITING
from sinks.metrics import Page
from sinks.state import state
from tests.shown import Time, packet, ticks


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_what_is_shown_is_the_same_however_often_somebody_asks(every):
    rng = np.random.default_rng(1)
    quality = rng.uniform(0.8, 1.0, 3000)
    cuts = np.sort(rng.choice(np.arange(1, 3000), 300, replace=False)).tolist()

    def shown(asks):
        board = Time().board()
        for n, (a, b) in enumerate(zip([0, *cuts], [*cuts, 3000], strict=True)):
            fused = ticks(a, b - a, hz=100.0, sync_quality=quality[a:b], mode=n // 40 % 2)
            board.tell([packet(fused)])
            if n % asks == 0:
                state(board)
        told = json.loads(state(board, since=0))
        return told["history"], told["rigs"]["r"]["changes"], Page(board).text()

    assert shown(every) == shown(400)


def test_what_waits_to_be_judged_is_bounded():
    board = Time().board()
    for n in range(300):
        board.tell([packet(ticks(10 * n, 10, hz=100.0))])
    (panel,) = board.panels.values()
    assert panel.slo.ticks["sync"] > 3000 - MOST_WAITING
