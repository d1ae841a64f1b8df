"""The choice of `lumen prune`, and that a sound snapshot always stays."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.snapshots.prune import deleted_names, kept_names
from sinks.snapshots.names import SnapshotName
from tests.support.json_lines import json_lines
from tests.support.snapshot_scene import SnapshotScene, ticks

START = datetime(2026, 11, 1, tzinfo=UTC)
hours = st.sets(st.integers(0, 24 * 60), max_size=60)
counts = st.integers(0, 30)


def names_of(found):
    return [SnapshotName(START + timedelta(hours=hour), "sqlite") for hour in found]


@given(hours, counts, counts, st.integers(0, 59))
def test_the_newest_and_the_last_of_each_day_stay(found, keep, daily, sound):
    names = names_of(found)
    newest_sound = sorted(names)[sound % len(names)] if names else None
    deleted = deleted_names(names, newest_sound, keep, daily)
    stay = set(names) - set(deleted)
    assert deleted == sorted(deleted)
    assert not names or newest_sound in stay
    assert set(sorted(names)[len(names) - keep :] if keep else []) <= stay
    days = sorted({name.time.date() for name in names})
    for day in days[len(days) - daily :] if daily else []:
        assert max(name for name in names if name.time.date() == day) in stay
    assert len(stay) <= keep + daily + 1


@given(hours, counts, counts)
def test_without_a_sound_one_all_stay(found, keep, daily):
    assert deleted_names(names_of(found), None, keep, daily) == []


@given(hours, counts, counts)
def test_a_second_choice_deletes_nothing_more(found, keep, daily):
    kept = kept_names(names_of(found), keep, daily)
    assert kept_names(sorted(kept), keep, daily) == kept


@pytest.fixture
def scene(tmp_path):
    scene = SnapshotScene(tmp_path)
    scene.add(0, 10)
    for _ in range(4):
        scene.taken()
    return scene


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def files(scene):
    return sorted(p.name for p in scene.snapshots.root.iterdir() if p.name[0] == "2")


def test_old_ones_go_with_their_hash_files(scene, capsys):
    before = files(scene)
    names = scene.snapshots.names()
    assert scene.lumen("prune", "--keep", 2, "--daily", 0, "--dry-run") == 0
    assert files(scene) == before
    assert scene.lumen("prune", "--keep", 2, "--daily", 0) == 0
    assert "2 deleted, 2 stay" in capsys.readouterr().out
    assert files(scene) == sorted(f"{n}{end}" for n in names[2:] for end in ("", ".sha256"))
    lines = [x for x in json_lines(scene.snapshots.root / "audit.jsonl") if x["command"] == "prune"]
    assert [line["name"] for line in lines] == [str(name) for name in names[:2]]


def test_the_newest_sound_one_stays_though_newer_ones_are_damaged(scene, capsys):
    names = scene.snapshots.names()
    flipped(scene.snapshots.path(names[3]))
    (scene.snapshots.root / f"{names[2]}.sha256").unlink()
    assert scene.lumen("prune", "--keep", 0, "--daily", 0) == 0
    error = capsys.readouterr().err
    assert f"{names[3]}: damaged" in error
    assert f"{names[2]}.sha256: missing" in error
    assert names[1] in scene.snapshots.names()
    assert names[0] not in scene.snapshots.names()
    assert ticks(scene.snapshots.path(names[1])) == 10


def test_all_stay_where_all_are_bad(scene, capsys):
    for name in scene.snapshots.names():
        flipped(scene.snapshots.path(name))
    before = files(scene)
    assert scene.lumen("prune", "--keep", 0, "--daily", 0) == 1
    assert "no sqlite snapshot is sound; all stay" in capsys.readouterr().err
    assert files(scene) == before


def test_bad_ones_go_once_a_sound_one_is_newer(scene):
    root = scene.snapshots.root
    for name in ("20200101T000000Z.sqlite.bad", "29990101T000000Z.sqlite.bad"):
        (root / name).write_bytes(b"")
    assert scene.lumen("prune") == 0
    assert [p.name for p in root.glob("*.bad")] == ["29990101T000000Z.sqlite.bad"]


@pytest.mark.parametrize("value", ["-1", "1.5", "x", "1e9"])
def test_counts_are_whole_numbers(scene, value):
    assert scene.lumen("prune", f"--keep={value}") == 2
