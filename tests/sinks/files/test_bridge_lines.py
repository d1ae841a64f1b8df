"""`bridge.jsonl`: a line a frame, where a bridge is configured, cut and resumed as other files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

import ops.results
from configs.inputs import FileStream
from configs.outputs import OutputConfig
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.bridge.bridge_config import BridgeConfig
from operators.lines import BridgeFrame
from ops.cli.verify import digests
from ops.results.folder import Results
from sinks.files.folder import Folder
from sinks.files.jsonl import segments_of
from sinks.output import Output, OutputPartition
from tests.support.bridge_frames import frame, frames, packet

FIELDS = (
    "ts known rig beat tick_ms rate_hz phase_error phase_sd lock state why safety_gain withheld"
    " slips steps kp ki kd phase_diff sync_quality entropy_ratio applied"
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def begin(
    out: Path, state: bytes | None = None, bridge: BridgeConfig | None = None, **output: float
) -> OutputPartition:
    recording = out.parent / "recording.ndjson"
    recording.write_bytes(b"{}\n")
    config = Config(
        version=2,
        streams=[FileStream(name="demo", path=str(recording))],
        signals={"pulse": SignalConfig(members={"a:x": MemberConfig()})},
        bridge=bridge,
        output=OutputConfig(dir=str(out), **output),
    )
    return Output(config, ("studio",), None, "f", True).build_part("out", "out", state)


def lines(out: Path, stem: str = "bridge") -> list[dict[str, object]]:
    return [
        json.loads(line)
        for _, path in segments_of(out, stem)
        for line in path.read_bytes().splitlines()
    ]


def test_without_a_bridge_there_is_no_file(out: Path) -> None:
    part = begin(out)
    part.write_batch([packet(end=True)])
    part.close()
    assert not (out / "bridge.jsonl").exists()


def test_each_frame_is_a_line_in_its_order(out: Path) -> None:
    change = replace(frame(3, 100.9), why="entropy", state="E3", applied=["kd 0.10 to 0.12"])
    part = begin(out, bridge=BridgeConfig())
    part.write_batch([packet(*frames(0, 2, 100.0)), packet(change, end=True)])
    part.close()
    found = lines(out)
    assert [" ".join(line) for line in found] == [FIELDS] * 3
    assert found[1]["ts"] == 100.2
    assert found[1]["entropy_ratio"] is None  # NaN
    assert (found[2]["why"], found[2]["state"]) == ("entropy", "E3")
    assert (out / "bridge.jsonl").name in json.loads((out / "run.json").read_bytes())["files"]


def test_a_name_in_a_frame_cannot_act_on_a_terminal(out: Path) -> None:
    part = begin(out, bridge=BridgeConfig())
    part.write_batch([packet(frame(applied=["\x9b31m"]))])
    assert b"\x9b" not in (out / "bridge.jsonl").read_bytes()
    assert lines(out)[0]["applied"] == ["\x9b31m"]


def test_a_resumed_run_writes_no_line_twice(out: Path) -> None:
    made = frames(0, 9, 100.0)
    part = begin(out, bridge=BridgeConfig())
    part.write_batch([packet(*made[:4])])
    state = part.snapshot()
    part.write_batch([packet(*made[4:6])])
    part.files.folder.release()
    part = begin(out, state, bridge=BridgeConfig())
    part.write_batch([packet(*made[4:], end=True)])
    part.close()
    assert [line["beat"] for line in lines(out)] == list(range(9))


def test_segments_are_read_back_as_columns_and_count_for_the_digest(out: Path) -> None:
    part = begin(out, bridge=BridgeConfig(), rotate_mb=0.0005)
    for made in frames(0, 5, 100.0, applied=["a", "b"]):
        part.write_batch([packet(made)])
    part.close()
    assert len(segments_of(out, "bridge")) > 1
    assert digests(out)["bridge"] != "empty"
    (out / "fused.jsonl").touch()
    table = ops.results.open(out).bridge
    assert table["beat"].tolist() == [0, 1, 2, 3, 4]
    assert table["applied"].tolist() == ["a; b"] * 5
    assert [line.applied for line in Results(out).bridge()] == [["a", "b"]] * 5
    assert set(BridgeFrame.__struct_fields__) == set(table)


def test_a_later_run_without_recovery_replaces_the_file(out: Path) -> None:
    part = begin(out, bridge=BridgeConfig())
    part.write_batch([packet(frame())])
    part.files.folder.release()  # killed
    Folder(out).check()
    part = begin(out, bridge=BridgeConfig())
    assert not lines(out)
    part.close()
