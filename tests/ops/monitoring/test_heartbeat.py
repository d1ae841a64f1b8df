"""The sign of life: counted by any number of writers, never seen torn."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.monitoring.heartbeat import SEQ, TS, beat
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[3]
PROCESSES, BEATS = 4, 100


def shown(folder: Path, realm: str = "prod") -> dict[str, float]:
    text = (folder / f"heartbeat_{realm}.prom").read_text()
    found = {
        sample.name: sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert {sample.labels["metric_realm"] for sample in found.values()} == {realm}
    return {name: sample.value for name, sample in found.items()}


def lumen(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ops.monitoring.heartbeat", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def beat_often(folder: Path) -> None:
    for _ in range(BEATS):
        beat(folder, "prod")


def test_no_beat_of_several_writers_is_lost_and_no_reader_sees_a_part(tmp_path: Path) -> None:
    beat(tmp_path, "prod")
    page = tmp_path / "heartbeat_prod.prom"
    whole = re.compile(rf"(#.*\n){{2}}{SEQ}\{{.+\}} \d+\n(#.*\n){{2}}{TS}\{{.+\}} \d+\.\d{{3}}\n")
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=beat_often, args=(tmp_path,)) for _ in range(PROCESSES)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        assert whole.fullmatch(page.read_text())
        reads += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert reads > 100
    assert shown(tmp_path)[SEQ] == PROCESSES * BEATS + 1


def test_a_beat_is_a_count_and_a_moment_for_everyone_to_read(tmp_path: Path) -> None:
    assert [beat(tmp_path, "prod") for _ in range(3)] == [1, 2, 3]
    found = shown(tmp_path)
    assert found[SEQ] == 3
    assert abs(found[TS] - time.time()) < HUNG_S
    assert stat.S_IMODE((tmp_path / "heartbeat_prod.prom").stat().st_mode) == 0o644


def test_only_the_page_ends_as_pages_do(tmp_path: Path) -> None:
    beat(tmp_path, "prod")
    assert [path.name for path in tmp_path.glob("*.prom")] == ["heartbeat_prod.prom"]


def test_realms_are_counted_apart(tmp_path: Path) -> None:
    for realm in ("prod", "stage", "prod"):
        beat(tmp_path, realm)
    assert (shown(tmp_path, "prod")[SEQ], shown(tmp_path, "stage")[SEQ]) == (2, 1)


@pytest.mark.parametrize("damage", [b"", b"\xff\0half a li", f"{SEQ}{{}} many\n".encode()])
def test_a_damaged_page_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "heartbeat_prod.prom").write_bytes(damage)
    assert beat(tmp_path, "prod") == 1


def test_what_a_killed_writer_left_behind_does_not_hinder(tmp_path: Path) -> None:
    beat(tmp_path, "prod")
    (tmp_path / ".heartbeat_prod.new").write_text("torn")
    assert beat(tmp_path, "prod") == 2


def test_the_command_beats_once(tmp_path: Path) -> None:
    process = lumen("--dir", str(tmp_path), "--realm", "lab")
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0
    assert shown(tmp_path, "lab")[SEQ] == 1


def test_the_command_beats_on_until_it_is_stopped(tmp_path: Path) -> None:
    process = lumen("--dir", str(tmp_path), "--every", "0.1")
    page = tmp_path / "heartbeat_prod.prom"
    until(lambda: page.exists() and shown(tmp_path)[SEQ] >= 5, process=process)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


def test_a_folder_that_comes_back_is_beaten_into_again(tmp_path: Path) -> None:
    folder = tmp_path / "textfile"
    process = lumen("--dir", str(folder), "--every", "0.1")
    assert process.stderr is not None
    message = process.stderr.readline()
    assert message.startswith(f"lumen: no heartbeat in {folder}: No such file or directory")
    folder.mkdir()
    until((folder / "heartbeat_prod.prom").exists, lambda: "a beat", process)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""  # reported once
    assert process.returncode == 0


def test_a_failed_single_beat_sets_the_exit_code(tmp_path: Path) -> None:
    process = lumen("--dir", str(tmp_path / "nowhere"))
    assert process.communicate(timeout=30)[1].count(os.linesep) == 1
    assert process.returncode == 1


@pytest.mark.parametrize("wrong", [("--realm", 'a"b'), ("--every", "61"), ("--every", "often")])
def test_what_makes_no_sense_is_refused(tmp_path: Path, wrong: tuple[str, str]) -> None:
    process = lumen("--dir", str(tmp_path), *wrong)
    assert "is not" in process.communicate(timeout=30)[1]
    assert process.returncode == 2
