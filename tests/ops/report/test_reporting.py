"""Reports of broken and of complete run folders."""

import base64
import html
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from ops.report import html as page
from tests.ops.report.run_lines import START, SYNC, TICKS, fill, sync, tick, written


def nothing(line, *kept):
    """Return a line with null in place of all but `kept`."""
    return {key: value if key in kept else None for key, value in line.items()}


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def tags(page):
    parser = _Tags()
    parser.feed(page)
    return parser.seen


@pytest.mark.parametrize(
    "stems",
    [
        {},
        {"fused": [tick(0)]},
        {"fused": [tick(0), tick(0)]},
        {"fused": TICKS},
        {"sync": SYNC},
        {"fused": [tick(0, signals={})], "sync": SYNC},
        {"fused": [tick(i / 5, channels=("a:x",), live=1) for i in range(99)]},
        {"fused": [tick(i / 5, value=None, live=0) for i in range(99)], "sync": SYNC},
        {"fused": [nothing(t, "ts") | {"signals": {}, "indicators": {}} for t in TICKS]},
        {"fused": TICKS, "sync": [nothing(line, "ts", "channel") for line in SYNC]},
        {"fused": TICKS, "evidence": [{"ts": START, "rule": "x"}], "dead": [{"ts": START}],
         "markers": [{"ts": START}], "aligned": [{"ts": START, "channel": "a:x"}]},
        {"fused": [tick(0, ("a:x",)), tick(0.2, ("b:x", "c:x")), tick(0.4, signals={"q": {}})]},
        {"fused": [tick(5), tick(3), tick(1e9), tick(-1e9)], "sync": [sync(9), sync(-1e9)]},
    ],
    ids=["empty", "one tick", "twice the same tick", "no sync", "no ticks", "no signal",
         "one channel", "no value", "null ticks", "null sync", "null rest", "other channels",
         "time that leaps"],
)  # fmt: skip
def test_every_folder_has_a_report(tmp_path, stems):
    page, methods = written(fill(tmp_path / "out", **stems))
    assert "Was the sync correct?" in page
    assert "Limits. One-way time stamps" in methods
    assert not re.search(r"\b(nan|inf|None)\b", methods)


def test_an_unfinished_run_is_reported_without_its_torn_line(tmp_path, text_only):
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC)
    with (out / "fused.jsonl").open("a") as file:
        file.write('{"ts":1730000040.0,"rel')
    page, _ = written(out)
    assert "The run has not ended, or was killed" in page
    assert "1 line of the run&#x27;s files could not be read" in page
    assert "200 ticks" in page


def test_missing_samples_name_the_option_that_writes_them(tmp_path, text_only):
    page, _ = written(fill(tmp_path / "out", fused=TICKS, sync=SYNC))
    assert "output: {aligned: true}" in page


def test_no_name_of_a_run_becomes_markup_or_a_formula(tmp_path):
    evil = (
        '<script>alert(1)</script>:"><img src=x>',
        "_$\\frac{1}{0}$:\n\u0000x",
        "語" * 60 + ":x",
    )
    out = fill(
        tmp_path / "out",
        fused=[tick(i / 5, channels=evil) for i in range(99)],
        sync=[sync(at, name) for at in (0, 10) for name in evil],
        evidence=[{"ts": START, "rule": evil[0], "kind": "risk", "state": "firing",
                   "quote": evil[0], "facts": {evil[0]: 1.0}}],
        dead=[{"ts": START, "stage": evil[0], "sample": evil[0], "count": 1}],
        markers=[{"ts": START, "channel": evil[0], "value": evil[0]}],
        aligned=[{"ts": START + i / 50, "source_ts": START + i / 50, "rx": START + i / 50,
                  "channel": name, "value": 1.0} for i in range(999) for name in evil],
    )  # fmt: skip
    page, _ = written(out)
    seen = tags(page)
    assert "script" not in {tag for tag, _ in seen}
    images = [a["src"].partition(",") for tag, a in seen if tag == "img"]
    assert {head for head, _, _ in images} == {"data:image/svg+xml;base64"}
    for _, _, data in images:
        picture = ElementTree.fromstring(base64.b64decode(data))
        assert not {x.tag.rpartition("}")[2] for x in picture.iter()} & {"script", "image", "a"}
    assert "default-src 'none'" in next(a["content"] for _, a in seen if "http-equiv" in a)


def test_64_channels_have_a_legend_that_can_be_read(tmp_path):
    names = tuple(f"s{i}:x" for i in range(64))
    out = fill(
        tmp_path / "out",
        fused=[tick(i / 5, channels=names, live=64) for i in range(50)],
        sync=[sync(0, name) for name in names],
    )
    page, methods = written(out)
    assert "The first 10 of 64 clocks; all are in the table" in page
    assert all(f">{name}</th>" in page.replace("<wbr>", "") for name in names)
    assert "s63: offset" in methods


def rows(text, head):
    """Return the cells of the table under a caption."""
    table = text.partition(f"<caption>{head}</caption>")[2].partition("</table>")[0]
    return [
        [
            html.unescape(cell).replace("<wbr>", "")
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", table)
    ]


HAPPENED = "Modes, findings, resets and markers"


def test_a_mode_and_a_rule_that_flap_are_a_row_each(tmp_path, text_only):
    flaps = [tick(i / 5, mode="ure_only" if 50 <= i < 100 and i % 10 < 5 else "fused")
             for i in range(200)]  # fmt: skip
    rule = [{"ts": START + 10 + k, "rule": "low", "kind": "risk", "facts": {}, "quote": "it drifts",
             "state": "resolved" if k % 2 else "firing"} for k in range(8)]  # fmt: skip
    text, _ = written(fill(tmp_path / "out", fused=flaps, sync=SYNC, evidence=rule))
    assert rows(text, HAPPENED)[1:] == [
        ["0.0", "mode fused", "ure_only 5 times until 19.0 s; then for 105 ticks"],
        ["10.0", "risk low", "firing 4 times until 17.0 s. it drifts"],
    ]


def test_names_break_at_their_separators(tmp_path, text_only):
    name = "phone_1@10.0.0.7:/acc/x[0]"
    out = fill(tmp_path / "out", fused=TICKS, sync=[sync(0, name)])
    text = written(out)[0]
    assert "<th scope=row>phone_<wbr>1@<wbr>10.0.0.7:<wbr>/<wbr>acc/<wbr>x[0]</th>" in text
    assert "<wbr>" not in "".join(re.findall(r"<td class=n>.*?</td>", text))


def test_each_steady_change_has_its_own_row(tmp_path, text_only):
    turns = [tick(i / 5, mode="ure_only" if i >= 100 else "fused") for i in range(200)]
    rule = [{"ts": START + 30, "rule": "low", "kind": "risk", "state": "firing", "quote": "q"}]
    text, _ = written(fill(tmp_path / "out", fused=turns, sync=SYNC, evidence=rule))
    assert rows(text, HAPPENED)[1:] == [
        ["0.0", "mode fused", "for 100 ticks"],
        ["20.0", "mode ure_only", "for 100 ticks"],
        ["30.0", "risk low", "to the end. q"],
    ]


def test_units_stand_in_table_pictures_and_methods(tmp_path):
    config = """version: 2
streams: [{name: r, type: file, path: r.ndjson}]
channels: {"a:*": {unit: m/s2}, "b:x": {unit: g, gain: auto}}
signals: {pulse: {members: {"a:x": {}, "b:x": {}}}}
"""
    samples = [
        {"ts": START + i / 50, "source_ts": START + i / 50, "rx": START + i / 50 + k / 9,
         "channel": name, "value": i % 50 / 50 + k}
        for i in range(1999) for k, name in enumerate(("a:x", "b:x"))
    ]  # fmt: skip
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC, aligned=samples)
    (out / "run.json").write_text(json.dumps({"config": {"text": config}}), "utf-8")
    text, methods = written(out)
    head, *channels = rows(text, "At the end, with one standard deviation")
    assert (head[-1], [row[-1] for row in channels]) == ("unit", ["m/s2", "g"])
    assert "pulse (m/s2): n = 200 ticks" in methods
    alts = " ".join(a["alt"] for tag, a in tags(text) if tag == "img")
    assert re.search(r"channels differ by \S+ m/s2 RMS instead of", alts)
    (out / "run.json").unlink()
    assert rows(written(out)[0], "At the end, with one standard deviation")[0][-1] == "gaps"


def test_indicators_that_were_never_known_have_their_reason(tmp_path, text_only):
    short = [tick(i / 5, indicators={}) for i in range(50)]
    text, _ = written(fill(tmp_path / "out", fused=short, sync=SYNC))
    why = "none was known: it needs 30 s of two channels live together, moving at 0.08 to 1.5 Hz"
    assert f"There is no picture of the indicators: {why}." in text
    alone = [tick(i / 5, indicators={}, sync_bound_s=None) for i in range(50)]
    text, _ = written(fill(tmp_path / "alone", fused=alone, sync=SYNC))
    assert "none was known, since nothing was compared" in text


def test_a_picture_too_large_as_svg_is_shown_as_png(tmp_path, monkeypatch):
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC)
    monkeypatch.setattr(page, "MAX_SVG", 1000)
    heads = {a["src"].partition(",")[0] for tag, a in tags(written(out)[0]) if tag == "img"}
    assert heads == {"data:image/png;base64"}
    assert (tmp_path / "out.report/fused.svg").exists()


def test_several_rigs_have_a_section_each(tmp_path):
    for rig in ("left", "right"):
        fill(tmp_path / "out" / rig, fused=TICKS, sync=SYNC)
    page, methods = written(tmp_path / "out")
    assert page.count("Was the sync correct?") == 2
    assert "Rig left. Clocks." in methods
    assert (tmp_path / "out.report/left.clocks.png").exists()
    assert (tmp_path / "out.report/right.clocks.png").exists()
