"""A lesson that is handed out as one file, in a browser without a server."""

from pathlib import Path
from typing import Any

import pytest

from pellucid.cli.main import main
from pellucid.lessons.glossary import GLOSSARY
from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
from tests.studio.accessibility import serious_faults
from tests.studio.test_browser import cookies, served, until  # noqa: F401  (fixtures)
from tests.studio.test_learn_browser import (  # noqa: F401  (a fixture)
    RATE,
    RATE_VALUES,
    RATES,
    RIGHT_GUESS,
    expected,
    numbers,
    opened,
    until_shown,
)

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lesson") / "descent.html"
    assert main(["lesson", "descent", "--html", str(path)]) == 0
    return path


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
@pytest.mark.heavy
def test_a_lesson_is_one_file_that_works_without_a_server(width: int, scheme: str, file: Path, opened: Any) -> None:  # noqa: F811
    tab = opened(file=file, viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    assert "This file needs no server" in tab.inner_text("main")
    assert not tab.is_visible(f"{RATES} img")
    tab.click(RIGHT_GUESS)
    until_shown(tab, "0.5")
    figure = tab.locator(f"{RATES} .learn-figure")
    assert figure.evaluate("one => one.scrollWidth") <= width - 32
    number = tab.locator(f"{RATE} [data-number]")
    assert (number.is_editable(), number.get_attribute("aria-label")) == (False, "learning rate η: its value")
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


def test_a_file_shows_the_meaning_of_each_term_by_touch_and_by_keys(file: Path, opened: Any) -> None:  # noqa: F811
    tab = opened(file=file, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True, offline=True)
    terms = tab.locator(".learn-term:visible").all()
    assert len(terms) > 2
    for act in ("tap", "focus"):
        for term in terms:
            word = term.inner_text().lower()
            tab.tap("h2")
            until(tab, "document.querySelector('#tip').hidden")
            getattr(term, act)()
            until(tab, f"document.querySelector('#tip').textContent === {GLOSSARY[word].meaning!r}")
            box = tab.locator("#tip").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
            assert not tab.evaluate("document.querySelector('#tip').hidden")
