"""The frames of the bridge are the same bytes however the rows are cut and the stations resumed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from operators.bridge.trend import SyncWindow
from ops.bench.bridge_cuts import bridge_lines, equal_cuttings, pieces, recording


def test_the_recording_has_each_kind_of_frame() -> None:
    frames = [msgspec.json.decode(line) for line in bridge_lines([recording(60.0)], 1.0).split()]

    assert {frame["why"] for frame in frames} >= {None, "present", "good", "rollback", "release"}
    assert {frame["lock"] for frame in frames} >= {"none", "locked", "holdover"}


@pytest.mark.parametrize("seeds", [range(4), range(4, 8)], ids=str)
def test_cuttings_and_resumes_leave_the_frames_as_they_were(seeds: range) -> None:
    other, lines = equal_cuttings(60.0, seeds)

    assert other == []
    assert len(lines.splitlines()) > 200


def test_a_state_that_forgets_its_beats_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        SyncWindow, "from_snapshot", classmethod(lambda cls, state, window_s: cls(window_s))
    )

    assert equal_cuttings(60.0, [1])[0] == [1]


def test_the_pieces_of_a_recording_have_all_its_rows_and_commands() -> None:
    batch = recording(20.0)
    cut = pieces(batch, [1, len(batch.ts) // 2, len(batch.ts) - 1])

    assert np.concatenate([piece.rx for piece in cut]).tolist() == batch.rx.tolist()
    assert [c.command for piece in cut for c in piece.controls] == [
        c.command for c in batch.controls
    ]
    assert all(piece.name[c.row] == -1 for piece in cut for c in piece.controls)
    assert [piece.end for piece in cut] == [False, False, False, True]
