"""The view Learn remembers where the reader was, and says of a slider only what holds."""

from typing import Any

import numpy as np
import pytest

from pellucid.lessons.kmeans import blobs
from pellucid.lessons.lesson import LESSONS, find_lesson, outline
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.test_browser import WAIT, cookies, served, until  # noqa: F401  (fixtures)
from tests.studio.test_learn_browser import opened  # noqa: F401  (a fixture)

pytestmark = pytest.mark.real
COMPUTED = """[...document.querySelectorAll('[data-step]')].every(
    one => one.querySelector('.learn-try').hidden || one.dataset.shown !== undefined)"""
TOP = "document.querySelector('[data-step={step}]').getBoundingClientRect().top"


def scroll_to(tab: Any, step: str) -> None:
    """Scroll until a step begins 200 pixels below the top of the window."""
    tab.wait_for_selector(f"[data-step={step}]", timeout=WAIT)
    until(tab, COMPUTED)
    tab.wait_for_timeout(700)
    tab.evaluate(f"scrollBy(0, {TOP.format(step=step)} - 200)")
    tab.wait_for_timeout(300)


def assert_is_at(tab: Any, step: str) -> None:
    tab.wait_for_selector(f"[data-step={step}]", timeout=WAIT)
    until(tab, COMPUTED)
    tab.wait_for_timeout(700)
    assert tab.evaluate(TOP.format(step=step)) == pytest.approx(200, abs=3)


@pytest.mark.parametrize(("lesson", "step"), [("convolution", "fields"), ("boxes", "assignment"), ("kmeans", "starts")])
@pytest.mark.heavy
def test_a_reader_returns_to_where_they_were(lesson: str, step: str, opened: Any) -> None:  # noqa: F811
    tab = opened(f"lesson={lesson}")
    scroll_to(tab, step)
    tab.evaluate("location.hash = '#learn?term=gradient'")  # a word is looked up
    tab.wait_for_selector(".learn-terms", timeout=WAIT)
    tab.go_back()
    assert_is_at(tab, step)
    tab.reload()
    assert_is_at(tab, step)
    again = tab.context.new_page()  # on another day, by the list
    again.goto(tab.url.split("#")[0] + "#learn?list=all")
    again.wait_for_selector(".learn-list", timeout=WAIT)
    button = again.locator(".learn-column .btn.primary")
    assert button.inner_text().startswith("Continue: ")
    assert button.get_attribute("href") == f"#learn?lesson={lesson}"
    button.click()
    assert_is_at(again, step)
    again.click("#learn-mark")  # what is read is not continued
    again.goto(tab.url.split("#")[0] + "#learn?list=all")
    until(again, "document.querySelector('.learn-column .btn.primary')")
    first = next(name for name in LESSONS if name != lesson)
    assert button.get_attribute("href") == f"#learn?lesson={first}"


@pytest.mark.parametrize(("lesson", "slider"), [("convolution", "position"), ("kmeans", "iteration")])
def test_the_glossary_leads_back_to_the_lesson_with_its_values(lesson: str, slider: str, opened: Any) -> None:  # noqa: F811
    tab = opened(f"lesson={lesson}&motion.{slider}=7")
    scroll_to(tab, "motion")
    tab.locator("a.learn-term").first.evaluate("link => link.click()")  # without scrolling to it
    tab.wait_for_selector(".learn-terms :focus", timeout=WAIT)
    back = tab.locator(".learn a").first
    assert back.inner_text() == f"Back to: {outline(lesson).title}"
    back.click()
    assert_is_at(tab, "motion")
    assert tab.input_value(f"[data-step=motion] [data-slider={slider}] [data-number]") == "7"


def test_lessons_that_were_left_listen_no_longer(opened: Any) -> None:  # noqa: F811
    tab = opened("list=all")
    context = tab.context
    context.add_init_script("""window.listening = new Set();
        const {addEventListener: add, removeEventListener: remove} = window;
        window.addEventListener = (type, f, ...more) => (listening.add([type, f]), add.call(window, type, f, ...more));
        window.removeEventListener = (type, f, ...more) => {
          for (const one of listening) if (one[0] === type && one[1] === f) listening.delete(one);
          remove.call(window, type, f, ...more);
        };""")
    tab.reload()
    counts = []
    for name in ["descent", "boxes", "kmeans", "descent"]:
        tab.evaluate(f"location.hash = '#learn?lesson={name}'")
        tab.wait_for_selector(f"[data-step={find_lesson(name).STEPS[0].__name__}]", timeout=WAIT)
        until(tab, COMPUTED)
        counts.append(tab.evaluate("listening.size"))
    assert len(set(counts)) == 1, counts


def test_a_first_reader_starts_at_the_first_lesson_and_its_top(opened: Any) -> None:  # noqa: F811
    tab = opened("list=all")
    button = tab.locator(".learn-column .btn.primary")
    assert button.inner_text().startswith("Start: ")
    assert f"kept by this browser for port {tab.url.split('/')[2].split(':')[1]}" in tab.inner_text(".learn")
    button.click()
    tab.wait_for_selector("[data-step]", timeout=WAIT)
    tab.wait_for_timeout(500)
    assert tab.evaluate("scrollY") == 0


def test_a_lesson_that_does_not_exist_leads_to_the_list(opened: Any) -> None:  # noqa: F811
    tab = opened("list=all")
    tab.evaluate("location.hash = '#learn?lesson=descnt'")
    tab.wait_for_selector("#learn-problem:not([hidden])", timeout=WAIT)
    assert "Reading" not in tab.inner_text(".learn")
    tab.click(".learn a")
    tab.wait_for_selector(".learn-list", timeout=WAIT)


def moves(centres: list[list[float]], iterations: int) -> float:
    """Return the farthest move of a centre in the last of some iterations of k-means."""
    points, farthest = blobs(0), 0.0
    for _ in range(iterations):
        nearest = [int(np.argmin([np.hypot(*(point - centre)) for centre in centres])) for point in points]
        groups = [points[np.array(nearest) == k] for k in range(len(centres))]
        means = [
            group.mean(0).tolist() if len(group) else centre for group, centre in zip(groups, centres, strict=True)
        ]
        farthest = max(float(np.hypot(*np.subtract(a, b))) for a, b in zip(means, centres, strict=True))
        centres = means
    return farthest


@pytest.mark.heavy
def test_a_remark_names_the_values_that_it_was_written_for(opened: Any) -> None:  # noqa: F811
    start = [[-3.0, 6.6], [-3.0, 6.7], [-3.0, 6.8], [-3.0, 6.9]]
    assert moves(start, 12) > 0  # "The centres have stopped" is not true of this start
    text = ";".join(",".join(str(one) for one in centre) for centre in start)
    tab = opened(f"lesson=kmeans&motion.iteration=12&motion.centres={text}")
    tab.click("[data-step=motion] [data-answer='0']")
    remark = tab.locator("[data-step=motion] [data-slider=iteration] [data-remark]")
    assert remark.inner_text().startswith("Where the other controls are at their start: The centres have stopped")
    tab.click("[data-step=motion] [data-reset]")
    tab.click("[data-step=motion] [data-slider=iteration] [data-value='12']")
    assert remark.inner_text().startswith("The centres have stopped")

    tab = opened("lesson=descent&rates.rate=0.68")
    tab.click("[data-step=rates] [data-answer='0']")
    remark = tab.locator("[data-step=rates] [data-slider=rate] [data-remark]")
    assert remark.inner_text().startswith("Above the limit")
    tab.click("[data-step=rates] [data-slider=start_x] [data-value='0.0']")  # then the steps arrive
    assert remark.inner_text().startswith("Where the other controls are at their start: Above the limit")
