"""Reports of broken and of complete run folders."""

import argparse
import base64
import html
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from configs.inputs import UreStream
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from ops.cli import demo, report
from ops.fakes.xdf_files import XdfFileStream, regular, write
from ops.report import figures as pictures
from ops.report import html as page
from ops.report import plotting as canvas
from ops.report.model import story
from ops.report.nominal_rates import headers, rates
from ops.report.verdict import verdict
from ops.results import summary
from ops.results.lines import LineReader, TickLine

ROOT = Path(__file__).parents[3]
START = 1730000000.0


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Draw at low resolution: these tests read the text."""
    monkeypatch.setattr(canvas, "DPI", 30)


@pytest.fixture
def text_only(monkeypatch):
    """Draw nothing."""
    monkeypatch.setattr(pictures, "pictures", lambda rig: iter(()))


def tick(at, channels=("a:x", "b:x"), live=2, value=0.5, **more):
    """Return a tick, `at` s after the start."""
    weights = {name: 1 / len(channels) for name in channels}
    signal = {"value": value, "sd": 0.1, "mode": "fused", "live": live, "weights": weights}
    return {
        "ts": START + at, "released": START + at + 2.5, "rig": "r", "mode": "fused", "live": live,
        "signals": {"pulse": signal},
        "indicators": {"phase_diff": 0.01, "coherence": 0.95, "harmony": 0.9,
                       "sync_quality": 0.99, "entropy_ratio": 0.1},
        "sync_bound_s": 0.004,
    } | more  # fmt: skip


def sync(at, channel="a:x", **more):
    """Return a sync line, `at` s after the start."""
    return {
        "ts": START + at, "rig": "r", "channel": channel, "why": "hop", "state": "live",
        "offset_s": 1.0, "offset_sd_s": 1e-5, "skew_ppm": 20.0, "skew_sd_ppm": 0.5,
        "clock_resets": 0, "reset_at": None, "lag_s": 0.1, "lag_sd_s": 0.001, "confidence": 0.9,
        "rate_hz": 50.0, "jitter_p95_s": 0.01, "received": 100, "used": 98, "outliers": 2,
        "late": 0, "duplicate": 0, "rejected": 0, "gaps": 0,
    } | more  # fmt: skip


def nothing(line, *kept):
    """Return a line with null in place of all but `kept`."""
    return {key: value if key in kept else None for key, value in line.items()}


def fill(folder, **stems):
    """Write lines into a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem in ("fused", "sync", "dead", "markers"):
        (folder / f"{stem}.jsonl").touch()
    for stem, lines in stems.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{stem}.jsonl").write_text(text, "utf-8")
    return folder


TICKS = [tick(i / 5) for i in range(200)]
SYNC = [sync(at, channel) for at in range(0, 40, 10) for channel in ("a:x", "b:x")]


def written(folder):
    """Return the page and the methods of a folder's report."""
    page = report.write(folder)
    return page.read_text("utf-8"), page.with_name("methods.txt").read_text("utf-8")


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


def test_a_lone_channel_has_no_bound(tmp_path, text_only):
    lone = [tick(i / 5, channels=("a:x",), live=1, sync_bound_s=None) for i in range(99)]
    page, methods = written(fill(tmp_path / "out", fused=lone, sync=[sync(0)]))
    assert "<strong>Not compared</strong>" in page and "In sync" not in page
    assert "A:x is the only member: name a second one" in page
    assert "two channels or more in 0 % of the ticks; not compared in 100 %" in page
    assert "Not compared, so that no bound can be given: A:x is the only member" in methods


FREE = {"lag_s": 0.0, "lag_sd_s": None}
NEVER = {"lag_s": None, "lag_sd_s": None, "state": "acquiring"}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (FREE, "Lag of b:x is given without an sd: type lag_sd_s."),
        (NEVER, "One channel live; lag of b:x not found yet"),
        (NEVER | {"received": 0}, "One channel live; nothing came from b:x"),
        ({}, "Fewer than two members with a known lag were live at once."),
    ],
    ids=["given without an sd", "not found", "never came", "never together"],
)
def test_channels_never_compared_have_a_reason_and_a_remedy(tmp_path, text_only, other, reason):
    never = [tick(i / 5, sync_bound_s=None) for i in range(99)]
    out = fill(tmp_path / "out", fused=never, sync=[sync(0), sync(0, "b:x", **other)])
    page, methods = written(out)
    assert "<strong>Not compared</strong>" in page and "In sync" not in page
    assert reason in page
    assert "Not compared, so that no bound can be given" in methods
    report = "\n".join(summary.summary(out))
    assert f"Not compared: {reason[:1].lower()}{reason[1:]}" in report


def test_a_briefly_compared_run_is_not_called_in_sync(tmp_path, text_only):
    few = [tick(i / 5, sync_bound_s=0.004 if i < 20 else None) for i in range(99)]
    out = fill(tmp_path / "out", fused=few, sync=SYNC)
    page, _ = written(out)
    assert "<strong>Not compared, most of the time</strong>" in page
    report = "\n".join(summary.summary(out))
    assert "Sync error bound: 4.0 ms in the median, 4.0 in 95 % of the 20 % of ticks" in report


def test_a_member_that_was_used_but_not_compared_is_an_exception(tmp_path, text_only):
    lines = [*SYNC, sync(0, "c:x", **FREE)]
    three = [tick(i / 5, ("a:x", "b:x", "c:x"), 3) for i in range(200)]
    page, _ = written(fill(tmp_path / "out", fused=three, sync=lines))
    assert "Used, but not compared: lag of c:x is given without an sd: type lag_sd_s." in page


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


def test_an_earlier_report_is_replaced_and_nothing_else(tmp_path):
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC)
    beside = tmp_path / "out.report"
    beside.mkdir()
    for name in (
        "report.html",
        "left.clocks.png",
        "left.clocks.svg",
        "alignment_2.png",
        "holiday.png",
        "holiday.svg",
        "notes.txt",
    ):
        (beside / name).write_bytes(b"x")
    report.write(out)
    left = {path.name for path in beside.iterdir()}
    drawn = ("fused", "timeline", "clocks", "lags", "indicators")
    assert left == {"report.html", "methods.txt", "holiday.png", "holiday.svg", "notes.txt"} | {
        f"{name}.{kind}" for name in drawn for kind in ("png", "svg")
    }


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "In sync"),
        ({"mode": "ure_only"}, "In sync, with exceptions"),
        ({"live": 1}, "Not compared"),
        ({"sync_bound_s": None}, "Not compared"),
        ({"indicators": {"sync_quality": 0.2}}, "In doubt"),
    ],
)
def test_the_verdict_follows_from_the_ticks(tmp_path, change, word):
    out = fill(tmp_path / "out", fused=[t | change for t in TICKS], sync=SYNC)
    ends = dict.fromkeys(
        ("received", "ignored", "late", "duplicate", "outliers", "rejected", "dropped"), 0
    )
    account = {"total": ends | {"received": 3, "used": 3}, "by_source": {}}
    (out / "run.json").write_text(json.dumps({"account": account, "ended": True}))
    read = story(out)
    assert verdict(read, read.rigs[0]).word == word


def test_an_account_that_does_not_balance_is_called_a_bug(tmp_path, text_only):
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC)
    total = {"received": 3, "used": 2, "ignored": 0, "late": 0, "duplicate": 0, "outliers": 0,
             "rejected": 0, "dropped": 0}  # fmt: skip
    run = {"account": {"total": total, "by_source": {}}, "ended": True}
    (out / "run.json").write_text(json.dumps(run))
    page, _ = written(out)
    assert "does not balance" in page


def test_a_stretch_of_a_long_file_is_found_without_reading_the_rest(tmp_path):
    lines = [tick(i / 5) for i in range(20_000)]
    out = fill(tmp_path / "out", fused=lines)
    found = [
        line.ts - START
        for line in LineReader(out).near("fused", TickLine, START + 2000, START + 2010)
    ]
    assert found[0] < 1900
    assert found[-1] == pytest.approx(2130, abs=0.3)
    assert len(found) < 4000
    assert {i / 5 for i in range(10_000, 10_050)} <= {round(at, 1) for at in found}


def run(*arguments):
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    return report.main(parser.parse_args([str(argument) for argument in arguments]))


def test_the_command_names_the_page(tmp_path, text_only, capsys):
    fill(tmp_path / "out", fused=TICKS, sync=SYNC)
    assert run(tmp_path / "out", "--to", tmp_path / "elsewhere") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "elsewhere/report.html")
    assert (tmp_path / "elsewhere/methods.txt").exists()


def test_a_folder_without_a_run_exits_with_2(tmp_path, capsys):
    assert run(tmp_path / "nowhere") == 2
    assert run(tmp_path) == 2
    assert capsys.readouterr().err.count("no results of a run") == 2
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_names_the_extra_in_one_line(tmp_path, capsys, monkeypatch):
    fill(tmp_path / "out", fused=TICKS)
    monkeypatch.setattr(report, "possible", lambda: False)
    assert run(tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "lumen-fusion[report]" in error


def test_pictures_in_a_folder_without_a_report_are_kept(tmp_path, text_only):
    mine = tmp_path / "paper/my.clocks.png"
    mine.parent.mkdir()
    mine.write_bytes(b"x")
    report.write(fill(tmp_path / "out", fused=TICKS), mine.parent)
    assert mine.exists()


def test_the_demo_names_its_report_or_the_missing_extra(tmp_path, text_only, monkeypatch):
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC)
    look, _ = demo.ending(out).splitlines()
    assert Path(look.removeprefix("Look at   ")).stat().st_size > 5_000
    monkeypatch.setattr(report, "possible", lambda: False)
    assert "lumen-fusion[report]" in demo.ending(out)


@pytest.mark.parametrize(("folder", "place"), [("out", "out.report"), ("a/out/", "a/out.report")])
def test_the_report_lies_beside_the_run_not_in_it(folder, place):
    assert report.beside(Path(folder)) == Path(place)


def test_the_citation_has_the_version_of_the_project():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == project["version"]
    assert cited["license"] == project["license"]
    assert cited["authors"] == [{"name": "The Lumen Fusion developers"}]


def test_nominal_rates_are_the_stated_rates(tmp_path):
    path = tmp_path / "take.xdf"
    host = regular(50.0, 5.0)
    streams = [
        XdfFileStream("eeg:1", host, rate_hz=50.0), XdfFileStream("markers", host),
        XdfFileStream("twin", host, rate_hz=10.0), XdfFileStream("twin", host, rate_hz=20.0),
    ]  # fmt: skip
    write(path, *streams)
    size = path.stat().st_size
    asked = UreStream(name="ure", metrics_url="http://127.0.0.1:1/", pull_interval_s=4.0)
    signals = {"s": SignalConfig(members={"a:x": MemberConfig()})}
    config = Config(version=2, streams=[asked], signals=signals)
    run = {"recordings": [{"path": str(path), "bytes": size}, {"path": "gone.xdf", "bytes": 1}]}
    assert rates(config, run) == {"ure": 0.25, "eeg_1": 50.0}
    path.write_bytes(path.read_bytes()[:-9])
    assert headers(path) == {"eeg_1": 50.0}
    assert rates(None, run) == {}, "it has changed since"


def test_remarks_and_unread_clocks_of_a_recording_are_stated(tmp_path, text_only):
    out = fill(tmp_path / "out", fused=TICKS, sync=SYNC)
    remarks = [
        "stamps of b lie 1.688e9 s from its clock's readings: Unix time beside machine time?",
        "a: its clock was never read; taken to be the recorder's",
    ]
    run = {"recordings": [{"path": "take.xdf", "bytes": 1, "remarks": remarks}]}
    (out / "run.json").write_text(json.dumps(run))
    page, methods = written(out)
    assert all(html.escape(remark, quote=True) in page for remark in remarks)
    assert "The clocks of a were never read" in methods
    run["recordings"][0]["remarks"] = []
    (out / "run.json").write_text(json.dumps(run))
    page, methods = written(out)
    assert "two-way readings" in methods and "never read" not in methods + page
