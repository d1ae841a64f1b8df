"""The live page in a real browser, over a live state that is updated with a show."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from ops.fakes.browser import TARGET, found, until
from tests.browser.stage import CHANNELS, DESKTOP, PHONE
from tests.support.shown import NAN

pytestmark = pytest.mark.skipif(found() is None, reason=TARGET)
INK = """() => {
  const canvas = document.querySelector("canvas");
  if (!canvas || !canvas.width) return 0;
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return all.filter((alpha, i) => i % 4 === 3 && alpha).length;
}"""
"""How many pixels of the first chart are not blank."""
UNMET = "E3, 14 s of 60 s with entropy_ratio <= 0.15 and sync >= 0.85; then E2"


def shows_verdict(page, head, text=""):
    until(
        page,
        "([head, text]) => document.querySelector('#head').textContent.startsWith(head)"
        " && document.querySelector('#text').textContent.includes(text)",
        [head, text],
    )


def failed_over(stage):
    for channel in CHANNELS[1:]:
        stage.become(channel, "stale")
    stage.find("quality_low")


def resetting(stage):
    stage.step("phone_2", 0.5)


def loose(stage):
    stage.loosen("ure:ure_pulse")


def ticking(stage):
    stage.clock(state="E3", lock="holdover", safety_gain=0.9, unmet=(UNMET,))


SCENES = {
    "ticking": (ticking, "In sync"),
    "healthy": (lambda stage: None, "In sync"),
    "failed over": (failed_over, "Failed over to URE since"),
    "not compared": (loose, "Not compared"),
    "resetting": (resetting, "Clock of phone_2 stepped by +0.500\u00a0s at"),
}


def test_the_beat_clock_is_shown_where_there_is_one(stage, visit):
    page = visit(stage)
    assert page.locator("#bridge").is_hidden()
    stage.clock()
    until(page, "!document.querySelector('#bridge').hidden")
    facts = dict(zip(*(page.locator(f"#bridge {tag}").all_inner_texts() for tag in ("dt", "dd")),
                     strict=True))  # fmt: skip
    assert facts.pop("State").startswith("E2 bridged since ")
    assert facts == {
        "Rate": "5.00\u00a0Hz", "Phase error": "+2.0\u00a0ms", "Lock": "locked",
        "Sync quality": "0.970", "Sound": "gain 1.00",
    }  # fmt: skip
    assert page.locator("#bridge li").all_inner_texts() == ["Nothing is unmet."]
    stage.clock(state="E4", hard_stop=True, safety_gain=0.0, phase_error=NAN, unmet=(UNMET, "b"))
    until(page, "document.querySelectorAll('#bridge li').length === 2")
    assert page.locator("#bridge dd").all_inner_texts()[2:6:3] == ["–", "hard stop"]
    assert page.locator("#bridge dd[data-level=crit]").count() == 2
    assert page.locator("#bridge li").all_inner_texts() == [UNMET, "b"]


def test_a_picture_is_drawn(stage, visit):
    page = visit(stage)
    assert page.evaluate(INK) > 5000


@pytest.mark.parametrize("scene", SCENES)
def test_the_page_has_no_accessibility_fault(stage, visit, scene):
    direct, head = SCENES[scene]
    page = visit(stage)
    direct(stage)
    shows_verdict(page, head)
    for viewport in (DESKTOP, PHONE):
        for light in ("light", "dark"):
            page.set_viewport_size(viewport)
            page.emulate_media(color_scheme=light)
            page.wait_for_timeout(600)  # a poll later all of it is there
            faults = Axe().run(page)
            assert faults.violations_count == 0, (light, viewport, faults.generate_report())
            assert page.evaluate("document.scrollingElement.scrollWidth") <= viewport["width"]


@pytest.mark.parametrize(
    ("scene", "text"),
    [("healthy", "within 3.1 ms; 3 of 3 streams live"), ("failed over", "phone_1, phone_2 silent"),
     ("not compared", "is given without an sd: type lag_sd_s"),
     ("resetting", "re-acquiring")],
)  # fmt: skip
def test_a_change_is_shown(stage, visit, scene, text):
    direct, head = SCENES[scene]
    page = visit(stage)
    shows_verdict(page, "In sync")
    direct(stage)
    shows_verdict(page, head, text)
    within = page.text_content("#bound")
    assert within == ("3.1\u00a0ms" if scene == "healthy" else
                      "1.2\u00a0ms" if scene == "resetting" else "not compared")  # fmt: skip


def test_a_hanging_flow_is_shown(stage, visit):
    page = visit(stage)
    stage.freeze()
    shows_verdict(page, "No fresh data", "nothing has come out for")


def test_a_stopped_flow_is_shown_and_a_new_one_begins_anew(stage, begin, visit):
    page = visit(stage)
    until(page, "document.querySelectorAll('tr.channel').length === 3")
    stage.close()
    shows_verdict(page, "No answer from the flow since")
    begin(port=stage.port, before_s=2)
    page.locator("#note", has_text="The flow was started anew at").wait_for()
    shows_verdict(page, "In sync")
    page.wait_for_timeout(1000)
    assert page.evaluate(INK) > 1000, "the new lines are there"
    assert page.locator("#events tbody tr").count() == 4, "what happened before is not"
    assert all("ERR_" in text or "Failed to fetch" in text for text in page.errors)
    page.errors.clear()


def test_tables_are_tables(stage, visit):
    for viewport in (DESKTOP, PHONE):
        page = visit(stage, viewport)
        table = page.get_by_role("table", name="Each stream, and the clock")
        assert table.get_by_role("row").count() == 1 + 3 + 3
        assert table.get_by_role("columnheader").count() == 10
        row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name="/accxyz"))
        assert re.search(r"3,040\.990\d\d ±0\.00021\u00a0s", row.last.inner_text())
        meter = page.get_by_role("meter", name="coherence")
        assert meter.get_attribute("aria-valuetext") == "0.958 good"
        assert page.get_by_role("img", name="seconds of motion").is_visible()


def test_the_keyboard_reaches_everything(stage, visit):
    page = visit(stage)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(
            "[document.activeElement.innerText || document.activeElement.id,"
            " getComputedStyle(document.activeElement).outlineStyle]"
        ))  # fmt: skip
    names = [name.split("\n")[0] for name, _ in reached]
    assert names[0] == "Pause"
    assert names[1:4] == ["ure:ure_pulse", "phone_1:/accxyz", "phone_2:/accxyz"]
    assert {outline for _, outline in reached[:6]} == {"solid"}, "and shows where it is"
    everything = page.locator("button:visible, select:visible, a[href], [tabindex='0']").count()
    assert everything == 6


def test_a_line_can_be_hidden_and_the_page_paused_by_keyboard(stage, visit):
    page = visit(stage)
    line = page.get_by_role("button", name="phone_1:/accxyz")
    line.focus()
    page.keyboard.press("Enter")
    assert line.get_attribute("aria-pressed") == "false"
    page.wait_for_timeout(1200)
    assert line.evaluate("node => node === document.activeElement"), "the focus stays"
    page.get_by_role("button", name="Pause").press("Space")
    page.wait_for_timeout(800)
    shown = page.locator("#clock").inner_text()
    page.wait_for_timeout(2200)
    assert page.locator("#clock").inner_text() == shown
    page.get_by_role("button", name="Pause").press("Space")
    until(page, "shown => document.querySelector('#clock').innerText !== shown", shown)


def test_a_screen_reader_gets_changes_of_text_and_none_of_numbers(stage, visit):
    page = visit(stage)
    shows_verdict(page, "In sync")
    page.evaluate("""() => {
      window.announced = [];
      const region = document.querySelector("#announcement");
      new MutationObserver(() => window.announced.push(region.textContent))
        .observe(region, { childList: true, characterData: true, subtree: true });
    }""")
    page.wait_for_timeout(2500)
    assert page.evaluate("announced") == []
    failed_over(stage)
    shows_verdict(page, "Failed over")
    page.wait_for_timeout(2500)
    assert len(page.evaluate("announced")) == 1


def test_reduced_motion_is_respected(stage, visit):
    def drawn(page):
        page.evaluate("""() => {
          window.drawings = 0;
          const pen = CanvasRenderingContext2D.prototype, clear = pen.clearRect;
          pen.clearRect = function (...box) {
            window.drawings++;
            clear.apply(this, box);
          };
        }""")
        page.wait_for_timeout(4000)
        return page.evaluate("drawings")

    assert drawn(visit(stage, reduced_motion="reduce")) <= 10, "one a poll"
    assert drawn(visit(stage)) > 20


def test_the_page_waits_for_the_first_tick(begin, visit):
    page = visit(begin(before_s=0, play=False), drawn=False)
    shows_verdict(page, "Waiting for the first tick", "0 of 3 streams live")
    assert Axe().run(page).violations_count == 0


def test_one_rig_is_looked_at_and_then_another(begin, visit):
    page = visit(begin(rigs=("stage", "studio")))
    shows_verdict(page, "In sync")
    page.get_by_label("Rig").select_option("studio")
    shows_verdict(page, "Waiting for the first tick")
    page.get_by_label("Rig").select_option("stage")
    shows_verdict(page, "In sync")
    page.wait_for_timeout(600)
    assert page.evaluate(INK) > 5000, "all of its lines are back"


def test_a_missing_rig_gives_way_to_an_existing_one(begin, visit):
    first = begin(rigs=("stage", "studio"))
    page = visit(first)
    page.get_by_label("Rig").select_option("studio")
    shows_verdict(page, "Waiting for the first tick")
    first.close()
    begin(port=first.port)
    shows_verdict(page, "In sync")
    page.errors.clear()  # that nobody answered for a moment


def test_a_recording_is_shown_too(begin, visit):
    shows_verdict(visit(begin(live=False)), "In sync")
