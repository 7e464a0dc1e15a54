"""The playground in a browser: what a student does with it, and that its numbers are those of Python."""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from pellucid.lessons.lesson import LESSONS, find_lesson
from pellucid.studio.play.problems import VALUE_PROBLEMS
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.test_browser import MINUS, WAIT, cookies, press_until, served, until  # noqa: F401  (fixtures)
from tests.studio.test_learn_browser import longest_task

pytestmark = pytest.mark.real
ADD_BLUE, ADD_OCHRE = '[data-click="1"]', '[data-click="0"]'


@pytest.fixture
def opened(browser: Any, served: Any, cookies: list[Any]) -> Iterator[Any]:  # noqa: F811
    contexts: list[Any] = []
    faults: list[str] = []

    def new(state: str = "", **options: Any) -> Any:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        contexts[-1].add_cookies(cookies)
        tab = contexts[-1].new_page()
        tab.on("console", lambda one: faults.append(one.text) if one.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(f"http://{served.host}/#play?{state}")
        tab.wait_for_selector("#play-chart svg", timeout=WAIT)
        return tab

    yield new
    for context in contexts:
        context.close()
    assert faults == []


def shown(tab: Any, name: str) -> float:
    """Return the exact number that the page shows as text."""
    return float(tab.get_attribute(f"#play-{name}", "data-value"))


def step(tab: Any, button: str = "#play-step") -> None:
    """Click a button that learns, and wait until the page shows other numbers."""
    before = tab.get_attribute("#play-train", "data-value")
    tab.click(button)
    until(tab, f"document.querySelector('#play-train').dataset.value !== '{before}'")


def learn_until(tab: Any, condition: str) -> None:
    """Start, wait for a condition, and pause."""
    tab.click("[data-speed=fast]")
    tab.click("#play-go")
    until(tab, condition)
    tab.click("#play-go")
    until(tab, "document.querySelector('#play-go').textContent === 'Start'")


def printed_by(text: str) -> float:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(text, {})
    return float(output.getvalue().split()[-1])


@pytest.mark.heavy
def test_it_starts_paused_and_its_numbers_are_those_of_its_python_text(opened: Any) -> None:
    tab = opened("problem=moons&hidden=5&rate=0.3")
    tab.wait_for_timeout(600)
    assert (shown(tab, "epoch"), tab.inner_text("#play-go")) == (0, "Start")
    first = shown(tab, "train")
    step(tab)
    assert shown(tab, "train") != first
    assert shown(tab, "epoch") == 0
    step(tab, "#play-epoch-go")  # to the end of the epoch
    step(tab, "#play-epoch-go")
    assert shown(tab, "epoch") == 2
    tab.click("#play-code summary")
    until(tab, "document.querySelector('#play-code pre').textContent.includes('epochs=2')")
    assert printed_by(tab.text_content("#play-code pre")) == pytest.approx(shown(tab, "train"), rel=1e-9)


def test_a_student_solves_xor_and_asks_why(opened: Any) -> None:
    tab = opened("hidden=~")
    tab.select_option("[data-set=problem]", "xor")
    learn_until(tab, "Number(document.querySelector('#play-epoch').dataset.value) > 20")
    assert shown(tab, "train") > 0.4  # one line cannot part the classes
    tab.click("#play-more")
    tab.wait_for_selector('[data-unit="1:3"]')
    tab.select_option("[data-set=optimizer]", "adam")
    tab.select_option("[data-set=rate]", "0.03")
    learn_until(tab, "Number(document.querySelector('#play-train').dataset.value) < 0.2")
    assert len(tab.get_attribute("#play-boundary", "d")) > 100
    tab.click('[data-unit="1:2"]')
    tab.click("#play-unit [data-what] >> nth=1")
    until(tab, "document.querySelector('#play-why .check')?.dataset.numeric")
    gradient = float(tab.get_attribute("#play-why [data-gradient]", "data-gradient"))
    assert gradient == pytest.approx(float(tab.get_attribute("#play-why .check", "data-numeric")), rel=1e-3, abs=1e-7)
    factors = [float(text.replace(MINUS, "-")) for text in tab.locator("#play-why .fac b").all_inner_texts()]
    product = 1.0
    for factor in factors:
        product *= factor
    assert product == pytest.approx(gradient, rel=0.02, abs=1e-6)
    assert "x2" in tab.inner_text("#play-why .eq")
    cost = tab.evaluate("location.hash")
    tab.click("#play-links a >> nth=0")
    until(
        tab, "document.querySelector('#read') && document.querySelector('.view:not([hidden]) .check')?.dataset.numeric"
    )
    in_draw = float(tab.get_attribute(".view:not([hidden]) [data-gradient]", "data-gradient"))
    assert in_draw == pytest.approx(gradient, rel=1e-9)
    tab.go_back()
    until(tab, f"location.hash === {cost!r}")
    tab.click("#play-links a >> nth=1")
    until(tab, "document.querySelector('#inspect-name')?.textContent.includes('dense1')")


def test_a_link_that_is_clicked_becomes_the_subject_of_why(opened: Any) -> None:
    tab = opened("hidden=1")
    place = tab.evaluate("""(() => {
        const link = document.querySelector('[data-what="head.scores.weight[1, 0]"] .drawn');
        const at = link.getPointAtLength(link.getTotalLength() / 2).matrixTransform(link.getScreenCTM());
        return [at.x, at.y];
    })()""")
    tab.mouse.click(*place)
    until(tab, "document.querySelector('#play-why .check')?.dataset.numeric")
    assert "head.scores.weight[1, 0]" in tab.inner_text("#subject")
    value = float(tab.inner_text("#play-now").replace(MINUS, "-"))
    step(tab)
    until(tab, f"Number(document.querySelector('#play-now').textContent.replace('{MINUS}', '-')) !== {value}")


def test_points_are_added_by_click_and_by_keys(opened: Any) -> None:
    tab = opened("count=20")
    tab.click(ADD_BLUE)
    box = tab.locator("#play-plane").bounding_box()
    count = "document.querySelectorAll('#play-marks circle').length"
    tab.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    until(tab, f"{count} === 21")  # 10 points for training, one more, and 10 for testing
    assert tab.locator("#play-marks .test").count() == 10
    tab.click(ADD_OCHRE)
    tab.focus("#play-plane")
    for _ in range(5):
        tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    until(tab, f"{count} === 22")
    tab.click("#play-code summary")
    until(tab, "document.querySelector('#play-code pre').textContent.includes('[0.5, 0.0, 0.0]')")
    text = tab.text_content("#play-code pre")
    assert "[-1.5, 1.5, 1.0]" in text
    step(tab, "#play-epoch-go")
    assert shown(tab, "test") > 0
    assert tab.locator("#play-marks .test").count() == 10


def test_an_address_opens_the_same_network(opened: Any) -> None:
    tab = opened("problem=xor&hidden=4~3&seed=2")
    tab.click("[data-speed=fast]")
    tab.click("#play-go")
    until(tab, "Number(document.querySelector('#play-epoch').dataset.value) > 8")
    tab.click("#play-go")
    until(tab, "location.hash.includes('steps=')")
    until(tab, "document.querySelector('#play-go').textContent === 'Start'")
    step(tab)
    until(tab, "Number(new URLSearchParams(location.hash).get('steps')) % 10 === 1")
    steps = int(parse_qs(tab.url)["steps"][0])
    again = opened(tab.url.split("?")[1])
    until(again, f"Number(new URLSearchParams(location.hash).get('steps')) === {steps}")
    until(again, f"document.querySelector('#play-train').dataset.value === '{shown(tab, 'train')!r}'")
    assert shown(again, "test") == shown(tab, "test")
    assert len(again.get_attribute("#play-chart path.bold", "d").split("L")) > 10
    tab.select_option("[data-set=rate]", "0.03")  # from here on, no address leads to the same network
    until(tab, "location.hash.includes('rate=0.03') && !location.hash.includes('steps=')")


@pytest.mark.heavy
def test_a_network_that_overfits_is_stopped_by_l2_as_the_page_says(opened: Any) -> None:
    tab = opened()
    tab.click('[data-break="4"]')
    tab.wait_for_selector("#play-ask:not([hidden])")
    learn_until(tab, "Number(document.querySelector('#play-epoch').dataset.value) >= 150")
    assert re.search(r"After 1\d\d epochs, (100|9\d.\d) % of the training points", tab.inner_text("#play-ask"))
    assert "overfits" in tab.inner_text("#play-gap")
    gap = shown(tab, "test") - shown(tab, "train")
    said = tab.inner_text("#play-gap").removeprefix("The test loss is ").split()[0]
    assert float(said) == pytest.approx(gap, rel=0.006)  # three digits, of the numbers beside it
    assert "set Points to 400 or set L2, below the network, to 1" in tab.inner_text("#play-gap")
    tab.select_option("[data-set=l2]", "1")
    until(tab, "document.querySelector('#play-ask').hidden")
    learn_until(tab, "document.querySelector('#play-gap').textContent.includes('L2 is 1')")
    assert shown(tab, "test") - shown(tab, "train") < gap / 2


@pytest.mark.heavy
@pytest.mark.parametrize("state", ["hidden=8~8~8~8", "problem=digits&hidden=8~8"])
def test_no_task_of_the_page_takes_50_ms_while_it_learns(state: str, opened: Any) -> None:
    tab = opened(state)
    tab.context.browser.start_tracing(page=tab, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    tab.click("#play-go")
    tab.wait_for_timeout(1500)
    tab.click("[data-speed=fast]")
    tab.wait_for_timeout(1500)
    tab.click("#play-go")
    assert longest_task(tab.context.browser.stop_tracing()) < 50
    assert shown(tab, "epoch") > 0


def test_own_points_open_again_from_their_address(opened: Any) -> None:
    tab = opened("problem=own&points=-1.5_1.25_1*0.5_-2_0*3_-3_0&hidden=3&seed=5")
    assert tab.locator("#play-marks circle").count() == 3
    tab.click(ADD_BLUE)
    box = tab.locator("#play-plane").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 5)
    until(tab, "document.querySelectorAll('#play-marks circle').length === 4")
    step(tab, "#play-epoch-go")
    again = opened(tab.url.split("?")[1])
    assert again.locator("#play-marks circle").count() == 4
    until(again, "document.querySelector('#play-epoch').dataset.value === '1'")
    assert shown(again, "train") == shown(tab, "train")
    again.click("#play-code summary")
    until(again, "document.querySelector('#play-code pre').textContent.includes('[-1.5, 1.25, 1.0]')")
    assert printed_by(again.text_content("#play-code pre")) == pytest.approx(shown(again, "train"), rel=1e-5)


@pytest.mark.heavy
def test_lessons_open_the_playground_in_their_state(opened: Any) -> None:
    addresses = [find_lesson(name).GUIDE.studio for name in LESSONS]
    states = [address.removeprefix("#play?") for address in addresses if address.startswith("#play?")]
    assert len(states) == 10
    for state in states:
        tab = opened(state)
        settings = {key: value for key, (value,) in parse_qs(state).items()}
        hidden = [neurons for neurons in settings.pop("hidden", "4~2").split("~") if neurons]
        for key, value in settings.items():
            assert tab.input_value(f"[data-set={key}]") == value
        outputs = 1 if settings.get("problem") in VALUE_PROBLEMS else 2
        assert tab.locator("[data-unit^='1:']").count() == int(hidden[0] if hidden else outputs)
        assert not tab.is_visible("#play-problem")


def test_points_of_an_address_that_are_none_are_left_out(opened: Any) -> None:
    tab = opened("problem=own&points=1_2*x")
    assert tab.input_value("[data-set=problem]") == "circles"
    tab.wait_for_selector("#play-problem:not([hidden])")
    assert "points of this address cannot be read" in tab.inner_text("#play-problem")


def test_a_click_on_a_point_takes_it_away(opened: Any) -> None:
    tab = opened("problem=own&points=-1.5_1.25_1*0.5_-2_0*2_-2_0&hidden=3")
    tab.click(ADD_OCHRE)
    count = "document.querySelectorAll('#play-marks circle').length"
    for left in (2, 1, 0):  # without the last, the plane is empty
        box = tab.locator("#play-marks circle").first.bounding_box()
        tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        until(tab, f"{count} === {left}")
    assert "put some first" in tab.inner_text("#play-gap")


def test_all_points_can_be_ones_own(opened: Any) -> None:
    tab = opened("hidden=2&rate=1")
    tab.click("#play-none")
    assert tab.locator("#play-marks circle").count() == 0
    assert tab.is_disabled("#play-go")
    assert "put some first" in tab.inner_text("#play-gap")
    assert [tab.inner_text(f"#play-{name}") for name in ("train", "test")] == ["none", "none"]
    assert not tab.locator("[data-set=count]").count()
    box = tab.locator("#play-plane").bounding_box()
    for k, (x, button) in enumerate([(0.2, ADD_BLUE), (0.8, ADD_OCHRE)], start=1):
        tab.click(button)
        tab.mouse.click(box["x"] + x * box["width"], box["y"] + box["height"] / 2)
        until(tab, f"document.querySelectorAll('#play-marks circle').length === {k}")
    learn_until(tab, "Number(document.querySelector('#play-train').dataset.value) < 0.1")
    assert float(tab.locator("#play-marks .blue").get_attribute("cx")) == pytest.approx(20, abs=1)  # whole pixels


def test_a_setting_that_is_not_yet_answered_stays_after_a_reset(opened: Any) -> None:
    tab = opened()
    tab.evaluate("""() => {
        const count = document.querySelector("[data-set=count]");
        count.value = "400";
        count.dispatchEvent(new Event("change", { bubbles: true }));
        document.querySelector("#play-fresh").click();
    }""")
    until(tab, "document.querySelectorAll('#play-marks circle').length === 400")
    tab.wait_for_timeout(500)
    assert tab.input_value("[data-set=count]") == "400"
    assert tab.locator("#play-marks circle").count() == 400


def test_the_labels_of_the_curves_differ(opened: Any) -> None:
    tab = opened("problem=xor&hidden=4&init=zeros&inputs=x1~x2")
    for _ in range(3):
        step(tab, "#play-epoch-go")
    labels = tab.locator("#play-chart text.y").all_text_contents()
    assert len(labels) >= 2
    assert len({*labels}) == len(labels)


def test_the_link_is_copied(opened: Any) -> None:
    tab = opened("problem=xor", permissions=["clipboard-read", "clipboard-write"])
    tab.click("#play-link")
    tab.wait_for_selector("#play-copied:not([hidden])")
    assert tab.evaluate("navigator.clipboard.readText()") == tab.url
    assert "#play?problem=xor" in tab.url


@pytest.mark.heavy
def test_settings_change_while_it_learns(opened: Any) -> None:
    tab = opened()
    tab.click("#play-go")
    until(tab, "Number(document.querySelector('#play-epoch').dataset.value) > 0")
    for key, value in (
        ("activation", "relu"),
        ("optimizer", "adam"),
        ("l2", "0.1"),
        ("noise", "0.3"),
        ("loss", "hinge"),
    ):
        tab.select_option(f"[data-set={key}]", value)
        before = shown(tab, "epoch")
        until(tab, f"Number(document.querySelector('#play-epoch').dataset.value) > {before}")
    tab.click('[data-more="1"]')
    tab.wait_for_selector('[data-unit="2:2"]')
    assert tab.inner_text("#play-go") == "Pause"
    assert "activation=relu" in tab.url
    tab.click("#play-go")
    again = opened(tab.url.split("?")[1])
    assert again.input_value("[data-set=loss]") == "hinge"
    assert again.locator("[data-unit]").count() == tab.locator("[data-unit]").count()


@pytest.mark.parametrize("k", range(5))
def test_what_goes_wrong_is_asked_before_it_is_started(k: int, opened: Any) -> None:
    tab = opened()
    tab.click(f'[data-break="{k}"]')
    tab.wait_for_selector("#play-ask:not([hidden])")
    assert "?" in tab.inner_text("#play-ask")
    assert shown(tab, "epoch") == 0
    learn_until(tab, "Number(document.querySelector('#play-epoch').dataset.value) >= 21")
    answered = re.search(r"After \d+ epochs, (.+)", tab.inner_text("#play-ask"))
    assert (answered is not None) == (k < 4)  # overfitting takes 100 epochs
    if k == 2:  # the rate is too high: that, not overfitting, is what is said
        assert "too long" in tab.inner_text("#play-gap")
        assert "overfits" not in tab.inner_text("#play-gap")
    if k == 3:
        assert answered is not None
        # Of the two, the picture of one is not blank: it is above 0 in a corner without points.
        assert answered[1].startswith("dead neurons: 2 of 4,")
    if k == 1:  # all weights equal: with the symmetric targets, nothing is learned
        assert shown(tab, "train") == pytest.approx(0.693, abs=0.02)


def test_the_playground_is_used_by_keys_alone(opened: Any) -> None:
    tab = opened()
    press_until(tab, "#play-step")
    before = shown(tab, "train")
    tab.keyboard.press("Enter")
    until(tab, f"document.querySelector('#play-train').dataset.value !== '{before}'")
    press_until(tab, '[data-unit="1:0"]')
    tab.keyboard.press("Enter")
    press_until(tab, "#play-unit [data-what]")
    tab.keyboard.press("Enter")
    until(tab, "document.querySelector('#play-why .check')?.dataset.numeric")
    press_until(tab, "#play-why .fac")
    tab.keyboard.press("Enter")
    assert tab.locator("#play-why .fac[aria-pressed=true]").count() == 1


def test_the_loss_surface_follows_the_path(opened: Any) -> None:
    tab = opened()
    tab.click("#play-surface summary")
    until(tab, "document.querySelector('#play-surface .cap').textContent.includes('loss')")
    assert "L" not in tab.get_attribute("#play-surface path", "d")
    step(tab, "#play-epoch-go")
    until(tab, "document.querySelector('#play-surface path').getAttribute('d').includes('L')")
    assert tab.get_attribute("#play-surface path", "d").endswith("L0.000,0.000") or tab.get_attribute(
        "#play-surface path", "d"
    ).endswith("L-0.000,0.000")
