"""The report of the demo, held against what the run wrote and what is true."""

import argparse
import hashlib
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from flows.run import execute
from ops.cli import report
from ops.evaluate import truth
from ops.report.model import story
from ops.results.folder import Results, run_json

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "configs/recordings/demo.ndjson.gz"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Write the demo's configuration for a folder of this test's own."""
    place = tmp_path_factory.mktemp("report")
    text = (ROOT / "configs/fusion.yaml").read_text("utf-8")
    text = text.replace("configs/", f"{ROOT}/configs/").replace("{dir: out", f"{{dir: {place}/out")
    path = place / "studio.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def run(config):
    folder = execute(config, progress=False)
    page = report.write(folder)
    return folder, page.read_text("utf-8"), page.with_name("methods.txt").read_text("utf-8")


def test_the_page_is_whole_in_itself(run):
    folder, page, methods = run
    assert not re.search(r"<script|<link|https?:|@import|url\(", page)
    pictures = ["alignment", "clocks", "fused", "indicators", "lags", "timeline"]
    for kind in ("png", "svg"):
        found = sorted(path.stem for path in report.beside(folder).glob(f"*.{kind}"))
        assert found == pictures
    assert page.count("<img ") == page.count("data:image/svg+xml;base64,") == len(pictures)
    assert re.sub(r"&#x27;", "'", page).count(methods[:200]) == 1


def test_its_pictures_have_descriptions(run):
    _, page, _ = run
    alts = re.findall(r'<img alt="([^"]*)"', page)
    # True: 87 ppm, one reset, 420 ms.
    skew = re.search(r"osc_1 runs (\S+) ± (\S+) ppm fast, 1 reset", " ".join(alts))
    lag = re.search(r"osc_2:/wrist/pulse is (\S+) ± (\S+) ms late", " ".join(alts))
    for found, true in ((skew, 87.0), (lag, 420.0)):
        assert found is not None
        estimate, sd = map(float, found.groups())
        assert abs(estimate - true) < 4 * sd < 0.05 * true
    assert all(re.search(r"\d", alt) for alt in alts)


def test_alignment_brings_the_channels_together(run):
    folder, _, _ = run
    apart = story(folder).rigs[0].windows["pulse"].apart
    assert apart["ts"] < 0.25 * apart["rx"] < 0.25 * apart["source_ts"]


def test_the_step_of_the_clock_is_reported_as_it_was(run):
    folder, _, _ = run
    true = truth.load(RECORDING).channels["osc_1:/body/pulse"].resets[0]
    (reset,) = story(folder).rigs[0].clocks["osc_1"].resets
    assert abs(reset.step_s - true.step_s) < 4 * reset.sd_s < 1e-4
    assert reset.at == pytest.approx(true.at, abs=0.1)


def test_every_estimate_of_the_methods_is_that_of_the_run(run):
    folder, _, methods = run
    for channel, printed in Results(folder).last_sync().items():
        if printed.offset_s is not None:
            source = channel.partition(":")[0]
            found = re.search(
                rf"{source}: offset (-?[\d.]+) ± ([\d.]+) ms, skew (-?[\d.]+) ±", methods
            )
            assert float(found[1]) == pytest.approx(1e3 * printed.offset_s, abs=0.6e-3)
            assert float(found[2]) == pytest.approx(1e3 * printed.offset_sd_s, rel=0.06)
            assert float(found[3]) == pytest.approx(printed.skew_ppm, abs=0.006)
        if printed.lag_s:
            found = re.search(rf"{channel}: (-?[\d.]+) ± ([\d.]+) ms \(n = (\d+),", methods)
            assert float(found[1]) == pytest.approx(1e3 * printed.lag_s, abs=0.06)
            assert int(found[3]) > 5


def test_the_methods_name_what_made_the_numbers(run, config):
    folder, _, methods = run
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"Lumen Fusion {version} (" in methods
    for file in (config, RECORDING):
        assert hashlib.sha256(file.read_bytes()).hexdigest() in methods
    total = run_json(folder)["account"]["total"]
    assert f"of {total['received']:,} events were not used".replace(",", " ") in methods
    assert f"{total['outliers']} outliers" in methods
    assert "cannot be separated (here: midi_1)" in methods
    assert "cannot separate a constant network delay from a clock offset" in methods


def test_the_bound_of_the_methods_is_that_of_the_ticks(run):
    folder, _, methods = run
    bounds = sorted(t.sync_bound_s for t in Results(folder).ticks() if t.live >= 2)
    middle, _, most, n = re.search(
        r"was ([\d.]+) ms in the median, ([\d.]+) ms or less in 95 % and ([\d.]+) ms at most "
        r"of n = (\d+) ticks", methods,
    ).groups()  # fmt: skip
    assert int(n) == len(bounds)
    assert float(middle) == pytest.approx(1e3 * bounds[len(bounds) // 2], rel=0.01)
    assert float(most) == pytest.approx(1e3 * bounds[-1], rel=0.01)


def test_the_run_s_folder_has_its_configuration_even_when_that_is_gone(run, config):
    folder, page, _ = run
    assert run_json(folder)["config"]["text"] == config.read_text("utf-8")
    assert story(folder).config.resample.target_hz == 5.0
    assert "One sensor is not enough" in page


def test_the_same_run_gives_the_same_bytes_and_the_next_run_is_not_in_its_way(run, config):
    folder, _, _ = run
    into = report.beside(folder)
    before = {path.name: path.read_bytes() for path in into.iterdir()}
    # Wall and CPU seconds are in run.json, and not in the report.
    execute(config, progress=False)
    report.write(folder)
    assert {path.name: path.read_bytes() for path in into.iterdir()} == before


def test_a_run_that_was_moved_away_still_has_its_report(run, tmp_path, capsys):
    folder, page, _ = run
    shutil.copytree(folder, tmp_path / "archive")
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    assert report.main(parser.parse_args([str(tmp_path / "archive")])) == 0
    output = capsys.readouterr().out.strip()
    assert Path(output).read_text("utf-8") == page


def test_a_link_in_the_place_of_a_report_s_file_is_not_followed(run, tmp_path):
    folder, _, _ = run
    victim, into = tmp_path / "victim.txt", tmp_path / "report"
    victim.write_text("untouched")
    into.mkdir()
    for name in ("report.html", "methods.txt"):
        (into / name).symlink_to(victim)
    report.write(folder, into)
    assert victim.read_text() == "untouched"
    assert "<html" in (into / "report.html").read_text("utf-8")
