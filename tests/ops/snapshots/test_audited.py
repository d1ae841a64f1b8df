"""The audit: a line a command, whole after a cut one, and in the journal."""

import json
import os
import socket

import pytest

from ops.snapshots import audit
from ops.snapshots.audit import audited, send_to_journal
from ops.snapshots.faults import SnapshotFailedError
from tests.support.json_lines import json_lines


def test_a_line_has_time_user_command_and_result(tmp_path):
    with audited(tmp_path, "drill", "a") as entry:
        entry.hash = "ff"
        entry.details["parts"] = {"open": 1.0}
    with pytest.raises(ZeroDivisionError), audited(tmp_path, "restore"):
        raise ZeroDivisionError("division\nby zero")
    first, second = json_lines(tmp_path / "audit.jsonl")
    assert first | {"ts": 0, "seconds": 0} == {
        "ts": 0, "who": os.getuid(), "command": "drill", "name": "a", "hash": "ff",
        "seconds": 0, "result": "ok", "parts": {"open": 1.0},
    }  # fmt: skip
    assert (second["result"], second["error"]) == ("failed", "division")
    assert first["ts"] <= second["ts"]
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_cut_line_is_ended_first(tmp_path):
    (tmp_path / "audit.jsonl").write_text('{"ts": 1}\n{"ts": 2, "comm')
    with audited(tmp_path, "prune"):
        pass
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert lines[:2] == ['{"ts": 1}', '{"ts": 2, "comm']
    assert json.loads(lines[2])["command"] == "prune"


def test_a_line_that_cannot_be_written_is_an_error_of_its_own(tmp_path, monkeypatch):
    def full(folder, line):
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(audit, "_write", full)
    with (
        pytest.raises(SnapshotFailedError, match=r"prune succeeded, but .* No space left"),
        audited(tmp_path, "prune"),
    ):
        pass
    with pytest.raises(ZeroDivisionError), audited(tmp_path, "prune"):
        raise ZeroDivisionError


def test_a_link_in_the_place_of_the_audit_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("")
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(SnapshotFailedError), audited(tmp_path, "prune"):
        pass
    assert (tmp_path / "mine").read_text() == ""


def test_the_journal_has_the_line(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "j"))
        send_to_journal('{"command": "prune"}\nPRIORITY=0', str(tmp_path / "j"))
        fields = journal.recv(4096).decode().splitlines()
    assert fields == [
        'MESSAGE=lumen: {"command": "prune"}\\x0aPRIORITY=0', "PRIORITY=5",
        "SYSLOG_IDENTIFIER=lumen",
    ]  # fmt: skip
    send_to_journal("no journal here", str(tmp_path / "missing"))
