"""The comparison of two folders that grow: neither side is read far ahead, nothing is missed."""

from __future__ import annotations

import json

import pytest

from ops.shadow.comparer import total
from ops.shadow.shadow import DIFF, MAX_DIFFERENCES, OUT, SHARE, Shadow
from tests.ops.shadow.shadow_lines import HZ, START, line


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Folders:
    """Two runs whose lines are written by hand."""

    def __init__(self, root, **settings):
        self.clock = Clock()
        self.paths = (root / "out", root / "shadow" / OUT)
        for path in self.paths:
            path.mkdir(parents=True)
        self.shadow = Shadow(
            self.paths[0], root / "shadow", clock=self.clock, **({"settle_s": 0.0} | settings)
        )

    def write(self, side, ticks, rig="studio", **more):
        folder = self.paths[side] / rig
        folder.mkdir(exist_ok=True)
        with (folder / "fused.jsonl").open("ab") as file:
            file.writelines(line(k, rig=rig, **more) + b"\n" for k in ticks)

    def counts(self):
        return {v: n for v, n in total(self.shadow.comparer.counts).items() if n}

    def settle(self, *ended):
        while self.shadow.step(*ended):
            pass


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path)


def test_a_side_is_not_read_far_ahead_of_the_other(folders):
    folders.write(0, range(5_000))
    folders.settle()
    assert folders.shadow.comparer.waiting() <= 7.5 * HZ + 1
    assert folders.counts() == {}
    for k in range(0, 5_000, 500):
        folders.write(1, range(k, k + 500))
        folders.settle()
        assert folders.shadow.comparer.waiting() <= 7.5 * HZ + 1
    folders.settle((True, True))
    folders.shadow.finish()
    assert folders.counts() == {"identical": 5_000}


def test_a_silent_side_is_not_waited_for_longer_than_the_wait(folders):
    folders.write(0, range(100))
    folders.write(1, range(100))
    folders.settle()
    folders.write(0, range(100, 1_000))
    folders.settle()
    assert folders.counts() == {"identical": 100}
    folders.clock.now = 61.0
    folders.settle()
    assert folders.counts()["missing"] == 1_000 - 100 - 60 * HZ - 1
    folders.shadow.finish()
    assert folders.counts() == {"identical": 100, "missing": 900}


def test_a_rig_of_one_side_only_holds_up_no_other(folders):
    folders.write(0, range(2_000))
    folders.write(1, range(2_000))
    folders.write(0, range(2_000), rig="other")
    folders.settle()
    assert folders.counts() == {"identical": 2_000}
    folders.settle((True, True))
    folders.shadow.finish()
    assert folders.counts() == {"identical": 2_000, "missing": 2_000}


def test_the_first_ticks_that_differ_are_kept_beside_one_another(folders, tmp_path):
    folders.write(0, range(1_500))
    folders.write(1, range(1_500), value=2.0)
    folders.settle((True, True))
    folders.shadow.finish()
    assert folders.counts() == {"value": 1_500}
    kept = [json.loads(x) for x in (tmp_path / "shadow" / DIFF).read_text().splitlines()]
    assert len(kept) == MAX_DIFFERENCES
    assert kept[3]["ts"] == START + 3 / HZ == kept[3]["running"]["ts"]
    assert kept[3]["verdict"] == "value" and kept[3]["rig"] == "studio"
    assert kept[3]["candidate"]["signals"]["pulse"]["value"] == 2.0
    # The samples of an earlier comparison are not lost.
    Shadow(folders.paths[0], tmp_path / "shadow")
    assert len(list((tmp_path / "shadow").glob("diff.2*.jsonl"))) == 1


def test_the_share_is_read_again(folders, tmp_path):
    (tmp_path / "shadow" / SHARE).write_text("0.0\n")
    folders.write(0, range(10))
    folders.write(1, range(10))
    folders.settle()
    assert folders.counts() == {} and folders.shadow.comparer.share == 0.0
    (tmp_path / "shadow" / SHARE).write_text("text")
    folders.settle()
    assert folders.shadow.comparer.share == 0.0
