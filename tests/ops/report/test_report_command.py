"""The command that writes a report, and the folder of the report."""

import argparse
import tomllib
from pathlib import Path

import pytest
import yaml

from ops.cli import demo, report
from tests.ops.report.run_lines import SYNC, TICKS, fill

ROOT = Path(__file__).parents[3]


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
