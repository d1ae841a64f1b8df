"""MCAP files that no recorder should write: whole runs, wrong lengths, bombs."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
from backports import zstd
from mcap.writer import CompressionType, Writer

from flows.run import execute
from ops.__main__ import main
from sources.mcap.mcap_recording import mcap_recording
from sources.mcap.records import MAGIC
from tests.support.json_lines import json_lines

START_NS = 1_700_000_000_000_000_000
CONFIG = """version: 2
streams: [{{name: a, type: file, path: {path}}}]
signals: {{s: {{members: {{"a:/arm/x": {{}}, "a:/arm/y": {{}}}}}}}}
output: {{dir: {out}}}
"""


def made(path: Path, n: int = 400, publish: bool = True, **other: bytes) -> Path:
    """Write n messages of two numbers, and one of each other topic (`name=content`)."""
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=4096, compression=CompressionType.ZSTD)
        writer.start()
        arm = writer.register_channel("/arm", "json", 0)
        for i in range(n):
            at = START_NS + i * 50_000_000
            data = json.dumps({"x": i % 7, "y": i % 5}).encode()
            writer.add_message(arm, at + 3_000_000, data, at if publish else 0)
        for name, content in other.items():
            number = writer.register_channel(f"/{name}", name, 0)
            writer.add_message(number, at, content, at)
        writer.finish()
    return path


def run_of(path: Path) -> tuple[dict, list[dict]]:
    config, out = path.with_name("c.yaml"), path.with_name("out")
    config.write_text(CONFIG.format(path=path, out=out))
    execute(config)
    run = json.loads((out / "run.json").read_text())
    assert run["balanced"]
    return run["account"]["total"], list(json_lines(out / "dead.jsonl"))


def rest_of(path: Path) -> tuple[int, list[str]]:
    """Return the number of lines and the faults of a file."""
    recording, lines, faults = mcap_recording(str(path)), 0, []
    while not recording.ended:
        for piece in recording.read():
            lines += piece.data.count(b"\n")
            faults += [piece.fault] if piece.fault else []
    recording.close()
    return lines, faults


def test_a_cut_file_is_one_dead_letter_of_a_run_that_ends_well(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mcap")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    total, dead = run_of(path)
    assert [(x["reason"], x["count"]) for x in dead] == [("archive", 1)]
    assert 100 < total["received"] < 801


def test_a_file_of_unknown_encodings_is_one_line_at_the_start(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mcap", n=1)
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_message(writer.register_channel("/camera", "cdr", 0), 1, b"abc", 1)
        writer.finish()
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.format(path=path, out=tmp_path / "out"))
    with pytest.raises(SystemExit) as left:
        main(["run", str(config)])
    assert left.value.code == 2


def test_messages_of_an_unknown_encoding_are_ignored_and_counted(tmp_path: Path) -> None:
    total, dead = run_of(made(tmp_path / "a.mcap", ros1=b"\0\1"))
    assert total["received"] == 801
    assert total["ignored"] == 1
    assert dead == []


def test_publish_times_of_1970_are_no_times_and_arrivals_serve(tmp_path: Path) -> None:
    total, dead = run_of(made(tmp_path / "a.mcap", publish=False))
    assert total["received"] == total["used"] == 800
    assert dead == []


@pytest.mark.parametrize("size", [1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize("kind", [4, 5, 6, 9, 77])
def test_a_record_of_a_huge_length_ends_the_file_with_one_fault(
    tmp_path: Path, kind: int, size: int
) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(MAGIC + struct.pack("<BQ", kind, size) + bytes(64))
    assert rest_of(path) == (0, ["archive"])


def _chunk(size: int, packed: bytes, packing: bytes = b"zstd") -> bytes:
    head = struct.pack("<QQQI", 0, 0, size, 0) + struct.pack("<I", len(packing)) + packing
    content = head + struct.pack("<Q", len(packed)) + packed
    return struct.pack("<BQ", 6, len(content)) + content


@pytest.mark.parametrize("claimed", [10, 1 << 20, (1 << 64) - 1])
def test_a_chunk_that_unpacks_to_more_than_the_bound_is_a_loss(
    tmp_path: Path, claimed: int
) -> None:
    bomb = zstd.compress(bytes(1 << 28))
    path = tmp_path / "a.mcap"
    path.write_bytes(MAGIC + _chunk(claimed, bomb) + struct.pack("<BQ", 15, 4) + bytes(4))
    assert rest_of(path) == (1, [])


def test_300_damages_end_as_losses(tmp_path: Path) -> None:
    whole = made(tmp_path / "a.mcap").read_bytes()
    draw = random.Random(29)
    path = tmp_path / "b.mcap"
    for _ in range(300):
        bad = bytearray(whole)
        for _ in range(draw.choice([1, 3, 30])):
            bad[draw.randrange(8, len(bad))] = draw.randrange(256)
        if draw.random() < 0.2:
            del bad[draw.randrange(8, len(bad)) :]
        path.write_bytes(bad)
        assert len(rest_of(path)[1]) <= 1
