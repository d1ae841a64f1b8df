"""What the files of a run declare final, hold for the history, and set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.outputs import OutputConfig, StoreConfig
from configs.schema import Config
from operators.snapshot import decode_state
from sinks.files.aside import lessen, set_aside, waiting
from sinks.files.folder import Folder, FolderError
from sinks.files.progress import (
    ASIDE,
    FINAL,
    LATER,
    TAKEN,
    FilePlace,
    TakenIn,
    final_of,
    settle,
)
from sinks.files.readers import places_of
from sinks.files.result_files import ResultFiles
from sinks.files.run_summary import RunSummary
from sinks.output import Output, OutputPartition
from tests.support.shown import config, packet, ticks


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def of(out: Path, store: StoreConfig | None, **output: Any) -> Config:
    return config(output=OutputConfig(dir=str(out), **output), store=store)


def begin(
    out: Path,
    state: bytes | None = None,
    *,
    keep: bool = True,
    spool_mb: float = 1e6,
    **output: Any,
) -> OutputPartition:
    store = StoreConfig(dsn="sqlite:h", spool_mb=spool_mb)
    return Output(of(out, store, **output), ("r",), None, "f", keep).build_part("o", "out", state)


def size(out: Path, stem: str = "fused") -> int:
    return (out / f"{stem}.jsonl").stat().st_size


def took(out: Path, run: str, segment: int, byte: int = 0, lines: int = 0) -> None:
    TakenIn(1, 0.0, True, "", run, {"r": {"fused": FilePlace(segment, byte, lines)}}).write(out)


def test_without_recovery_all_whole_lines_are_final(out: Path) -> None:
    part = begin(out, keep=False)
    part.write_batch([packet(ticks(0, 5))])
    final = final_of(out)
    assert final is not None
    assert final.whole
    assert {rig: files.folder for rig, files in final.rigs.items()} == {"r": "."}
    part.close()
    assert json.loads((out / "run.json").read_text())["run_id"] == final.run


def test_with_recovery_positions_are_final_one_snapshot_late(out: Path) -> None:
    part = begin(out)
    final = final_of(out)
    assert final is not None
    assert (final.whole, final.rigs["r"].files) == (False, {})
    sizes = []
    for first in (0, 5, 10):
        part.write_batch([packet(ticks(first, 5))])
        sizes.append(size(out))
        part.snapshot()
        final = final_of(out)
        assert final is not None
        assert final.rigs["r"].files.get("fused", (0, 0))[1] == (sizes[-2:-1] or [0])[0]
    part.close()
    final = final_of(out)
    assert final is not None
    assert not final.whole
    settle(out)
    final = final_of(out)
    assert final is not None
    assert final.whole


def test_a_resumed_run_has_the_same_identity_and_its_own_positions(out: Path) -> None:
    part = begin(out)
    part.write_batch([packet(ticks(0, 5))])
    state, kept = part.snapshot(), size(out)
    part.write_batch([packet(ticks(5, 5))])
    part.close()
    settle(out)
    before = final_of(out)
    begin(out, state)
    final = final_of(out)
    assert before is not None and final is not None
    assert (final.run, final.started, final.whole) == (before.run, before.started, False)
    assert final.rigs["r"].files["fused"] == (0, kept)


def test_a_state_from_before_the_history_resumes(out: Path) -> None:
    part = begin(out)
    part.write_batch([packet(ticks(0, 5))])
    state = part.snapshot()
    part.close()
    part = begin(out, state)
    plain = part.files.snapshot()
    part.close()
    assert decode_state(state, "output", "f").keys() == plain.keys()
    older = {name: value for name, value in plain.items() if name not in ("run", "lines")}
    cfg = of(out, None)
    files = ResultFiles(cfg, ["r"], RunSummary(cfg, None), durable=True, resumed=older)
    files.consume([packet(ticks(5, 5))])
    files.stop()
    assert len((out / "fused.jsonl").read_text().splitlines()) == 10


def fill(part: OutputPartition, first: int, count: int) -> None:
    for number in range(first, first + count):
        part.write_batch([packet(ticks(10 * number, 10))])
        part.snapshot()


def segments(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("fused*.jsonl"))


def test_segments_wait_for_the_history_whatever_keep_is(out: Path) -> None:
    part = _rotating(out, 1e6)
    fill(part, 0, 12)
    assert len(segments(out)) > 4
    final = final_of(out)
    assert final is not None
    newest = part.files._files["r"]["fused"].segment
    took(out, final.run, newest)
    fill(part, 12, 1)
    assert len(segments(out)) <= 4
    took(out, "another run", 10**6)
    before = len(segments(out))
    fill(part, 13, 6)
    assert len(segments(out)) > before
    part.close()


def _rotating(out: Path, spool_mb: float) -> OutputPartition:
    store = StoreConfig(dsn="sqlite:h", spool_mb=spool_mb)
    cfg = of(out, store, rotate_mb=0.003, keep=2)
    return Output(cfg, ("r",), None, "f", False).build_part("o", "out", None)


def test_beyond_the_spool_the_oldest_go_and_their_lines_are_counted(out: Path) -> None:
    part = _rotating(out, 0.009)
    fill(part, 0, 40)
    part.close()
    final = final_of(out)
    assert final is not None
    kept = sum(len(path.read_text().splitlines()) for path in out.glob("fused*.jsonl"))
    assert final.lost == 400 - kept > 0
    waits = sum(path.stat().st_size for path in out.glob("fused*.jsonl"))
    assert waits < 9_000 + 5 * 3_000


def test_a_new_run_sets_aside_what_was_not_taken_in(out: Path) -> None:
    part = begin(out, keep=False)
    part.write_batch([packet(ticks(0, 5))])
    part.close()
    old = final_of(out)
    assert old is not None
    text = (out / "fused.jsonl").read_bytes()
    took(out, old.run, 0, 10, 0)
    part = begin(out, keep=False)
    aside = out / LATER / old.run
    assert (aside / "fused.jsonl").read_bytes() == text
    assert final_of(aside) == old
    new = final_of(out)
    assert new is not None
    assert new.run != old.run
    assert size(out) == 0
    part.close()
    Folder(out).check()


def test_a_new_run_sets_nothing_aside_when_all_was_taken_in(out: Path) -> None:
    part = begin(out, keep=False)
    part.write_batch([packet(ticks(0, 5))])
    part.close()
    old = final_of(out)
    assert old is not None
    took(out, old.run, 0, size(out))
    assert list(waiting(out, old, {TAKEN: places_of(out, TAKEN, old.run)})) == []
    begin(out, keep=False).close()
    assert not (out / LATER).exists()


def test_setting_aside_goes_on_after_a_kill(out: Path) -> None:
    part = begin(out, keep=False)
    part.write_batch([packet(ticks(0, 5))])
    part.close()
    old = final_of(out)
    assert old is not None
    (out / FINAL).replace(out / ASIDE)  # killed here
    aside = out / LATER / old.run
    aside.mkdir(parents=True)
    set_aside(out, Folder(out).access)
    assert final_of(aside) == old
    assert (aside / "fused.jsonl").exists()
    assert not (out / ASIDE).exists()


def test_runs_set_aside_beyond_the_spool_go_oldest_first(out: Path) -> None:
    for _ in range(3):
        part = begin(out, keep=False)
        part.write_batch([packet(ticks(0, 5))])
        part.close()
    set_aside(out, Folder(out).access)
    runs = sorted((out / LATER).iterdir(), key=lambda path: final_of(path).started)  # type: ignore[union-attr]
    assert len(runs) == 3
    most = sum(path.stat().st_size for path in runs[2].glob("*.jsonl"))
    assert lessen(out, most) == 10
    assert list((out / LATER).iterdir()) == [runs[2]]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "text", '{"run": "../x", "started": 0, "version": "", "pid": 1, "whole": true}'],
)
def test_a_published_file_that_is_not_sound_is_none(out: Path, text: str) -> None:
    out.mkdir()
    (out / FINAL).write_text(text)
    assert final_of(out) is None
    (out / FINAL).unlink()
    (out / FINAL).symlink_to("elsewhere")
    assert final_of(out) is None


@pytest.mark.parametrize("folder", ["..", "a/b", "/etc"])
def test_a_folder_elsewhere_is_not_read(out: Path, folder: str) -> None:
    part = begin(out, keep=False)
    part.close()
    text = (out / FINAL).read_text()
    (out / FINAL).write_text(text.replace('"folder":"."', f'"folder":"{folder}"'))
    assert final_of(out) is None


def test_a_link_in_place_of_the_folder_of_earlier_runs_is_refused(
    out: Path, tmp_path: Path
) -> None:
    part = begin(out, keep=False)
    part.write_batch([packet(ticks(0, 5))])
    part.close()
    (tmp_path / "elsewhere").mkdir()
    (out / LATER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="a link, not a folder"):
        begin(out, keep=False)
    assert list((tmp_path / "elsewhere").iterdir()) == []
