"""MCAP files of another writer as recordings, and files of our own as exact copies."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from mcap.writer import CompressionType, IndexType, Writer

from ops.cli.convert import convert
from ops.cli.run import execute
from sources.mcap.channels import channels_of, remarks
from sources.mcap.mcap_lines import MAX_NUMBERS
from sources.mcap.mcap_recording import mcap_recording
from sources.opening import head, open_recording
from sources.recordings.recording import Mark, UnusableError
from tests.support.json_lines import json_lines

START_NS = 1_700_000_000_000_000_000
PACKINGS = (CompressionType.NONE, CompressionType.LZ4, CompressionType.ZSTD)


def made(
    path: Path,
    messages: list[tuple[str, str, int, int, bytes]],
    packing: CompressionType = CompressionType.ZSTD,
    chunk: int = 4096,
    summary: bool = True,
) -> Path:
    """Write messages (topic, encoding, log ns, publish ns, content) with the reference writer."""
    with path.open("wb") as file:
        plain = {} if summary else {"index_types": IndexType.NONE, "repeat_channels": False}
        writer = Writer(file, compression=packing, chunk_size=chunk, **plain)  # type: ignore[arg-type]
        writer.start()
        known: dict[str, int] = {}
        for topic, encoding, log, publish, data in messages:
            if topic not in known:
                known[topic] = writer.register_channel(topic, encoding, 0)
            writer.add_message(known[topic], log, data, publish)
        writer.finish()
    return path


def arm(n: int, packing: CompressionType = CompressionType.ZSTD) -> list:
    return [
        ("/arm", "json", START_NS + i * 10**7 + 3 * 10**6, START_NS + i * 10**7,
         json.dumps({"pose": {"x": i / 2, "y": [i, -1]}, "ok": True, "name": "a"}).encode())
        for i in range(n)
    ]  # fmt: skip


def read(path: Path, mark: Mark | None = None) -> tuple[list[dict], list[str]]:
    recording = mcap_recording(str(path), mark=mark)
    data, faults = b"", []
    while not recording.ended:
        for piece in recording.read():
            data += piece.data
            if piece.fault:
                faults.append(f"{piece.fault}: {piece.why.decode()}")
    recording.close()
    return [json.loads(line) for line in data.splitlines()], faults


@pytest.mark.parametrize("packing", PACKINGS)
def test_each_number_of_a_json_message_is_an_event_with_both_times(
    tmp_path: Path, packing: CompressionType
) -> None:
    rows, faults = read(made(tmp_path / "robot.mcap", arm(50), packing))
    assert not faults
    assert [row["key"] for row in rows[:3]] == ["/arm/pose/x", "/arm/pose/y/0", "/arm/pose/y/1"]
    assert [row["value"] for row in rows if row["key"] == "/arm/pose/x"] == [
        i / 2 for i in range(50)
    ]
    assert {row["source"] for row in rows} == {"robot"}
    assert rows[3]["ts"] == (START_NS + 10**7) / 1e9
    assert rows[3]["meta"]["rx"] == (START_NS + 10**7 + 3 * 10**6) / 1e9


def test_a_message_without_a_publish_time_has_no_time_of_its_own(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mcap", [("/a", "json", 5 * 10**9, 0, b'{"x": 1}')])
    ((row,), _) = read(path)
    assert row["meta"] == {"own_time": False}
    assert row["ts"] == 5.0


def test_losses_have_their_reasons_and_counts(tmp_path: Path) -> None:
    many = json.dumps({f"k{i}": i for i in range(MAX_NUMBERS + 7)}).encode()
    messages = [
        ("/good", "json", 10**9, 10**9, b'{"x": 1, "far": 1%s}' % (b"0" * 400)),
        ("/good", "json", 2 * 10**9, 2 * 10**9, b"{"),
        ("/good", "json", 2 * 10**9, 2 * 10**9, b'{"x": NaN}'),
        ("/good", "json", 2 * 10**9, 2 * 10**9, b"[" * 100_000),
        ("/long", "json", 2 * 10**9, 2 * 10**9, b'{"x": "' + b"a" * (1 << 20) + b'"}'),
        ("/many", "json", 3 * 10**9, 3 * 10**9, many),
        ("/camera", "cdr", 3 * 10**9, 3 * 10**9, bytes(20)),
        ("/camera", "cdr", 4 * 10**9, 4 * 10**9, bytes(20)),
    ]
    path = made(tmp_path / "a.mcap", messages)
    rows, faults = read(path)
    lost = [row["lost"] for row in rows if "lost" in row]
    assert not faults
    assert sum("key" in row for row in rows) == 1 + MAX_NUMBERS
    assert sorted((x["reason"], x["where"], x["count"]) for x in lost) == [
        ("filtered", "/camera", 2), ("filtered", "/many", 7), ("json", "/good", 1),
        ("json", "/good", 1), ("json", "/good", 1), ("too_long", "/long", 1),
        ("value", "/good/far", 1),
    ]  # fmt: skip
    assert remarks(str(path)) == [
        f"{path}: not read, as their messages are not JSON: /camera (cdr)"
    ]


def test_a_file_without_a_json_channel_is_refused_by_name(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mcap", [("/camera", "cdr", 1, 1, b"a"), ("/tf", "ros1", 1, 1, b"b")])
    with pytest.raises(UnusableError, match=r"no channel is JSON: /camera \(cdr\), /tf \(ros1\)"):
        channels_of(str(path))
    (tmp_path / "text.mcap").write_text("no such file")
    with pytest.raises(UnusableError, match="no MCAP file"):
        channels_of(str(tmp_path / "text.mcap"))


def test_channels_are_found_without_a_summary(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mcap", arm(5))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert [each.topic for each in channels_of(str(path))] == ["/arm"]


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_cut_file_gives_its_readable_part_and_one_dead_letter(
    tmp_path: Path, packing: CompressionType
) -> None:
    data = made(tmp_path / "whole.mcap", arm(400), packing).read_bytes()
    whole, _ = read(tmp_path / "whole.mcap")
    path = tmp_path / "whole.mcap"
    end = data.rindex(b"\x0f\x04" + bytes(7))  # the end of data
    for at in random.Random(5).sample(range(8, end), 60):
        path.write_bytes(data[:at])
        rows, faults = read(path)
        assert rows == whole[: len(rows)]
        assert faults == ["archive: cut off"]


def test_damaged_bytes_end_as_losses_and_never_as_an_error(tmp_path: Path) -> None:
    data = made(tmp_path / "a.mcap", arm(300)).read_bytes()
    draw = random.Random(7)
    path = tmp_path / "b.mcap"
    for _ in range(300):
        bad = bytearray(data)
        for _ in range(draw.randint(1, 6)):
            bad[draw.randrange(8, len(bad))] = draw.randrange(256)
        path.write_bytes(bad)
        read(path)


def test_a_damaged_chunk_costs_that_chunk_only(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mcap", arm(400), CompressionType.NONE)
    whole, _ = read(path)
    data = bytearray(path.read_bytes())
    data[data.index(b'{"pose"') + 2] ^= 1  # in the first chunk
    path.write_bytes(data)
    rows, faults = read(path)
    assert not faults
    assert [row["lost"]["reason"] for row in rows if "lost" in row] == ["archive"]
    kept = [row for row in rows if "key" in row]
    assert kept == whole[len(whole) - len(kept) :]
    assert len(kept) > len(whole) / 2


def test_a_resumed_file_goes_on_at_its_mark(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mcap", arm(3000))
    whole, _ = read(path)
    offset = len(head(str(path), 1 << 24)) // 2
    offset = head(str(path), offset).rindex(b"\n") + 1
    rest, _ = read(path, Mark(offset))
    assert rest == whole[len(whole) - len(rest) :]
    assert 0 < len(rest) < len(whole)
    with pytest.raises(ValueError, match="cannot be followed"):
        open_recording(str(path), follow=True)


def test_a_converted_recording_gives_the_same_lines_and_results(tmp_path: Path) -> None:
    lines = [
        {"ts": 1.0 + i / 20, "source": s, "key": "k", "value": float(i % 9),
         "meta": {"rx": 1.0 + i / 20 + 0.01}}
        for i in range(600) for s in ("a", "b")
    ]  # fmt: skip
    lines.insert(7, {"tick": 1.2, "rig": "stage"})
    lines.insert(9, {"ts": 1.21, "source": "a", "key": "song", "value": "verse", "rig": "stage"})
    lines.insert(11, {"ts": 1.22, "source": "a", "key": "arr", "value": [1.0, 2.0]})
    plain = tmp_path / "plain.ndjson"
    plain.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "{broken\n")
    convert(str(plain), tmp_path / "once.ndjson")
    convert(str(plain), tmp_path / "packed.mcap")
    convert(str(tmp_path / "packed.mcap"), tmp_path / "twice.ndjson")
    assert (tmp_path / "twice.ndjson").read_bytes() == (tmp_path / "once.ndjson").read_bytes()


def test_a_run_of_an_mcap_file_accounts_for_every_message(tmp_path: Path) -> None:
    messages = sorted(
        [*arm(2000), ("/camera", "cdr", START_NS + 10**9, START_NS, b"x")], key=lambda m: m[2]
    )
    made(tmp_path / "robot.mcap", messages)
    config = tmp_path / "c.yaml"
    config.write_text(
        f"version: 2\nstreams: [{{name: robot, type: file, path: {tmp_path}/robot.mcap}}]\n"
        'signals: {x: {members: {"robot:/arm/pose/x": {}, "robot:/arm/pose/y/0": {}}}}\n'
        f"output: {{dir: {tmp_path}/out}}\n"
    )
    out = execute(str(config), progress=False)
    run = json.loads((out / "run.json").read_text())
    total = run["account"]["total"]
    assert run["balanced"]
    assert total["received"] == 3 * 2000 + 1
    assert "/camera (cdr)" in run["recordings"][0]["remarks"][0]
    assert [x["reason"] for x in json_lines(out / "dead.jsonl")] == []
