"""One's own points in the playground, and the addresses that keep them and their training."""

import re
from typing import Any

import pytest

from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.test_browser import MINUS, WAIT, cookies, served, until  # noqa: F401  (fixtures)
from tests.studio.test_play_browser import (
    ADD_BLUE,
    ADD_OCHRE,
    learn_until,
    opened,  # noqa: F401  (a fixture)
    shown,
    step,
)

pytestmark = pytest.mark.real
MARKS = "document.querySelectorAll('#play-marks circle').length"
INPUT = "The input, 1\N{MULTIPLICATION SIGN}2: "
PLACES = [(0.1 + 0.11 * k, 0.9 - 0.1 * k) for k in range(8)]  # of the plane's width and height


@pytest.mark.heavy
@pytest.mark.parametrize(("is_empty", "count"), [(True, 2), (True, 8), (False, 3)])
def test_each_of_several_quick_clicks_adds_its_point(is_empty: bool, count: int, opened: Any) -> None:  # noqa: F811
    tab = opened("count=20&hidden=8~8~8")
    if is_empty:
        tab.click("#play-none")
    tab.click(ADD_OCHRE)
    before = tab.locator("#play-marks circle").count()
    box = tab.locator("#play-plane").bounding_box()
    for x, y in PLACES[:count]:
        tab.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    until(tab, f"{MARKS} >= {before + count}")
    tab.wait_for_timeout(300)
    assert tab.locator("#play-marks circle").count() == before + count
    placed = {(round(float(one.get_attribute("cx"))), round(float(one.get_attribute("cy")))) for one in added(tab)}
    for x, y in PLACES[:count]:
        assert any(abs(cx - 100 * x) <= 1 and abs(cy - 100 * y) <= 1 for cx, cy in placed)


def added(tab: Any) -> list[Any]:
    return tab.locator("#play-marks .ochre:not(.test)").all()


def test_removed_points_stay_away_when_other_settings_change(opened: Any) -> None:  # noqa: F811
    tab = opened("hidden=3")
    tab.click("#play-none")
    assert tab.input_value("[data-set=problem]") == "own"
    changes = {"activation": "relu", "rate": "0.3", "batch": "20", "l2": "0.1", "seed": "3", "init": "he"}
    for key, value in changes.items():
        tab.select_option(f"[data-set={key}]", value)
        until(tab, f"location.hash.includes('{key}={value}')")
        assert tab.locator("#play-marks circle").count() == 0, key
    tab.click('[data-more="0"]')
    tab.wait_for_selector('[data-unit="1:3"]')
    tab.click("#play-fresh")
    tab.wait_for_timeout(500)
    assert tab.locator("#play-marks circle").count() == 0
    assert tab.is_disabled("#play-go")
    assert [tab.inner_text(f"#play-{name}") for name in ("train", "test")] == ["none", "none"]
    tab.click("#play-plane")
    until(tab, f"{MARKS} === 1")
    tab.select_option("[data-set=problem]", "circles")  # the problem before can be chosen again
    until(tab, f"{MARKS} === 200")


@pytest.mark.parametrize("situation", ["none", "question", "answered"])
def test_the_plane_stays_in_its_place_when_points_are_put(situation: str, opened: Any) -> None:  # noqa: F811
    tab = opened()
    if situation == "none":
        tab.click("#play-none")
    else:
        tab.click('[data-break="3"]')
        tab.wait_for_selector("#play-ask:not([hidden])")
    if situation == "answered":
        learn_until(tab, "document.querySelector('#play-ask').textContent.includes('After')")
    tab.click(ADD_BLUE)
    tab.evaluate("scrollTo(0, 0)")
    place = tab.locator("#play-plane").bounding_box()
    before = tab.locator("#play-marks circle").count()
    for count in (1, 2):
        tab.mouse.click(place["x"] + 20 * count, place["y"] + 30)
        until(tab, f"{MARKS} === {before + count}")
        assert tab.locator("#play-plane").bounding_box() == place
    assert not tab.is_visible("#play-ask")  # it is not asked of these points


@pytest.mark.heavy
@pytest.mark.parametrize(("key", "value"), [("count", "400"), ("batch", "1"), ("batch", "100")])
def test_the_curves_have_the_epochs_of_the_bar_after_other_batches(key: str, value: str, opened: Any) -> None:  # noqa: F811
    tab = opened("count=100&rate=0.01")
    for _ in range(8):
        step(tab, "#play-epoch-go")
    tab.select_option(f"[data-set={key}]", value)
    until(tab, f"location.hash.includes('{key}={value}')")
    for _ in range(2):
        step(tab, "#play-epoch-go")
    assert shown(tab, "epoch") == 10
    tab.wait_for_timeout(500)
    labels = tab.locator("#play-chart svg text").all_text_contents()
    assert max(float(one) for one in labels if one.isdigit()) == 10


@pytest.mark.heavy
def test_after_a_remedy_is_set_the_page_waits_for_its_effect(opened: Any) -> None:  # noqa: F811
    tab = opened()
    tab.click('[data-break="4"]')
    learn_until(tab, "Number(document.querySelector('#play-epoch').dataset.value) >= 100")
    assert "set L2" in tab.inner_text("#play-gap")
    for strength in ("0.1", "1"):
        tab.select_option("[data-set=l2]", strength)
        until(tab, "document.querySelector('#play-gap').textContent.includes('whether the new settings')")
        assert "set L2" not in tab.inner_text("#play-gap")


def test_a_replay_keeps_its_address_and_that_of_another_view(opened: Any) -> None:  # noqa: F811
    tab = opened("steps=6000&seed=4")
    until(tab, "Number(document.querySelector('#play-epoch').dataset.value) > 0")
    assert "steps=6000" in tab.url
    assert tab.inner_text("#play-go") == "Pause"

    def late(route: Any) -> None:
        tab.wait_for_timeout(1000)
        route.continue_()

    tab.route("**/learn/view.js", late)  # meanwhile the playground learns
    tab.evaluate("location.hash = '#learn?lesson=descent'")
    tab.wait_for_selector(".learn h2", timeout=WAIT)
    tab.wait_for_timeout(300)
    assert "#learn?lesson=descent" in tab.url
    tab.go_back()
    until(tab, "document.querySelector('#play-go').checkVisibility()")
    if tab.inner_text("#play-go") == "Pause":
        tab.click("#play-go")
    until(tab, "location.hash.includes('steps=')")


def test_buttons_end_where_the_network_may_not_grow_or_shrink(opened: Any) -> None:  # noqa: F811
    tab = opened("hidden=8~1~4~4~4")
    assert tab.is_disabled('[data-more="0"]')
    assert tab.is_disabled('[data-less="1"]')
    assert tab.is_enabled('[data-less="0"]')
    tab.click("#play-more")
    tab.wait_for_selector('[data-unit="6:0"]')
    until(tab, "document.querySelector('#play-more').disabled")
    assert not tab.is_visible("#play-problem")


@pytest.mark.heavy
@pytest.mark.parametrize(("problem", "place"), [("circles", (0.5, 0.5)), ("moons", (0.3, 0.7)), ("xor", (0.8, 0.2))])
def test_draw_says_which_point_it_shows_and_forgets_it_with_the_network(
    problem: str,
    place: tuple[float, float],
    opened: Any,  # noqa: F811
) -> None:
    tab = opened(f"problem={problem}&noise=0&count=400")
    box = tab.locator("#play-plane").bounding_box()
    tab.click('[data-unit="1:0"]')
    tab.click("#play-unit [data-what] >> nth=0")
    until(tab, "document.querySelector('#play-why .check')?.dataset.numeric")
    tab.mouse.click(box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"])
    tab.wait_for_timeout(500)
    point = re.search(r"the point \((\S+), (\S+)\)", tab.inner_text("#subject"))
    assert point
    tab.click("#play-links a >> nth=0")
    until(tab, f"document.querySelector('.view:not([hidden]) #seen-cap')?.textContent.startsWith('{INPUT}')")
    texts = tab.inner_text("#seen-cap").removeprefix(INPUT).removesuffix(".").split(", ")
    values = [float(text.replace(MINUS, "-")) for text in texts]
    assert values == pytest.approx([float(text.replace(MINUS, "-")) for text in point.groups()], rel=0.06, abs=0.006)
    tab.reload()  # the network of the playground ends with its page
    until(tab, "document.querySelector('#problem')?.textContent.includes('opened instead')")
    until(tab, "document.querySelector('#label')?.value !== ''")
    assert tab.input_value("#label") == "3"  # the label of the sample, not a class of the playground
    slider = tab.get_by_role("slider", name="Step size")
    slider.focus()
    for _ in range(3):
        tab.keyboard.press("ArrowLeft")
        shown_rate = tab.locator("#rate").evaluate("one => one.previousElementSibling.textContent")
        assert slider.get_attribute("aria-valuetext") == shown_rate


@pytest.mark.parametrize(("given", "used"), [("-5", 0), ("2.5", 2), ("many", 0), ("99999999", 20000)])
def test_an_address_with_other_steps_than_can_be_taken_says_so(given: str, used: int, opened: Any) -> None:  # noqa: F811
    tab = opened(f"steps={given}")
    if used > 100:
        tab.click("#play-go")  # Pause
    tab.wait_for_selector("#play-problem:not([hidden])", timeout=WAIT)
    text = f"steps must be a whole number from 0 to 20000, not {given}. The playground used steps={used}"
    assert tab.inner_text("#play-problem") == text


@pytest.mark.heavy
def test_what_was_said_does_not_outlast_what_it_is_true_of(opened: Any) -> None:  # noqa: F811
    tab = opened()
    tab.click("#play-none")
    assert "No points" in tab.text_content("#live")
    until(tab, "!document.querySelector('#live').textContent")
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.click("[data-input='x1²']")
    tab.click("#play-fresh")
    tab.click("#play-link")
    tab.wait_for_selector("#play-copied:not([hidden])")
    tab.select_option("[data-set=problem]", "moons")
    tab.wait_for_selector("#play-copied", state="hidden")


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_chosen_values_are_not_cut_off(width: int, opened: Any) -> None:  # noqa: F811
    tab = opened("problem=moons", viewport={"width": width, "height": 900})
    cut = tab.eval_on_selector_all(
        ".play select",
        """all => all.filter((one) => {
            const context = document.createElement('canvas').getContext('2d'), style = getComputedStyle(one);
            context.font = style.font;
            const arrow = 20, room = one.clientWidth - parseFloat(style.paddingLeft) - arrow;
            return context.measureText(one.selectedOptions[0].text).width > room;
        }).map((one) => one.value)""",
    )
    assert cut == []
