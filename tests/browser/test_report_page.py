"""The report in a real browser, opened from disk: it plays, scrubs, switches policies and sorts, and logs no error."""

import re
import shutil

import pytest

from edgetwin import registry
from edgetwin.evaluation.compare import compare
from edgetwin.scenario import scenario

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install edgetwin[browser]")
CHROMIUM = shutil.which("chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
POLICIES = ["full-power+nearest", "inversion[snr=5]+nearest"]
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")]

COLOURS = """canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, seen = new Set();
  for (let at = 0; at < pixels.length; at += 4) seen.add(pixels[at] << 16 | pixels[at + 1] << 8 | pixels[at + 2]);
  return seen.size;
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    settings = {"users.count": 5, "two_timescale.frame_slots": 50, "two_timescale.frames": 10}
    task = registry.problem("two-timescale").task(scenario("two-timescale/physical", settings))
    return compare(task, POLICIES, episodes=2).report(tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(request, browser, report):
    page = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme=request.param)
    faults, loads = [], []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: loads.append(asked.url))
    page.goto(report.as_uri())
    yield page
    assert faults == []
    assert [url for url in loads if not url.startswith("data:")] == [report.as_uri()]
    page.close()


def slot(page):
    return int(page.locator("#readout").inner_text().split()[1])


def picture(page):
    return page.eval_on_selector("#map", "canvas => canvas.toDataURL()")


def test_first_frame_is_drawn_without_playing(page):
    assert page.eval_on_selector("#map", COLOURS) > 4
    assert page.locator("#readout").inner_text() == "slot 0 of 500 · 0.0 s"


def test_page_is_no_wider_than_the_window(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366
    page.set_viewport_size({"width": 420, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_play_and_space_move_the_slots(page):
    readout, play = page.locator("#readout"), page.locator("#play")
    play.click()
    playwright.expect(readout).to_have_text(re.compile(r"slot ([4-9]|\d\d+) of 500"))
    page.click("[data-speed='16']")
    page.keyboard.press("Space")
    playwright.expect(play).to_have_text(re.compile("Play"))
    held = slot(page)
    page.wait_for_timeout(200)
    assert slot(page) == held
    page.keyboard.press("Space")
    playwright.expect(readout).to_have_text("slot 499 of 500 · 25.0 s")
    playwright.expect(play).to_have_text(re.compile("Play"))


def test_slider_and_policy_change_the_picture(page):
    first = picture(page)
    page.eval_on_selector("#scrub", "slider => { slider.value = 250; slider.dispatchEvent(new Event('input')); }")
    assert slot(page) == 250
    later, failed = picture(page), page.locator("#count-failures").inner_text()
    assert later != first
    assert page.locator("#policy option").all_inner_texts() == POLICIES
    page.select_option("#policy", label=POLICIES[1])
    assert slot(page) == 250
    assert page.locator("#count-failures").inner_text() != failed


def test_headers_sort_the_table(page):
    def names():
        return page.locator(".results tbody .name").all_inner_texts()

    head = page.locator(".results thead th", has_text="energy_mj_per_slot")
    head.locator("button").click()
    assert names() == POLICIES[::-1]
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").click()
    assert names() == POLICIES
    assert head.get_attribute("aria-sort") == "descending"
    page.locator(".results thead th", has_text="reward").locator("button").click()
    assert page.locator(".results thead [aria-sort]").count() == 1


def test_scenario_unfolds(page):
    cell = page.locator("#scenario th", has_text="two_timescale.slot_s")
    assert not cell.is_visible()
    page.locator("#scenario summary").click()
    assert cell.is_visible()
