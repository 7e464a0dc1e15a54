"""The view Draw in a browser: labels of drawings, the eraser, the weight that Why explains, and a lost server."""

import os
import signal
from typing import Any

import pytest

from pellucid.model import Model
from tests.report.test_browser import FIND_FAULTS, browser  # noqa: F401  (a fixture)
from tests.studio.test_browser import MINUS, THREE, WAIT, cookies, opened, served, until  # noqa: F401  (fixtures)
from tests.studio.test_command import studio

pytestmark = pytest.mark.real


def label_of(tab: Any) -> str:
    return tab.input_value("#label")


@pytest.mark.heavy
def test_a_sample_has_its_label_and_a_drawing_none_until_one_is_chosen(opened: Any) -> None:  # noqa: F811
    page = opened("model=mnist-mlp-100&sample=7.8&label=7")  # this seven is read as 2 by this network
    tab = page.tab
    until(tab, "document.querySelector('#read').textContent === '2'")
    page.settle()
    assert label_of(tab) == "7"
    assert page.text("#cost").startswith("Unsure: 2 or 7")
    for _ in range(3):
        tab.click('[data-scope="all"]')
        cost = page.cost
        tab.click('[data-k="go"]')
        until(tab, f"document.querySelector('#cost-value').textContent !== '{cost}'")
    page.settle()
    assert page.text("#read") == "7"
    page.draw([(0.2, 0.9), (0.4, 0.9)])
    assert label_of(tab) == ""
    assert "What is it?" in page.text("#why")
    tab.click("#unstroke")  # the sample again
    until(tab, "document.querySelector('#label').value === '7'")
    tab.click("#clear")
    assert label_of(tab) == ""
    page.draw(THREE)
    tab.click("[data-label='3']")
    page.settle()
    assert label_of(tab) == "3"
    page.draw([(0.1, 0.1), (0.2, 0.1)])
    assert label_of(tab) == "3"
    tab.click("#unstroke")
    until(tab, "document.querySelector('#label').value === ''")


def test_the_eraser_removes_ink_and_undo_brings_it_back(opened: Any) -> None:  # noqa: F811
    page = opened("model=mnist-mlp-100")
    tab = page.tab
    ink = """() => { const { data } = document.querySelector("#pad").getContext("2d").getImageData(0, 0, 448, 448);
        return data.filter((v, k) => k % 4 === 3 && v > 128).length; }"""
    tab.click("#clear")
    page.draw(THREE)
    drawn = tab.evaluate(ink)
    tab.click("#eraser")
    page.draw(THREE[:3])
    assert 0 < tab.evaluate(ink) < 0.8 * drawn
    tab.click("#unstroke")
    assert tab.evaluate(ink) == drawn
    tab.click("#unstroke")
    assert tab.evaluate(ink) == 0
    assert tab.is_disabled("#unstroke")


def test_why_follows_the_picture_until_a_weight_is_chosen(opened: Any) -> None:  # noqa: F811
    page = opened("model=mnist-mlp-100&sample=3.1")
    subjects = [page.text("#subject")]
    page.tab.click("[data-take='6']")
    until(page.tab, "document.querySelector('#read').textContent === '6'")
    page.settle()
    subjects.append(page.text("#subject"))
    page.tab.click('[data-k="h7"]')
    page.settle()
    until(page.tab, "document.querySelector('#subject').textContent.includes('hidden 7')")
    chosen = page.text("#subject")
    page.tab.click("[data-take='0']")
    until(page.tab, "document.querySelector('#read').textContent === '0'")
    page.settle()
    assert page.text("#subject") == chosen
    assert [subject.split("output ")[1] for subject in subjects] == ["3", "6"]


def test_a_weight_before_and_after_a_step_has_the_digits_of_python(opened: Any) -> None:  # noqa: F811
    what = "features.dense1.weight[32, 400]"
    page = opened(f"model=mnist-mlp-100&sample=3.1&label=5&what={what}")
    gradient = page.gradient
    page.tab.click('[data-k="go"]')
    page.tab.wait_for_selector("#changed", timeout=WAIT)
    before, after = (float(one.replace(MINUS, "-")) for one in page.text("#changed").split()[-3::2])
    weight = float(Model.load("mnist-mlp-100").params["features"]["dense1"]["weight"][32, 400])
    assert before != after
    assert before == pytest.approx(weight, abs=0.02 * abs(gradient))
    assert after - before == pytest.approx(-gradient, rel=0.02)


@pytest.mark.heavy
def test_a_lost_server_is_named_at_the_control_that_was_clicked(browser: Any) -> None:  # noqa: F811
    with studio("mnist-lenet") as started:
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(started.address)
        tab.wait_for_selector("#read", timeout=WAIT)
        os.kill(started.process.pid, signal.SIGINT)
        started.process.wait(20)
        tab.wait_for_selector("#link:not([hidden])", timeout=WAIT)
        tab.click("[data-take='6']")
        tab.wait_for_selector("#lost:not([hidden])", timeout=WAIT)
        note, control = tab.locator("#lost").bounding_box(), tab.locator("[data-take='6']").bounding_box()
        assert 0 <= note["y"] - control["y"] - control["height"] < 20
        context.close()
