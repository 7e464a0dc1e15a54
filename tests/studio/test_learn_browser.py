"""The view Learn in a browser: what a student does with a lesson, in the studio and in a file to hand out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.cli.main import main
from pellucid.lessons.lesson import Setting, find_lesson
from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
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


def numbers(tab: Any) -> list[float]:
    """Return the exact numbers of the table of the first step, in order."""
    values = tab.eval_on_selector_all(f"{RATES} .learn-numbers b", "all => all.map(one => one.dataset.value)")
    return [float(value) for value in values]


def expected(rate: float, start: float = 1.0) -> list[float]:
    """Return the same from Python."""
    result = find_lesson("descent").rates(Setting(), rate=rate, start_x=start).numbers
    paths = [value for value in result.values() if isinstance(value, dict)]
    ends = [number for path in paths for number in (*path["end"], path["cost"])]
    return [*result["gradient at the start"], result["largest rate"], *ends]


def test_a_student_guesses_drags_and_solves(opened: Any) -> None:
    tab = opened()
    assert not tab.is_visible(f"{RATES} img")  # before the guess
    assert "beyond the minimum" not in tab.inner_text(RATES)
    tab.click(f"{RATES} [data-answer='1']")
    assert "It is another one." in tab.inner_text(f"{RATES} .learn-why")
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
        ("0,4", "Write a number without commas", False),
        ("much", "Write a number", False),
        ("2/5", "Right.", True),
    ]:
        exercise.locator("input").fill(given)
        exercise.locator("button").click()
        assert exercise.locator("[role=status]").inner_text().startswith(answer)
        assert exercise.locator("details").evaluate("one => one.open") == is_open
    tab.click("#learn-mark")
    tab.click("text=All lessons")
    until(tab, "document.querySelectorAll('.learn-read').length === 1")


def test_values_between_the_stops_are_computed_and_others_refused(opened: Any) -> None:
    tab = opened("lesson=descent&rates.rate=0.617&rates.start_x=0.25")
    tab.click(RIGHT_GUESS)
    until_shown(tab, "0.617", "0.25")
    assert numbers(tab) == expected(0.617, 0.25)
    for given, message in [("0.9", "rate must be a number from 0.1 to 0.68, not '0.9'"), ("x", "Write a number")]:
        tab.fill(f"{RATE} [data-number]", given)
        tab.keyboard.press("Enter")
        until(tab, f"document.querySelector('{RATES} .notice').textContent.startsWith({message!r})")
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


def test_a_lesson_that_does_not_exist_says_so(opened: Any) -> None:
    tab = opened("list=all")
    tab.evaluate("location.hash = '#learn?lesson=descnt'")
    until(tab, "document.querySelector('#learn-problem')?.textContent.includes(\"did you mean 'descent'\")")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lesson") / "descent.html"
    assert main(["lesson", "descent", "--html", str(path)]) == 0
    return path


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_a_lesson_is_one_file_that_works_without_a_server(width: int, scheme: str, file: Path, opened: Any) -> None:
    tab = opened(file=file, viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    assert "This file needs no server" in tab.inner_text("main")
    assert not tab.is_visible(f"{RATES} img")
    tab.click(RIGHT_GUESS)
    until_shown(tab, "0.5")
    tab.focus(f"{RATE} [type=range]")
    for rate in RATE_VALUES[RATE_VALUES.index("0.5") + 1 :]:
        tab.keyboard.press("ArrowRight")
        until_shown(tab, rate)
        assert numbers(tab) == expected(float(rate))
    tab.fill("[data-exercise='0'] input", "0.4")
    tab.keyboard.press("Enter")
    assert tab.inner_text("[data-exercise='0'] [role=status]") == "Right."
    assert serious_faults(tab) == []
    assert tab.evaluate(FIND_FAULTS) == []
