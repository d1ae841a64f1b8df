"""What is left of a damaged recording, to the row, and why each of the others was refused."""

import gzip
import json
import resource
import zlib
from collections import Counter

import msgspec
import pytest
from backports import zstd

from configs.schema import Config
from sources.replay import Replay

LINES = [
    json.dumps(
        {
            "ts": 1.7e9 + i / 10,
            "source": "ab"[i % 2],
            "key": "x",
            "value": i / 8,
            "meta": {"rx": 1.7e9 + i / 10 + 0.02, "seq": i},
        }
    ).encode()
    for i in range(200)
]
CLEAN = b"".join(x + b"\n" for x in LINES)
GZ = gzip.compress(CLEAN, mtime=0)
ZST = zstd.compress(CLEAN)
BOM = b"\xef\xbb\xbf"


def with_(*odd, at=100):
    """The clean lines with others among them."""
    return b"".join(x + b"\n" for x in [*LINES[:at], *odd, *LINES[at:]])


def bad(value=b"1", ts=b"1700000010.0", meta=b"{}", source=b'"a"', key=b'"x"'):
    return b'{"ts": %s, "source": %s, "key": %s, "value": %s, "meta": %s}' % (
        ts, source, key, value, meta,
    )  # fmt: skip


def arriving(rx, n=1):
    return [bad(meta=b'{"rx": %f}' % (rx + i / 100)) for i in range(n)]


# name: (bytes, rows, refused by reason, wild rows)
CORPUS = {
    "clean.ndjson": (CLEAN, 200, {}, 0),
    "empty.ndjson": (b"", 0, {}, 0),
    "blank.ndjson": (b"\n \n\t\r\n\n", 0, {}, 0),
    "mark.ndjson": (BOM + CLEAN, 200, {}, 0),
    "only_mark.ndjson": (BOM, 0, {}, 0),
    "mark_inside.ndjson": (with_(BOM + LINES[0]), 200, {"json": 1}, 0),
    "crlf.ndjson": (CLEAN.replace(b"\n", b"\r\n"), 200, {}, 0),
    "blank_between.ndjson": (CLEAN.replace(b"\n", b"\n\n  \n"), 200, {}, 0),
    "no_last_newline.ndjson": (CLEAN[:-1], 200, {}, 0),
    "torn.ndjson": (CLEAN[:-20], 199, {"torn": 1}, 0),
    "cut_in_half.ndjson": (CLEAN[: len(CLEAN) // 2 + 7], 100, {"torn": 1}, 0),
    "bad_last.ndjson": (CLEAN + bad(b"true"), 200, {"value": 1}, 0),
    "glued.ndjson": (CLEAN.replace(b"}\n", b"}", 1), 198, {"json": 1}, 0),
    "torn_over_two.ndjson": (with_(LINES[0][:40], LINES[0][40:]), 200, {"json": 2}, 0),
    "two_and_torn.ndjson": (
        with_(bad() * 2, b'{"ts":1,"source":"a","key":"x","value":', b"5}"), 200, {"json": 3}, 0,
    ),
    "words.ndjson": (with_(b"hello", b"[1, 2]", b"5", b"null", b'"x"'),
                     200, {"json": 1, "schema": 4}, 0),
    "types.ndjson": (
        with_(bad(ts=b'"1"'), bad(source=b"5"), bad(key=b"null"), bad(meta=b"7"),
              bad(meta=b'{"rx": "1"}'), bad(meta=b'{"seq": 0.5}'), b"{}"),
        200, {"schema": 7}, 0,
    ),
    "values.ndjson": (
        with_(*(bad(v) for v in (b"true", b"null", b"{}", b"[]", b"1e999", b"-1e999"))),
        200, {"value": 6}, 0,
    ),
    "not_a_number.ndjson": (with_(bad(b"NaN"), bad(b"Infinity"), bad(b"-inf")),
                            200, {"json": 3}, 0),
    "stamps.ndjson": (
        with_(bad(ts=b"1e13"), bad(ts=b"-1e999"), bad(meta=b'{"rx": 1e13}'), bad(ts=b"9" * 30)),
        200, {"stamp": 4}, 0,
    ),
    "huge_integers.ndjson": (
        with_(bad(b"9" * 25), bad(b"9" * 400), bad(meta=b'{"seq": 99999999999999999999}')),
        201, {"value": 1, "schema": 1}, 0,
    ),
    "hole.ndjson": (with_(b"\0" * 5000 + LINES[0]), 200, {"json": 1}, 0),
    "hole_of_blocks.ndjson": (CLEAN[:5000] + b"\0" * 3_000_000 + CLEAN[5000:],
                              199, {"too_long": 1}, 0),
    "long.ndjson": (with_(b"x" * (8 << 20)), 200, {"too_long": 1}, 0),
    "long_event.ndjson": (with_(bad(meta=b'{"x": "%s"}' % (b"y" * (1 << 20)))),
                          200, {"too_long": 1}, 0),
    "long_last.ndjson": (CLEAN + b"x" * (3 << 20), 200, {"too_long": 1}, 0),
    "deep.ndjson": (
        with_(bad(b"[" * 100_000), bad(meta=b'{"a":' * 5000 + b"1" + b"}" * 5000),
              bad(meta=b'{"a": %s%s}' % (b"[" * 100, b"]" * 100))),
        201, {"json": 2}, 0,
    ),
    "not_utf8.ndjson": (
        with_(bad(source=b'"\xff"'), bad(meta=b'{"unit": "\xb0C"}'), bad(key=b'"\xc3"')),
        200, {"json": 3}, 0,
    ),
    "surrogate.ndjson": (
        with_(bad(source=b'"\\ud800"'), bad(b'"\\udc00"'), bad(key=b'"\xed\xa0\x80"')),
        200, {"json": 3}, 0,
    ),
    "long_names.ndjson": (
        with_(bad(key=b'"%s"' % (b"k" * 256)), bad(source=b'"%s"' % (b"s" * 999))),
        200, {"schema": 2}, 0,
    ),
    "duplicates.ndjson": (with_(LINES[99], LINES[99]), 202, {}, 0),
    "double_keys.ndjson": (with_(bad()[:-1] + b', "value": 9, "ts": 1700000010}'), 201, {}, 0),
    "backwards.ndjson": (b"".join(x + b"\n" for x in reversed(LINES)), 200, {}, 0),
    "ahead.ndjson": (with_(*arriving(2.7e9)), 201, {}, 1),
    "ahead_first.ndjson": (with_(*arriving(2.7e9), at=0), 201, {}, 1),
    "ahead_last.ndjson": (with_(*arriving(2.7e9), at=200), 201, {}, 1),
    "far_back.ndjson": (with_(*arriving(7e8, 4)), 204, {}, 4),
    "gap.ndjson": (with_(*arriving(1.7e9 + 15_000, 5), at=200), 205, {}, 0),
    "leap_of_years.ndjson": (with_(*arriving(1.8e9, 12), at=200), 212, {}, 12),
    "array.ndjson": (with_(bad(b'[1, true, 3, "x", 1e999, [6]]'), bad(b"[1, 2]")),
                     204, {"value": 3, "text": 1}, 0),
    "markers.ndjson": (with_(bad(b'"now"'), bad(b'""')), 202, {}, 0),
    "ticks.ndjson": (with_(b'{"tick": 1700000010.0}', b'{"tick": "x"}', b'{"tick": 1e13}'),
                     201, {"schema": 1, "stamp": 1}, 0),
    "rigs.ndjson": (with_(bad()[:-1] + b', "rig": "../x"}', bad()[:-1] + b', "rig": 4}'),
                    200, {"schema": 2}, 0),
    "noise.ndjson": (bytes(range(256)) * 40, 0, {"json": 41 - 1, "torn": 1}, 0),
    "whole.ndjson.gz": (GZ, 200, {}, 0),
    "members.ndjson.gz": (gzip.compress(CLEAN[:5000]) + gzip.compress(CLEAN[5000:]), 200, {}, 0),
    "empty.ndjson.gz": (b"", 0, {}, 0),
    "garbage.ndjson.gz": (b"this is no archive" * 10, 0, {"archive": 1}, 0),
    "tail.ndjson.gz": (GZ + b"garbage", 200, {"archive": 1}, 0),
    "checksum.ndjson.gz": (GZ[:-8] + bytes(8), 200, {"archive": 1}, 0),
    "whole.ndjson.zst": (ZST, 200, {}, 0),
    "frames.ndjson.zst": (zstd.compress(CLEAN[:5000]) + zstd.compress(CLEAN[5000:]), 200, {}, 0),
    "garbage.ndjson.zst": (b"this is no archive" * 10, 0, {"archive": 1}, 0),
}  # fmt: skip


class Found:
    def __init__(self, path, batch_lines=10_000, resume_every=None, **stream):
        config = msgspec.convert(
            {
                "version": 2,
                "streams": [{"name": "f", "type": "file", "path": str(path),
                             "batch_lines": batch_lines} | stream],
                "signals": {"pulse": {"members": {"a:x": {}}}},
            },
            Config,
        )  # fmt: skip
        self.rows, self.rejects, self.wild, batches = [], [], 0, 0
        source = Replay(config).build_part("receive", "replay", None)
        while True:
            try:
                items = source.next_batch()
            except StopIteration:
                break
            for rig, b in items:
                assert rig == "studio"
                at = len(self.rows)
                names = [b.names[n] if n >= 0 else None for n in b.name.tolist()]
                columns = (b.ts, b.rx, b.value, b.stamped, b.wild, b.seq, b.line)
                self.rows += zip(names, *(map(str, c.tolist()) for c in columns), strict=True)
                self.rejects += [(at + r.row, r.reason, r.source, r.where, r.sample)
                                 for r in b.rejects]  # fmt: skip
                self.wild += int(b.wild.sum())
            batches += 1
            if resume_every and batches % resume_every == 0:
                state = source.snapshot()
                source.close()
                source = Replay(config).build_part("receive", "replay", state)
        source.close()

    @property
    def reasons(self):
        return dict(Counter(r[1] for r in self.rejects))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    for name, (data, *_) in CORPUS.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("name", CORPUS)
def test_a_damaged_recording_loses_what_is_damaged_and_nothing_else(folder, name):
    _, rows, refused, wild = CORPUS[name]
    found = Found(folder / name)
    assert (len(found.rows), found.reasons, found.wild) == (rows, refused, wild)
    for row, _, _, where, sample in found.rejects:
        assert 0 <= row <= rows
        assert where.startswith(f"{folder / name}:")
        assert len(sample) <= 256


@pytest.mark.parametrize("name", CORPUS)
def test_neither_batches_nor_resumes_change_what_is_found(folder, name):
    whole = Found(folder / name)
    for lines, every in ((1, 7), (37, 1), (37, None)):
        again = Found(folder / name, lines, every)
        assert again.rows == whole.rows
        assert again.rejects == whole.rejects


@pytest.mark.parametrize("name", [n for n in CORPUS if not n.endswith(("gz", "zst"))])
def test_packing_changes_nothing(folder, name, tmp_path):
    plain = Found(folder / name)
    packed = tmp_path / f"{name}.zst"
    packed.write_bytes(zstd.compress(CORPUS[name][0]))
    found = Found(packed)
    assert found.rows == plain.rows
    assert [r[:3] for r in found.rejects] == [r[:3] for r in plain.rejects]


def test_a_reject_names_its_place(folder):
    (reject,) = Found(folder / "mark_inside.ndjson").rejects
    at = sum(len(x) + 1 for x in LINES[:100])
    path = folder / "mark_inside.ndjson"
    assert reject == (100, "json", "?", f"{path}:{at}", (BOM + LINES[0])[:256])


@pytest.mark.parametrize("pack", [lambda d: gzip.compress(d, mtime=0), zstd.compress])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_of_a_cut_archive_all_that_can_be_read_is_used(tmp_path, pack, share):
    many = b"".join(b"%s\n" % x for i in range(200) for x in LINES)
    data = pack(many)
    path = tmp_path / ("f.gz" if data[:2] == b"\x1f\x8b" else "f.zst")
    path.write_bytes(data[: int(len(data) * share)])
    if path.suffix == ".gz":
        readable = zlib.decompressobj(31).decompress(path.read_bytes())
    else:
        readable = zstd.ZstdDecompressor().decompress(path.read_bytes())
    found = Found(path)
    assert len(found.rows) == readable.count(b"\n")
    assert found.reasons == {"archive": 1}
    assert found.rejects[0][0] == len(found.rows)
    resumed = Found(path, 1000, 3)
    assert (resumed.rows, resumed.rejects) == (found.rows, found.rejects)


def test_damage_makes_no_difference_to_the_lines_around_it(folder):
    clean = Found(folder / "clean.ndjson").rows
    for name in ("crlf.ndjson", "mark.ndjson", "whole.ndjson.gz", "values.ndjson", "deep.ndjson"):
        seen = {row[:7] for row in Found(folder / name).rows}
        assert {row[:7] for row in clean} <= seen, name


def test_a_line_without_end_takes_no_room(tmp_path):
    path = tmp_path / "f.ndjson"
    with path.open("wb") as f:
        f.write(LINES[0] + b"\n")
        f.truncate(1 << 30)
        f.seek(0, 2)
        f.write(b"\n" + LINES[1] + b"\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = Found(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (len(found.rows), found.reasons) == (2, {"too_long": 1})
    assert grown < 64 << 10
