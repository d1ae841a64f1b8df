"""Cost goes with bytes, whatever they hold; limits are counted, and the rest of the flow goes on.

Limits are CPU time of this process and its ratio, or counts.
"""

import gzip
import json
import struct
import time
import tracemalloc
from collections import Counter
from io import BytesIO

import pytest
from backports import zstd

from configs.load import load
from operators.collect import Collect
from sources.delimited.dialect import find
from sources.host.shutdown import Shutdown
from sources.osc.frames import Frames
from sources.recordings import unpack
from sources.recordings.recording import Recording
from sources.recordings.unpack import MAX_BLANK, MAX_EMPTY, Unpacker
from sources.replay import replay
from sources.replay.replay import ReplayPartition
from sources.rows.admission import Admission
from sources.rows.names import Names
from sources.xdf import load as load_xdf
from sources.xdf.chunks import MAX_HEADERS, Header, Samples, chunks
from sources.xdf.xdf import LoadStoppedError

CONFIG = """version: 2
streams: [{{name: r, type: file, path: "{path}", batch_lines: {lines}}}]
signals: {{s: {{members: {{"a:k": {{}}}}}}}}
output: {{dir: "{out}"}}
"""


def line(i, source="a", key="k", value=1.0, n=1000):
    ts = 1.7e9 + i * 10 / n
    return json.dumps(
        {"ts": ts, "source": source, "key": key, "value": value, "meta": {"rx": ts}}
    ).encode()


def partition(path, lines=500, state=None, shutdown=None):
    file = path.parent / "c.yaml"
    file.write_text(CONFIG.format(path=path, lines=lines, out=path.parent / "out"))
    config = load(file).config
    return config, ReplayPartition(config, state, shutdown=shutdown)


def run(path, lines=500):
    """Return the ends of all events, the dead letters, and the longest call (CPU seconds)."""
    config, part = partition(path, lines)
    collect = Collect(config.plan(), 1.0)
    ends, dead, longest = Counter(), Counter(), 0.0
    try:
        while True:
            begun = time.process_time()
            batches = part.next_batch()
            longest = max(longest, time.process_time() - begun)
            for _, batch in batches:
                for packet in collect.update(batch):
                    for e in packet.ends:
                        ends[e.end] += len(e.watermark)
                    for d in packet.letters:
                        dead[d.reason, d.source] += d.count
    except StopIteration:
        return ends, dead, longest
    finally:
        part.close()


def cpu(work, *arguments):
    begun = time.process_time()
    work(*arguments)
    return time.process_time() - begun


def many_sources(path, n):
    path.write_bytes(b"\n".join(line(i, f"s{i}" if i % 20 else "a", n=n) for i in range(n)) + b"\n")
    return path


def test_twice_as_many_sources_cost_no_more_than_twice(tmp_path):
    small, large = (many_sources(tmp_path / f"{n}.ndjson", n) for n in (20_000, 40_000))
    assert cpu(run, large) <= 2.5 * cpu(run, small) + 0.2


def test_sources_beyond_the_limit_are_one_letter_with_its_count(tmp_path, monkeypatch):
    monkeypatch.setattr(Admission, "__init__", _few(Admission.__init__))
    ends, dead, _ = run(many_sources(tmp_path / "s.ndjson", 2000))
    assert dead == {("too_many_names", "*"): 1900 - 100}
    assert ends["received"] == 2000 == ends["rejected"] + ends["ignored"] + 100
    assert ends["ignored"] == 100


def test_the_names_admitted_are_those_of_a_run_that_was_not_resumed(tmp_path, monkeypatch):
    path = many_sources(tmp_path / "s.ndjson", 2000)

    def printed(parts):
        return [(b.names[n], False) if n >= 0 else None for b in parts for n in b.name.tolist()]

    def drain(part):
        batches = []
        try:
            while True:
                batches += [b for _, b in part.next_batch()]
        except StopIteration:
            pass
        part.close()
        return batches

    monkeypatch.setattr(Admission, "__init__", _few(Admission.__init__))
    whole = drain(partition(path, 150)[1])
    first = partition(path, 150)[1]
    begun = [b for _ in range(3) for _, b in first.next_batch()]
    state = first.snapshot()
    first.close()
    rest = drain(partition(path, 150, state)[1])
    assert printed(begun + rest) == printed(whole)
    assert sum(len(b.rejects) for b in whole) == 1800


def _few(init):
    return lambda self, used=(), known=b"", max_names=100: init(self, used, known, 100)


def test_rejects_of_many_sources_share_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Admission, "__init__", _few(Admission.__init__))
    path = tmp_path / "r.ndjson"
    path.write_bytes(b"\n".join(line(i, f"s{i}", value=None) for i in range(500)) + b"\n")
    _, dead, _ = run(path)
    assert len(dead) == 101
    assert dead["value", "*"] == 400


def test_a_long_array_costs_its_bytes_and_its_end_is_one_refusal(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(line(1) + b"\n" + line(2, "arr", "x", [1] * 100_000) + b"\n" + line(3))
    ends, dead, longest = run(path)
    assert longest < 3, "deaf to signals meanwhile"
    assert ends["received"] == 100_002
    assert ends["rejected"] == 100_000 - 65_536 == dead["too_many_names", "*"]


def test_a_call_takes_no_more_rows_than_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "MAX_ROWS", 1000)
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\n".join(line(i, "a", "x", [1] * 300) for i in range(20)) + b"\n")
    _, part = partition(path)
    sizes = []
    with pytest.raises(StopIteration):
        while True:
            sizes += [len(b.name) for _, b in part.next_batch()]
    part.close()
    assert max(sizes) == 900
    assert sum(sizes) == 6000


def packed(path, *parts):
    path.write_bytes(b"".join(gzip.compress(p) for p in parts))
    return path


def content(path):
    """Return the bytes and the faults of a recording."""
    recorded, data, faults = Recording(str(path)), 0, []
    while not recorded.ended:
        for piece in recorded.read():
            data += len(piece.data)
            faults += [piece.why.decode()] if piece.fault else []
    recorded.close()
    return data, faults


def test_blank_lines_of_an_archive_end_it_at_a_stated_size(tmp_path):
    healthy = b"".join(line(i) + b"\n" for i in range(100))
    path = packed(tmp_path / "b.ndjson.gz", healthy + b"\n" * (5 * MAX_BLANK) + healthy)
    ends, dead, _ = run(path)
    assert (ends["received"], ends["rejected"]) == (101, 1)
    assert dead == {("archive", "?"): 1}
    assert content(path)[1] == ["more than 16 MiB without an event"]


def test_blank_lines_cost_no_object_a_line(tmp_path):
    path = tmp_path / "b.ndjson"
    path.write_bytes(line(1) + b"\n" * (8 << 20) + line(2) + b"\n")
    assert cpu(run, path) < 2


def test_more_content_than_is_believed_ends_an_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "FREE", 1 << 20)
    path = packed(tmp_path / "x.ndjson.gz", b"x" * (8 << 20))
    _, faults = content(path)
    assert faults[-1:] == ["more than 1 MiB and 250 times its size: too much to believe"]
    assert unpack.FREE + 250 * path.stat().st_size < 8 << 20


@pytest.mark.parametrize("empty", [gzip.compress(b""), zstd.compress(b"")], ids=["gz", "zst"])
def test_empty_members_cost_their_bytes_and_end_at_a_stated_number(empty):
    is_zstd = empty[:2] != b"\x1f\x8b"

    def read(n):
        data = empty * n
        return Unpacker(BytesIO(data), is_zstd, len(data))

    def drain(n):
        packed = read(n)
        while not packed.ended:
            packed.read(1 << 16)
        return packed

    assert drain(MAX_EMPTY).fault is None
    assert drain(MAX_EMPTY + 1).fault == "more than 65,536 parts in a row hold nothing"
    assert cpu(drain, 40_000) <= 2.5 * cpu(drain, 20_000) + 0.1
    # A reader that looks for a stop between two calls is not kept from it.
    assert cpu(read(60_000).read, 1 << 20) < 0.5


@pytest.mark.parametrize("size", [1, 777, 1 << 16])
def test_an_archive_gives_the_same_bytes_in_any_portions(size, monkeypatch):
    monkeypatch.setattr(unpack, "FREE", 3000)
    monkeypatch.setattr(unpack, "MAX_RATIO", 0)
    text = b"".join(line(i) + b"\n" for i in range(100))
    data = gzip.compress(text[:900]) + b"\0" * 40 + gzip.compress(b"") + gzip.compress(text[900:])
    packed, parts = Unpacker(BytesIO(data), False, len(data)), []
    while not packed.ended:
        parts.append(packed.read(size))
    assert b"".join(parts) == text[:3000]
    assert "too much" in packed.fault


def test_a_gzip_member_with_all_its_fields_is_read():
    body = gzip.compress(b"text")[10:]
    head = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x03\x00abc" + b"name\0" + b"comment\0" + b"\0\0"
    packed = Unpacker(BytesIO(head + body), False, 60)
    assert packed.read(100) + packed.read(100) == b"text"
    assert packed.fault is None


def chunk(tag, data):
    return b"\x08" + struct.pack("<QH", len(data) + 2, tag) + data


def header(number, extra="", channels=1):
    return chunk(
        2,
        struct.pack("<I", number)
        + f"<info><name>s{number}</name><type>x</type><channel_count>{channels}</channel_count>"
        f"<nominal_srate>10</nominal_srate><channel_format>double64</channel_format>{extra}"
        "</info>".encode(),
    )


def samples(number, n=50):
    body = b"".join(b"\x08" + struct.pack("<dd", 100 + i / 10, i % 7) for i in range(n))
    return chunk(3, struct.pack("<I", number) + b"\x08" + struct.pack("<Q", n) + body)


def read(*parts):
    data = b"XDF:" + b"".join(parts)
    return list(chunks(BytesIO(data), len(data)))


@pytest.mark.parametrize("depth", [60, 2000, 200_000])
def test_a_nested_header_costs_its_own_stream_at_most(depth):
    nest = "<a>" * depth + "</a>" * depth
    found = read(header(1), header(3, nest), header(2), samples(3), samples(1), samples(2))
    numbers = {x.number for x in found if isinstance(x, Samples)}
    assert numbers == ({1, 2, 3} if depth < 63 else {1, 2})


def test_a_header_of_many_elements_makes_no_tree():
    data = header(1, "<a/>" * 400_000)
    tracemalloc.start()
    found = read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found[0], Header)
    assert peak < 8 * len(data)


def test_headers_are_bounded_in_sum(monkeypatch):
    assert MAX_HEADERS == 64 << 20
    monkeypatch.setattr("sources.xdf.chunks.MAX_HEADERS", 4 * len(header(1)))
    found = read(*(header(i) for i in range(1, 10)), samples(1), samples(9))
    assert [x.number for x in found if isinstance(x, Header)] == [1, 2, 3, 4]
    assert [x.number for x in found if isinstance(x, Samples)] == [1]


def test_a_stop_ends_the_loading_of_an_xdf_file(tmp_path):
    path = tmp_path / "x.xdf"
    path.write_bytes(b"XDF:" + header(1) + samples(1))
    shutdown = Shutdown()
    shutdown.request()
    with pytest.raises(LoadStoppedError):
        load_xdf(str(path), stopped=shutdown.requested)
    _, part = partition(path, shutdown=shutdown)
    assert [b.end for _, b in part.next_batch()] == [True]
    part.close()
    assert len(load_xdf(str(path))) == 50


def test_twice_as_many_columns_of_one_name_cost_no_more_than_twice():
    def table(n):
        rows = [",".join(["time", *["a"] * n]), *(",".join([str(i), *["1"] * n]) for i in range(3))]
        return "\n".join(rows).encode() + b"\n"

    found = find("t.csv", table(3))
    assert found.names == ("time", "a", "a#2", "a#3")
    small, large = table(20_000), table(40_000)
    assert cpu(find, "t.csv", large) <= 2.5 * cpu(find, "t.csv", small) + 0.2


@pytest.mark.parametrize("kind", ["length", "slip"])
def test_frames_of_a_byte_cost_their_bytes(kind):
    one = b"\0\0\0\1x" if kind == "length" else b"\xc0x\xc0"

    def feed(n):
        frames = Frames(65_535)
        return sum(len(frames.feed(one * 1000)) for _ in range(n))

    assert feed(10) == 10_000
    assert cpu(feed, 200) <= 2.5 * cpu(feed, 100) + 0.1


def test_new_names_do_not_search_the_rows_for_each_of_them():
    from sources.ndjson import Decoder

    def renamed(n):
        text = b"\n".join(line(i, f"s{i}") for i in range(n)) + b"\n"
        rows = Decoder("f").decode(text, 0, Names("r"))
        return cpu(rows.renamed, Names("r"))

    assert renamed(40_000) <= 2.5 * renamed(20_000) + 0.1
