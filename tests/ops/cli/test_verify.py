import gzip
import json
from pathlib import Path

import pytest

from configs.inputs import FileStream
from configs.load import load
from configs.outputs import OutputConfig
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.collect import CollectConfig
from ops.cli.excerpt import excerpt
from ops.cli.verify import digests, write_config
from ops.engine_runs import written


def config(folder: Path, path: Path, **more) -> Config:
    return Config(
        version=2,
        streams=[FileStream(name="demo", path=str(path), speed=1.0, follow=True)],
        signals={"pulse": SignalConfig(members={"a:x": MemberConfig(lag_s=1e-9)})},
        output=OutputConfig(dir=str(folder / "elsewhere")),
        **more,
    )


def record(path: Path, stamps: list[float]) -> Path:
    lines = [json.dumps({"ts": 5.0, "source": "a", "meta": {"rx": rx}}) for rx in stamps]
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_a_written_configuration_differs_only_in_output_and_streams(tmp_path):
    recording = record(tmp_path / "r.ndjson", [1.0])
    before = config(tmp_path, recording, facts=["a:fact"])
    path = write_config(before, tmp_path / "c.yaml", tmp_path / "out", speed=50, batch_lines=37)
    after = load(path).config
    assert after.output.dir == str(tmp_path / "out")
    assert after.streams == [
        FileStream(name="demo", path=str(recording), speed=50.0, batch_lines=37)
    ]
    assert (after.signals, after.facts, after.align) == (
        before.signals, before.facts, before.align,
    )  # fmt: skip


@pytest.mark.parametrize(("block", "same"), [("auto", 0.05), ("density", "density"), (0.25, 0.25)])
def test_the_width_of_blocks_stays_whatever_the_speed(tmp_path, block, same):
    recording = record(tmp_path / "r.ndjson", [1.0])
    before = config(tmp_path, recording, collect=CollectConfig(block_s=block))
    for speed in (0, 50):
        path = write_config(before, tmp_path / "c.yaml", tmp_path / "out", speed=speed)
        assert load(path).config.block_s() == same


def test_segments_and_rigs_count_and_folders_do_not(tmp_path):
    def lay(name: str, **files: bytes) -> dict[str, str]:
        for place, content in files.items():
            path = tmp_path / name / (place.replace("__", "/").replace("_", ".") + ".jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return digests(tmp_path / name)

    whole = lay("whole", fused=b"1\n2\n")
    assert lay("cut", fused=b"1\n", fused_000001=b"2\n") == whole
    assert lay("swapped", fused=b"2\n", fused_000001=b"1\n") != whole
    assert lay("elsewhere", rig__fused=b"1\n2\n") != whole
    assert lay("more", fused=b"1\n2\n", sync=b"3\n") != whole
    assert whole["sync"] == "empty"
    assert written(tmp_path / "cut") == 4


@pytest.mark.parametrize("name", ["r.ndjson", "r.ndjson.gz"])
def test_an_excerpt_is_the_first_seconds_of_arrival(tmp_path, name):
    recording = record(tmp_path / name, [100.0 + i / 10 for i in range(1000)])
    cut = excerpt(config(tmp_path, recording), tmp_path, 20.0)
    lines = Path(cut.streams[0].path).read_bytes().splitlines()
    assert len(lines) == 201 + 10  # ten lines show that the end is passed


def test_a_wild_stamp_does_not_end_an_excerpt(tmp_path):
    stamps = [100.0 + i / 10 for i in range(1000)]
    stamps[5] = 1e9
    cut = excerpt(config(tmp_path, record(tmp_path / "r.ndjson", stamps)), tmp_path, 20.0)
    assert len(Path(cut.streams[0].path).read_bytes().splitlines()) == 211


def test_an_excerpt_of_a_cut_archive_ends_where_it_can_be_read_no_further(tmp_path):
    recording = record(tmp_path / "r.ndjson.gz", [100.0 + i for i in range(5000)])
    recording.write_bytes(recording.read_bytes()[:-100])
    cut = excerpt(config(tmp_path, recording), tmp_path, 1e9)
    lines = Path(cut.streams[0].path).read_bytes().splitlines()
    assert 100 < len(lines) < 5000
