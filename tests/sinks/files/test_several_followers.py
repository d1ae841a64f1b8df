"""Several followers of one run: segments and runs wait for the slowest."""

from __future__ import annotations

import os
from pathlib import Path

from configs.connectors.kafka_out import KafkaDestination
from configs.files import PRIVATE
from configs.outputs import StoreConfig
from sinks.files.aside import later_runs, leave, set_aside, waiting
from sinks.files.folder import Folder
from sinks.files.progress import STEMS, TAKEN, FilePlace, TakenIn, final_of
from sinks.files.readers import SentReport, readers_of, report_name
from sinks.files.spool import FollowedSpool
from tests.support.history_run import HistoryRun
from tests.support.shown import config

TOPIC = KafkaDestination(name="results", brokers=["a:1"])
SENT = report_name(TOPIC)


def two(out: Path) -> HistoryRun:
    """Return a run with the history and a topic as its followers."""
    run = HistoryRun(out)
    run.final.readers = {TAKEN: STEMS, SENT: ("fused",)}
    run.publish()
    return run


def took(out: Path, run: str, place: FilePlace) -> None:
    TakenIn(1, 0.0, True, "", run, {"main": {"fused": place, "dead": place}}).write(out)


def sent(out: Path, run: str, place: FilePlace) -> None:
    SentReport(os.getpid(), "", {run: {"main": {"fused": place}}}).write(out, SENT)


def test_the_followers_of_a_configuration_have_reports_of_their_own() -> None:
    assert readers_of(config()) == {}
    both = config(send=[TOPIC], store=StoreConfig(dsn="sqlite:h"))
    assert readers_of(both) == {TAKEN: STEMS, SENT: ("fused",)}


def test_a_run_is_set_aside_for_the_follower_that_has_not_read_it(tmp_path: Path) -> None:
    run = two(tmp_path / "out")
    run.ticks(0, 5)
    all_of_it = FilePlace(0, (run.root / "fused.jsonl").stat().st_size, 5)
    took(run.root, "run-1", all_of_it)
    set_aside(run.root, PRIVATE)
    (aside,) = later_runs(run.root)
    assert (aside / "fused.jsonl").exists()

    final = final_of(aside)
    assert final is not None
    leave(aside, final, TAKEN)
    assert aside.exists()
    leave(aside, final, SENT)
    assert later_runs(run.root) == []
    assert not aside.exists()


def test_a_run_that_both_have_read_is_not_set_aside(tmp_path: Path) -> None:
    run = two(tmp_path / "out")
    run.ticks(0, 5)
    all_of_it = FilePlace(0, (run.root / "fused.jsonl").stat().st_size, 5)
    took(run.root, "run-1", all_of_it)
    sent(run.root, "run-1", all_of_it)
    set_aside(run.root, PRIVATE)
    assert later_runs(run.root) == []


def test_files_that_no_follower_reads_never_wait(tmp_path: Path) -> None:
    run = HistoryRun(tmp_path / "out")
    run.final.readers = {SENT: ("fused",)}
    run.files["dead"].write(b"{}\n")
    assert list(waiting(run.root, run.final, {})) == []


def test_old_segments_wait_for_the_slowest_follower(tmp_path: Path) -> None:
    run = HistoryRun(tmp_path / "out", limit=2_000)
    segments = run.files["fused"]
    segments.keep = 1
    run.ticks(0, 40)
    last = segments.segment
    assert last > 3
    spool = FollowedSpool(run.root, 1e9, {TAKEN: STEMS, SENT: ("fused",)})
    took(run.root, "run-1", FilePlace(last, 0, 30))
    sent(run.root, "run-1", FilePlace(2, 0, 10))
    spool.hold("run-1", {"main": run.files})
    segments.snapshot()
    assert segments.oldest == 2
    sent(run.root, "run-1", FilePlace(last, 0, 30))
    spool.hold("run-1", {"main": run.files})
    segments.snapshot()
    assert segments.oldest == last
    assert spool.lost == 0


def test_reports_in_an_output_folder_are_no_strangers(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in (SENT, f"{SENT}.lock", f"{SENT}.tmp"):
        (out / name).touch()
    Folder(out).check()
