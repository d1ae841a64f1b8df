"""What the live page looks like: widths, names, digits, units, and figures that are old."""

import re
import time
from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe

from ops.fakes.browser import TARGET, found, until
from tests.browser.crowd import FLAPS, NAMES, Crowd
from tests.browser.stage import CHANNELS, DESKTOP
from tests.browser.test_page import shows_verdict

pytestmark = pytest.mark.skipif(found() is None, reason=TARGET)
NARROW = {"width": 390, "height": 844}
BROKEN = """() => {
  const parts = [], walk = document.createTreeWalker(document.querySelector("main"), 4);
  for (let node; (node = walk.nextNode());) {
    const cell = node.parentElement.closest("tbody th[scope], #events td, .legend button");
    if (!cell || /\\s/.test(node.data)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) {
      parts.push(node.data);
    }
  }
  return parts;
}"""
"""Parts of names, between two separators, that stand on more than one line."""


@pytest.fixture
def crowd():
    shown = Crowd()
    yield shown
    shown.close()


@pytest.fixture
def crowded(crowd, visit):
    page = visit(crowd, drawn=False)
    until(page, "document.querySelectorAll('tr.channel').length === 4")
    return page


@pytest.mark.parametrize("width", [1280, 1120, 1024, 768, 390])
def test_the_longest_names_and_numbers_fit(crowded, width):
    crowded.set_viewport_size({"width": width, "height": 800})
    crowded.wait_for_timeout(300)
    assert crowded.evaluate("document.scrollingElement.scrollWidth") <= width
    for frame in ("channels", "events"):
        node = f"document.querySelector('#{frame}')"
        assert crowded.evaluate(f"{node}.scrollWidth <= {node}.clientWidth"), frame


def test_names_break_at_separators_only(crowded):
    crowded.set_viewport_size(NARROW)
    crowded.wait_for_timeout(600)
    assert crowded.evaluate("document.querySelectorAll('#events td wbr').length") > 8
    assert crowded.evaluate(BROKEN) == []
    rows = crowded.locator("#events tbody tr").all_inner_texts()
    assert any(NAMES[1] in row for row in rows), "a name can still be found and copied whole"


def test_a_sender_of_several_stands_under_its_stream(crowded):
    row = crowded.locator("tr.stream", has_text="living-room-phone").first
    assert row.evaluate("node => node.nextElementSibling.className") == "channel"
    below = row.evaluate("node => node.nextElementSibling.textContent")
    assert below.startswith("@192.168.178.101:/gyrosc")


def test_units_stand_beside_names_and_values(crowded):
    assert re.fullmatch(r"12,34\d\.\d{3} ±0\.023\u00a0µV RMS", crowded.inner_text(".signal .value"))
    assert crowded.locator("tr.channel small").all_inner_texts() == ["µV RMS"] * 4
    assert "fused ±2 sd, µV RMS" in crowded.inner_text(".legend")
    assert "in µV RMS" in crowded.get_attribute("canvas", "aria-label")


def test_a_value_and_its_sd_have_matching_digits(crowded):
    row = crowded.locator("tr.channel").nth(1).locator("td").all_inner_texts()
    for text in (row[2], row[3], row[4], crowded.inner_text(".signal .value")):
        value, sd = re.findall(r"[\d,]+(?:\.(\d+))?", text)[:2]
        assert len(value) == len(sd), text
    assert row[2].strip() == "−1,700,000,757.26136 ±0.00021\u00a0s"
    assert row[3] == "−1,235 ±12\u00a0ppm"


def test_a_channel_that_flaps_is_one_line(crowded):
    rows = [r for r in crowded.locator("#events tbody tr").all_inner_texts() if NAMES[0] in r]
    assert len(rows) == 1
    assert re.search(rf"live; stale {FLAPS} times since [\d:]{{8}}", rows[0])


def test_the_timeline_begins_with_the_run_and_has_an_axis(crowd, crowded):
    began = time.strftime("%H:%M:%S", time.localtime(crowd.began))
    assert crowded.inner_text("#h-timeline") == f"Since the run began at {began}"
    lane = crowded.locator(".lane.mode span").first
    assert float(lane.evaluate("node => node.style.getPropertyValue('--from')")[:-1]) == 0
    labels = crowded.locator(".lane.axis span").all_inner_texts()
    assert len(labels) >= 2
    for width in (1280, 390):
        crowded.set_viewport_size({"width": width, "height": 800})
        crowded.wait_for_timeout(600)
        boxes = [x.bounding_box() for x in crowded.locator(".lane.axis span").all()]
        whole = crowded.locator(".lane.axis > div").bounding_box()
        ends = [(box["x"], box["x"] + box["width"]) for box in boxes]
        assert all(a[1] < b[0] for a, b in pairwise(ends)), "none over another"
        assert whole["x"] <= ends[0][0]
        assert ends[-1][1] <= whole["x"] + whole["width"]


def test_a_run_of_more_than_ten_minutes_shows_the_last_ten(begin, visit):
    page = visit(begin(before_s=700))
    until(page, "document.querySelector('#h-timeline').textContent === 'The last ten minutes'")
    labels = page.locator(".lane.axis span").all_inner_texts()
    assert len(labels) >= 2
    assert all(re.fullmatch(r"\d\d:\d\d", label) for label in labels)


def test_one_channel_alone_is_not_in_sync_and_empty_indicators_have_their_reason(begin, visit):
    stage = begin()
    page = visit(stage)
    shows_verdict(page, "In sync")
    for channel in CHANNELS[1:]:
        stage.become(channel, "lost")
    shows_verdict(page, "Failed over")
    until(page, "document.querySelector('.gauge[data-level=none] .budget')")
    assert "In sync" not in page.inner_text("body") + page.title()
    assert page.inner_text("#bound") == "not compared"
    reasons = page.locator(".gauge .budget").all_inner_texts()
    assert reasons == ["empty: needs two live channels: 1 of 3 live"] * 5
    meter = page.get_by_role("meter", name="coherence")
    assert meter.get_attribute("aria-valuetext") == "needs two live channels: 1 of 3 live"


@pytest.mark.parametrize("way", ["hangs", "is gone"])
def test_old_values_are_dimmed_and_readable(begin, visit, way):
    stage = begin()
    page = visit(stage)
    shows_verdict(page, "In sync")
    shown = ("#bound", ".signal .value", ".gauge .value", "tr.channel th")
    colour = "name => getComputedStyle(document.querySelector(name)).color"
    fresh = {name: page.evaluate(colour, name) for name in shown}
    (stage.freeze if way == "hangs" else stage.close)()
    shows_verdict(page, "No fresh data" if way == "hangs" else "No answer")
    until(page, "document.body.dataset.old === 'true'")
    for name in shown:
        assert page.evaluate(colour, name) != fresh[name], name
    head = page.evaluate(colour, "#head")
    assert head not in fresh.values(), "the verdict is fresh"
    for light in ("light", "dark"):
        for viewport in (DESKTOP, NARROW):
            page.set_viewport_size(viewport)
            page.emulate_media(color_scheme=light)
            page.wait_for_timeout(300)
            faults = Axe().run(page)
            assert faults.violations_count == 0, (light, viewport, faults.generate_report())
    page.close()
    page.errors.clear()  # that nobody answered
