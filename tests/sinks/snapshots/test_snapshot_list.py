"""Names, list and drills of a folder of snapshots, as others read them."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.snapshots.drills import DrillRecord, drills, record
from sinks.snapshots.listing import ListedSnapshot, listed
from sinks.snapshots.names import AUDIT, SnapshotName, new_name, parsed

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
times = st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=0)
)
kinds = st.sampled_from(["sqlite", "dump", "recovery.tar"])


@given(times, kinds)
def test_a_name_is_parsed_as_it_is_written(time, kind):
    name = SnapshotName(time, kind)
    assert parsed(str(name)) == name


@pytest.mark.parametrize(
    "text",
    ["", "20261121T120000Z", "20260231T120000Z.sqlite", "20261121T120000Z.sqlite.bad",
     "20261121T120000Z.sqlite\n", "../20261121T120000Z.sqlite", "20261121T250000Z.dump",
     "٢٠٢٦١١٢١T120000Z.sqlite"],
)  # fmt: skip
def test_other_texts_are_no_names(text):
    assert parsed(text) is None


def test_a_taken_name_is_followed_by_the_next_second():
    assert str(new_name([], "sqlite", NOON)) == "20261121T120000Z.sqlite"
    taken = ["20261121T120000Z.sqlite", "20261121T120001Z.sqlite.bad", "20261121T120002Z.dump"]
    assert str(new_name(taken, "sqlite", NOON)) == "20261121T120002Z.sqlite"
    local = NOON.astimezone(datetime.now().astimezone().tzinfo) + timedelta(microseconds=7)
    assert new_name([], "dump", local).time == NOON


def test_the_list_is_newest_first_and_states_what_was_checked(tmp_path):
    digest = "ab" * 32
    for name, hashed in (
        ("20261121T120000Z.sqlite", f"{digest}  20261121T120000Z.sqlite\n"),
        ("20261122T120000Z.recovery.tar", f"{digest}  20261122T120000Z.recovery.tar\n"),
        ("20261123T120000Z.sqlite", None),
        ("20261124T120000Z.sqlite.bad", None),
        ("20261125T120000Z.sqlite", f"{digest}  20261121T120000Z.sqlite\n"),
        ("20261126T120000Z.sqlite", "x" * 5000),
        ("notes.txt", None),
        (".20261127T120000Z.sqlite.part", None),
    ):
        (tmp_path / name).write_bytes(b"12345")
        if hashed:
            (tmp_path / f"{name}.sha256").write_text(hashed)
    (tmp_path / "20261128T120000Z.sqlite").symlink_to(tmp_path / "notes.txt")
    found = listed(tmp_path)
    assert [(each.name[:8], each.checked) for each in found] == [
        ("20261126", False), ("20261125", False), ("20261124", False), ("20261123", False),
        ("20261122", True), ("20261121", True),
    ]  # fmt: skip
    name = "20261121T120000Z.sqlite"
    assert found[-1] == ListedSnapshot(name, NOON.timestamp(), 5, digest, True)
    assert listed(tmp_path / "missing") == []


def test_drills_are_read_from_whole_sound_lines(tmp_path):
    def line(ts, command="drill", seconds=2.0, result="ok"):
        fields = {"ts": ts, "who": 0, "command": command, "seconds": seconds, "result": result}
        return json.dumps(fields).encode() + b"\n"

    (tmp_path / AUDIT).write_bytes(
        line(1.0, seconds=9.0) + line(2.0, "restore") + b"torn {\n" + b'{"ts": "x"}\n\xff\n'
        + line(3.0, result="failed", seconds=60.0) + line(4.0, seconds=3.0) + line(5.0)[:-1]
    )  # fmt: skip
    assert [drill.ts for drill in drills(tmp_path)] == [1.0, 3.0, 4.0]
    assert [drill.ts for drill in drills(tmp_path, since=3.0)] == [3.0, 4.0]
    assert record(drills(tmp_path)) == DrillRecord(3.0, 9.0, {"ok": 2, "failed": 1})
    assert record([]) == DrillRecord(None, None, {})
    assert drills(tmp_path / "missing") == []
