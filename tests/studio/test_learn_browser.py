"""The view Learn in a browser: what a student does with a lesson, in the studio and in a file to hand out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest

from pellucid.lessons.glossary import GLOSSARY
from pellucid.lessons.lesson import LESSONS, LessonSettings, find_lesson
from pellucid.report.figures.style import png
from tests.cases import mostly_heavy
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.accessibility import serious_faults
from tests.studio.test_browser import WAIT, cookies, press_until, served, until  # noqa: F401  (fixtures)

pytestmark = pytest.mark.real
RATES = "[data-step=rates]"
RIGHT_GUESS = f"{RATES} [data-answer='0']"
RATE = f"{RATES} [data-slider=rate]"
RATE_VALUES = [str(value) for value in find_lesson("descent").GUIDE.sliders["rates"][0].values]


@pytest.fixture
def opened(browser: Any, served: Any, cookies: list[Any]) -> Iterator[Any]:  # noqa: F811
    contexts: list[Any] = []
    faults: list[str] = []

    def new(state: str = "lesson=descent", file: Path | None = None, **options: Any) -> Any:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        if file is None:
            contexts[-1].add_cookies(cookies)
        tab = contexts[-1].new_page()
        tab.on("console", lambda one: faults.append(one.text) if one.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(f"http://{served.host}/#learn?{state}" if file is None else file.as_uri())
        tab.wait_for_selector(".learn-column h2, .learn-column h3", timeout=WAIT)
        return tab

    yield new
    for context in contexts:
        context.close()
    assert faults == []


def until_shown(tab: Any, rate: str, start: str = "1.0") -> None:
    until(tab, f"document.querySelector('{RATES}').dataset.shown === 'rate={rate} start_x={start}'")
    until(tab, f"(image => image.complete && image.naturalWidth > 400)(document.querySelector('{RATES} img'))")


def numbers(tab: Any, step: str = RATES) -> list[float]:
    """Return the exact numbers of the table of a step, in order."""
    values = tab.eval_on_selector_all(f"{step} .learn-numbers b", "all => all.map(one => one.dataset.value)")
    return [float(value) for value in values]


def expected(rate: float, start: float = 1.0) -> list[float]:
    """Return the same from Python."""
    result = find_lesson("descent").rates(LessonSettings(), rate=rate, start_x=start).numbers
    paths = [value for value in result.values() if isinstance(value, dict)]
    ends = [number for path in paths for number in (*path["end"], path["cost"])]
    return [*result["gradient at the start"], result["largest rate"], *ends]


@pytest.mark.heavy
def test_a_student_guesses_drags_and_solves(opened: Any) -> None:
    tab = opened()
    assert not tab.is_visible(f"{RATES} img")  # before the guess
    assert "beyond the minimum" not in tab.inner_text(RATES)
    tab.click(f"{RATES} [data-answer='1']")
    assert "Not quite." in tab.inner_text(f"{RATES} .learn-why")
    tab.reload()
    tab.click(f"{RATES} [data-again]")
    assert not tab.is_visible(f"{RATES} img")
    tab.reload()
    tab.wait_for_selector(f"{RATES} [data-answer='1']:enabled", timeout=WAIT)  # the guess is forgotten
    tab.click(f"{RATES} [data-answer='1']")
    until_shown(tab, "0.5")
    assert numbers(tab) == expected(0.5)
    first = tab.get_attribute(f"{RATES} img", "src")
    tab.locator(RATE).scroll_into_view_if_needed()
    box = tab.locator(f"{RATE} [type=range]").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2, steps=12)
    tab.mouse.up()
    until_shown(tab, "0.68")
    assert numbers(tab) == expected(0.68)
    assert tab.get_attribute(f"{RATES} img", "src") != first
    assert "Above the limit 2/3" in tab.inner_text(RATE)
    assert "rates.rate=0.68" in tab.url

    exercise = tab.locator("[data-exercise='0']")
    for given, answer, is_open in [
        ("0.2", "Not yet. At 0.2 the factor", False),
        ("7", "Not yet. Try again", False),
        ("1,200", "Write 1200, or with a point for decimals.", False),
        ("much", "Write a number", False),
        ("0,4", "Right.", True),
        ("2/5", "Right.", True),
    ]:
        exercise.locator("input").fill(given)
        exercise.locator("button").click()
        assert exercise.locator("[role=status]").inner_text().startswith(answer)
        assert exercise.locator("details").evaluate("one => one.open") == is_open
    tab.click("#learn-mark")
    tab.click("text=All lessons")
    until(tab, "document.querySelectorAll('.learn-read').length === 1")
    assert tab.evaluate("document.querySelector('progress').value") == 1
    assert tab.locator("[aria-current=step]").inner_text().startswith("The perceptron")


def test_values_between_the_stops_are_computed_and_others_refused(opened: Any) -> None:
    tab = opened("lesson=descent&rates.rate=0.617&rates.start_x=0.25")
    tab.click(RIGHT_GUESS)
    until_shown(tab, "0.617", "0.25")
    assert numbers(tab) == expected(0.617, 0.25)
    for given, message in [
        ("0.9", "learning rate η must be a number from 0.1 to 0.68, not '0.9'"),
        ("x", "Write a number"),
    ]:
        tab.fill(f"{RATE} [data-number]", given)
        tab.keyboard.press("Enter")
        until(tab, f"document.querySelector('{RATES} .notice').textContent.startsWith({message!r})")
    for k, given in enumerate(("x", "", "NaN", "1/0", "1,200")):  # refused also when an earlier value is computed
        tab.fill(f"{RATE} [data-number]", f"0.4{k + 1}")
        tab.keyboard.press("Enter")
        tab.fill(f"{RATE} [data-number]", given)
        tab.keyboard.press("Enter")
        until_shown(tab, f"0.4{k + 1}", "0.25")
        assert tab.inner_text(f"{RATES} .notice").startswith("Write ")
    tab.fill(f"{RATE} [data-number]", "0.30")
    tab.keyboard.press("Enter")
    until_shown(tab, "0.3", "0.25")
    assert numbers(tab) == expected(0.3, 0.25)
    assert not tab.is_visible(f"{RATES} .notice")
    tab.click(f"{RATES} [data-reset]")
    until_shown(tab, "0.5")
    assert "rates." not in tab.url


def test_a_lesson_is_used_by_keys_alone(opened: Any) -> None:
    tab = opened()
    press_until(tab, RIGHT_GUESS)
    tab.keyboard.press("Enter")
    until_shown(tab, "0.5")
    press_until(tab, f"{RATE} [type=range]")
    tab.keyboard.press("ArrowRight")
    until_shown(tab, RATE_VALUES[RATE_VALUES.index("0.5") + 1])
    press_until(tab, "[data-exercise='1'] input")
    tab.keyboard.type("30")
    tab.keyboard.press("Enter")
    assert "That is one epoch" in tab.inner_text("[data-exercise='1'] [role=status]")


def test_what_was_guessed_and_solved_is_there_again(opened: Any) -> None:
    tab = opened()
    tab.click(RIGHT_GUESS)
    tab.fill("[data-exercise='1'] input", "150")
    tab.keyboard.press("Enter")
    tab.reload()
    tab.wait_for_selector(RATES, timeout=WAIT)
    until_shown(tab, "0.5")
    assert "Right." in tab.inner_text(f"{RATES} .learn-why")
    assert tab.inner_text("[data-exercise='1'] [role=status]") == "Solved."


DRAGGED = {  # lesson, step: the grip, what it is moved by in pixels of the screen, and other values
    ("neighbours", "voting"): (0, (60, 40), {}),
    ("kmeans", "motion"): (1, (-50, -30), {"iteration": 1}),
    ("svm", "margin"): (8, (-40, 25), {}),
    ("perceptron", "one_line_fails"): (3, (-45, 30), {"w1": -2.0, "w2": 1.0, "bias": 0.0}),
    ("boxes", "overlap"): (2, (-30, -45), {"right": 10, "down": 10}),
    ("boxes", "suppression"): (1, (20, 30), {"threshold": 0.5}),
    ("segmentation", "measures"): (1, (30, -25), {"side": 8}),
    ("convolution", "motion"): (4, (0, -40), {"position": 1, "way": "stride 1"}),
}


def plain(value: Any) -> list[float]:
    """Return the numbers of a step's result in order."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in plain(item)]
    if isinstance(value, list):
        return [number for item in value for number in plain(item)]
    return [value] if isinstance(value, int | float) else []


def longest_task(trace: bytes) -> float:
    """Return the milliseconds of processor time of the longest task of a page's main thread.

    Processor time does not count the time that other programs of the machine take.
    """
    events = json.loads(trace)["traceEvents"]
    main_threads = {
        (one["pid"], one["tid"])
        for one in events
        if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    times = [
        one["tdur"]
        for one in events
        if one["name"] == "RunTask" and "tdur" in one and (one["pid"], one["tid"]) in main_threads
    ]
    assert len(times) > 30  # at least one for each move
    return max(times) / 1000


@pytest.mark.parametrize(("lesson", "step"), mostly_heavy(DRAGGED, 4))
def test_what_is_dragged_is_computed_by_the_library(lesson: str, step: str, opened: Any) -> None:
    index, way, others = DRAGGED[lesson, step]
    module = find_lesson(lesson)
    handles = module.GUIDE.handles[step]
    function = getattr(module, step)
    tab = opened(f"lesson={lesson}")
    section = f"[data-step={step}]"
    if tab.locator(f"{section} [data-answer='0']").count():
        tab.click(f"{section} [data-answer='0']")
    until(tab, f"'shown' in document.querySelector('{section}').dataset")
    grip = tab.locator(f"{section} [data-grip='{index}']")
    grip.scroll_into_view_if_needed()
    until(tab, f"document.querySelector('{section} img').complete")

    # The grip lies where matplotlib draws its number.
    start = np.array(handles.start)
    figure = function(LessonSettings(small=True), **others).figure
    png(figure)
    plot = figure.axes[handles.plot]
    if handles.kind == "cells":
        row, column = divmod(index, len(start[0]))
        place = (column, row)
    elif handles.kind == "points":
        row, column = index, 0
        place = start[row]
    else:
        row, column = index // 2, 2 * (index % 2)
        place = start[row, 2:] if index % 2 else start[row].reshape(2, 2).mean(0)
    x, y = figure.transFigure.inverted().transform(plot.transData.transform(place))
    image, box = tab.locator(f"{section} img").bounding_box(), grip.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert middle == pytest.approx((image["x"] + x * image["width"], image["y"] + (1 - y) * image["height"]), abs=1.5)

    tab.context.browser.start_tracing(page=tab, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    tab.mouse.move(*middle)
    tab.mouse.down()
    for k in range(1, 31):
        tab.mouse.move(middle[0] + way[0] * k / 30, middle[1] + way[1] * k / 30)
        tab.wait_for_timeout(20)
    tab.mouse.up()
    until(tab, f"location.hash.includes('{step}.{handles.name}=')")
    text = parse_qs(tab.url.split("?")[1])[f"{step}.{handles.name}"][0]
    until(tab, f"document.querySelector('{section}').dataset.shown.endsWith('{handles.name}={text}')")
    assert longest_task(tab.context.browser.stop_tracing()) < 50
    rows = handles.read(text)
    assert numbers(tab, section) == plain(
        function(LessonSettings(small=True), **others, **{handles.name: rows}).numbers
    )

    # The number has moved by the way of the pointer.
    unmoved = np.array(rows)
    unmoved[row] = start[row]
    assert (unmoved == start).all()
    if handles.kind == "cells":
        assert rows[row][column] == start[row][column] + 3  # 40 pixels up
    else:
        area = plot.get_position()
        spans = [upper - lower for lower, upper in (plot.get_xlim(), plot.get_ylim())]
        moved = [
            way[0] / image["width"] / area.width * spans[0],
            -way[1] / image["height"] / area.height * spans[1],
        ]
        expected_row = start[row].copy()
        expected_row[column : column + 2] += moved
        if handles.kind == "boxes" and column == 0:
            expected_row[2:] += moved
        assert rows[row] == pytest.approx(expected_row, abs=0.51 * handles.step + 1e-6)

    tab.click(f"{section} [data-reset]")
    until(tab, f"document.querySelector('{section}').dataset.shown.endsWith('{handles.name}={handles.start_text}')")
    assert handles.name not in tab.url.split("?")[1]


@pytest.mark.parametrize("index", [0, 1])
def test_a_grip_follows_moves_that_are_larger_than_it(index: int, opened: Any) -> None:
    tab = opened("lesson=boxes")
    section = "[data-step=overlap]"
    if tab.locator(f"{section} [data-answer='0']").count():
        tab.click(f"{section} [data-answer='0']")
    until(tab, f"'shown' in document.querySelector('{section}').dataset")
    grip = tab.locator(f"{section} [data-grip='{index}']")
    grip.scroll_into_view_if_needed()

    def middle() -> tuple[float, float]:
        box = grip.bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    x, y = middle()
    tab.mouse.move(x, y)
    tab.mouse.down()
    for k in range(1, 7):
        tab.mouse.move(x + 30 * k, y + 5 * k)
        tab.wait_for_timeout(150)
        assert middle() == pytest.approx((x + 30 * k, y + 5 * k), abs=4)  # a box moves in whole units
    tab.mouse.up()
    tab.mouse.move(x, y)
    assert middle() == pytest.approx((x + 180, y + 30), abs=4)


@pytest.mark.heavy
def test_points_are_moved_by_keys_and_stay_in_the_plot(opened: Any) -> None:
    tab = opened("lesson=neighbours&voting.query=4.9,0")
    press_until(tab, "[data-step=voting] [data-grip='0']")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        tab.keyboard.press(key)
    until(tab, "document.querySelector('[data-step=voting]').dataset.shown === 'k=5 query=5,0.1'")
    assert numbers(tab, "[data-step=voting]") == plain(
        find_lesson("neighbours").voting(LessonSettings(), query=((5.0, 0.1),)).numbers
    )
    assert serious_faults(tab) == []


def test_a_notice_frames_the_plot_that_it_speaks_of(opened: Any) -> None:
    tab = opened()
    tab.click(RIGHT_GUESS)
    until_shown(tab, "0.5")
    figure = find_lesson("descent").rates(LessonSettings()).figure
    png(figure)
    tab.hover(f"{RATES} li[data-plots] >> nth=1")
    frame, image = (tab.locator(f"{RATES} {one}").bounding_box() for one in (".learn-lights div", "img"))
    place = figure.axes[1].get_position()
    assert place.x0 > 0.4  # the right plot
    expected_frame = (place.x0 * image["width"], (1 - place.y1) * image["height"], place.width * image["width"])
    assert (frame["x"] - image["x"], frame["y"] - image["y"], frame["width"]) == pytest.approx(expected_frame, abs=1.5)
    tab.hover("h2")
    assert tab.locator(f"{RATES} .learn-lights div").count() == 0
    tab.focus(f"{RATES} li[data-plots] >> nth=0")
    assert tab.locator(f"{RATES} .learn-lights div").count() == 1


def test_a_term_shows_its_meaning_and_leads_to_the_glossary(opened: Any) -> None:
    tab = opened()
    term = tab.locator("a.learn-term", has_text="gradient").first
    term.hover()
    until(tab, f"document.querySelector('#tip').textContent === {GLOSSARY['gradient'].meaning!r}")
    words = tab.locator("a.learn-term").all_inner_texts()
    assert len({word.lower() for word in words}) == len(words)  # the first use only
    term.click()
    until(tab, "document.activeElement.id === 'term-gradient'")
    assert tab.locator(".learn-terms dt").all_inner_texts() == [*GLOSSARY]
    assert serious_faults(tab) == []
    tab.click(".learn-terms dd a >> nth=0")
    tab.wait_for_selector("h2:has-text('Nearest neighbours')", timeout=WAIT)


def test_the_bare_address_returns_to_the_list(opened: Any) -> None:
    tab = opened()
    tab.evaluate("location.hash = '#learn'")
    until(tab, f"document.querySelectorAll('.learn-list > li').length === {len(LESSONS)}")
    tab.evaluate("location.hash = '#learn?lesson=descent'")
    tab.wait_for_selector(RATES, timeout=WAIT)


@pytest.mark.heavy
def test_a_lesson_that_does_not_exist_says_so(opened: Any) -> None:
    tab = opened("list=all")
    tab.evaluate("location.hash = '#learn?lesson=descnt'")
    until(tab, "document.querySelector('#learn-problem')?.textContent.includes(\"did you mean 'descent'\")")
